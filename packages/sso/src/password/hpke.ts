/**
 * Hybrid public key encryption, base mode, one message for each context (RFC 9180) with
 * DHKEM(X25519, HKDF-SHA256) and HKDF-SHA256.
 */
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
} from 'node:crypto'

/** RFC 9180 section 7.3. */
const aeads = {
  'aes-128-gcm': { id: 1, keyBytes: 16 },
  'aes-256-gcm': { id: 2, keyBytes: 32 },
  'chacha20-poly1305': { id: 3, keyBytes: 32 },
} as const
export type Aead = keyof typeof aeads

const kemId = 0x0020
const kdfId = 0x0001
const nonceBytes = 12
const tagBytes = 16
/** Of a public key, and of the encapsulated one. */
export const keyBytes = 32
const empty = Buffer.alloc(0)

/** What both sides must know beside the keys. */
export interface HpkeContext {
  aead: Aead
  info: Buffer
  aad: Buffer
}

/** @param ephemeral another than a fresh one only for published vectors */
export function seal(
  recipient: KeyObject,
  { aead, info, aad }: HpkeContext,
  plain: Buffer,
  ephemeral: KeyObject = generateKeyPairSync('x25519').privateKey,
): Buffer {
  const encapsulated = toRawPublicKey(createPublicKey(ephemeral))
  const shared = diffieHellman({ privateKey: ephemeral, publicKey: recipient })
  const { key, nonce } = schedule(shared, encapsulated, toRawPublicKey(recipient), aead, info)
  const cipher = createCipheriv(aead as 'aes-256-gcm', key, nonce, { authTagLength: tagBytes })
  cipher.setAAD(aad, { plaintextLength: plain.length })
  return Buffer.concat([encapsulated, cipher.update(plain), cipher.final(), cipher.getAuthTag()])
}

/** @throws Error when it is not for this key, or not in this context */
export function open(
  recipient: KeyObject,
  { aead, info, aad }: HpkeContext,
  sealed: Buffer,
): Buffer {
  if (sealed.length < keyBytes + tagBytes) throw new Error('the sealed text is too short')
  const encapsulated = sealed.subarray(0, keyBytes)
  const text = sealed.subarray(keyBytes, -tagBytes)
  const publicKey = toRawPublicKey(createPublicKey(recipient))
  // Refuses the points of small order, whose result anybody can foresee (RFC 9180 section 7.1.4).
  const shared = diffieHellman({
    privateKey: recipient,
    publicKey: fromRawPublicKey(encapsulated),
  })
  const { key, nonce } = schedule(shared, encapsulated, publicKey, aead, info)
  const decipher = createDecipheriv(aead as 'aes-256-gcm', key, nonce, { authTagLength: tagBytes })
  decipher.setAAD(aad, { plaintextLength: text.length })
  decipher.setAuthTag(sealed.subarray(-tagBytes))
  return Buffer.concat([decipher.update(text), decipher.final()])
}

export function toRawPublicKey(key: KeyObject): Buffer {
  return Buffer.from(key.export({ format: 'jwk' }).x!, 'base64url')
}

/** @throws Error unless it is 32 bytes */
export function fromRawPublicKey(raw: Buffer): KeyObject {
  const x = raw.toString('base64url')
  return createPublicKey({ format: 'jwk', key: { kty: 'OKP', crv: 'X25519', x } })
}

/** @param raw with its public key, as RFC 9180 writes vectors */
export function fromRawPrivateKey(raw: Buffer, publicKey: Buffer): KeyObject {
  const [d, x] = [raw, publicKey].map((bytes) => bytes.toString('base64url')) as [string, string]
  return createPrivateKey({ format: 'jwk', key: { kty: 'OKP', crv: 'X25519', d, x } })
}

/** RFC 9180 sections 4.1 (ExtractAndExpand) and 5.1 (KeySchedule), mode_base. */
function schedule(
  shared: Buffer,
  encapsulated: Buffer,
  publicKey: Buffer,
  aead: Aead,
  info: Buffer,
): { key: Buffer; nonce: Buffer } {
  const kem = Buffer.concat([Buffer.from('KEM'), toBytes(kemId)])
  const prk = extract(kem, empty, 'eae_prk', shared)
  const context = Buffer.concat([encapsulated, publicKey])
  const secret = expand(kem, prk, 'shared_secret', context, 32)
  const { id, keyBytes: length } = aeads[aead]
  const suite = Buffer.concat([Buffer.from('HPKE'), ...[kemId, kdfId, id].map(toBytes)])
  const schedule = Buffer.concat([
    Buffer.of(0),
    extract(suite, empty, 'psk_id_hash', empty),
    extract(suite, empty, 'info_hash', info),
  ])
  const base = extract(suite, secret, 'secret', empty)
  return {
    key: expand(suite, base, 'key', schedule, length),
    nonce: expand(suite, base, 'base_nonce', schedule, nonceBytes),
  }
}

/** LabeledExtract. */
function extract(suite: Buffer, salt: Buffer, label: string, material: Buffer): Buffer {
  return createHmac('sha256', salt)
    .update('HPKE-v1')
    .update(suite)
    .update(label)
    .update(material)
    .digest()
}

/** LabeledExpand, for what fits into one block of SHA-256 (RFC 5869 section 2.3). */
function expand(suite: Buffer, key: Buffer, label: string, info: Buffer, length: number): Buffer {
  return createHmac('sha256', key)
    .update(toBytes(length))
    .update('HPKE-v1')
    .update(suite)
    .update(label)
    .update(info)
    .update(Buffer.of(1))
    .digest()
    .subarray(0, length)
}

function toBytes(value: number): Buffer {
  return Buffer.of(value >> 8, value & 0xff)
}
