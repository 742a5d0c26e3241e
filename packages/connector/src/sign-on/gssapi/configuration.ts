import type { KdcAddress } from '@sallyport/kerberos'

/**
 * A krb5.conf that knows the KDCs that we know, asks DNS for the others, and nobody for the names of hosts: the SPN is the one that
 * was configured.
 *
 * @param realms checked before: nothing in them could begin another line
 */
export function toKrb5Configuration(
  defaultRealm: string,
  realms: Readonly<Record<string, readonly KdcAddress[]>>,
): string {
  const blocks = Object.entries(realms).map(([realm, kdcs]) => {
    // With errors the library would look for a primary KDC in DNS, which may be slow, or another's.
    const lines = kdcs.flatMap(({ host, port }) =>
      ['kdc', 'primary_kdc', 'master_kdc'].map(
        (relation) => `    ${relation} = ${formatAddress(host)}:${port}\n`,
      ),
    )
    return `  ${realm} = {\n${lines.join('')}  }\n`
  })
  return `[libdefaults]
  default_realm = ${defaultRealm}
  dns_lookup_realm = false
  dns_lookup_kdc = true
  dns_uri_lookup = false
  dns_canonicalize_hostname = false
  rdns = false
  qualify_shortname = ""
  forwardable = true
  udp_preference_limit = 1
  default_ccache_name = MEMORY:unused
  default_keytab_name = FILE:/nonexistent
[realms]
${blocks.join('')}`
}

function formatAddress(host: string): string {
  return host.includes(':') ? `[${host}]` : host
}
