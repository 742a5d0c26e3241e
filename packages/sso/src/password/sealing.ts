import { createHash, createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'
import { fromRawPublicKey, keyBytes, open, seal, toRawPublicKey } from './hpke.ts'

/** What a person types into another system. */
export interface Credential {
  userName: string
  password: string
}

/** What a sealed credential is good for. With any other value it does not open. */
export interface CredentialBinding {
  applicationId: string
  /** `user:<ID>`, or `group:<ID>` for what a group shares. */
  subject: string
  /** Scheme, host and port as `URL.origin` spells them. */
  origin: string
  /** Where it is sent: `basic`, or `form` and the path of the form's action, such as `form /login`. */
  action: string
  /** Grows with each change. */
  version: number
}

/**
 * - `SEALING_KEY_INVALID` what should be a sealing key is none
 * - `SEALED_FOR_ANOTHER_KEY` the sealed text names another key than the one at hand
 * - `SEALED_INVALID` it does not open: it was changed, or is used for something that it was not sealed for
 */
export type SealingErrorCode = 'SEALING_KEY_INVALID' | 'SEALED_FOR_ANOTHER_KEY' | 'SEALED_INVALID'

export class SealingError extends Error {
  override readonly name = 'SealingError'
  readonly code: SealingErrorCode
  constructor(code: SealingErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.code = code
  }
}

/** The key pair of one connector. */
export interface SealingKey {
  readonly privateKey: KeyObject
  /** Base64url of the 32 bytes of X25519 (RFC 7748). */
  readonly publicKey: string
  readonly fingerprint: string
}

/** So many bytes, or a multiple: the length says little of the password. */
const paddedBytes = 256
const info = Buffer.from('sallyport credential 1')

/**
 * @param pem PKCS #8
 * @throws SealingError `SEALING_KEY_INVALID`
 */
export function readSealingKey(pem: string): SealingKey {
  let privateKey: KeyObject
  try {
    privateKey = createPrivateKey(pem)
  } catch (cause) {
    throw new SealingError('SEALING_KEY_INVALID', 'the sealing key cannot be read', { cause })
  }
  if (privateKey.asymmetricKeyType !== 'x25519')
    throw new SealingError('SEALING_KEY_INVALID', 'the sealing key is no X25519 key')
  const publicKey = toRawPublicKey(createPublicKey(privateKey)).toString('base64url')
  return { privateKey, publicKey, fingerprint: fingerprintOf(publicKey) }
}

/** Whether it is the public half of a sealing key, spelt in the one way that there is. */
export function isSealingPublicKey(publicKey: string): boolean {
  const raw = Buffer.from(publicKey, 'base64url')
  return raw.length === keyBytes && raw.toString('base64url') === publicKey
}

/** What people compare: base64url of the SHA-256 of the public key, 43 characters. */
export function fingerprintOf(publicKey: string): string {
  return createHash('sha256').update(Buffer.from(publicKey, 'base64url')).digest('base64url')
}

/**
 * Seals a credential so that only one connector opens it, and only for what it is bound to.
 *
 * @param publicKey base64url of 32 bytes
 * @returns `<fingerprint of the key>.<base64url>`
 * @throws SealingError `SEALING_KEY_INVALID`
 */
export function sealCredential(
  publicKey: string,
  { userName, password }: Credential,
  binding: CredentialBinding,
): string {
  if (!isSealingPublicKey(publicKey))
    throw new SealingError('SEALING_KEY_INVALID', 'the public sealing key is not 32 bytes')
  const text = Buffer.from(JSON.stringify([userName, password]), 'utf8')
  // White space after JSON means nothing.
  const plain = Buffer.alloc(Math.ceil(text.length / paddedBytes) * paddedBytes, 0x20)
  text.copy(plain)
  let sealed: Buffer
  try {
    sealed = seal(fromRawPublicKey(Buffer.from(publicKey, 'base64url')), contextOf(binding), plain)
  } catch (cause) {
    // A point of small order: it is the key of nobody.
    throw new SealingError('SEALING_KEY_INVALID', 'the public sealing key cannot be used', {
      cause,
    })
  }
  plain.fill(0)
  return `${fingerprintOf(publicKey)}.${sealed.toString('base64url')}`
}

/** @throws SealingError `SEALED_FOR_ANOTHER_KEY`, `SEALED_INVALID` */
export function openCredential(
  key: SealingKey,
  sealed: string,
  binding: CredentialBinding,
): Credential {
  const dot = sealed.indexOf('.')
  if (sealed.slice(0, Math.max(dot, 0)) !== key.fingerprint)
    throw new SealingError('SEALED_FOR_ANOTHER_KEY', 'the credential is sealed to another key')
  try {
    const bytes = Buffer.from(sealed.slice(dot + 1), 'base64url')
    const plain = open(key.privateKey, contextOf(binding), bytes)
    const [userName, password] = JSON.parse(plain.toString('utf8')) as [string, string]
    plain.fill(0)
    return { userName, password }
  } catch (cause) {
    throw new SealingError(
      'SEALED_INVALID',
      'the credential does not open: it was changed, or sealed for something else',
      { cause },
    )
  }
}

/** The fingerprint of the key that opens it; the empty string when it names none. */
export function recipientOf(sealed: string): string {
  return sealed.slice(0, Math.max(sealed.indexOf('.'), 0))
}

function contextOf(binding: CredentialBinding) {
  const { applicationId, subject, origin, action, version } = binding
  // JSON of texts and an integer has one spelling, and no two bindings share it.
  const aad = Buffer.from(JSON.stringify([applicationId, subject, origin, action, version]), 'utf8')
  return { aead: 'aes-256-gcm', info, aad } as const
}
