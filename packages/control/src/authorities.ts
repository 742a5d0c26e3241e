import { X509Certificate as NodeCertificate } from 'node:crypto'
import { secrets } from '@sallyport/store'
import {
  type AuthoritySettings,
  CertificateAuthority,
  ExtendedKeyUsage,
  type KeyPair,
} from './certificate-authority.ts'
import type { Db } from './configuration.ts'
import { ControlError } from './errors.ts'
import type { KeyFile } from './key-file.ts'
import { nameConstraints } from './name-constraints.ts'

const yearMs = 365 * 86_400_000
const authorityLifetimeMs = 10 * yearMs

/** Nobody but connectors knows its certificate, so it may live longer than browsers allow. */
const connectLifetimeMs = 2 * yearMs
const connectRenewMs = yearMs

/** The two roots, never mixed: what one signs, the other's believers refuse. */
export interface Authorities {
  /** Signs connectors, and `connect.<base>`; pinned by connectors, imported by nobody. */
  connector: CertificateAuthority
  /** Signs the hosts below the base domain for browsers; people may import it. */
  web: CertificateAuthority
  /** Key and certificate chain of `connect.<base>`. */
  connect: { key: string; cert: string }
}

/**
 * Reads the certificate authorities, or makes them at the first start.
 *
 * @throws ControlError `KEY_FILE_MISMATCH`
 */
export async function loadAuthorities(
  db: Db,
  keyFile: KeyFile,
  baseDomain: string,
  nowAt: number,
): Promise<Authorities> {
  const connectHost = `connect.${baseDomain}`
  const connector = await loadAuthority('connector-ca', {
    commonName: `Sallyport connector CA ${baseDomain}`,
    constraints: nameConstraints({ dns: [connectHost], uri: [baseDomain] }),
    extendedKeyUsages: [ExtendedKeyUsage.clientAuth, ExtendedKeyUsage.serverAuth],
    lifetimeMs: authorityLifetimeMs,
  })
  const web = await loadAuthority('web-ca', {
    commonName: `Sallyport CA for ${baseDomain} only`,
    constraints: nameConstraints({ dns: [baseDomain] }),
    extendedKeyUsages: [ExtendedKeyUsage.serverAuth],
    lifetimeMs: authorityLifetimeMs,
  })
  const pair = await loadPair(db, keyFile, nowAt, 'connect-certificate', {
    isUsable: ({ notAfterAt }) => notAfterAt - nowAt > connectRenewMs,
    make: () =>
      connector.issuePair(
        {
          subject: [{ CN: [connectHost] }],
          names: [{ type: 'dns', value: connectHost }],
          usage: ExtendedKeyUsage.serverAuth,
          lifetimeMs: connectLifetimeMs,
        },
        nowAt,
      ),
    authority: connector,
  })
  return {
    connector,
    web,
    // The root goes along: a connector that enrols knows no more of it than its fingerprint.
    connect: { key: pair.keyPem, cert: pair.certificatePem + connector.certificatePem },
  }

  async function loadAuthority(id: string, settings: AuthoritySettings) {
    return CertificateAuthority.load(
      await loadPair(db, keyFile, nowAt, id, {
        isUsable: () => true,
        make: () => CertificateAuthority.create(settings, nowAt),
      }),
    )
  }
}

/**
 * Reads a key and its certificate from the sealed secrets; makes them anew if they are not there or
 * no longer usable.
 *
 * @param authority must have issued the certificate for it to be usable
 * @throws ControlError `KEY_FILE_MISMATCH`
 */
export async function loadPair(
  db: Db,
  keyFile: KeyFile,
  nowAt: number,
  id: string,
  {
    isUsable,
    make,
    authority,
  }: {
    isUsable(facts: { notAfterAt: number }): boolean
    make(): Promise<KeyPair>
    authority?: CertificateAuthority
  },
): Promise<KeyPair> {
  const stored = await secrets.findSecret(db, id)
  if (stored) {
    const pair = openPair(keyFile, id, stored.sealed)
    const certificate = new NodeCertificate(pair.certificatePem)
    const notAfterAt = certificate.validToDate.getTime()
    if (isUsable({ notAfterAt }) && (!authority || authority.hasIssued(certificate))) return pair
  }
  const made = await make()
  await secrets.saveSecret(db, {
    id,
    purpose: 'key-pair',
    sealed: keyFile.seal(sealPurpose(id), Buffer.from(JSON.stringify(made), 'utf8')),
    createdAt: nowAt,
  })
  return made
}

/** Bound to its row: whoever can write the database must not make one authority of the other. */
function sealPurpose(id: string): string {
  return `key-pair:${id}`
}

function openPair(keyFile: KeyFile, id: string, sealed: string): KeyPair {
  try {
    return JSON.parse(keyFile.open(sealPurpose(id), sealed).toString('utf8')) as KeyPair
  } catch (cause) {
    if (!(cause instanceof ControlError)) throw cause
    throw new ControlError(
      'KEY_FILE_MISMATCH',
      'the key file is not the one this database was made with; put the right one back from your backup',
      { cause },
    )
  }
}
