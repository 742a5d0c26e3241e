import { createHmac, timingSafeEqual } from 'node:crypto'
import { decryptCts, encryptCts } from './aes-cts.ts'
import { type Etype, findEtype, type Purpose } from './etypes.ts'

/** Key usage numbers: RFC 4120 section 7.5.1; S4U: MS-SFU section 2.2.2. */
export const KeyUsage = {
  AS_REQ_TIMESTAMP: 1,
  TICKET: 2,
  AS_REP: 3,
  TGS_REQ_CHECKSUM: 6,
  TGS_REQ_AUTHENTICATOR: 7,
  TGS_REP_SESSION_KEY: 8,
  TGS_REP_SUBKEY: 9,
  AP_REQ_AUTHENTICATOR: 11,
  AP_REP: 12,
  S4U_X509_USER_REQUEST: 26,
  S4U_X509_USER_REPLY: 27,
} as const

/** Bytes that only whoever runs this process can foresee. */
export type Random = (size: number) => Buffer

const confounderBytes = 16
const zeroIv = Buffer.alloc(16)

/** The message was changed, or encrypted with another key. */
export class IntegrityError extends Error {
  override readonly name = 'IntegrityError'
  readonly code = 'INTEGRITY_CHECK_FAILED'
}

/** A key of one of the supported etypes. What is derived from it is kept: that is most of a token's cost. */
export class EncryptionKey {
  readonly etype: Etype
  readonly bytes: Buffer
  readonly #derived = new Map<string, Buffer>()

  /** @throws TypeError for an etype that `findEtype` does not know, or a key of another size */
  constructor(etypeNumber: number, bytes: Buffer) {
    const etype = findEtype(etypeNumber)
    if (!etype || bytes.length !== etype.keyBytes) {
      throw new TypeError(`no key of ${bytes.length} bytes for etype ${etypeNumber}`)
    }
    this.etype = etype
    // A copy: the buffer that it came in is a whole reply.
    this.bytes = Buffer.from(bytes)
  }

  encrypt(usage: number, plain: Buffer, random: Random): Buffer {
    const { etype } = this
    const input = Buffer.concat([random(confounderBytes), plain])
    const cipher = encryptCts(this.#derive(usage, 'encryption'), input)
    const mac = this.#mac(usage, etype.macOver === 'plain' ? input : cipher)
    return Buffer.concat([cipher, mac])
  }

  /** @throws IntegrityError */
  decrypt(usage: number, encrypted: Buffer): Buffer {
    const { macBytes, macOver } = this.etype
    const end = encrypted.length - macBytes
    if (end < confounderBytes) throw new IntegrityError('cipher text is too short')
    const cipher = encrypted.subarray(0, end)
    const verify = (covered: Buffer) => {
      if (!timingSafeEqual(this.#mac(usage, covered), encrypted.subarray(end))) {
        throw new IntegrityError('integrity check failed')
      }
    }
    if (macOver === 'cipher') verify(cipher)
    const plain = decryptCts(this.#derive(usage, 'encryption'), cipher)
    if (macOver === 'plain') verify(plain)
    return plain.subarray(confounderBytes)
  }

  checksum(usage: number, data: Buffer): Buffer {
    const { hash, macBytes } = this.etype
    const key = this.#derive(usage, 'checksum')
    return createHmac(hash, key).update(data).digest().subarray(0, macBytes)
  }

  #mac(usage: number, covered: Buffer): Buffer {
    const { hash, macBytes, macOver } = this.etype
    const hmac = createHmac(hash, this.#derive(usage, 'integrity'))
    if (macOver === 'cipher') hmac.update(zeroIv)
    return hmac.update(covered).digest().subarray(0, macBytes)
  }

  #derive(usage: number, purpose: Purpose): Buffer {
    const id = `${usage} ${purpose}`
    let derived = this.#derived.get(id)
    if (!derived) {
      derived = this.etype.derive(this.bytes, usage, purpose)
      this.#derived.set(id, derived)
    }
    return derived
  }
}
