import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import { addLogoutPass } from '@sallyport/domain'

/** A message of sign-out on its way to an application. */
export interface LogoutDelivery {
  applicationId: string
  method: 'GET' | 'POST'
  /** Where it goes, without the pass. */
  url: string
}

const lifetimeMs = 60_000

/**
 * Passes by which messages of sign-out get through the gateway: the session is over by then, and without one nothing else does. A
 * pass is for one message, byte by byte, to one address of one application, within a minute, and once.
 *
 * Form: `<until>.<SHA-256 of the body>.<HMAC-SHA-256>`, epoch milliseconds and base64url.
 */
export class LogoutPasses {
  readonly #secret: Buffer
  readonly #clock: () => number
  /** Those that were shown, and when they would have expired anyway; epoch milliseconds. */
  readonly #used = new Map<string, number>()

  constructor(secret: Buffer, clock: () => number) {
    this.#secret = secret
    this.#clock = clock
  }

  /** @param body of a form; none for GET @returns the URL with the pass */
  issue(delivery: LogoutDelivery, body = ''): string {
    const { origin, pathname, search } = new URL(delivery.url)
    const url = origin + pathname + search
    const until = this.#clock() + lifetimeMs
    const digest = createHash('sha256').update(body).digest('base64url')
    const mac = this.#sign({ ...delivery, url }, until, digest).toString('base64url')
    return addLogoutPass(url, `${until}.${digest}.${mac}`)
  }

  /**
   * Takes a pass, which is good for nothing after that.
   *
   * @returns SHA-256 of the body that goes with it, base64url; undefined when it is none for this message
   */
  take(pass: string, delivery: LogoutDelivery): string | undefined {
    const parts = /^([1-9]\d{0,14})\.([\w-]{43})\.([\w-]{43})$/.exec(pass)
    if (!parts) return undefined
    const [, untilText, digest, mac] = parts as unknown as [string, string, string, string]
    const until = Number(untilText)
    const nowAt = this.#clock()
    const wanted = this.#sign(delivery, until, digest)
    if (!timingSafeEqual(Buffer.from(mac, 'base64url'), wanted)) return undefined
    if (until <= nowAt) return undefined
    for (const [used, end] of this.#used) if (end <= nowAt) this.#used.delete(used)
    const key = wanted.toString('base64url')
    if (this.#used.has(key)) return undefined
    this.#used.set(key, until)
    return digest
  }

  #sign({ applicationId, method, url }: LogoutDelivery, until: number, digest: string): Buffer {
    const facts = JSON.stringify(['v1', applicationId, method, url, until, digest])
    return createHmac('sha256', this.#secret).update(facts).digest()
  }
}
