import {
  type Claims,
  type CompiledApplication,
  errorPage,
  PORTAL_APPLICATION_ID,
  securityHeaders,
  signInAgainPage,
} from '@sallyport/domain'
import { fieldValues } from '@sallyport/http1'
import { findCookie } from './cookies.ts'
import type { Exchange } from './exchange.ts'
import { type FailureCode, failures } from './failures.ts'
import { acceptsHtml, requestKind } from './navigation.ts'

const uncached = ['Cache-Control', 'no-store']

/** Answers with one of our pages, or with JSON to whoever does not want HTML. */
export function answerFailure(exchange: Exchange, code: FailureCode): void {
  const { statusCode, title, explanation, remedy } = failures[code]
  const extra = code === 'WEBSOCKET_VERSION' ? ['Sec-WebSocket-Version', '13'] : []
  const { fields } = exchange.server.request
  if (!acceptsHtml(fields)) {
    answerJson(exchange, statusCode, code, explanation, extra)
    return
  }
  const { method } = exchange.server.request
  const passwords = passwordsUrl(exchange, code)
  if (passwords !== undefined && requestKind(method, fields) === 'navigation') {
    exchange.answer(302, [...uncached, 'Location', passwords], '')
    return
  }
  const isSafe = method === 'GET' || method === 'HEAD'
  const application = exchange.match?.compiled.application
  exchange.answer(
    statusCode,
    [...uncached, ...extra, 'Content-Type', 'text/html; charset=utf-8', ...securityHeaders()],
    errorPage({
      statusCode,
      code,
      title,
      explanation,
      remedy:
        isTransient(code) && !isSafe && remedy !== undefined ? `${mayBeLost} ${remedy}` : remedy,
      correlationId: exchange.id,
      applicationName:
        application?.id === PORTAL_APPLICATION_ID ? undefined : application?.displayName,
      signedInAs: exchange.session && personOf(exchange.session.claims),
      links: waysOn(exchange, code),
      retry: isTransient(code) && isSafe,
      // Who asks for an unknown host learns nothing of what else is here, nor whose page it is.
      anonymous: !isKnown(exchange, code),
    }),
  )
}

/** Where the person enters what the application wants; undefined when that is not what is wrong. */
function passwordsUrl({ gateway, match }: Exchange, code: FailureCode): string | undefined {
  if ((code !== 'CREDENTIAL_MISSING' && code !== 'CREDENTIAL_REFUSED') || !match) return undefined
  const { name } = match.compiled.application
  return `${gateway.loginUrl()}passwords?app=${name}#${name}`
}

const mayBeLost =
  'What you sent may not have arrived: look whether it did before you send it again.'

function isKnown(exchange: Exchange, code: FailureCode): boolean {
  return code !== 'HOST_MISMATCH' && exchange.gateway.view().isServed(exchange.host)
}

/** Where somebody can go from a page that is an end, so that nobody is left to the address bar. */
export function waysOn(
  exchange: Exchange,
  code: FailureCode,
): readonly { href: string; label: string }[] {
  if (!isKnown(exchange, code)) return []
  const { gateway, host, match } = exchange
  const portal = { href: gateway.portalUrl(), label: 'Your applications' }
  if (code === 'USER_NOT_ASSIGNED')
    return [portal, { href: '/.sallyport/signout', label: 'Sign out' }]
  const passwords = passwordsUrl(exchange, code)
  if (passwords !== undefined) return [{ href: passwords, label: 'Your passwords' }, portal]
  // Who uses an application without sign-in may have no account.
  const ways = match?.compiled.application.preAuthentication === 'passthrough' ? [] : [portal]
  const startPath = gateway.view().findStartPath(host)
  if (startPath !== undefined && !isTransient(code) && host !== gateway.view().snapshot.hosts.apps)
    return [{ href: startPath, label: 'Open the application' }, ...ways]
  return ways
}

/** Whether the same request may go well another time. */
function isTransient(code: FailureCode): boolean {
  const { statusCode } = failures[code]
  return statusCode >= 500 && statusCode !== 501
}

function personOf({ displayName, userName }: Claims): string {
  return displayName === '' || displayName === userName ? userName : `${displayName} (${userName})`
}

function answerJson(
  exchange: Exchange,
  statusCode: number,
  code: string,
  message: string,
  fields: readonly string[],
): void {
  exchange.answer(
    statusCode,
    [
      ...uncached,
      ...fields,
      'Content-Type',
      'application/json',
      'X-Content-Type-Options',
      'nosniff',
    ],
    `${JSON.stringify({ error: { code, message, correlationId: exchange.id } })}\n`,
  )
}

/**
 * Answers a request without a session: a page that is opened goes to sign-in and comes back; a form
 * that would be lost is offered again; a program gets 401 and never a redirect.
 */
export function answerSignIn(exchange: Exchange, compiled: CompiledApplication): void {
  const { gateway, server } = exchange
  const { method, fields } = server.request
  const kind = requestKind(method, fields)
  const target = exchange.target!
  if (kind === 'navigation') {
    const { location, setCookie } = gateway.signIn.begin({
      origin: exchange.externalOrigin,
      applicationId: compiled.application.id,
      startPath: compiled.externalPath,
      to: target.path + target.query,
      nonceCookie: findCookie(fieldValues(fields, 'cookie'), gateway.cookieNames.signIn),
      nowAt: exchange.at,
      maxAgeMs: gateway.view().idleLimitOf(compiled),
    })
    exchange.answer(302, [...uncached, 'Location', location, 'Set-Cookie', setCookie], '')
    return
  }
  // Crawlers of applications that need a sign-in have nothing to look for.
  if (target.path === '/robots.txt' && method === 'GET') {
    exchange.answer(200, ['Content-Type', 'text/plain'], 'User-agent: *\nDisallow: /\n')
    return
  }
  const challenge = [`WWW-Authenticate`, `Bearer realm="${exchange.host}"`]
  if (kind === 'unsafe-navigation') {
    exchange.answer(
      401,
      [...uncached, ...challenge, 'Content-Type', 'text/html; charset=utf-8', ...securityHeaders()],
      signInAgainPage({
        applicationName: compiled.application.displayName,
        signInUrl: '/.sallyport/signin',
        correlationId: exchange.id,
      }),
    )
    return
  }
  answerJson(exchange, 401, 'SIGN_IN_REQUIRED', 'A session is needed. Sign in first.', challenge)
}

/** Answers for an application that lives in this process: the portal. */
export async function answerFromPortal(exchange: Exchange): Promise<void> {
  const { gateway, server, target, session, id } = exchange
  const { statusCode, fields, body } = await gateway.options.portal({
    method: server.request.method,
    path: target!.path,
    session: session!,
    id,
  })
  exchange.answer(statusCode, fields, body)
}
