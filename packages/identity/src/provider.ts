import { randomBytes } from 'node:crypto'
import type { EventEmitter } from 'node:events'
import { securityHeaders, signedOutPage, signOutPage } from '@sallyport/domain'
import { atomically, type Store, sessions, users } from '@sallyport/store'
import Provider, {
  type Account,
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
import { createLogoutFetch, type LogoutDestinations } from './logout-request.ts'
import type { SignInAudit } from './sign-in-audit.ts'
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
  logout: LogoutDestinations
  onError(error: unknown): void
}

const scopes = ['openid', 'profile', 'email']
const pendingSignInSeconds = 3_600

/** The OpenID provider, with our store, clients, cookies, pages and sessions in it. */
export function createProvider(parts: ProviderParts): Provider {
  const { loginOrigin, tenantId } = parts
  const provider = new Provider(`${loginOrigin}/${tenantId}/v2.0`, {
    adapter: (model) => createAdapter(model, parts),
    jwks: { keys: parts.signingKeys },
    routes: providerRoutes,
    responseTypes: ['code'],
    scopes,
    clientAuthMethods: ['client_secret_post'],
    pkce: { required: () => true },
    allowOmittingSingleRegisteredRedirectUri: false,
    issueRefreshToken: () => false,
    clientBasedCORS: () => false,
    // There is nobody else to call.
    fetch: createLogoutFetch(parts.logout, (url) =>
      [...parts.snapshot().applications.values()].some(
        ({ application: { backChannelLogoutUrl } }) =>
          backChannelLogoutUrl !== undefined && new URL(backChannelLogoutUrl).href === url,
      ),
    ) as typeof fetch,
    features: {
      devInteractions: { enabled: false },
      userinfo: { enabled: false },
      pushedAuthorizationRequests: { enabled: false },
      dPoP: { enabled: false },
      resourceIndicators: { enabled: false },
      backchannelLogout: { enabled: true },
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
    findAccount: (_, accountId, token) => findAccount(parts, accountId, token),
    loadExistingGrant: async (ctx) => {
      const login = ctx.oidc.result?.login as SignInResult | undefined
      if (login) await beginSession(ctx, login, parts)
      return await consentedGrant(ctx, provider)
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
      const { correlationId } = visitOf(ctx.req)
      const failure = failurePage(providerFailure(error), correlationId, parts.portalOrigin)
      ctx.status = failure.statusCode
      ctx.type = 'html'
      ctx.body = failure.body
    },
    cookies: {
      names: { session: 'session', interaction: 'interaction', resume: 'resume' },
    },
    ttl: {
      AuthorizationCode: 60,
      AccessToken: 60,
      IdToken: 600,
      Interaction: pendingSignInSeconds,
      Grant: parts.absoluteLifetimeMs / 1000,
      Session: (_, { loginTs }) =>
        loginTs === undefined
          ? pendingSignInSeconds
          : Math.max(1, loginTs + parts.absoluteLifetimeMs / 1000 - Math.floor(Date.now() / 1000)),
    },
  })
  provider.Client.prototype.redirectUriAllowed = function (uri: string): boolean {
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
  postponeLogouts(provider)
  useOwnOrigin(provider, loginOrigin)
  useOwnCookies(provider, parts)
  provider.use(async (ctx, next) => {
    // The provider would answer with a form that script submits, which our policy forbids.
    const asks = ctx.method === 'GET' && ctx.path === providerRoutes.end_session
    if (asks && (await provider.Session.get(ctx)).accountId === undefined)
      ctx.redirect(`${loginOrigin}/${tenantId}${providerRoutes.end_session}/success`)
    else await next()
    const { logoutUrl } = visitOf(ctx.req)
    if (logoutUrl === undefined) return
    await parts.returnFromLogout(logoutUrl, ctx.response.get('location'))
    ctx.redirect(logoutUrl)
  })
  // The code says whose session it is: a second redemption at this moment removes what was stored.
  provider.on('grant.success', ({ req, oidc }) => {
    visitOf(req).redeemedSessionId = oidc.entities.AuthorizationCode?.sessionUid
  })
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

function signInPolicy({ db, clock }: ProviderParts): interactionPolicy.DefaultPolicy {
  const policy = interactionPolicy.base()
  // Administrators consent by publishing an application.
  policy.remove('consent')
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
  return policy
}

/** @param token what is to be redeemed or used, if it is about that; one of a session that has ended is for nobody */
async function findAccount(
  { db, tenantId, clock }: ProviderParts,
  accountId: string,
  token: object | undefined,
): Promise<Account | undefined> {
  // A code that is stored while its session ends is not among those that are removed with it.
  const { sessionUid } = (token ?? {}) as { sessionUid?: string }
  if (sessionUid !== undefined && !(await sessions.isLiveSession(db, sessionUid, clock())))
    return undefined
  const user = await users.findUserById(db, accountId)
  if (!user?.enabled) return undefined
  return {
    accountId,
    claims: () => ({
      sub: user.id,
      oid: user.id,
      tid: tenantId,
      ver: '2.0',
      name: user.displayName,
      preferred_username: user.userName,
      ...(user.mail === undefined ? {} : { email: user.mail }),
    }),
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
      applicationId: ctx.oidc.client!.clientId,
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
  grant.addOIDCScope(scopes.join(' '))
  await grant.save()
  return grant
}

async function askSignOut(ctx: KoaContextWithOIDC, parts: ProviderParts): Promise<void> {
  const { session } = ctx.oidc
  const user = await users.findUserById(parts.db, session!.accountId!)
  // The redirects that follow the form lead to applications that have to be told.
  const fields = securityHeaders({ formAction: 'any' })
  for (let index = 0; index < fields.length; index += 2) ctx.set(fields[index]!, fields[index + 1]!)
  ctx.type = 'html'
  ctx.body = signOutPage({
    person: user && { displayName: user.displayName, userName: user.userName },
    stayUrl: `${parts.portalOrigin}/`,
    actionUrl: ctx.oidc.urlFor('end_session_confirm'),
    fields: { xsrf: String(session!.state?.secret), logout: 'yes' },
  })
}
