import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { oidcModel, type Store } from '@sallyport/store'
import { type CookieNames, readCookie, setCookie } from './cookies.ts'

const model = 'BrowserBinding'
const tokenPattern = /^[\w-]{43}$/

/**
 * Binds pending sign-ins to the browser they began in. Without it a link to somebody else's pending
 * sign-in would sign the reader in as that person (RFC 6819 section 4.4.1.13), and a code could be had
 * for a sign-in that was carried over.
 */
export class BrowserBinding {
  readonly #db: Store['db']
  readonly #names: CookieNames

  constructor(db: Store['db'], names: CookieNames) {
    this.#db = db
    this.#names = names
  }

  /** The browser's own token, if it has one. */
  findToken(request: IncomingMessage): string | undefined {
    const token = readCookie(request, this.#names.browser)
    return token !== undefined && tokenPattern.test(token) ? token : undefined
  }

  /** Binds a pending sign-in to the browser that sent the request; names the browser if need be. */
  async bind(
    request: IncomingMessage,
    response: ServerResponse,
    interactionUid: string,
    expiresAt: number,
  ): Promise<void> {
    const token = this.findToken(request) ?? randomBytes(32).toString('base64url')
    setCookie(response, this.#names.browser, token, 90 * 86_400)
    await oidcModel.saveOidcModel(
      this.#db,
      { model, id: interactionUid },
      { browser: fingerprint(token) },
      expiresAt,
    )
  }

  /** Whether the pending sign-in began in the browser that sends this request. */
  async isBound(request: IncomingMessage, interactionUid: string): Promise<boolean> {
    const token = this.findToken(request)
    if (token === undefined) return false
    const bound = await oidcModel.findOidcModel(this.#db, { model, id: interactionUid })
    if (typeof bound?.browser !== 'string') return false
    return timingSafeEqual(Buffer.from(bound.browser), Buffer.from(fingerprint(token)))
  }
}

function fingerprint(token: string): string {
  return createHash('sha256').update(token).digest('base64url')
}
