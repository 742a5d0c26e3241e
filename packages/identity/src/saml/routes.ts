import { securityHeaders } from '@sallyport/domain'
import {
  buildIdentityProviderMetadata,
  type ReceivedMessage,
  readPost,
  readRedirect,
  SamlError,
} from '@sallyport/sso/saml'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Failure, FailureCode, FailureFacts } from '../failures.ts'
import type { SignInAudit } from '../sign-in-audit.ts'
import type { SamlAnswer, SamlParts } from './answer.ts'
import { listSamlCertificates } from './keys.ts'
import type { SamlSingleLogout } from './single-logout.ts'
import { isSaml, type SamlSingleSignOn } from './single-sign-on.ts'

export interface SamlRoutes {
  parts: SamlParts
  singleSignOn: SamlSingleSignOn
  singleLogout: SamlSingleLogout
  audit: SignInAudit
  tenants: ReadonlySet<string>
  /** Whether the client has asked for too much. */
  isLimited(request: FastifyRequest): boolean
  failure(code: FailureCode, correlationId: string, facts?: FailureFacts): Failure
}

const html = 'text/html; charset=utf-8'
/** A signed message with its certificate, in base64 and in a form. */
const limitBodyBytes = 131_072

/** Whether a request brings a message of SAML by a form: from the pages of applications, so from other origins. */
export function isSamlPost(url: string, tenants: ReadonlySet<string>): boolean {
  const [, tenant = ''] = /^\/([^/?]+)\/saml2(?:\?|$)/.exec(url) ?? []
  return tenants.has(tenant.toLowerCase())
}

/** The endpoints of the SAML identity provider, below `/{tenant}/`. @param pages takes forms */
export function addSamlRoutes(pages: FastifyInstance, routes: SamlRoutes): void {
  const { parts, singleSignOn, singleLogout, audit, tenants, isLimited, failure } = routes

  pages.addHook('onRequest', async (request, reply) => {
    const { tenant } = request.params as { tenant: string }
    if (!tenants.has(tenant.toLowerCase())) return fail(reply, 'not-found')
    if (!isLimited(request)) return undefined
    await audit.refused(request.raw, 'too-many-requests')
    return fail(reply, 'too-many-requests')
  })

  function fail(reply: FastifyReply, code: FailureCode, facts: FailureFacts = {}): FastifyReply {
    const { statusCode, body } = failure(code, reply.request.id, facts)
    return reply.code(statusCode).type(html).send(body)
  }

  function send(reply: FastifyReply, answer: SamlAnswer): FastifyReply {
    if (answer.kind === 'redirect') return reply.redirect(answer.location, 303)
    if (answer.kind === 'failure') return fail(reply, answer.code, answer)
    // The form goes to the application, which sees that it comes from here.
    if (answer.formAction) {
      const fields = securityHeaders({ formAction: 'any', referrer: 'origin' })
      for (let index = 0; index < fields.length; index += 2)
        reply.raw.setHeader(fields[index]!, fields[index + 1]!)
    }
    return reply.type(html).send(answer.body)
  }

  async function handle(
    request: FastifyRequest,
    reply: FastifyReply,
    read: () => ReceivedMessage,
  ): Promise<FastifyReply> {
    try {
      const message = read()
      const isSignOn = message.kind === 'request' && message.root.localName === 'AuthnRequest'
      const endpoint = isSignOn ? singleSignOn : singleLogout
      return send(reply, await endpoint.accept(message, request.raw, reply.raw))
    } catch (error) {
      if (!(error instanceof SamlError)) throw error
      await audit.refused(request.raw, 'saml-message-invalid', error.message)
      return fail(reply, 'saml-message-invalid')
    }
  }

  pages.get('/:tenant/saml2', (request, reply) => {
    const { url = '' } = request.raw
    const mark = url.indexOf('?')
    return handle(request, reply, () => readRedirect(mark < 0 ? '' : url.slice(mark + 1)))
  })
  pages.post('/:tenant/saml2', { bodyLimit: limitBodyBytes }, async (request, reply) => {
    const { body } = request
    if (!(body instanceof URLSearchParams)) return fail(reply, 'bad-request')
    return handle(request, reply, () => readPost(body))
  })
  pages.get('/:tenant/saml2/start/:id', async (request, reply) => {
    const { id } = request.params as { id: string }
    return send(reply, await singleSignOn.start(id, request.raw, reply.raw))
  })
  for (const [path, endpoint] of [
    ['resume', (id, request, reply) => singleSignOn.resume(id, request.raw, reply.raw)],
    ['logout', (id, request, reply) => singleLogout.next(id, request.raw, reply.raw)],
  ] as [
    string,
    (id: string, request: FastifyRequest, reply: FastifyReply) => Promise<SamlAnswer>,
  ][])
    pages.get(`/:tenant/saml2/${path}`, async (request, reply) => {
      const { state } = request.query as { state?: unknown }
      if (typeof state !== 'string') return fail(reply, 'bad-request')
      return send(reply, await endpoint(state, request, reply))
    })

  async function sendMetadata(id: unknown, reply: FastifyReply): Promise<FastifyReply> {
    const compiled = typeof id === 'string' ? parts.snapshot().findApplicationById(id) : undefined
    if (!isSaml(compiled)) return fail(reply, 'not-found')
    const certificates = await listSamlCertificates(parts.db, compiled.application.id)
    if (certificates.length === 0) return fail(reply, 'unavailable')
    const { entityId, service } = parts.urls
    return reply.type('application/samlmetadata+xml').send(
      buildIdentityProviderMetadata({
        entityId,
        singleSignOnUrl: service,
        singleLogoutUrl: service,
        certificates,
        wantsSignedRequests: compiled.application.signOn.requireSignedRequests,
      }),
    )
  }
  pages.get('/:tenant/saml2/metadata/:id', (request, reply) =>
    sendMetadata((request.params as { id: string }).id, reply),
  )
  // Entra spells it both ways.
  for (const path of ['federationmetadata', 'FederationMetadata'])
    pages.get(`/:tenant/${path}/2007-06/${path}.xml`, (request, reply) =>
      sendMetadata((request.query as { appid?: unknown }).appid, reply),
    )
}
