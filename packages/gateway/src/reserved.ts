import {
  alreadySignedInPage,
  type CompiledApplication,
  errorPage,
  messageFormPage,
  notSignedInPage,
  securityHeaders,
  signedOutPage,
  signInDonePage,
  signOutPage,
} from '@sallyport/domain'
import { fieldValues, findField } from '@sallyport/http1'
import { waysOn } from './answers.ts'
import { findCookie } from './cookies.ts'
import type { Exchange } from './exchange.ts'
import { failures, RequestError, toUnavailable } from './failures.ts'
import { isSameOrigin, requestKind } from './navigation.ts'
import { readSessionCookie } from './request-session.ts'
import type { SessionFacts } from './session-cookie.ts'

const uncached = ['Cache-Control', 'no-store']
const html = ['Content-Type', 'text/html; charset=utf-8']

/** Method and path, exactly as sent: nothing else under the reserved path exists. */
const endpoints: Record<string, (exchange: Exchange) => Promise<void>> = {
  'GET /.sallyport/callback': completeSignIn,
  'GET /.sallyport/signin': beginSignIn,
  'GET /.sallyport/signed-in': showSignedIn,
  'GET /.sallyport/saml': startSaml,
  'GET /.sallyport/form': showForm,
  'GET /.sallyport/signout': askSignOut,
  'POST /.sallyport/signout': signOut,
}

/** Answers a request for Sallyport's own paths on application hosts. No answer holds a token or a claim, but for `showForm`. */
export async function handleReserved(exchange: Exchange): Promise<void> {
  const { request } = exchange.server
  // A worker registered from here would stand between the browser and sign-in.
  if (findField(request.fields, 'service-worker') !== undefined)
    throw new RequestError('RESERVED_PATH', 'service worker script', { reason: 'reserved-path' })
  const endpoint = endpoints[`${request.method} ${exchange.target!.path}`]
  if (!endpoint)
    throw new RequestError('RESERVED_PATH', 'nothing at this reserved path', {
      reason: 'reserved-path',
    })
  if (request.method !== 'GET' && !isSameOrigin(request.fields, exchange.externalOrigin))
    throw new RequestError('CROSS_SITE', 'unsafe request from another origin', {
      reason: 'cross-site',
    })
  await endpoint(exchange)
}

function readCookie(exchange: Exchange, name: string): string | undefined | null {
  return findCookie(fieldValues(exchange.server.request.fields, 'cookie'), name)
}

/** What the session cookie says, expired or ended or not. */
function openSession(exchange: Exchange): SessionFacts | undefined {
  const { gateway, host } = exchange
  const cookie = readCookie(exchange, gateway.cookieNames.session)
  return cookie ? gateway.sessionCookies.open(cookie, host) : undefined
}

/** The session that a request to an application would be let in by. */
function findLiveSession(exchange: Exchange): SessionFacts | undefined {
  const cookie = readCookie(exchange, exchange.gateway.cookieNames.session)
  const facts = readSessionCookie(exchange, cookie, idleLimitOf(exchange))
  return typeof facts === 'string' ? undefined : facts
}

/** Of the exchange's host, which shares one cookie. */
function idleLimitOf({ gateway, host }: Exchange): number | undefined {
  const compiled = gateway.view().findSignInApplication(host)
  return compiled && gateway.view().idleLimitOf(compiled)
}

function startPath({ gateway, host }: Exchange): string {
  return gateway.view().findStartPath(host) ?? '/'
}

function answerPage(
  exchange: Exchange,
  page: string,
  fields: readonly string[] = [],
  security = securityHeaders(),
): void {
  exchange.answer(200, [...uncached, ...html, ...security, ...fields], page)
}

async function completeSignIn(exchange: Exchange): Promise<void> {
  const { gateway, externalOrigin: origin } = exchange
  try {
    const { session, to } = await gateway.signIn.complete({
      origin,
      query: exchange.target!.query,
      nonceCookie: readCookie(exchange, gateway.cookieNames.signIn),
      clientAddress: exchange.clientAddress,
      nowAt: exchange.at,
      maxAgeMs: idleLimitOf(exchange),
    })
    const { setCookie, facts } = gateway.sessionCookie(session, exchange.host)
    exchange.session = gateway.sessions.join(facts, session)
    exchange.answer(302, [...uncached, 'Location', origin + to, 'Set-Cookie', setCookie], '')
  } catch (error) {
    if (!(error instanceof RequestError)) throw error
    exchange.reason = error.reason
    exchange.detail = error.cause instanceof Error ? error.cause.message : error.message
    // The person went back, or reloaded: if there is a session already, nothing is wrong.
    const to = gateway.signIn.findReturn(exchange.target!.query, origin)
    const facts = openSession(exchange)
    if (
      to !== undefined &&
      facts &&
      facts.expiresAt > exchange.at &&
      !gateway.sessions.hasEnded(facts)
    ) {
      exchange.answer(302, [...uncached, 'Location', origin + to], '')
      return
    }
    const { statusCode, title, explanation, remedy } = failures.SIGN_IN_INVALID
    exchange.answer(
      statusCode,
      [...uncached, ...html, ...securityHeaders()],
      errorPage({
        statusCode,
        code: 'SIGN_IN_INVALID',
        title,
        explanation,
        remedy,
        correlationId: exchange.id,
        links: waysOn(exchange, 'SIGN_IN_INVALID'),
      }),
    )
  }
}

/** Opens sign-in in a tab of its own, so that a form that could not be sent stays where it is. */
async function beginSignIn(exchange: Exchange): Promise<void> {
  const { gateway } = exchange
  const compiled = gateway.view().findSignInApplication(exchange.host)
  if (!compiled)
    throw new RequestError('APPLICATION_NOT_FOUND', 'no application on this host', {
      reason: 'application-not-found',
    })
  sendToSignIn(exchange, compiled, '/.sallyport/signed-in')
}

/** @param to path and query that the browser comes back to */
function sendToSignIn(exchange: Exchange, compiled: CompiledApplication, to: string): void {
  const { gateway } = exchange
  const { location, setCookie } = gateway.signIn.begin({
    origin: exchange.externalOrigin,
    applicationId: compiled.application.id,
    startPath: compiled.externalPath,
    to,
    nonceCookie: readCookie(exchange, gateway.cookieNames.signIn),
    nowAt: exchange.at,
    maxAgeMs: idleLimitOf(exchange),
  })
  exchange.answer(302, [...uncached, 'Location', location, 'Set-Cookie', setCookie], '')
}

async function showSignedIn(exchange: Exchange): Promise<void> {
  answerPage(exchange, signInDonePage({ applicationUrl: startPath(exchange) }))
}

/**
 * Begins a sign-on by SAML that the application has not asked for: here, so that the response, which comes by a form, finds a
 * session on this host.
 */
async function startSaml(exchange: Exchange): Promise<void> {
  const { gateway, host, target } = exchange
  const id = new URLSearchParams(target!.query).get('app')
  const compiled = gateway
    .view()
    .snapshot.findApplications(host)
    .find(({ application }) => application.id === id && application.signOn.method === 'saml')
  if (!compiled)
    throw new RequestError('RESERVED_PATH', 'no such application on this host', {
      reason: 'reserved-path',
    })
  if (findLiveSession(exchange)) {
    const location = gateway.options.identity.samlStartUrl(compiled.application.id)
    exchange.answer(302, [...uncached, 'Location', location], '')
  } else sendToSignIn(exchange, compiled, target!.path + target!.query)
}

/**
 * Shows the form by which a message of identity reaches an application here: sent from the application's own host it brings the session's
 * cookie, which browsers leave out of a form of another site.
 */
async function showForm(exchange: Exchange): Promise<void> {
  const { gateway, host, target, externalOrigin: origin, server } = exchange
  const { method, fields } = server.request
  const query = new URLSearchParams(target!.query)
  const id = query.get('id') ?? ''
  const compiled = gateway.view().findSignInApplication(host)
  // It may say who somebody is, so it is for a page that is opened, and not for script of the host that asks.
  if (!compiled || !/^[\w-]{43}$/.test(id) || requestKind(method, fields) !== 'navigation')
    throw new RequestError('RESERVED_PATH', 'no such form', { reason: 'reserved-path' })
  const facts = findLiveSession(exchange)
  const found =
    facts &&
    (await gateway.options.identity
      .takeForm({ id, origin, sessionId: facts.sessionId })
      .catch((error: unknown) => {
        throw toUnavailable(error) ?? error
      }))
  if (found?.kind === 'form')
    answerPage(
      exchange,
      messageFormPage(found.form),
      [],
      securityHeaders({ formAction: 'any', referrer: 'origin' }),
    )
  // Most who come back to one that was taken pressed Back, and nothing is wrong.
  else if (found?.kind === 'gone')
    answerPage(exchange, alreadySignedInPage({ portalUrl: gateway.portalUrl() }))
  else if (!found || !query.has('again'))
    // The cookie here may be older than the session that the message is for.
    sendToSignIn(exchange, compiled, `${target!.path}?id=${id}&again=`)
  else
    throw new RequestError('SIGN_IN_INVALID', 'the message is for another session', {
      reason: 'sign-in-invalid',
    })
}

async function askSignOut(exchange: Exchange): Promise<void> {
  const { gateway, at } = exchange
  const portalUrl = gateway.portalUrl()
  const facts = openSession(exchange)
  if (!facts) answerPage(exchange, notSignedInPage({ portalUrl }))
  else if (gateway.sessions.hasEnded(facts) || facts.absoluteExpiresAt <= at)
    answerPage(exchange, signedOutPage({ signInUrl: portalUrl }))
  // The redirects that follow the form may lead to applications that have to be told.
  else
    answerPage(
      exchange,
      signOutPage({ stayUrl: startPath(exchange) }),
      [],
      securityHeaders({ formAction: 'any' }),
    )
}

async function signOut(exchange: Exchange): Promise<void> {
  const { gateway } = exchange
  const portalUrl = gateway.portalUrl()
  const facts = openSession(exchange)
  const next =
    facts &&
    (await gateway.options.identity
      .endSession(facts.sessionId, 'signed-out')
      .catch((error: unknown) => {
        throw toUnavailable(error) ?? error
      }))
  const forget = [
    'Set-Cookie',
    `${gateway.cookieNames.session}=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax`,
  ]
  if (next !== undefined) {
    exchange.answer(303, [...uncached, 'Location', next, ...forget], '')
    return
  }
  // Without a cookie of this host nothing has ended: the person may be signed in by way of others.
  answerPage(
    exchange,
    facts ? signedOutPage({ signInUrl: portalUrl }) : notSignedInPage({ portalUrl }),
    forget,
  )
}
