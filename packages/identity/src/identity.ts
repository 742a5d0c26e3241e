import { createHmac, createSecretKey } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { IdentitySession, Session, Snapshot } from '@sallyport/domain'
import { oidcModel, type Store, sessions } from '@sallyport/store'
import { type Assertion, type AssertionRing, makeAssertion } from './assertion.ts'
import { BackChannelLogout, type LogoutOutcome } from './back-channel-logout.ts'
import { BrowserBinding } from './browser-binding.ts'
import { CookieSigner, cookieNames, knownBrowserMs } from './cookies.ts'
import { FormHandOver, type HandedForm } from './form-hand-over.ts'
import type { LogoutDestinations } from './logout-request.ts'
import type { Delivery } from './oidc/delivery.ts'
import { OwnPasswords, type PasswordVault } from './own-passwords.ts'
import { OwnSessions } from './own-sessions.ts'
import { answerPortal, answerPortalNotFound, type PageAnswer } from './portal.ts'
import { createProvider } from './provider.ts'
import { type RedeemRequest, redeemCode } from './redeem.ts'
import { noteRefused } from './refused-credential.ts'
import type { SamlParts } from './saml/answer.ts'
import { type LogoutDelivery, LogoutPasses } from './saml/logout-passes.ts'
import { SamlSingleLogout } from './saml/single-logout.ts'
import { SamlSingleSignOn } from './saml/single-sign-on.ts'
import { tellBySoap } from './saml/soap-logout.ts'
import { samlUrls } from './saml/urls.ts'
import { createServer } from './server.ts'
import { SignInForm } from './sign-in.ts'
import { recordSessionEnd, SignInAudit } from './sign-in-audit.ts'
import { type SignOnAssertion, SignOnAssertions, type SignOnRequest } from './sign-on-assertion.ts'
import { type SignOnCheckAnswer, type SignOnCheckRequest, SignOnChecks } from './sign-on-check.ts'
import { SignOnSigner } from './sign-on-signer.ts'
import { loadSigningKeys } from './signing-keys.ts'
import { tenantNames } from './tenant-path.ts'
import type { Log } from './visit.ts'

export interface IdentityOptions {
  store: Store
  /** GUID, lower case. */
  tenantId: string
  baseDomain: string
  /** Such as `https://login.example.com`; with `:port` unless it is 443. */
  loginOrigin: string
  portalOrigin: string
  keys: {
    /** For cookies that live at most so long: the first signs, all of them verify. */
    cookies(lifetimeMs: number): readonly { secret: Buffer }[]
    /** Client secrets are derived from it: nothing to store, nothing to leak from the store. */
    clientSecret: Buffer
    /** By which connectors know what identity says; PEM. */
    signOn(): Promise<{ keyPem: string; certificatePem: string }>
    /** Of assertions, as they are now. */
    assertions(): AssertionRing
    /** Names of people that differ from application to application are derived from it. */
    pairwise: Buffer
    /** Messages of sign-out show the gateway by it that they are ours. */
    logoutPasses: Buffer
  }
  seal(purpose: string, bytes: Buffer): string
  open(purpose: string, sealed: string): Buffer
  /** The configuration in force. */
  snapshot(): Snapshot
  /** Where the passwords are kept that people enter for applications. */
  passwords: PasswordVault
  /** Where applications may be told that a session has ended. */
  logout: LogoutDestinations
  /** The way to applications behind connectors. */
  deliver: Delivery
  /** Epoch milliseconds. */
  clock?: () => number
  /** Longest life of a session, milliseconds; 12 h unless given. */
  absoluteLifetimeMs?: number
  /** Hears of each sign-in: `succeeded`, or why not. */
  onSignIn?: (outcome: string) => void
  /** Hears of each attempt to tell an application that a session has ended. */
  onLogoutNotice?: (outcome: LogoutOutcome) => void
  log: Log
}

export interface AuthorizeRequest {
  applicationId: string
  redirectUri: string
  state: string
  nonce: string
  /** Base64url SHA-256 of the code verifier (RFC 7636, S256). */
  codeChallenge: string
  /** User name to put in the field. */
  loginHint?: string | undefined
  prompt?: 'login' | 'none' | undefined
  maxAgeSeconds?: number | undefined
}

export interface Identity {
  /** Longest life of a session, milliseconds. */
  readonly absoluteLifetimeMs: number
  /** Answers everything on the sign-in host. */
  handle(request: IncomingMessage, response: ServerResponse): void
  /** URL of the authorization endpoint for one sign-in (RFC 6749 section 4.1.1). */
  authorizeUrl(request: AuthorizeRequest): string
  /**
   * Redeems a code at the token endpoint, and finds the session that it stands for.
   *
   * @throws IdentityError `CODE_REJECTED`, `NONCE_MISMATCH`, `SESSION_ENDED` or `UNAVAILABLE`
   */
  redeem(request: RedeemRequest): Promise<IdentitySession>
  /**
   * A session with the claims of its user as they are now.
   *
   * @returns undefined when it has ended or expired, or its user is disabled, deleted or has a newer epoch
   */
  readSession(sessionId: string, nowAt?: number): Promise<IdentitySession | undefined>
  /**
   * Tells a connector who the person is.
   *
   * @throws IdentityError `SESSION_ENDED`, `SIGN_ON_REFUSED`, `SIGN_ON_NAME_MISSING`,
   *   `CREDENTIAL_MISSING`, `CREDENTIAL_REFUSED`
   */
  signOnAssertion(request: SignOnRequest): Promise<SignOnAssertion>
  /** Tells a connector what it would be told of a person, for its administrator to try. */
  signOnCheck(request: SignOnCheckRequest): Promise<SignOnCheckAnswer>
  /**
   * The assertion of a session for one application, made from the store: five minutes, ES256.
   *
   * @returns undefined when the session has ended
   * @throws IdentityError `ASSERTION_REFUSED`
   */
  assertion(request: { sessionId: string; applicationId: string }): Promise<Assertion | undefined>
  /** ID of the key that signs assertions now. */
  assertionKeyId(): string
  /**
   * An application has turned down the credential that an assertion carried: it is in no other one until it is changed.
   */
  credentialRefused(credential: { id: string; version: number }): Promise<void>
  /**
   * Ends a session with its grants and codes, and tells the feed. Ending it again does nothing.
   *
   * @returns where the browser of somebody who signs out is to go, so that applications end their sessions too
   */
  endSession(sessionId: string, reason: string): Promise<string | undefined>
  /** Where a sign-on by SAML begins that the application has not asked for. */
  samlStartUrl(applicationId: string): string
  /**
   * Takes a message that an application's host is to send by a form, for the person who asks there. It is there no more after that.
   *
   * @param request `origin` of the host
   */
  takeForm(request: { id: string; origin: string; sessionId: string }): Promise<HandedForm>
  /**
   * Takes the pass of a message of sign-out, which is good for nothing after that.
   *
   * @returns SHA-256 of the body that goes with it, base64url; undefined when it is none for this message
   */
  takeLogoutPass(pass: string, delivery: LogoutDelivery): string | undefined
  /** Notes for lists that the sessions were in use at the instant. */
  noteUse(sessionIds: readonly string[], at: number): Promise<void>
  /** The portal's one page. @param notice a sentence above the tiles */
  portalAnswer(session: Session, notice?: string): PageAnswer
  portalNotFound(correlationId: string): PageAnswer
  close(): Promise<void>
}

const defaultLifetimeMs = 12 * 3_600_000
const sweepIntervalMs = 600_000
// A code that is used again shortly after it expired still has to end its grant.
const oidcGraceMs = 3_600_000
const sessionHistoryMs = 30 * 86_400_000

export async function startIdentity(options: IdentityOptions): Promise<Identity> {
  const { store, tenantId, loginOrigin, portalOrigin, snapshot, log } = options
  const { db } = store
  const clock = options.clock ?? Date.now
  const absoluteLifetimeMs = options.absoluteLifetimeMs ?? defaultLifetimeMs
  const names = cookieNames(loginOrigin)
  const urls = samlUrls(loginOrigin, tenantId)
  // An hour more: another process may have signed with a key of which it heard late that it is superseded.
  const cookieSigner = new CookieSigner((purpose) =>
    options.keys.cookies(purpose === 'known' ? knownBrowserMs : absoluteLifetimeMs + 3_600_000),
  )
  const binding = new BrowserBinding(db, names)

  const clientSecretKey = createSecretKey(options.keys.clientSecret)
  function clientSecret(applicationId: string): string {
    return createHmac('sha256', clientSecretKey).update(applicationId).digest('base64url')
  }

  async function endSession(sessionId: string, reason: string): Promise<string | undefined> {
    const nowAt = clock()
    const isEnded = await store.change(async (db, announce) => {
      await oidcModel.deleteOidcSession(db, sessionId, nowAt, reason === 'signed-out')
      const userId = await sessions.endSession(db, sessionId, reason, nowAt)
      if (!userId) return false
      await recordSessionEnd(db, { sessionId, userId, reason, at: nowAt })
      announce([{ kind: 'session-ended', sessionId, at: nowAt }])
      return true
    })
    return isEnded && reason === 'signed-out' ? singleLogout.begin(sessionId) : undefined
  }

  const { seal, open } = options
  const handOver = new FormHandOver({ db, snapshot, seal, open, clock })
  const audit = new SignInAudit({ db, clock, onSignIn: options.onSignIn ?? (() => {}) })
  const provider = createProvider({
    db,
    audit,
    tenantId,
    loginOrigin,
    portalOrigin,
    snapshot,
    clientSecret,
    clock,
    signingKeys: await loadSigningKeys(db, options, clock()),
    cookieNames: names,
    cookieSigner,
    binding,
    absoluteLifetimeMs,
    endSession,
    returnFromLogout: (url, returnTo) => singleLogout.returnTo(url, returnTo),
    samlResumeUrl: urls.resume,
    handOver,
    logout: options.logout,
    pairwiseKey: options.keys.pairwise,
    deliver: options.deliver,
    onError: (error) => log.error({ err: error }, 'OpenID provider failed'),
  })
  const logoutPasses = new LogoutPasses(options.keys.logoutPasses, clock)
  const samlParts: SamlParts = {
    db,
    provider,
    urls,
    tenantId,
    loginOrigin,
    portalOrigin,
    snapshot,
    open,
    binding,
    pairwiseKey: options.keys.pairwise,
    logoutPasses,
    handOver,
    endSession,
    clock,
  }
  const singleSignOn = new SamlSingleSignOn(samlParts)
  const singleLogout = new SamlSingleLogout(samlParts)
  const backChannel = new BackChannelLogout({
    store,
    provider,
    snapshot,
    clock,
    onOutcome: options.onLogoutNotice ?? (() => {}),
    tellSaml: (participant) =>
      tellBySoap({ db, urls, snapshot, open, deliver: options.deliver, clock }, participant),
    log,
  })
  const signInForm = new SignInForm({
    db,
    audit,
    provider,
    snapshot,
    binding,
    cookieNames: names,
    cookieSigner,
    portalOrigin,
    clock,
    endSession,
  })
  const assertions = { db, loginOrigin, snapshot, ring: options.keys.assertions, clock }
  const ownSessions = new OwnSessions({ db, provider, portalOrigin, clock, endSession })
  const signOnParts = {
    db,
    snapshot,
    clock,
    issuer: loginOrigin,
    signer: new SignOnSigner(() => options.keys.signOn()),
  }
  const signOnAssertions = new SignOnAssertions(signOnParts)
  const signOnChecks = new SignOnChecks(signOnParts)
  const ownPasswords = new OwnPasswords({
    db,
    provider,
    snapshot,
    vault: options.passwords,
    portalOrigin,
    clock,
  })
  const server = await createServer({
    provider,
    ownPasswords,
    signInForm,
    audit,
    ownSessions,
    assertions,
    binding,
    tenants: tenantNames(tenantId, options.baseDomain),
    tenantId,
    loginOrigin,
    portalOrigin,
    saml: { parts: samlParts, singleSignOn, singleLogout },
    clock,
    log,
  })

  async function sweep(): Promise<void> {
    await oidcModel.endExpiredOidcSessions(db, clock())
    backChannel.send()
    await oidcModel.deleteOidcModelsBefore(db, clock() - oidcGraceMs)
    await sessions.deleteSessionsBefore(db, clock() - sessionHistoryMs)
  }
  let sweeping = Promise.resolve()
  const sweeper = setInterval(() => {
    sweeping = sweep().catch((error: unknown) => log.error({ err: error }, 'sweep failed'))
  }, sweepIntervalMs).unref()

  return {
    absoluteLifetimeMs,
    handle: (request, response) => server.routing(request, response),
    authorizeUrl: (request) => authorizeUrl(`${loginOrigin}/${tenantId}`, request),
    redeem: (request) =>
      redeemCode(request, { server, db, clock, tenantId, loginOrigin, clientSecret }),
    readSession: (sessionId, nowAt = clock()) => sessions.findIdentitySession(db, sessionId, nowAt),
    signOnAssertion: (request) => signOnAssertions.make(request),
    signOnCheck: (request) => signOnChecks.make(request),
    assertion: (request) => makeAssertion(request, assertions),
    assertionKeyId: () => options.keys.assertions().signing.kid,
    credentialRefused: (credential) => noteRefused(store, credential, clock()),
    endSession,
    samlStartUrl: (applicationId) => `${urls.service}/start/${applicationId}`,
    takeForm: (request) => handOver.take(request),
    takeLogoutPass: (pass, delivery) => logoutPasses.take(pass, delivery),
    noteUse: (sessionIds, at) => sessions.noteUse(db, sessionIds, at),
    portalAnswer: (session, notice) =>
      answerPortal(snapshot(), session, { loginOrigin, issuer: provider.issuer }, notice),
    portalNotFound: answerPortalNotFound,
    async close() {
      clearInterval(sweeper)
      await server.close()
      await backChannel.close()
      await sweeping
    },
  }
}

function authorizeUrl(authority: string, request: AuthorizeRequest): string {
  const url = new URL(`${authority}/oauth2/v2.0/authorize`)
  const parameters = {
    client_id: request.applicationId,
    response_type: 'code',
    redirect_uri: request.redirectUri,
    scope: 'openid profile email',
    state: request.state,
    nonce: request.nonce,
    code_challenge: request.codeChallenge,
    code_challenge_method: 'S256',
    login_hint: request.loginHint,
    prompt: request.prompt,
    max_age: request.maxAgeSeconds?.toString(),
  }
  for (const [name, value] of Object.entries(parameters))
    if (value !== undefined) url.searchParams.set(name, value)
  return url.href
}
