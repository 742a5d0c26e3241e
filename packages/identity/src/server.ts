import { randomUUID } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { securityHeaders, toPeerAddress } from '@sallyport/domain'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import type Provider from 'oidc-provider'
import type { AssertionParts } from './assertion.ts'
import { addAssertionRoutes } from './assertion-server.ts'
import type { BrowserBinding } from './browser-binding.ts'
import { type FailureCode, failurePage, isUnavailable } from './failures.ts'
import type { OwnPasswords } from './own-passwords.ts'
import type { OwnSessions } from './own-sessions.ts'
import { addressKey, RateLimit } from './rate-limit.ts'
import { addSamlRoutes, isSamlPost, type SamlRoutes } from './saml/routes.ts'
import type { SignInAnswer, SignInForm } from './sign-in.ts'
import type { SignInAudit } from './sign-in-audit.ts'
import { type ProviderPath, parseProviderPath, providerRoutes } from './tenant-path.ts'
import { beginVisit, type Log, visitOf } from './visit.ts'

export interface ServerParts {
  provider: Provider
  signInForm: SignInForm
  audit: SignInAudit
  ownSessions: OwnSessions
  assertions: AssertionParts
  ownPasswords: OwnPasswords
  binding: BrowserBinding
  tenants: ReadonlySet<string>
  tenantId: string
  loginOrigin: string
  portalOrigin: string
  saml: Pick<SamlRoutes, 'parts' | 'singleSignOn' | 'singleLogout'>
  clock(): number
  log: Log
}

/** Everything on the sign-in host. */
export async function createServer(parts: ServerParts): Promise<FastifyInstance> {
  const { tenants, tenantId, loginOrigin, portalOrigin, log } = parts
  const callProvider = parts.provider.callback()
  const authorizations = new RateLimit({ burst: 300, intervalMs: 50 })
  const { host } = new URL(loginOrigin)

  const app = Fastify({
    logger: false,
    bodyLimit: 16_384,
    genReqId: () => randomUUID(),
    routerOptions: { caseSensitive: true, maxParamLength: 64 },
    // A path that cannot be decoded comes here past every hook; the library's own answer would repeat it.
    frameworkErrors: (_, request, reply) => {
      setHeaders(reply.raw, everywhere)
      return answerFailure(reply, isOwnHost(request, host) ? 'bad-request' : 'host-mismatch')
    },
  })

  function answerFailure(reply: FastifyReply, code: FailureCode): FastifyReply {
    const { statusCode, body } = failurePage(code, reply.request.id, portalOrigin)
    return reply.code(statusCode).type('text/html; charset=utf-8').send(body)
  }

  /** Somebody may be tricked, or tries to: it is recorded beside being refused. */
  async function refuse(reply: FastifyReply, code: FailureCode): Promise<FastifyReply> {
    await parts.audit.refused(reply.request.raw, code)
    return answerFailure(reply, code)
  }

  app.addHook('onRequest', async (request, reply) => {
    beginVisit(request.raw, {
      correlationId: request.id,
      clientAddress: toPeerAddress(request.raw.socket.remoteAddress ?? ''),
      interactionUid: undefined,
    })
    setHeaders(reply.raw, everywhere)
    if (!isOwnHost(request, host)) return answerFailure(reply, 'host-mismatch')
    if (!isSafe(request, tenants, tenantId) && !isSameOrigin(request.raw, loginOrigin))
      return refuse(reply, 'cross-site')
    return undefined
  })
  app.setNotFoundHandler((_, reply) => answerFailure(reply, 'not-found'))
  app.setErrorHandler((error: Error & { statusCode?: number }, request, reply) => {
    if (error.statusCode === 413) return answerFailure(reply, 'request-too-large')
    if (error.statusCode !== undefined && error.statusCode < 500)
      return answerFailure(reply, 'bad-request')
    log.error({ err: error, id: request.id }, 'sign-in service failed')
    return answerFailure(reply, isUnavailable(error) ? 'unavailable' : 'internal-error')
  })

  app.get('/', (_, reply) => reply.redirect(`${portalOrigin}/`, 303))
  addAssertionRoutes(app, parts.assertions)

  await app.register(async (pages) => {
    useForms(pages)
    const html = 'text/html; charset=utf-8'
    pages.get('/sessions', async (request, reply) => {
      const { ended } = request.query as { ended?: unknown }
      const count = /^\d{1,4}$/.test(String(ended)) ? Number(ended) : undefined
      return reply.type(html).send(await parts.ownSessions.show(request.raw, reply.raw, count))
    })
    pages.get('/passwords', async (request, reply) => {
      const { app, done } = request.query as { app?: unknown; done?: unknown }
      const kind = done === 'kept' || done === 'forgotten' ? done : 'needed'
      const outcome = typeof app === 'string' ? ({ application: app, kind } as const) : undefined
      return reply.type(html).send(await parts.ownPasswords.show(request.raw, reply.raw, outcome))
    })
    pages.post('/passwords', async (request, reply) => {
      if (!(request.body instanceof URLSearchParams)) return answerFailure(reply, 'bad-request')
      const outcome = await parts.ownPasswords.change(request.raw, reply.raw, request.body)
      if (!outcome) return answerFailure(reply, 'bad-request')
      if (outcome === 'too-many-requests') return refuse(reply, outcome)
      if (outcome.kind === 'invalid')
        return reply
          .code(400)
          .type(html)
          .send(await parts.ownPasswords.show(request.raw, reply.raw, outcome))
      const { application, kind } = outcome
      return reply.redirect(`/passwords?app=${application}&done=${kind}#${application}`, 303)
    })
    pages.post('/sessions', async (request, reply) => {
      const end = request.body instanceof URLSearchParams ? request.body.get('end') : null
      if (end === null) return answerFailure(reply, 'bad-request')
      const ended = await parts.ownSessions.end(request.raw, reply.raw, end)
      // A redirect, so that a page that is reloaded ends nothing again.
      return reply.redirect(`/sessions?ended=${ended}`, 303)
    })
  })

  await app.register(async (pages) => {
    useForms(pages)
    pages.addHook('preHandler', async (request, reply) => {
      const { uid } = request.params as { uid: string }
      if (!(await parts.binding.isBound(request.raw, uid)))
        return refuse(reply, 'sign-in-elsewhere')
      visitOf(request.raw).interactionUid = uid
      // The redirects that follow the form leave this host for the application.
      setHeaders(reply.raw, securityHeaders({ formAction: 'any' }))
      return undefined
    })
    pages.get('/sign-in/:uid', async (request, reply) => {
      return send(reply, await parts.signInForm.show(request.raw, reply.raw))
    })
    pages.post('/sign-in/:uid', async (request, reply) => {
      if (!(request.body instanceof URLSearchParams)) return answerFailure(reply, 'bad-request')
      return send(reply, await parts.signInForm.submit(request.raw, reply.raw, request.body))
    })
  })

  function send(reply: FastifyReply, answer: SignInAnswer): FastifyReply {
    if (answer.kind === 'done') return reply.hijack()
    if (answer.kind === 'failure') return answerFailure(reply, answer.code)
    if (answer.retryAfterSeconds !== undefined)
      reply.header('retry-after', String(answer.retryAfterSeconds))
    return reply.code(answer.statusCode).type('text/html; charset=utf-8').send(answer.body)
  }

  function isLimited(request: FastifyRequest): boolean {
    return authorizations.take(addressKey(visitOf(request.raw).clientAddress), parts.clock()) > 0
  }

  await app.register(async (pages) => {
    useForms(pages)
    addSamlRoutes(pages, {
      ...parts.saml,
      audit: parts.audit,
      tenants,
      isLimited,
      failure: (code, correlationId, facts) =>
        failurePage(code, correlationId, portalOrigin, facts),
    })
  })

  await app.register(async (provider) => {
    provider.removeAllContentTypeParsers()
    // The provider reads the body itself, but for what is sent on.
    provider.addContentTypeParser('*', (request, payload, done) => {
      if (isSentOn(request, tenants, tenantId))
        readForm(payload, limitFormBytes).then((form) => done(null, form), done)
      else done(null)
    })
    provider.all('/*', async (request, reply) => {
      const path = parseProviderPath(request.raw.url ?? '', tenants, tenantId)
      if (!path) return answerFailure(reply, 'not-found')
      // A form from another site comes without our cookie; the redirect to ourselves brings it.
      if (isSentOn(request, tenants, tenantId)) {
        if (!(request.body instanceof URLSearchParams)) return answerFailure(reply, 'bad-request')
        return reply.redirect(
          `${loginOrigin}${path.originalUrl.split('?')[0]}?${request.body}`,
          303,
        )
      }
      if (path.endpoint === 'authorize' && isLimited(request))
        return refuse(reply, 'too-many-requests')
      if (path.endpoint === 'resume') {
        const uid = path.interactionUid!
        if (!(await parts.binding.isBound(request.raw, uid)))
          return refuse(reply, 'sign-in-elsewhere')
        visitOf(request.raw).interactionUid = uid
      }
      reply.hijack()
      enterProvider(request.raw, path)
      await callProvider(request.raw, reply.raw)
      return reply
    })
  })

  await app.ready()
  return app
}

function useForms(pages: FastifyInstance): void {
  pages.removeAllContentTypeParsers()
  pages.addContentTypeParser(
    'application/x-www-form-urlencoded',
    { parseAs: 'string' },
    (_, body, done) => done(null, new URLSearchParams(String(body))),
  )
}

/** Fields of every answer. */
const everywhere = ['Cache-Control', 'no-store', ...securityHeaders()]

function isOwnHost({ headers }: FastifyRequest, host: string): boolean {
  return headers.host?.toLowerCase() === host
}

/** The provider finds out where it is mounted by comparing the two. */
function enterProvider(request: IncomingMessage, path: ProviderPath): void {
  request.url = path.url
  Object.assign(request, { originalUrl: path.originalUrl })
}

/** Whether a request may come from anywhere: it changes nothing, or no cookie speaks for it. */
function isSafe(
  { method, raw }: FastifyRequest,
  tenants: ReadonlySet<string>,
  tenantId: string,
): boolean {
  if (method === 'GET' || method === 'HEAD' || method === 'OPTIONS') return true
  const url = raw.url ?? ''
  const endpoint = parseProviderPath(url, tenants, tenantId)?.endpoint
  return (
    endpoint === 'token' ||
    endpoint === 'userinfo' ||
    endpoint === 'revocation' ||
    isSamlPost(url, tenants) ||
    isSentOn({ method, raw }, tenants, tenantId)
  )
}

/** A request of an application by a form, as the standard allows: it is made one by the query, which nobody need trust. */
function isSentOn(
  { method, raw }: Pick<FastifyRequest, 'method' | 'raw'>,
  tenants: ReadonlySet<string>,
  tenantId: string,
): boolean {
  if (method !== 'POST') return false
  const path = parseProviderPath(raw.url ?? '', tenants, tenantId)
  if (path?.endpoint === 'authorize') return true
  // The confirmation of a sign-out is a page of ours.
  return path?.url.split('?')[0] === providerRoutes.end_session
}

/** What fits into the request line that it becomes. */
const limitFormBytes = 16_384

async function readForm(
  payload: AsyncIterable<Buffer>,
  limitBytes: number,
): Promise<URLSearchParams> {
  const chunks: Buffer[] = []
  let length = 0
  const check = (bytes: number) => {
    if (bytes > limitBytes)
      throw Object.assign(new Error('the form is too large'), { statusCode: 413 })
  }
  for await (const chunk of payload) {
    length += chunk.length
    check(length)
    chunks.push(chunk)
  }
  const form = new URLSearchParams(Buffer.concat(chunks).toString())
  // What nobody has escaped grows when it is.
  check(form.toString().length)
  return form
}

/**
 * Siblings of this host are the same site, so SameSite does not keep their forms out; this does.
 *
 * @see https://www.w3.org/TR/fetch-metadata/
 */
function isSameOrigin({ headers }: IncomingMessage, loginOrigin: string): boolean {
  const site = headers['sec-fetch-site']
  if (site !== undefined) return site === 'same-origin'
  return headers.origin === loginOrigin
}

function setHeaders(response: ServerResponse, fields: readonly string[]): void {
  for (let index = 0; index < fields.length; index += 2)
    response.setHeader(fields[index]!, fields[index + 1]!)
}
