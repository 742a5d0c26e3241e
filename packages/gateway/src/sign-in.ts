import { createHash, randomBytes } from 'node:crypto'
import type { IdentitySession } from '@sallyport/domain'
import type { CookieNames } from './cookies.ts'
import { RequestError, toUnavailable } from './failures.ts'
import { type RingKey, Sealer } from './seal.ts'

/** The OpenID provider as the gateway needs it. */
export interface SignInProvider {
  /** @returns URL of the authorization endpoint with this request's parameters */
  authorizeUrl(request: {
    applicationId: string
    redirectUri: string
    state: string
    nonce: string
    codeChallenge: string
    /** A sign-in that is older does not count. */
    maxAgeSeconds?: number
  }): string
  /** Redeems an authorization code (RFC 6749 section 4.1.3). Rejects when the code is not good. */
  redeem(request: {
    applicationId: string
    redirectUri: string
    code: string
    codeVerifier: string
    nonce: string
    clientAddress: string
  }): Promise<IdentitySession>
}

/** A longer URL is not carried through sign-in; the person lands on the application's start page. */
export const limitReturnBytes = 4_096
const stateLifetimeMs = 3_600_000
/** The provider counts whole seconds, by a clock of its own. */
const roundingMs = 5_000

interface SealedState {
  /** Path and query to return to. */
  to: string
  app: string
  /** SHA-256 of the browser's nonce. */
  browser: string
  verifier: string
  expiresAt: number
}

/**
 * The code flow with PKCE (RFC 6749, RFC 7636, OpenID Connect Core), begun and ended on an application's host. Nothing is kept on
 * our side: the state parameter is sealed and bound to the host and to a nonce in the browser.
 */
export class SignIn {
  readonly #provider: SignInProvider
  readonly #sealer: Sealer
  readonly #names: CookieNames

  constructor(provider: SignInProvider, ring: readonly RingKey[], names: CookieNames) {
    this.#provider = provider
    this.#sealer = new Sealer(ring, 'sign-in-state')
    this.#names = names
  }

  useKeys(ring: readonly RingKey[]): void {
    this.#sealer.useKeys(ring)
  }

  /**
   * @param to path and query that the person wanted
   * @param nonceCookie what the browser has, so that several tabs share one nonce
   */
  begin(request: {
    origin: string
    applicationId: string
    startPath: string
    to: string
    nonceCookie: string | undefined | null
    nowAt: number
    /** A sign-in that is older does not count. */
    maxAgeMs?: number | undefined
  }): { location: string; setCookie: string } {
    const known = request.nonceCookie
    const nonce = known && /^[A-Za-z0-9_-]{43}$/.test(known) ? known : randomToken()
    const verifier = randomToken()
    const state: SealedState = {
      to: request.to.length > limitReturnBytes ? request.startPath : request.to,
      app: request.applicationId,
      browser: sha256(nonce),
      verifier,
      expiresAt: request.nowAt + stateLifetimeMs,
    }
    const location = this.#provider.authorizeUrl({
      applicationId: request.applicationId,
      redirectUri: `${request.origin}/.sallyport/callback`,
      state: this.#sealer.seal(JSON.stringify(state), request.origin),
      nonce: sha256(`nonce ${verifier}`),
      codeChallenge: sha256(verifier),
      ...(request.maxAgeMs === undefined
        ? {}
        : { maxAgeSeconds: Math.floor(request.maxAgeMs / 1000) }),
    })
    const setCookie = `${this.#names.signIn}=${nonce}; Path=/; Max-Age=3600; Secure; HttpOnly; SameSite=Lax`
    return { location, setCookie }
  }

  /**
   * Ends the flow.
   *
   * @param query of the callback, with its `?`
   * @param request `maxAgeMs`: how old the sign-in may have been when this flow began; the browser could have left it out
   *   of the request to the provider
   * @returns the session, and the path and query to return to
   * @throws RequestError `SIGN_IN_INVALID`, `SIGN_IN_UNAVAILABLE`
   */
  async complete(request: {
    origin: string
    query: string
    nonceCookie: string | undefined | null
    clientAddress: string
    nowAt: number
    maxAgeMs?: number | undefined
  }): Promise<{ session: IdentitySession; applicationId: string; to: string }> {
    const parameters = new URLSearchParams(request.query)
    const state = this.#openState(single(parameters, 'state'), request.origin)
    if (!state || state.expiresAt <= request.nowAt)
      throw invalid('state is missing, foreign or expired')
    if (!request.nonceCookie || sha256(request.nonceCookie) !== state.browser)
      throw invalid('state was made for another browser, or the browser keeps no cookies')
    const code = single(parameters, 'code')
    if (code === undefined)
      throw invalid(`provider answered ${single(parameters, 'error')?.slice(0, 64) ?? 'no code'}`)
    const session = await this.#provider
      .redeem({
        applicationId: state.app,
        redirectUri: `${request.origin}/.sallyport/callback`,
        code,
        codeVerifier: state.verifier,
        nonce: sha256(`nonce ${state.verifier}`),
        clientAddress: request.clientAddress,
      })
      .catch((cause: unknown) => {
        throw toUnavailable(cause) ?? invalid('code was not accepted', cause)
      })
    const beganAt = state.expiresAt - stateLifetimeMs
    if (
      request.maxAgeMs !== undefined &&
      session.signedInAt < beganAt - request.maxAgeMs - roundingMs
    )
      throw invalid('sign-in is older than the application allows')
    return { session, applicationId: state.app, to: state.to }
  }

  /** Where a state parameter of this host points, if it is one. */
  findReturn(query: string, origin: string): string | undefined {
    return this.#openState(single(new URLSearchParams(query), 'state'), origin)?.to
  }

  #openState(state: string | undefined, origin: string): SealedState | undefined {
    const text = state === undefined ? undefined : this.#sealer.open(state, origin)
    return text === undefined ? undefined : (JSON.parse(text) as SealedState)
  }
}

function invalid(message: string, cause?: unknown): RequestError {
  return new RequestError('SIGN_IN_INVALID', message, { cause, reason: 'sign-in-invalid' })
}

/** A parameter that stands twice has no value (RFC 6749 section 3.1). */
function single(parameters: URLSearchParams, name: string): string | undefined {
  const values = parameters.getAll(name)
  return values.length === 1 ? values[0] : undefined
}

function randomToken(): string {
  return randomBytes(32).toString('base64url')
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('base64url')
}
