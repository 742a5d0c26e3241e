import { createHash } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import {
  alreadySignedInPage,
  applicationIdOf,
  type SignInPage,
  type SignInProblem,
  type Snapshot,
  signInPage,
} from '@sallyport/domain'
import { type Store, sessions, users } from '@sallyport/store'
import type Provider from 'oidc-provider'
import { errors } from 'oidc-provider'
import type { BrowserBinding } from './browser-binding.ts'
import {
  type CookieNames,
  type CookieSigner,
  knownBrowserMs,
  readCookie,
  setCookie,
} from './cookies.ts'
import { IdentityError } from './errors.ts'
import type { FailureCode } from './failures.ts'
import { hashPassword, isOutdatedHash, verifyPassword } from './password.ts'
import type { SignInResult } from './provider.ts'
import { addressKey, RateLimit } from './rate-limit.ts'
import type { SignInAudit, SignInFailure } from './sign-in-audit.ts'
import { visitOf } from './visit.ts'

export interface SignInParts {
  db: Store['db']
  provider: Provider
  snapshot(): Snapshot
  binding: BrowserBinding
  cookieNames: CookieNames
  cookieSigner: CookieSigner
  audit: SignInAudit
  portalOrigin: string
  clock(): number
  endSession(sessionId: string, reason: string): Promise<unknown>
}

/** What the sign-in page answers: a page, a redirect, or a failure. */
export type SignInAnswer =
  | { kind: 'page'; statusCode: number; body: string; retryAfterSeconds?: number }
  | { kind: 'done' }
  | { kind: 'failure'; code: FailureCode }

type PendingSignIn = Awaited<ReturnType<Provider['interactionDetails']>>

const statusCodes: Readonly<Record<SignInProblem, number>> = {
  // Not 401: there is no HTTP authentication scheme to challenge for (RFC 9110 section 15.5.2).
  invalid: 422,
  limited: 429,
  busy: 503,
}

function applicationOf({ params }: PendingSignIn): string {
  return applicationIdOf(String(params.client_id))
}

/** Why a sign-in may wait although nothing but a session was missing: another tab may bring one. */
const sessionReasons: ReadonlySet<string> = new Set(['no_session', 'session_ended'])

/** The page where people type their name and password, and what becomes of that. */
export class SignInForm {
  readonly #parts: SignInParts
  // An office behind one address signs in at nine o'clock; a guesser goes on all day.
  readonly #addresses = new RateLimit({ burst: 60, intervalMs: 2_000 })
  // Ten guesses, then two a minute, for one name from one address, or from one browser that is known.
  readonly #attempts = new RateLimit({ burst: 10, intervalMs: 30_000 })
  // For one name from all the addresses from which its owner has not signed in before: many guessers together.
  readonly #strangers = new RateLimit({ burst: 50, intervalMs: 15_000 })

  constructor(parts: SignInParts) {
    this.#parts = parts
  }

  async show(request: IncomingMessage, response: ServerResponse): Promise<SignInAnswer> {
    const pending = await this.#findPending(request, response)
    if (await this.#isSignedIn(request, response)) {
      // Most who come back to a sign-in that is done pressed Back, and nothing is wrong.
      if (!pending)
        return {
          kind: 'page',
          statusCode: 200,
          body: alreadySignedInPage({ portalUrl: `${this.#parts.portalOrigin}/` }),
        }
      if (pending.prompt.reasons.every((reason) => sessionReasons.has(reason))) {
        await this.#resume(request, response, pending)
        return { kind: 'done' }
      }
    }
    if (!pending) return { kind: 'failure', code: 'sign-in-expired' }
    const hint = pending.params.login_hint
    const facts = typeof hint === 'string' ? { userName: hint.slice(0, 256) } : {}
    return { kind: 'page', statusCode: 200, body: signInPage(this.#facts(pending, facts)) }
  }

  async submit(
    request: IncomingMessage,
    response: ServerResponse,
    form: URLSearchParams,
  ): Promise<SignInAnswer> {
    const pending = await this.#findPending(request, response)
    if (!pending) return { kind: 'failure', code: 'sign-in-expired' }
    const userName = users.toUserName(form.get('userName') ?? '').slice(0, 256)
    const password = form.get('password') ?? ''
    const again = (problem: SignInProblem, retryAfterSeconds?: number): SignInAnswer => ({
      kind: 'page',
      statusCode: statusCodes[problem],
      body: signInPage(this.#facts(pending, { userName, problem, retryAfterSeconds })),
      ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
    })
    const { waitMs, taken } = await this.#take(request, userName)
    const user = await users.findCredentials(this.#parts.db, userName)
    const failed = (reason: SignInFailure) =>
      this.#parts.audit.failed(request, applicationOf(pending), user, reason)
    if (waitMs > 0) {
      await failed('rate-limited')
      return again('limited', Math.ceil(waitMs / 1000))
    }
    let failure: SignInFailure | undefined
    try {
      failure = await this.#checkPassword(user, password)
    } catch (error) {
      if (!(error instanceof IdentityError && error.code === 'OVERLOADED')) throw error
      await failed('overloaded')
      return again('busy')
    }
    if (!user || failure) {
      await failed(failure ?? 'user-unknown')
      return again('invalid')
    }
    for (const [limit, key] of taken) limit.giveBack(key)
    await this.#complete(request, response, pending, user)
    return { kind: 'done' }
  }

  /** The pending sign-in that the URL names, if it began in this browser and waits for a password. */
  async #findPending(
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<PendingSignIn | undefined> {
    try {
      const pending = await this.#parts.provider.interactionDetails(request, response)
      return pending.prompt.name === 'login' ? pending : undefined
    } catch (error) {
      if (error instanceof errors.SessionNotFound) return undefined
      throw error
    }
  }

  /** One answer for no such user, disabled, no password and wrong password, after the same work; why, for the audit log. */
  async #checkPassword(
    user: users.Credentials | undefined,
    password: string,
  ): Promise<SignInFailure | undefined> {
    const matches = await verifyPassword(user?.passwordHash, password)
    if (!user) return 'user-unknown'
    if (!user.enabled) return 'user-disabled'
    if (user.passwordHash === undefined) return 'password-missing'
    if (!matches) return 'password-wrong'
    if (isOutdatedHash(user.passwordHash))
      await users.replacePasswordHash(
        this.#parts.db,
        user.userId,
        user.passwordHash,
        await hashPassword(password),
      )
    return undefined
  }

  async #complete(
    request: IncomingMessage,
    response: ServerResponse,
    pending: PendingSignIn,
    user: users.Credentials,
  ): Promise<void> {
    const { provider, clock, cookieNames, cookieSigner, endSession } = this.#parts
    // Signing in ends what was signed in here before, whoever that was.
    const current = await provider.Session.get(provider.createContext(request, response))
    if (current.accountId !== undefined) await endSession(current.uid, 'replaced')
    const nowAt = clock()
    const login: SignInResult = {
      accountId: user.userId,
      ts: Math.floor(nowAt / 1000),
      amr: ['pwd'],
      remember: false,
      signInEpoch: user.signInEpoch,
      signedInAt: nowAt,
    }
    const browser = this.#browserKey(request, user.userName)
    if (browser !== undefined)
      setCookie(
        response,
        cookieNames.known,
        cookieSigner.sign('known', browser),
        knownBrowserMs / 1000,
      )
    await this.#resume(request, response, pending, { login })
  }

  /** Lets the provider go on, whoever was signed in when it began to wait. */
  async #resume(
    request: IncomingMessage,
    response: ServerResponse,
    pending: PendingSignIn,
    result: { login?: SignInResult } = {},
  ): Promise<void> {
    if (pending.session) {
      delete pending.session
      await pending.persist()
    }
    await this.#parts.provider.interactionFinished(request, response, result)
  }

  async #isSignedIn(request: IncomingMessage, response: ServerResponse): Promise<boolean> {
    const { provider, db, clock } = this.#parts
    const { accountId, uid } = await provider.Session.get(provider.createContext(request, response))
    return accountId !== undefined && (await sessions.isLiveSession(db, uid, clock()))
  }

  /**
   * Takes what an attempt uses up, and nothing after the first that is used up. Guessing cannot lock anybody else out: a browser and an
   * address from which the person has signed in before have limits of their own, and nobody else's attempts count there.
   *
   * @returns the milliseconds to wait, 0 when it may go on; and what is given back when the password was right
   */
  async #take(
    request: IncomingMessage,
    userName: string,
  ): Promise<{ waitMs: number; taken: [RateLimit, string][] }> {
    const { cookieNames, cookieSigner, clock } = this.#parts
    const address = addressKey(visitOf(request).clientAddress)
    const browser = this.#browserKey(request, userName)
    const known = cookieSigner.verify('known', readCookie(request, cookieNames.known))
    const isKnown = browser !== undefined && known === browser
    const taken: [RateLimit, string][] = [
      [this.#addresses, address],
      [this.#attempts, isKnown ? `browser ${browser}` : `${address} ${userName}`],
    ]
    for (const [limit, key] of taken) {
      const waitMs = limit.take(key, clock())
      if (waitMs > 0) return { waitMs, taken }
    }
    if (isKnown) return { waitMs: 0, taken }
    const waitMs = this.#strangers.take(userName, clock())
    if (waitMs === 0) return { waitMs, taken: [...taken, [this.#strangers, userName]] }
    return { waitMs: (await this.#isFamiliar(userName, address)) ? 0 : waitMs, taken }
  }

  /** Whether the person has signed in from the address, or its network, in the time that sessions are kept. */
  async #isFamiliar(userName: string, address: string): Promise<boolean> {
    const addresses = await sessions.listAddresses(this.#parts.db, userName)
    return addresses.some((each) => addressKey(each) === address)
  }

  #browserKey(request: IncomingMessage, userName: string): string | undefined {
    const token = this.#parts.binding.findToken(request)
    if (token === undefined) return undefined
    return createHash('sha256').update(`${token}\0${userName}`).digest('base64url')
  }

  #facts(pending: PendingSignIn, more: Partial<SignInPage>): SignInPage {
    const application = this.#parts.snapshot().findApplicationById(applicationOf(pending))
    return { applicationName: application?.application.displayName, ...more }
  }
}
