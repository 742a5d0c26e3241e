import {
  type CompiledApplication,
  errorPage,
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
  // Who asks for an unknown host learns nothing of what else is here.
  const known = exchange.match !== undefined
  const session = exchange.session
  exchange.answer(
    statusCode,
    [...uncached, ...extra, 'Content-Type', 'text/html; charset=utf-8', ...securityHeaders()],
    errorPage({
      statusCode,
      code,
      title,
      explanation,
      ...(remedy === undefined ? {} : { remedy }),
      correlationId: exchange.id,
      ...(session ? { signedInAs: session.claims.displayName || session.claims.userName } : {}),
      links:
        known && session
          ? [
              { href: exchange.gateway.portalUrl(), label: 'Your applications' },
              { href: '/.sallyport/signout', label: 'Sign out' },
            ]
          : [],
    }),
  )
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
      origin: exchange.origin,
      applicationId: compiled.application.id,
      startPath: compiled.externalPath,
      to: target.path + target.query,
      nonceCookie: findCookie(fieldValues(fields, 'cookie'), gateway.cookieNames.signIn),
      nowAt: exchange.at,
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
      signInAgainPage({ signInUrl: '/.sallyport/signin', correlationId: exchange.id }),
    )
    return
  }
  answerJson(exchange, 401, 'SIGN_IN_REQUIRED', 'A session is needed. Sign in first.', challenge)
}
