import {
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  hkdfSync,
  type KeyObject,
  randomBytes,
} from 'node:crypto'

/** One key of the ring. The first of a ring seals; all of them open. */
export interface RingKey {
  /** Up to 16 of `A-Z a-z 0-9 _ -`. */
  id: string
  /** 32 random bytes. */
  secret: Buffer
}

/**
 * Seals short texts with AES-256-GCM, so that the browser that keeps them can neither read nor change
 * them, nor use them for another purpose or context.
 *
 * Form: `v1.<key id>.<base64url of iv, ciphertext, tag>`.
 */
export class Sealer {
  readonly #purpose: string
  // Node makes a key object of a Buffer each time it gets one, and that takes longer than to seal.
  #keys = new Map<string, KeyObject>()
  #sealingId = ''

  /** @param purpose goes into the derivation of the keys (RFC 5869), so that purposes cannot be confused */
  constructor(ring: readonly RingKey[], purpose: string) {
    this.#purpose = purpose
    this.useKeys(ring)
  }

  /** Seals and opens with another ring from now on. */
  useKeys(ring: readonly RingKey[]): void {
    const first = ring[0]
    if (!first) throw new TypeError('the key ring is empty')
    const info = `sallyport ${this.#purpose}`
    this.#sealingId = first.id
    this.#keys = new Map(
      ring.map(({ id, secret }) => [
        id,
        createSecretKey(new Uint8Array(hkdfSync('sha256', secret, Buffer.alloc(0), info, 32))),
      ]),
    )
  }

  /** @param context what the text is bound to, such as the host; opening needs the same */
  seal(text: string, context: string): string {
    const iv = randomBytes(12)
    const cipher = createCipheriv('aes-256-gcm', this.#keys.get(this.#sealingId)!, iv)
    cipher.setAAD(Buffer.from(context))
    const sealed = Buffer.concat([
      iv,
      cipher.update(text, 'utf8'),
      cipher.final(),
      cipher.getAuthTag(),
    ])
    return `v1.${this.#sealingId}.${sealed.toString('base64url')}`
  }

  /** @returns the text; undefined for anything that this ring did not seal in this context */
  open(sealed: string, context: string): string | undefined {
    const parts = /^v1\.([A-Za-z0-9_-]{1,16})\.([A-Za-z0-9_-]{38,16384})$/.exec(sealed)
    const key = parts && this.#keys.get(parts[1]!)
    if (!parts || !key) return undefined
    const bytes = Buffer.from(parts[2]!, 'base64url')
    // Base64 that decodes to the same bytes in two spellings would be two cookies for one session.
    if (bytes.length < 28 || bytes.toString('base64url') !== parts[2]) return undefined
    const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, 12), {
      authTagLength: 16,
    })
    decipher.setAAD(Buffer.from(context))
    decipher.setAuthTag(bytes.subarray(-16))
    try {
      return decipher.update(bytes.subarray(12, -16), undefined, 'utf8') + decipher.final('utf8')
    } catch {
      // The only way GCM fails: the tag does not match.
      return undefined
    }
  }
}
