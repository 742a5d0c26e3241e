import 'reflect-metadata'
import { createHash, randomBytes, webcrypto } from 'node:crypto'
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  Pkcs10CertificateRequest,
  SubjectAlternativeNameExtension,
  type X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509'

const p256 = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const
const dayMs = 86_400_000

export interface Issued {
  certificatePem: string
  keyPem: string
  serial: string
}

export interface Names {
  dns?: readonly string[]
  ip?: readonly string[]
  uri?: string
  notBeforeAt?: number
  notAfterAt?: number
  /** Extended key usage; of a client with `uri`, of a server without, unless given. */
  usages?: string[]
}

/** A certificate authority of a test. */
export class Authority {
  readonly certificate: X509Certificate
  readonly #key: webcrypto.CryptoKey

  constructor(certificate: X509Certificate, key: webcrypto.CryptoKey) {
    this.certificate = certificate
    this.#key = key
  }

  get pem(): string {
    return `${this.certificate.toString('pem')}\n`
  }

  get der(): Buffer {
    return Buffer.from(this.certificate.rawData)
  }

  /** As it stands in an enrolment token. */
  get fingerprint(): string {
    return createHash('sha256').update(this.der).digest('base64url')
  }

  /** A new key with its certificate. */
  async issue(names: Names): Promise<Issued> {
    const keys = await makeKeys()
    const certificate = await this.#sign(keys.publicKey, names)
    const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey))
    return {
      certificatePem: `${certificate.toString('pem')}\n`,
      keyPem: `-----BEGIN PRIVATE KEY-----\n${pkcs8.toString('base64')}\n-----END PRIVATE KEY-----\n`,
      serial: certificate.serialNumber.toLowerCase(),
    }
  }

  /** Signs what a request asks for, after its own signature was checked. */
  async issueFor(csrPem: string, names: Names): Promise<string> {
    const request = new Pkcs10CertificateRequest(csrPem)
    if (!(await request.verify())) throw new Error('the CSR is not signed by its key')
    const certificate = await this.#sign(await request.publicKey.export(), names)
    return `${certificate.toString('pem')}\n`
  }

  #sign(publicKey: webcrypto.CryptoKey, names: Names): Promise<X509Certificate> {
    const { dns = [], ip = [], uri, notBeforeAt, notAfterAt, usages } = names
    return X509CertificateGenerator.create({
      serialNumber: serial(),
      subject: 'CN=leaf',
      issuer: this.certificate.subject,
      notBefore: new Date(notBeforeAt ?? Date.now() - dayMs),
      notAfter: new Date(notAfterAt ?? Date.now() + 30 * dayMs),
      publicKey,
      signingKey: this.#key,
      signingAlgorithm: p256,
      extensions: [
        new ExtendedKeyUsageExtension(
          usages ?? [uri ? ExtendedKeyUsage.clientAuth : ExtendedKeyUsage.serverAuth],
        ),
        new SubjectAlternativeNameExtension([
          ...dns.map((value) => ({ type: 'dns' as const, value })),
          ...ip.map((value) => ({ type: 'ip' as const, value })),
          ...(uri ? [{ type: 'url' as const, value: uri }] : []),
        ]),
      ],
    })
  }
}

export async function makeAuthority(name: string): Promise<Authority> {
  const keys = await makeKeys()
  const certificate = await X509CertificateGenerator.createSelfSigned({
    serialNumber: serial(),
    name: `CN=${name}`,
    notBefore: new Date(Date.now() - 400 * dayMs),
    notAfter: new Date(Date.now() + 400 * dayMs),
    keys,
    signingAlgorithm: p256,
    extensions: [new BasicConstraintsExtension(true, undefined, true)],
  })
  return new Authority(certificate, keys.privateKey)
}

function makeKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(p256, true, ['sign', 'verify'])
}

/** Positive and of constant length, so that both spellings of it agree. */
function serial(): string {
  return `4${randomBytes(16).toString('hex').slice(1)}`
}
