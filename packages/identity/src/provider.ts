import { createHash, randomBytes } from 'node:crypto'
import type { EventEmitter } from 'node:events'
import type { IncomingMessage } from 'node:http'
import {
  applicationIdOf,
  type MessageFormPage,
  messageFormPage,
  type OidcApplication,
  oidcRedirectAllowed,
  parseDoorHost,
  securityHeaders,
  signedOutPage,
  signOutPage,
} from '@sallyport/domain'
import { atomically, type Store, sessions, users } from '@sallyport/store'
import Provider, {
  type Account,
  type Client,
  errors,
  type Grant,
  interactionPolicy,
  type JWK,
  type KoaContextWithOIDC,
} from 'oidc-provider'
import { type AdapterParts, createAdapter } from './adapter.ts'
import { postponeLogouts } from './back-channel-logout.ts'
import type { BrowserBinding } from './browser-binding.ts'
import { type CookieNames, type CookieSigner, readCookie, setCookie } from './cookies.ts'
import { failurePage, providerFailure } from './failures.ts'
import type { FormHandOver } from './form-hand-over.ts'
import { createLogoutFetch, type LogoutDestinations } from './logout-request.ts'
import { findOidcApplication, hasOidcSecret } from './oidc/client.ts'
import { type Delivery, deliverLogout } from './oidc/delivery.ts'
import {
  allowsOrigin,
  isOwnHint,
  mayRevoke,
  postLogoutUrl,
  SignOnRefused,
  TokenRefused,
} from './oidc/requests.ts'
import { makeClaims, type OwnClaims, ownClaims, toPairwiseSubject } from './oidc/sign-on.ts'
import type { SignInAudit } from './sign-in-audit.ts'
import { recordSignOn } from './sign-on-audit.ts'
import type { SignOnRefusal } from './sign-on-refusal.ts'
import { providerRoutes } from './tenant-path.ts'
import { visitOf } from './visit.ts'

/** What a right password leaves in the pending sign-in, for the resume step. */
export interface SignInResult {
  [member: string]: unknown
  accountId: string
  /** Seconds: the provider's unit. */
  ts: number
  amr: string[]
  remember: false
  /** The user's epoch when the password was checked, so that a change since then counts. */
  signInEpoch: number
  signedInAt: number
}

export interface ProviderParts extends AdapterParts {
  db: Store['db']
  tenantId: string
  loginOrigin: string
  signingKeys: JWK[]
  cookieNames: CookieNames
  cookieSigner: CookieSigner
  binding: BrowserBinding
  audit: SignInAudit
  absoluteLifetimeMs: number
  endSession(sessionId: string, reason: string): Promise<string | undefined>
  /** What `endSession` gave, and where the browser would go without it. */
  returnFromLogout(url: string, returnTo: string): Promise<void>
  /** Redirect URI of sign-on by SAML. */
  samlResumeUrl: string
  /** The way of forms to applications on another site. */
  handOver: FormHandOver
  logout: LogoutDestinations
  /** What names of people are derived with that differ from application to application. */
  pairwiseKey: Buffer
  /** The way to applications behind connectors. */
  deliver: Delivery
  onError(error: unknown): void
}

const scopes = ['openid', 'profile', 'email']
const pendingSignInSeconds = 3_600
/** Each use of an access token asks whether the session stands; how long it may be used matters little. */
const accessTokenSeconds = 3_600

type ResponseMode = Parameters<Provider['registerResponseMode']>[1]

/** A provider by which what goes to an application by a form goes by a page of ours. */
function providerWithForm(sendByForm: ResponseMode): typeof Provider {
  return class extends Provider {
    override registerResponseMode(name: string, handler: ResponseMode): void {
      super.registerResponseMode(name, name === 'form_post' ? sendByForm : handler)
    }
  }
}

/** The OpenID provider, with our store, clients, cookies, pages and sessions in it. */
export function createProvider(parts: ProviderParts): Provider {
  const { loginOrigin, tenantId } = parts
  const oidcApplicationOf = ({ clientId }: Pick<Client, 'clientId'>) =>
    findOidcApplication(parts.snapshot(), clientId)
  const fetchDirectly = createLogoutFetch(parts.logout, (url) =>
    [...parts.snapshot().applications.values()].some(
      ({ application: { backChannelLogoutUrl } }) =>
        backChannelLogoutUrl !== undefined && new URL(backChannelLogoutUrl).href === url,
    ),
  )
  const PageProvider = providerWithForm((ctx, redirectUri, payload) =>
    sendByForm(ctx, redirectUri, payload, parts),
  )
  const provider = new PageProvider(`${loginOrigin}/${tenantId}/v2.0`, {
    adapter: (model) => createAdapter(model, parts),
    jwks: { keys: parts.signingKeys },
    routes: providerRoutes,
    responseTypes: ['code'],
    scopes,
    clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'none'],
    subjectTypes: ['public', 'pairwise'],
    pairwiseIdentifier: (_, userId, { clientId }) =>
      toPairwiseSubject(parts.pairwiseKey, clientId, userId),
    // Whoever has no secret proves by it that the code is his. The gateway does both.
    pkce: {
      required: (_, client) => !oidcApplicationOf(client) || client.clientAuthMethod === 'none',
    },
    allowOmittingSingleRegisteredRedirectUri: false,
    issueRefreshToken: (_, client) => client.grantTypeAllowed('refresh_token'),
    // One that is of no use without the secret stays for the session: servers that share it do not use up each other's.
    rotateRefreshToken: ({ oidc }) => oidc.client!.clientAuthMethod === 'none',
    expiresWithSession: () => true,
    clientBasedCORS: (_, origin, client) => {
      const own = oidcApplicationOf(client)
      return own !== undefined && allowsOrigin(own, origin)
    },
    // There is nobody else to call.
    fetch: (async (url: string, init: RequestInit) => {
      const applicationId = parseDoorHost(new URL(url).hostname)
      return applicationId === undefined
        ? fetchDirectly(url, init)
        : deliverLogout(parts, applicationId, String(init.body))
    }) as typeof fetch,
    features: {
      devInteractions: { enabled: false },
      pushedAuthorizationRequests: { enabled: false },
      dPoP: { enabled: false },
      resourceIndicators: { enabled: false },
      backchannelLogout: { enabled: true },
      revocation: {
        enabled: true,
        allowedPolicy: (_, client, token) => mayRevoke(client, token),
      },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: (ctx) => askSignOut(ctx, parts),
        postLogoutSuccessSource: (ctx) => {
          ctx.type = 'html'
          ctx.body = signedOutPage({ signInUrl: `${parts.portalOrigin}/` })
        },
      },
    },
    claims: {
      openid: ['sub', 'oid', 'tid', 'ver', 'auth_time', 'amr'],
      profile: ['name', 'preferred_username'],
      email: ['email'],
    },
    conformIdTokenClaims: false,
    findAccount: (ctx, accountId, token) => findAccount(parts, ctx, accountId, token),
    loadExistingGrant: async (ctx) => {
      const login = ctx.oidc.result?.login as SignInResult | undefined
      if (login) await beginSession(ctx, login, parts)
      // An application is told nothing of whom it does not sign on, not even that their session has ended.
      return (await isLetIn(ctx, parts)) ? await consentedGrant(ctx, provider) : undefined
    },
    interactions: {
      policy: signInPolicy(parts),
      url: async (ctx, interaction) => {
        const expiresAt = parts.clock() + pendingSignInSeconds * 1000
        await parts.binding.bind(ctx.req, ctx.res, interaction.uid, expiresAt)
        return `${loginOrigin}/sign-in/${interaction.uid}`
      },
    },
    renderError: (ctx, _, error) => {
      const visit = visitOf(ctx.req)
      const code = providerFailure(error, ctx.oidc?.route?.startsWith('end_session') ?? false)
      if (code === 'sign-in-request-invalid' || code === 'sign-out-request-invalid')
        visit.refusal = { code, explanation: describeRefusal(ctx, error) }
      const facts = error instanceof SignOnRefused ? error.facts : {}
      const failure = failurePage(code, visit.correlationId, parts.portalOrigin, facts)
      ctx.status = failure.statusCode
      ctx.type = 'html'
      ctx.body = failure.body
    },
    cookies: {
      names: { session: 'session', interaction: 'interaction', resume: 'resume' },
    },
    ttl: {
      AuthorizationCode: 60,
      AccessToken: (_, __, client) => (oidcApplicationOf(client) ? accessTokenSeconds : 60),
      RefreshToken: parts.absoluteLifetimeMs / 1000,
      IdToken: 600,
      Interaction: pendingSignInSeconds,
      Grant: parts.absoluteLifetimeMs / 1000,
      Session: (_, { loginTs }) =>
        loginTs === undefined
          ? pendingSignInSeconds
          : Math.max(1, loginTs + parts.absoluteLifetimeMs / 1000 - Math.floor(Date.now() / 1000)),
    },
  })
  const { compareClientSecret } = provider.Client.prototype
  provider.Client.prototype.compareClientSecret = function (secret: string) {
    const own = oidcApplicationOf(this)
    return own
      ? hasOidcSecret(parts.db, own.application.id, secret, parts.clock())
      : compareClientSecret.call(this, secret)
  }
  provider.Client.prototype.postLogoutRedirectUriAllowed = function (uri: string): boolean {
    const own = oidcApplicationOf(this)
    return own !== undefined && oidcRedirectAllowed(own, 'postLogoutRedirectUris', uri)
  }
  provider.Client.prototype.redirectUriAllowed = function (uri: string): boolean {
    const own = oidcApplicationOf(this)
    if (own) return oidcRedirectAllowed(own, 'redirectUris', uri)
    if (uri === parts.samlResumeUrl) {
      const compiled = parts.snapshot().findApplicationById(this.clientId)
      return compiled?.application.signOn.method === 'saml'
    }
    return parts.snapshot().redirectUriAllowed(this.clientId, uri)
  }
  // Whoever ends the provider's session ends ours, and ours first: if that fails, nothing has ended.
  const { destroy } = provider.Session.prototype
  provider.Session.prototype.destroy = async function (): Promise<void> {
    if (this.accountId !== undefined) {
      const logoutUrl = await parts.endSession(this.uid, 'signed-out')
      const visit = Provider.ctx && visitOf(Provider.ctx.req)
      if (visit) visit.logoutUrl = logoutUrl
    }
    await destroy.call(this)
  }
  useOwnClaims(provider)
  keepUsedCodes(provider)
  useOwnSids(provider, oidcApplicationOf)
  postponeLogouts(provider)
  useOwnOrigin(provider, loginOrigin)
  useOwnCookies(provider, parts)
  provider.use(async (ctx, next) => {
    // The provider would answer with a form that script submits, which our policy forbids.
    const asks = ctx.method === 'GET' && ctx.path === providerRoutes.end_session
    if (asks && (await provider.Session.get(ctx)).accountId === undefined)
      ctx.redirect(
        (await postLogoutUrl(ctx, provider)) ??
          `${loginOrigin}/${tenantId}${providerRoutes.end_session}/success`,
      )
    else await next()
    const { logoutUrl, isSignedOn, refusal } = visitOf(ctx.req)
    if (refusal) await parts.audit.refused(ctx.req, refusal.code, refusal.explanation)
    if (isSignedOn) await recordCode(ctx.oidc, ctx.req, parts)
    if (ctx.oidc?.route === 'discovery')
      Object.assign(ctx.body as object, { response_modes_supported: ['query', 'form_post'] })
    if (logoutUrl === undefined) return
    await parts.returnFromLogout(logoutUrl, ctx.response.get('location'))
    ctx.redirect(logoutUrl)
  })
  // The code says whose session it is: a second redemption at this moment removes what was stored.
  provider.on('grant.success', ({ req, oidc }) => {
    visitOf(req).redeemedSessionId = oidc.entities.AuthorizationCode?.sessionUid
  })
  provider.on('authorization.success', ({ req }) => {
    visitOf(req).isSignedOn = true
  })
  const noteRefusal = (ctx: KoaContextWithOIDC, error: errors.OIDCProviderError) => {
    // Written down when it was refused, with the person.
    if (error instanceof TokenRefused) return
    // What the gateway asks for, it tells itself.
    const { client } = ctx.oidc
    if (!client || oidcApplicationOf(client))
      visitOf(ctx.req).refusal = {
        code: 'token-request-invalid',
        explanation: describeRefusal(ctx, error),
      }
  }
  provider.on('authorization.error', (ctx, error) => {
    const code = providerFailure(error, false)
    const { client } = ctx.oidc
    if (code !== 'sign-in-request-invalid' || isAnswer(error)) return
    if (client && oidcApplicationOf(client))
      visitOf(ctx.req).refusal = { code, explanation: describeRefusal(ctx, error) }
  })
  provider.on('grant.error', noteRefusal)
  provider.on('userinfo.error', noteRefusal)
  provider.on('revocation.error', noteRefusal)
  provider.on('server_error', (_, error) => parts.onError(error))
  // Koa's own event, which the provider's types leave out.
  ;(provider as EventEmitter).on('error', (error) => parts.onError(error))
  return provider
}

/** URLs are made from our configuration, never from what the client calls us. */
function useOwnOrigin(provider: Provider, loginOrigin: string): void {
  const { host } = new URL(loginOrigin)
  Object.defineProperty(provider.request, 'protocol', { get: () => 'https' })
  Object.defineProperty(provider.request, 'host', { get: () => host })
}

/**
 * The provider would set two cookies for each pending sign-in, with paths, so that they could not be
 * `__Host-`. Instead the URL names the pending sign-in, and the browser's own cookie proves that it
 * began there: `visit.interactionUid` is set once that was checked.
 */
function useOwnCookies(provider: Provider, { cookieNames, cookieSigner }: ProviderParts): void {
  Object.defineProperty(provider.context, 'cookies', {
    get(this: KoaContextWithOIDC) {
      const { req, res } = this
      return {
        get: (name: string): string | undefined =>
          name === 'session'
            ? cookieSigner.verify('session', readCookie(req, cookieNames.session))
            : visitOf(req).interactionUid,
        set(name: string, value: string | null): void {
          if (name !== 'session') return
          if (value === null) setCookie(res, cookieNames.session, '', 0)
          else setCookie(res, cookieNames.session, cookieSigner.sign('session', value))
        },
      }
    },
  })
}

/** An application's own claims are whatever an administrator has named: no list of the provider has them. */
function useOwnClaims(provider: Provider): void {
  const { prototype } = (provider as unknown as { Claims: { prototype: ClaimsResult } }).Claims
  const { result } = prototype
  prototype.result = async function () {
    return { ...(await result.call(this)), ...this.available[ownClaims] }
  }
}

/**
 * The provider would answer that the time of a code is over before it looks whether it was used: who gets hold of one first need only
 * keep it from the application for a minute, and what they got for it would stay (RFC 6749 section 4.1.2).
 */
function keepUsedCodes(provider: Provider): void {
  const { prototype } = provider.AuthorizationCode
  Object.defineProperty(prototype, 'isExpired', {
    get(this: { consumed?: unknown }): boolean {
      return !this.consumed && Reflect.get(Object.getPrototypeOf(prototype), 'isExpired', this)
    },
  })
}

/**
 * Each ID token of an application says which session it is of, whether it wants to hear of the end of it or not: it is asked for at
 * a sign-out. The name is made from the session, so that sign-ons at the same moment give it one.
 */
function useOwnSids(
  provider: Provider,
  oidcApplicationOf: (client: Client) => OidcApplication | undefined,
): void {
  const client = provider.Client.prototype as Client & { includeSid(): boolean }
  const { includeSid } = client
  client.includeSid = function () {
    return oidcApplicationOf(this) !== undefined || includeSid.call(this)
  }
  provider.Session.prototype.ensureClientContainer = function (clientId: string) {
    if (this.sidFor(clientId) !== undefined) return
    this.sidFor(clientId, nameInSession('sid', this.uid, clientId))
  }
}

/** The same for all requests of a client in a session, which nobody can guess who does not know the session. */
function nameInSession(purpose: 'sid' | 'grant', sessionUid: string, clientId: string): string {
  return createHash('sha256').update(`${purpose}\0${sessionUid}\0${clientId}`).digest('base64url')
}

interface ClaimsResult {
  available: OwnClaims
  result(): Promise<Record<string, unknown>>
}

/** Whether an application has asked a question, and this is what it wanted to hear. */
function isAnswer({ message }: Error): boolean {
  return message === 'login_required' || message === 'interaction_required'
}

function describeRefusal({ oidc }: KoaContextWithOIDC, error: Error): string {
  const { error_description: description, error_detail: detail } = error as errors.OIDCProviderError
  const client = oidc?.client ? `client ${oidc.client.clientId}` : 'a client that nobody knows'
  return [client, error.message, description, detail].filter(Boolean).join(': ').slice(0, 500)
}

/** Answers with a page whose form leads to an application. */
function showForm(ctx: KoaContextWithOIDC, body: string, statusCode = 200): void {
  const fields = securityHeaders({ formAction: 'any', referrer: 'origin' })
  for (let index = 0; index < fields.length; index += 2) ctx.set(fields[index]!, fields[index + 1]!)
  ctx.status = statusCode
  ctx.type = 'html'
  ctx.body = body
}

/** OAuth 2.0 Form Post Response Mode. */
async function sendByForm(
  ctx: KoaContextWithOIDC,
  redirectUri: string,
  payload: Record<string, unknown>,
  { snapshot, handOver }: ProviderParts,
): Promise<void> {
  const { client, session } = ctx.oidc
  const isError = 'error' in payload
  const form: MessageFormPage = {
    purpose: 'sign-on',
    applicationName: client?.clientName ?? '',
    actionUrl: redirectUri,
    fields: payload as Record<string, string>,
  }
  const compiled = client && findOidcApplication(snapshot(), client.clientId)
  const location =
    compiled && (await handOver.begin(compiled, form, isError ? undefined : session!.uid))
  if (location === undefined) showForm(ctx, messageFormPage(form), isError ? 400 : 200)
  else {
    ctx.status = 303
    ctx.redirect(location)
  }
}

/** Writes down whom an application is told of. */
async function recordCode(
  oidc: KoaContextWithOIDC['oidc'],
  request: IncomingMessage,
  { db, snapshot, clock }: ProviderParts,
): Promise<void> {
  const compiled = findOidcApplication(snapshot(), oidc.client!.clientId)
  if (!compiled) return
  const session = await sessions.findIdentitySession(db, oidc.session!.uid, clock())
  // It may have ended in this moment: then the code is worth nothing.
  if (session) await recordSignOn(db, request, 'oidc-signed-on', compiled, session, clock())
}

function signInPolicy(parts: ProviderParts): interactionPolicy.DefaultPolicy {
  const { db, clock } = parts
  const policy = interactionPolicy.base()
  // Administrators consent by publishing an application.
  policy.remove('consent')
  policy.add(
    new interactionPolicy.Prompt(
      { name: 'redirect', requestable: false },
      new interactionPolicy.Check('removed', 'the redirect URI was removed', checkRedirectUri),
    ),
    0,
  )
  policy
    .get('login')!
    .checks.add(
      new interactionPolicy.Check(
        'session_ended',
        'the session has ended',
        async ({ oidc }) =>
          !oidc.account || !(await sessions.isLiveSession(db, oidc.session!.uid, clock())),
      ),
    )
  policy.add(
    new interactionPolicy.Prompt(
      { name: 'access', requestable: false },
      new interactionPolicy.Check('refused', 'the application cannot be told who it is', (ctx) =>
        checkSignOn(ctx, parts),
      ),
    ),
  )
  return policy
}

/**
 * The provider looks at it when a sign-in begins; the application may have been changed while the person signed in.
 *
 * @throws InvalidRedirectUri
 */
function checkRedirectUri({ oidc: { client, params } }: KoaContextWithOIDC): boolean {
  if (!client!.redirectUriAllowed(String(params!.redirect_uri)))
    throw new errors.InvalidRedirectUri()
  return false
}

/** Whether the session stands, and is that of somebody whom the application may and can be told of. */
async function isLetIn(
  { oidc }: KoaContextWithOIDC,
  { db, snapshot, clock }: ProviderParts,
): Promise<boolean> {
  const compiled = findOidcApplication(snapshot(), oidc.client!.clientId)
  if (!compiled) return true
  const session = await sessions.findIdentitySession(db, oidc.session!.uid, clock())
  return session !== undefined && makeClaims(compiled, session).refusal === undefined
}

/** @throws SignOnRefused */
async function checkSignOn(
  ctx: KoaContextWithOIDC,
  { db, snapshot, clock }: ProviderParts,
): Promise<boolean> {
  const compiled = findOidcApplication(snapshot(), ctx.oidc.client!.clientId)
  if (!compiled) return false
  const session = await sessions.findIdentitySession(db, ctx.oidc.session!.uid, clock())
  // It may have ended in this moment: then nobody is there to be told of.
  const refusal: SignOnRefusal | undefined = session
    ? makeClaims(compiled, session).refusal
    : { reason: 'user-not-assigned' }
  if (!refusal) return false
  if (session)
    await recordSignOn(db, ctx.req, 'oidc-sign-on-refused', compiled, session, clock(), {
      ...refusal,
    })
  throw new SignOnRefused(compiled, session, refusal, ctx.oidc.prompts.has('none'))
}

/**
 * @param token what is to be redeemed or used, if it is about that; one of a session that has ended is for nobody
 * @throws TokenRefused
 */
async function findAccount(
  { db, tenantId, clock, snapshot, audit }: ProviderParts,
  ctx: KoaContextWithOIDC,
  accountId: string,
  token: object | undefined,
): Promise<Account | undefined> {
  const { sessionUid, kind } = (token ?? {}) as { sessionUid?: string; kind?: string }
  const compiled = ctx.oidc.client && findOidcApplication(snapshot(), ctx.oidc.client.clientId)
  // Access tokens of the gateway's sign-ins are for nobody.
  if (!compiled && kind === 'AccessToken') return undefined
  // A code that is stored while its session ends is not among those that are removed with it.
  const session =
    sessionUid === undefined
      ? undefined
      : await sessions.findIdentitySession(db, sessionUid, clock())
  if (sessionUid !== undefined && !session) return undefined
  const told = compiled && session && makeClaims(compiled, session)
  if (told?.refusal?.reason === 'user-not-assigned') return undefined
  const user = await users.findUserById(db, accountId)
  if (!user?.enabled) return undefined
  if (told?.refusal) {
    await audit.tokenRefused(ctx.req, compiled!, session!, told.refusal)
    const code = kind === 'AccessToken' ? 'invalid_token' : 'invalid_grant'
    throw new TokenRefused(code, compiled!, told.refusal)
  }
  const standard = {
    sub: user.id,
    name: user.displayName,
    preferred_username: user.userName,
    ...(user.mail === undefined ? {} : { email: user.mail }),
  }
  return {
    accountId,
    claims: () =>
      compiled
        ? { ...standard, ...told?.claims }
        : { ...standard, oid: user.id, tid: tenantId, ver: '2.0' },
  }
}

/**
 * Begins an identity session for a sign-in that has just been completed, always under a new id: what
 * was known before the password was right, to whomever, is worth nothing afterwards.
 */
async function beginSession(
  ctx: KoaContextWithOIDC,
  login: SignInResult,
  parts: ProviderParts,
): Promise<void> {
  const id = randomBytes(32).toString('base64url')
  const user = await users.findUserById(parts.db, login.accountId)
  await atomically(parts.db, async (db) => {
    await sessions.createSession(db, {
      id,
      userId: login.accountId,
      signInEpoch: login.signInEpoch,
      methods: login.amr,
      signedInAt: login.signedInAt,
      absoluteExpiresAt: login.signedInAt + parts.absoluteLifetimeMs,
      clientAddress: visitOf(ctx.req).clientAddress,
      userAgent: ctx.get('user-agent').slice(0, 512),
    })
    await parts.audit.signedIn(db, ctx.req, {
      sessionId: id,
      userId: login.accountId,
      userName: user?.userName ?? login.accountId,
      applicationId: applicationIdOf(ctx.oidc.client!.clientId),
      methods: login.amr,
      at: parts.clock(),
    })
  })
  const session = ctx.oidc.session!
  session.uid = id
  session.authorizations = undefined
}

async function consentedGrant(ctx: KoaContextWithOIDC, provider: Provider): Promise<Grant> {
  const { client, session, account } = ctx.oidc
  const { clientId } = client!
  const existing = session!.grantIdFor(clientId)
  const found = existing === undefined ? undefined : await provider.Grant.find(existing)
  if (found && found.accountId === account!.accountId) return found
  const grant = new provider.Grant({ clientId, accountId: account!.accountId })
  // Sign-ons at the same moment have one, or the code of all but one would be of no grant. One that was revoked does not come back.
  if (existing === undefined) grant.jti = nameInSession('grant', session!.uid, clientId)
  grant.addOIDCScope(scopes.join(' '))
  await grant.save()
  return grant
}

async function askSignOut(ctx: KoaContextWithOIDC, parts: ProviderParts): Promise<void> {
  const { session, client } = ctx.oidc
  const fields = { xsrf: String(session!.state?.secret), logout: 'yes' }
  const actionUrl = ctx.oidc.urlFor('end_session_confirm')
  // The person has signed out in the application, which proves by a token that it means this session.
  if (client && isOwnHint(ctx.oidc, (userId) => subjectOf(parts, client, userId))) {
    const applicationName = client.clientName ?? ''
    showForm(ctx, messageFormPage({ purpose: 'sign-out', applicationName, actionUrl, fields }))
    return
  }
  const user = await users.findUserById(parts.db, session!.accountId!)
  // The redirects that follow the form lead to applications that have to be told.
  showForm(
    ctx,
    signOutPage({
      person: user && { displayName: user.displayName, userName: user.userName },
      stayUrl: `${parts.portalOrigin}/`,
      actionUrl,
      fields,
    }),
  )
}

function subjectOf(
  { pairwiseKey }: ProviderParts,
  { subjectType, clientId }: Client,
  userId: string,
): string {
  return subjectType === 'pairwise' ? toPairwiseSubject(pairwiseKey, clientId, userId) : userId
}
