import { createHmac, createSecretKey, hkdfSync, type KeyObject, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'

/** Cookies on the sign-in host. */
export interface CookieNames {
  /** The OpenID provider's session: its id with a MAC. */
  session: string
  /** Names the browser, so that a pending sign-in cannot be carried to another. */
  browser: string
  /** Proof that somebody has signed in from this browser before. */
  known: string
}

/** `__Host-` keeps siblings from setting them; cookies ignore ports, so another port is in the name. */
export function cookieNames(loginOrigin: string): CookieNames {
  const { port } = new URL(loginOrigin)
  const suffix = port === '' ? '' : `-${port}`
  return {
    session: `__Host-sallyport-identity${suffix}`,
    browser: `__Host-sallyport-browser${suffix}`,
    known: `__Host-sallyport-known${suffix}`,
  }
}

/**
 * @returns the value of the one cookie with exactly this name; undefined when there is none, and when there
 *   are two, of which one must have been planted
 */
export function readCookie(request: IncomingMessage, name: string): string | undefined {
  let found: string | undefined
  for (const pair of (request.headers.cookie ?? '').split(';')) {
    const equals = pair.indexOf('=')
    // Only what RFC 6265bis calls white space: a Unicode space in front makes another name.
    if (equals < 0 || pair.slice(0, equals).replace(/^[ \t]+|[ \t]+$/g, '') !== name) continue
    if (found !== undefined) return undefined
    found = pair.slice(equals + 1).replace(/^[ \t]+|[ \t]+$/g, '')
  }
  return found
}

/** Sets a host-only cookie. @param maxAgeSeconds until the browser closes unless given; 0 removes it */
export function setCookie(
  response: ServerResponse,
  name: string,
  value: string,
  maxAgeSeconds?: number,
): void {
  const lifetime = maxAgeSeconds === undefined ? '' : ` Max-Age=${maxAgeSeconds};`
  const earlier = [response.getHeader('set-cookie') ?? []].flat().map(String)
  response.setHeader('set-cookie', [
    ...earlier.filter((cookie) => !cookie.startsWith(`${name}=`)),
    `${name}=${value}; Path=/;${lifetime} Secure; HttpOnly; SameSite=Lax`,
  ])
}

/** `session`: the OpenID provider's session. `known`: somebody has signed in from this browser before. */
export type CookiePurpose = 'session' | 'known'

/** A browser is known to its person for so long. */
export const knownBrowserMs = 90 * 86_400_000

/**
 * Signs cookie values, so that a value that we did not give out never becomes a question to the store,
 * and one read out of the store is no cookie.
 */
export class CookieSigner {
  readonly #ring: (purpose: CookiePurpose) => readonly { secret: Buffer }[]
  /** Derived keys, for as long as somebody holds the secret that they come from. */
  readonly #keys = new WeakMap<Buffer, KeyObject>()

  /** @param ring the keys in force: the first signs, all of them verify */
  constructor(ring: (purpose: CookiePurpose) => readonly { secret: Buffer }[]) {
    this.#ring = ring
  }

  sign(purpose: CookiePurpose, value: string): string {
    const [key] = this.#ring(purpose)
    if (!key) throw new TypeError('cookies need a key')
    return `${value}.${this.#mac(key.secret, purpose, value).toString('base64url')}`
  }

  /** @returns the value, or undefined when the signature is none of ours for this purpose */
  verify(purpose: CookiePurpose, signed: string | undefined): string | undefined {
    if (signed === undefined) return undefined
    const dot = signed.lastIndexOf('.')
    const value = signed.slice(0, Math.max(dot, 0))
    const given = Buffer.from(signed.slice(dot + 1), 'base64url')
    for (const { secret } of this.#ring(purpose)) {
      const expected = this.#mac(secret, purpose, value)
      if (given.length === expected.length && timingSafeEqual(given, expected)) return value
    }
    return undefined
  }

  #mac(secret: Buffer, purpose: CookiePurpose, value: string): Buffer {
    let key = this.#keys.get(secret)
    if (!key) {
      key = deriveKey(secret)
      this.#keys.set(secret, key)
    }
    return createHmac('sha256', key).update(`${purpose}\0${value}`).digest()
  }
}

/** The same secret is the root of other keys elsewhere, so it signs nothing itself (RFC 5869). */
function deriveKey(secret: Buffer): KeyObject {
  const key = hkdfSync('sha256', secret, Buffer.alloc(0), 'sallyport identity cookies', 32)
  return createSecretKey(new Uint8Array(key))
}
