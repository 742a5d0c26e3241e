import { type FieldList, fieldValues, findField } from '@sallyport/http1'
import { ResetCode } from '@sallyport/protocol'
import { OriginFailure } from '../../failure.ts'
import type { Origin, OriginConnection } from '../../origin.ts'
import type { Assertion } from '../assertion.ts'
import type { Authorization, SignOnRequest } from '../sign-on.ts'
import { decodeBody } from './body.ts'
import type { Cookies } from './cookies.ts'
import { CredentialRefused, type FormPlan, showsForm, signInByForm } from './form-sign-in.ts'
import type { OpenedCredential, Vault } from './vault.ts'
import { Visit } from './visit.ts'

export interface FormSignOnOptions {
  vault: Vault
  /** Another origin that a redirect of the sign-in leads to. */
  findOrigin(url: string, validate: boolean, applicationId: string): Origin
  /** Epoch milliseconds. */
  clock(): number
}

/** A sign-in that is under way, or was the latest for a session and application. */
interface Attempt {
  cookies: Promise<Cookies>
  /** As `performance.now()`; undefined while it is under way. */
  endedMs: number | undefined
}

const attemptMs = 60_000
const maxAttempts = 1_000
/**
 * A sign-in that leads nowhere may be one with a wrong password which the application does not call so: in one session it is
 * sent a few times only, less than lock accounts.
 */
const maxSent = 4
const sentWithinMs = 10 * 60_000
const maxSessions = 10_000

/**
 * Sign-on by the application's own form. Only the opening of a page leads to a sign-in: when it carries no cookie of the
 * application, or when the application answers it with its form. Everything else is passed on as it is.
 */
export class FormSignOn {
  readonly #options: FormSignOnOptions
  readonly #attempts = new Map<string, Attempt>()
  /** When a session's password was sent, as `performance.now()`; the latest last. */
  readonly #sentMs = new Map<string, number[]>()
  readonly #closing = new AbortController()
  /** The latest attempt with a credential that is not proven. */
  readonly #trying = new Map<string, Promise<unknown>>()

  constructor(options: FormSignOnOptions) {
    this.#options = options
  }

  authorize(
    opened: OpenedCredential,
    assertion: Assertion,
    request: SignOnRequest,
  ): Authorization | Promise<Authorization> {
    const key = `${assertion.sessionId} ${opened.key}`
    if (!isPageOpening(request) || !this.#maySignIn(key)) return passOn(opened)
    const sent = findField(request.fields, 'cookie') ?? ''
    if (sent !== '' && request.challenges === 0) return watch(opened, request)
    return this.#signIn(key, opened, assertion, request).then((cookies) =>
      signedIn(opened, cookies, request, sent),
    )
  }

  /** Of all that ask for the same session and application while one attempt is under way, one makes it. */
  #signIn(
    key: string,
    opened: OpenedCredential,
    assertion: Assertion,
    request: SignOnRequest,
  ): Promise<Cookies> {
    const latest = this.#attempts.get(key)
    if (latest && (latest.endedMs === undefined || request.startedMs < latest.endedMs))
      return abortable(latest.cookies, request.signal)
    const attempt: Attempt = {
      cookies: this.#inTurn(opened, () => this.#attempt(key, opened, assertion, request)),
      endedMs: undefined,
    }
    this.#keep(key, attempt)
    return abortable(attempt.cookies, request.signal)
  }

  #keep(key: string, attempt: Attempt): void {
    this.#attempts.delete(key)
    if (this.#attempts.size >= maxAttempts)
      this.#attempts.delete(this.#attempts.keys().next().value as string)
    this.#attempts.set(key, attempt)
    attempt.cookies.then(
      () => {
        attempt.endedMs = performance.now()
        // Requests that began before it ended have long been answered.
        setTimeout(() => {
          if (this.#attempts.get(key) === attempt) this.#attempts.delete(key)
        }, attemptMs).unref()
      },
      () => {
        if (this.#attempts.get(key) === attempt) this.#attempts.delete(key)
      },
    )
  }

  /** Until it has been taken, a credential is tried by one session at a time: a wrong one is sent once in all. */
  #inTurn(opened: OpenedCredential, attempt: () => Promise<Cookies>): Promise<Cookies> {
    const { key } = opened
    if (this.#options.vault.isProven(opened)) return attempt()
    const before = this.#trying.get(key) ?? Promise.resolve()
    const turn = before.then(
      () => attempt(),
      () => {
        this.#options.vault.check(opened)
        return attempt()
      },
    )
    this.#trying.set(key, turn)
    const done = () => {
      if (this.#trying.get(key) === turn) this.#trying.delete(key)
    }
    turn.then(done, done)
    return turn
  }

  /** Goes on when whoever asked first has left: others wait for it. */
  async #attempt(
    key: string,
    opened: OpenedCredential,
    assertion: Assertion,
    request: SignOnRequest,
  ): Promise<Cookies> {
    const { vault, findOrigin, clock } = this.#options
    const { origin } = request
    const owner = { key: assertion.person }
    const connect = async (to: Origin, signal: AbortSignal): Promise<OriginConnection> =>
      to.take(owner, performance.now(), false) ?? (await to.open(owner, signal))
    const visit = new Visit({
      origin,
      host: findField(request.fields, 'host') ?? new URL(origin.destination.url).host,
      fields: visitFields(request.fields),
      connect,
      findOrigin: (url) => findOrigin(url, origin.validate, assertion.applicationId),
      signal: AbortSignal.any([AbortSignal.timeout(attemptMs), this.#closing.signal]),
      clock,
    })
    try {
      const cookies = await signInByForm(visit, opened.facts.form!, opened.credential)
      vault.noteTaken(opened)
      return cookies
    } catch (error) {
      if (!(error instanceof CredentialRefused)) throw error
      throw vault.refuse(opened, error.reason)
    } finally {
      if (visit.hasSubmitted) this.#noteSent(key)
    }
  }

  #maySignIn(key: string): boolean {
    const sinceMs = performance.now() - sentWithinMs
    return (this.#sentMs.get(key) ?? []).filter((sentMs) => sentMs > sinceMs).length < maxSent
  }

  #noteSent(key: string): void {
    const sentMs = [...(this.#sentMs.get(key) ?? []), performance.now()].slice(-maxSent)
    this.#sentMs.delete(key)
    if (this.#sentMs.size >= maxSessions)
      this.#sentMs.delete(this.#sentMs.keys().next().value as string)
    this.#sentMs.set(key, sentMs)
  }

  close(): void {
    this.#attempts.clear()
    this.#closing.abort(new OriginFailure(ResetCode.CANCELLED, 'the connector is stopping'))
  }
}

/** A person opens a page in a browser, or a program that behaves like one. */
function isPageOpening({ method, fields, isRepeatable }: SignOnRequest): boolean {
  const mode = findField(fields, 'sec-fetch-mode')
  return (
    method === 'GET' &&
    isRepeatable &&
    (mode === undefined || mode === 'navigate') &&
    /\btext\/html\b/i.test(findField(fields, 'accept') ?? '') &&
    findField(fields, 'upgrade') === undefined
  )
}

/** What tells the application who asks and from where; it may tie the session to it. */
const visited: ReadonlySet<string> = new Set([
  'user-agent',
  'accept-language',
  'forwarded',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-proto',
  'x-forwarded-port',
  'x-real-ip',
])

function visitFields(fields: FieldList): FieldList {
  const kept: FieldList = []
  for (let index = 0; index < fields.length; index += 2)
    if (visited.has(fields[index]!.toLowerCase())) kept.push(fields[index]!, fields[index + 1]!)
  return kept
}

function passOn({ secrets }: OpenedCredential): Authorization {
  return {
    fields: [],
    readAnswer: () => 'taken',
    isOwnField: (_, value) => secrets.isIn(value),
  }
}

/** Passes the request on, and looks whether the answer asks for the password. */
function watch(opened: OpenedCredential, request: SignOnRequest): Authorization {
  const plan = opened.facts.form!
  const url = new URL(request.target, request.origin.destination.url)
  let page: { statusCode: number; fields: FieldList } | undefined
  return {
    ...passOn(opened),
    readAnswer(statusCode, fields) {
      if (leadsToSignIn(statusCode, fields, url, plan)) return 'again'
      page = { statusCode, fields }
      return mayShowForm(statusCode, fields) ? 'inspect' : 'taken'
    },
    readBody(body) {
      const { statusCode, fields } = page!
      const isForm = showsForm(
        {
          url,
          statusCode,
          contentType: findField(fields, 'content-type') ?? '',
          body: decodeBody(body, findField(fields, 'content-encoding')),
        },
        plan,
      )
      return isForm ? 'again' : 'taken'
    },
  }
}

function signedIn(
  opened: OpenedCredential,
  cookies: Cookies,
  { target, origin }: SignOnRequest,
  sent: string,
): Authorization {
  const { secrets, facts } = opened
  const url = new URL(target, origin.destination.url)
  const cookie = cookies.toHeader(url.pathname, sent)
  return {
    ...passOn(opened),
    fields: cookie === '' ? [] : ['Cookie', cookie],
    answerFields: cookies.lines
      .filter((line) => !secrets.isIn(line))
      .flatMap((line) => ['Set-Cookie', line]),
    // Many applications show the form even to whoever is signed in.
    redirect: isSignInPage(url, facts.form!) ? facts.form!.startPage : undefined,
  }
}

function leadsToSignIn(statusCode: number, fields: FieldList, url: URL, plan: FormPlan): boolean {
  if (statusCode < 301 || statusCode > 308) return false
  const [location] = fieldValues(fields, 'location')
  if (location === undefined || !URL.canParse(location, url.href)) return false
  return isSignInPage(new URL(location, url), plan)
}

/** Where the start page is the sign-in page too, coming to it says nothing. */
function isSignInPage(url: URL, { signInPage, startPage }: FormPlan): boolean {
  const page = new URL(signInPage, url)
  return (
    url.pathname === page.pathname &&
    signInPage !== startPage &&
    [...page.searchParams].every(([name, value]) => url.searchParams.get(name) === value)
  )
}

function mayShowForm(statusCode: number, fields: FieldList): boolean {
  return (
    (statusCode === 200 || statusCode === 401 || statusCode === 403) &&
    /^\s*(?:text\/html|application\/xhtml\+xml)\b/i.test(findField(fields, 'content-type') ?? '')
  )
}

function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason as Error)
    if (signal.aborted) onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}
