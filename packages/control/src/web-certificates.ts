import { createPrivateKey, X509Certificate } from 'node:crypto'
import { createSecureContext } from 'node:tls'
import type { Snapshot } from '@sallyport/domain'
import { loadPair } from './authorities.ts'
import { type CertificateAuthority, ExtendedKeyUsage } from './certificate-authority.ts'
import type { Db } from './configuration.ts'
import { refuse } from './errors.ts'
import type { KeyFile } from './key-file.ts'

const dayMs = 86_400_000
// Browsers refuse more than 398 days (CA/Browser Forum, section 6.3.2), some of them less.
const leafLifetimeMs = 90 * dayMs
const renewBeforeMs = 30 * dayMs

/** PEM, as Node's TLS takes it. */
export interface ServerPair {
  readonly key: string
  readonly cert: string
}

/** A certificate chain of the operator's own, PEM. */
export interface ConfiguredCertificate {
  certificatePem: string
  keyPem: string
}

/** A configured certificate, for lists. */
export interface CertificateFacts {
  hosts: string[]
  /** Lower-case hex. */
  serial: string
  /** Epoch milliseconds. */
  notAfterAt: number
}

interface Configured {
  certificate: X509Certificate
  pair: ServerPair
}

interface WebCertificatesOptions {
  db: Db
  keyFile: KeyFile
  authority: CertificateAuthority
  baseDomain: string
  configured: readonly ConfiguredCertificate[]
  clock: () => number
}

/** Which certificate each host shows to browsers. */
export class WebCertificates {
  readonly #options: WebCertificatesOptions
  readonly #configured: Configured[]
  /** By the domain whose hosts, one label below, it covers. */
  readonly #issued = new Map<string, { pair: ServerPair; notAfterAt: number }>()

  /** @throws ControlError `SERVER_CERTIFICATE_INVALID` */
  constructor(options: WebCertificatesOptions) {
    this.#options = options
    this.#configured = options.configured.map(readConfigured)
  }

  /**
   * Puts another certificate in the place of a configured one; connections that are open keep the old one.
   *
   * @throws ControlError `SERVER_CERTIFICATE_INVALID`; the old one stays then
   */
  replace(index: number, pem: ConfiguredCertificate): void {
    const next = readConfigured(pem, index)
    const nowAt = this.#options.clock()
    const old = this.#configured[index]
    if (!old) throw new RangeError(`there is no certificate ${index}`)
    if (!isValidAt(next, nowAt) && isValidAt(old, nowAt))
      throw refuse('SERVER_CERTIFICATE_INVALID', {
        path: `certificates.${index}.certificateFile`,
        message: `is valid from ${next.certificate.validFrom} to ${next.certificate.validTo}, and not now`,
      })
    this.#configured[index] = next
  }

  /** What is configured, in its order. */
  facts(): CertificateFacts[] {
    return this.#configured.map(({ certificate }) => ({
      hosts: [...(certificate.subjectAltName ?? '').matchAll(/\bDNS:([^,\s"]+)/g)].map(
        ([, host]) => host!,
      ),
      serial: certificate.serialNumber.toLowerCase(),
      notAfterAt: certificate.validToDate.getTime(),
    }))
  }

  /** The same object for the same certificate, until that is renewed. */
  find(host: string): ServerPair | undefined {
    for (const { certificate, pair } of this.#configured)
      if (certificate.checkHost(host, { subject: 'never', partialWildcards: false })) return pair
    const above = host.slice(host.indexOf('.') + 1)
    return (this.#issued.get(host) ?? this.#issued.get(above))?.pair
  }

  /** Sees to it that every published host has a certificate, and that none runs out. */
  async prepare(snapshot: Snapshot): Promise<void> {
    const { baseDomain } = this.#options
    const domains = new Set([baseDomain])
    for (const { externalHost } of snapshot.applications.values())
      if (externalHost.endsWith(`.${baseDomain}`))
        domains.add(externalHost.slice(externalHost.indexOf('.') + 1))
    const nowAt = this.#options.clock()
    for (const domain of domains) {
      const issued = this.#issued.get(domain)
      if (!issued || issued.notAfterAt - nowAt < renewBeforeMs) await this.#issue(domain, nowAt)
    }
  }

  async #issue(domain: string, nowAt: number): Promise<void> {
    const { db, keyFile, authority } = this.#options
    // Kept over restarts: people who accept a certificate without its root need not do so again.
    const pair = await loadPair(db, keyFile, nowAt, `web-certificate:${domain}`, {
      isUsable: ({ notAfterAt }) => notAfterAt - nowAt >= renewBeforeMs,
      make: () =>
        authority.issuePair(
          {
            subject: [{ CN: [domain] }],
            names: [
              { type: 'dns', value: domain },
              { type: 'dns', value: `*.${domain}` },
            ],
            usage: ExtendedKeyUsage.serverAuth,
            lifetimeMs: leafLifetimeMs,
          },
          nowAt,
        ),
      authority,
    })
    this.#issued.set(domain, {
      pair: { key: pair.keyPem, cert: pair.certificatePem },
      notAfterAt: new X509Certificate(pair.certificatePem).validToDate.getTime(),
    })
  }
}

function isValidAt({ certificate }: Configured, at: number): boolean {
  return certificate.validFromDate.getTime() <= at && at < certificate.validToDate.getTime()
}

function readConfigured(
  { certificatePem, keyPem }: ConfiguredCertificate,
  index: number,
): Configured {
  const path = `certificates.${index}`
  const read = <T>(field: string, parse: () => T): T => {
    try {
      return parse()
    } catch {
      // The cause could quote the key.
      throw refuse('SERVER_CERTIFICATE_INVALID', {
        path: `${path}.${field}`,
        message: 'cannot be read; it must be PEM, the key without a passphrase',
      })
    }
  }
  const certificate = read('certificateFile', () => new X509Certificate(certificatePem))
  const key = read('keyFile', () => createPrivateKey(keyPem))
  if (!certificate.checkPrivateKey(key))
    throw refuse('SERVER_CERTIFICATE_INVALID', {
      path: `${path}.keyFile`,
      message: 'is not the key of the first certificate in certificateFile',
    })
  // What OpenSSL takes when a browser comes must not be found out then: a chain that is damaged, a key that is too short.
  read('certificateFile', () => createSecureContext({ key: keyPem, cert: certificatePem }))
  return { certificate, pair: { key: keyPem, cert: certificatePem } }
}
