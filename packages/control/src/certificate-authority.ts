import 'reflect-metadata'
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  X509Certificate as NodeCertificate,
  randomBytes,
  webcrypto,
} from 'node:crypto'
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  type Extension,
  type JsonGeneralName,
  type JsonName,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509'
import type { connectors } from '@sallyport/store'

const p256 = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const
const dayMs = 86_400_000

/** Certificates begin a day early: machines with a clock that lags must not refuse them. */
export const backdateMs = dayMs

/** A P-256 key and its certificate, PEM. */
export interface KeyPair {
  keyPem: string
  certificatePem: string
}

export interface AuthoritySettings {
  commonName: string
  constraints: Extension
  extendedKeyUsages: readonly ExtendedKeyUsage[]
  lifetimeMs: number
}

/** RFC 9336: neither a server's nor a client's certificate. */
export const documentSigning = '1.3.6.1.5.5.7.3.36'

export interface LeafSettings {
  subject: JsonName
  names: JsonGeneralName[]
  usage: ExtendedKeyUsage | typeof documentSigning
  lifetimeMs: number
}

/** A root that signs leaves, and nothing below it signs. */
export class CertificateAuthority {
  readonly certificatePem: string
  /** Base64url SHA-256 of the certificate's DER. */
  readonly fingerprint: string
  readonly certificate: NodeCertificate
  readonly #certificate: X509Certificate
  readonly #signingKey: webcrypto.CryptoKey

  private constructor(certificate: X509Certificate, signingKey: webcrypto.CryptoKey) {
    this.#certificate = certificate
    this.#signingKey = signingKey
    this.certificatePem = toPem(certificate)
    this.certificate = new NodeCertificate(this.certificatePem)
    this.fingerprint = createHash('sha256').update(this.certificate.raw).digest('base64url')
  }

  /** Makes a new root. */
  static async create(settings: AuthoritySettings, nowAt: number): Promise<KeyPair> {
    const { privateKey: keyPem } = generateKey()
    const privateKey = await importPrivateKey(keyPem)
    const publicKey = await importPublicKey(keyPem)
    const certificate = await X509CertificateGenerator.createSelfSigned({
      serialNumber: newSerial(),
      name: [{ O: ['Sallyport'] }, { CN: [settings.commonName] }],
      notBefore: new Date(nowAt - backdateMs),
      notAfter: new Date(nowAt + settings.lifetimeMs),
      keys: { privateKey, publicKey },
      signingAlgorithm: p256,
      extensions: [
        new BasicConstraintsExtension(true, 0, true),
        new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
        new ExtendedKeyUsageExtension([...settings.extendedKeyUsages], false),
        settings.constraints,
        await SubjectKeyIdentifierExtension.create(publicKey),
      ],
    })
    return { keyPem, certificatePem: toPem(certificate) }
  }

  static async load(pair: KeyPair): Promise<CertificateAuthority> {
    return new CertificateAuthority(
      new X509Certificate(pair.certificatePem),
      await importPrivateKey(pair.keyPem),
    )
  }

  /** Makes a key and a certificate for it. */
  async issuePair(settings: LeafSettings, nowAt: number): Promise<KeyPair> {
    const { privateKey: keyPem } = generateKey()
    const certificate = await this.#sign(await importPublicKey(keyPem), settings, nowAt)
    return { keyPem, certificatePem: toPem(certificate) }
  }

  /**
   * Certifies somebody else's key. Nothing but the key is theirs.
   *
   * @param spki SubjectPublicKeyInfo, DER; P-256
   */
  async issueFor(
    spki: Uint8Array<ArrayBuffer>,
    settings: LeafSettings,
    nowAt: number,
  ): Promise<connectors.ConnectorCertificate & { certificatePem: string }> {
    const publicKey = await webcrypto.subtle.importKey('spki', spki, p256, true, ['verify'])
    const certificate = await this.#sign(publicKey, settings, nowAt)
    return {
      certificatePem: toPem(certificate),
      serial: certificate.serialNumber.toLowerCase(),
      notAfterAt: certificate.notAfter.getTime(),
      publicKeyThumbprint: thumbprint(spki),
    }
  }

  /** Whether this root, and no other of the same name, signed the certificate. */
  hasIssued(certificate: NodeCertificate): boolean {
    return (
      !certificate.ca &&
      certificate.checkIssued(this.certificate) &&
      certificate.verify(this.certificate.publicKey)
    )
  }

  async #sign(
    publicKey: webcrypto.CryptoKey,
    { subject, names, usage, lifetimeMs }: LeafSettings,
    nowAt: number,
  ): Promise<X509Certificate> {
    return X509CertificateGenerator.create({
      serialNumber: newSerial(),
      subject,
      issuer: this.#certificate.subjectName,
      notBefore: new Date(nowAt - backdateMs),
      notAfter: new Date(nowAt + lifetimeMs),
      publicKey,
      signingKey: this.#signingKey,
      signingAlgorithm: p256,
      extensions: [
        new BasicConstraintsExtension(false, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
        new ExtendedKeyUsageExtension([usage], false),
        new SubjectAlternativeNameExtension(names),
        await SubjectKeyIdentifierExtension.create(publicKey),
        await AuthorityKeyIdentifierExtension.create(this.#certificate.publicKey),
      ],
    })
  }
}

/** Base64url SHA-256 of a SubjectPublicKeyInfo. */
export function thumbprint(spki: Uint8Array): string {
  return createHash('sha256').update(spki).digest('base64url')
}

export { ExtendedKeyUsage }

function generateKey() {
  return generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    publicKeyEncoding: { type: 'spki', format: 'pem' },
  })
}

function importPrivateKey(keyPem: string) {
  const der = createPrivateKey(keyPem).export({ type: 'pkcs8', format: 'der' })
  return webcrypto.subtle.importKey('pkcs8', new Uint8Array(der), p256, false, ['sign'])
}

function importPublicKey(keyPem: string) {
  const der = createPublicKey(keyPem).export({ type: 'spki', format: 'der' })
  return webcrypto.subtle.importKey('spki', new Uint8Array(der), p256, true, ['verify'])
}

/** 126 random bits; the first byte keeps the number positive and its hex form of one length. */
function newSerial(): string {
  const bytes = randomBytes(16)
  bytes[0] = 0x40 | (bytes[0]! & 0x3f)
  return bytes.toString('hex')
}

function toPem(certificate: X509Certificate): string {
  return `${certificate.toString('pem').trim()}\n`
}
