import { KerberosError } from './errors.ts'
import type { KdcAddress } from './kdc-connection.ts'

/** What is asked of DNS; a `Resolver` of `node:dns/promises` fits. */
export interface Dns {
  resolveSrv(
    name: string,
  ): Promise<readonly { name: string; port: number; priority: number; weight: number }[]>
  resolve4(name: string): Promise<readonly string[]>
  resolve6(name: string): Promise<readonly string[]>
}

const maxKdcs = 16

/**
 * The KDCs of a realm by `_kerberos._tcp` (RFC 4120 section 7.2.3.2), in the order of RFC 2782.
 *
 * @param random 0 to 1
 * @throws KerberosError `KERBEROS_REALM_UNKNOWN`
 */
export async function discoverKdcs(
  dns: Dns,
  realm: string,
  random: () => number,
): Promise<KdcAddress[]> {
  const name = `_kerberos._tcp.${realm.toLowerCase()}`
  let records: Awaited<ReturnType<Dns['resolveSrv']>>
  try {
    records = await dns.resolveSrv(name)
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? String(error)
    throw unknown(realm, `DNS has no ${name}: ${reason}`, error)
  }
  // A single record with the target "." says that the service is not offered.
  const offered = records.filter((record) => record.name !== '' && record.name !== '.')
  if (offered.length === 0) throw unknown(realm, `DNS says that ${name} is not offered`)
  return sortByWeight(offered, random)
    .slice(0, maxKdcs)
    .map(({ name, port }) => ({ host: name, port }))
}

function sortByWeight<R extends { priority: number; weight: number }>(
  records: readonly R[],
  random: () => number,
): R[] {
  // Chances in proportion to the weight, by one draw for each record; the smallest result goes first.
  const drawn = records.map((record) => ({
    record,
    draw: -Math.log(1 - random()) / Math.max(record.weight, 0.01),
  }))
  return drawn
    .sort((a, b) => a.record.priority - b.record.priority || a.draw - b.draw)
    .map(({ record }) => record)
}

function unknown(realm: string, why: string, cause?: unknown): KerberosError {
  return new KerberosError('KERBEROS_REALM_UNKNOWN', `no KDC of ${realm}: ${why}`, {
    realm,
    reason: 'dns',
    cause,
  })
}
