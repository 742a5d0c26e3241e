import { createHash, randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import {
  alreadySignedInPage,
  type CompiledApplication,
  type IdentitySession,
  isAssigned,
  type MessageFormPage,
  messageFormPage,
  type SamlSignOn,
  toExternalUrl,
} from '@sallyport/domain'
import {
  type Addressing,
  type Attribute,
  buildFailure,
  buildResponse,
  ClaimError,
  findAuthnContext,
  findNameIdFormat,
  type NameId,
  offersNameId,
  parseAuthnRequest,
  type ReceivedMessage,
  readIssuer,
  SamlError,
  type StatusCode,
  toAttributes,
  toNameId,
  verifyMessage,
} from '@sallyport/sso/saml'
import { atomically, oidcModel, saml, sessions } from '@sallyport/store'
import { recordSignOn } from '../sign-on-audit.ts'
import { findSessionId, type SamlAnswer, type SamlParts } from './answer.ts'
import { readSigningKey } from './keys.ts'

/** A sign-on that was asked for, as it is kept while the person signs in. */
interface PendingSignOn {
  [member: string]: unknown
  applicationId: string
  /** Where the browser takes the response. */
  action: string
  /** The same place, as the service provider calls it. */
  recipient: string
  /** The service provider, as it calls itself. */
  audience: string
  inResponseTo?: string | undefined
  relayState?: string | undefined
  forceAuthn: boolean
  isPassive: boolean
  nameIdFormat?: string | undefined
  /** URI of the class of sign-in; undefined when none does. */
  authnContext?: string | undefined
  subject?: string | undefined
  /** Epoch milliseconds. */
  askedAt: number
}

export type SamlApplication = CompiledApplication & {
  application: { signOn: SamlSignOn }
}

const model = 'SamlSignOn'
const pendingMs = 3_600_000

/** Sign-on by SAML: asked for by an application or begun by us (SAML profiles section 4.1). */
export class SamlSingleSignOn {
  readonly #parts: SamlParts

  constructor(parts: SamlParts) {
    this.#parts = parts
  }

  /**
   * A request of an application.
   *
   * @throws SamlError when it is not to be answered
   */
  async accept(
    message: ReceivedMessage,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<SamlAnswer> {
    const compiled = this.#findApplication(readIssuer(message.root))
    const { signOn } = compiled.application
    const root = verifyMessage(message, signOn.requestCertificates, signOn.requireSignedRequests)
    const asked = parseAuthnRequest(root, this.#parts.urls.service)
    const pending: PendingSignOn = {
      applicationId: compiled.application.id,
      ...findConsumer(compiled, asked),
      audience: asked.issuer,
      inResponseTo: asked.id,
      relayState: message.relayState,
      forceAuthn: asked.forceAuthn,
      isPassive: asked.isPassive,
      nameIdFormat: asked.nameIdFormat,
      authnContext: findAuthnContext(asked.requestedContext),
      subject: asked.subject?.slice(0, 256),
      askedAt: this.#parts.clock(),
    }
    // A form from another site comes without our cookie; the redirect to ourselves brings it.
    if (message.binding === 'post') return this.#redirect(await this.#keep(pending))
    return this.#decide(pending, undefined, request, response)
  }

  /** A sign-on that no application asked for (SAML profiles section 4.1.5). */
  async start(
    applicationId: string,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<SamlAnswer> {
    const compiled = this.#parts.snapshot().findApplicationById(applicationId)
    if (!isSaml(compiled)) return { kind: 'failure', code: 'not-found' }
    const { signOn } = compiled.application
    const { url } = signOn.assertionConsumerServices[0]!
    const pending: PendingSignOn = {
      applicationId,
      action: toExternalUrl(compiled, url),
      recipient: url,
      audience: signOn.entityId,
      relayState: signOn.relayState,
      forceAuthn: false,
      isPassive: false,
      authnContext: findAuthnContext(undefined),
      askedAt: this.#parts.clock(),
    }
    return this.#decide(pending, undefined, request, response)
  }

  /** Goes on with a sign-on that was kept. */
  async resume(
    id: string,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<SamlAnswer> {
    const { db, clock, provider, portalOrigin } = this.#parts
    const kept = await oidcModel.findOidcModel(db, { model, id })
    if (kept) return this.#decide(kept as PendingSignOn, id, request, response)
    // Most who come back to one that is done pressed Back, and nothing is wrong.
    const sessionId = await findSessionId(provider, request, response)
    if (sessionId !== undefined && (await sessions.isLiveSession(db, sessionId, clock())))
      return { kind: 'page', body: alreadySignedInPage({ portalUrl: `${portalOrigin}/` }) }
    return { kind: 'failure', code: 'sign-in-expired' }
  }

  async #decide(
    pending: PendingSignOn,
    id: string | undefined,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<SamlAnswer> {
    const { db, clock, provider, snapshot } = this.#parts
    const compiled = snapshot().findApplicationById(pending.applicationId)
    if (!isSaml(compiled)) return { kind: 'failure', code: 'not-found' }
    // The application may have been changed while the person signed in.
    const named = snapshot().findApplicationByEntityId(pending.audience)
    if (named !== compiled || !isConsumer(compiled, pending.action))
      return { kind: 'failure', code: 'sign-in-expired' }
    const sessionId = await findSessionId(provider, request, response)
    const session =
      sessionId === undefined
        ? undefined
        : await sessions.findIdentitySession(db, sessionId, clock())
    const isFresh = session && !(pending.forceAuthn && session.signedInAt < pending.askedAt)
    if (!session || !isFresh) {
      if (pending.isPassive)
        return this.#refuse(compiled, pending, id, session?.sessionId, ['responder', 'noPassive'])
      return this.#signIn(pending, id ?? (await this.#keep(pending)))
    }
    return this.#answer(compiled, pending, id, session, request)
  }

  async #answer(
    compiled: SamlApplication,
    pending: PendingSignOn,
    id: string | undefined,
    session: IdentitySession,
    request: IncomingMessage,
  ): Promise<SamlAnswer> {
    const { db, open, clock, pairwiseKey } = this.#parts
    const { application } = compiled
    const { claims, sessionId, userId } = session
    const failure = async (
      code:
        | 'user-not-assigned'
        | 'saml-name-missing'
        | 'saml-attributes-too-many'
        | 'saml-claim-too-long',
    ): Promise<SamlAnswer> => {
      await this.#record(request, session, compiled, 'saml-sign-on-refused', { reason: code })
      return {
        kind: 'failure',
        code,
        applicationName: application.displayName,
        signedInAs: `${claims.displayName} (${claims.userName})`,
      }
    }
    if (!isAssigned(compiled, [userId, ...claims.groups.map((group) => group.id)]))
      return failure('user-not-assigned')
    if (pending.authnContext === undefined)
      return this.#refuse(compiled, pending, id, sessionId, ['responder', 'noAuthnContext'])
    const format = findNameIdFormat(pending.nameIdFormat)
    if (format === 'unsupported' || !offersNameId(application.signOn, format))
      return this.#refuse(compiled, pending, id, sessionId, ['requester', 'invalidNameIdPolicy'])
    let nameId: NameId | undefined
    let attributes: Attribute[] | undefined
    try {
      nameId = toNameId(application.signOn, format, claims, pairwiseKey)
      attributes = toAttributes(application.signOn, claims)
    } catch (error) {
      if (error instanceof ClaimError) return failure('saml-claim-too-long')
      throw error
    }
    if (!nameId) return failure('saml-name-missing')
    if (!attributes) return failure('saml-attributes-too-many')
    const nowAt = clock()
    const sessionIndex = `_${randomBytes(16).toString('hex')}`
    const body = buildResponse(
      this.#addressing(pending, nowAt),
      {
        nameId,
        attributes,
        sessionIndex,
        signedInAt: session.signedInAt,
        sessionExpiresAt: session.absoluteExpiresAt,
        authnContext: pending.authnContext,
      },
      application.signOn,
      await readSigningKey(db, open, application.id),
    )
    await atomically(db, async (db) => {
      await saml.saveSamlSession(db, {
        sessionId,
        applicationId: application.id,
        sessionIndex,
        nameId: nameId.value,
        nameIdFormat: nameId.format,
        begunAt: nowAt,
      })
      if (id !== undefined) await oidcModel.deleteOidcModel(db, { model, id })
    })
    await this.#record(request, session, compiled, 'saml-signed-on', {
      nameIdFormat: nameId.format,
      startedBy: pending.inResponseTo === undefined ? 'sallyport' : 'application',
    })
    return this.#post(compiled, pending, body, sessionId)
  }

  /** Says to the application why there is no sign-on. */
  async #refuse(
    compiled: SamlApplication,
    pending: PendingSignOn,
    id: string | undefined,
    sessionId: string | undefined,
    codes: readonly [StatusCode, StatusCode],
  ): Promise<SamlAnswer> {
    const { db, open, clock } = this.#parts
    const key = await readSigningKey(db, open, compiled.application.id)
    if (id !== undefined) await oidcModel.deleteOidcModel(db, { model, id })
    const body = buildFailure(this.#addressing(pending, clock()), codes, key)
    return this.#post(compiled, pending, body, sessionId)
  }

  #addressing({ audience, recipient, inResponseTo }: PendingSignOn, nowAt: number): Addressing {
    return { issuer: this.#parts.urls.entityId, audience, recipient, inResponseTo, nowAt }
  }

  async #post(
    compiled: SamlApplication,
    { action, relayState }: PendingSignOn,
    response: string,
    sessionId: string | undefined,
  ): Promise<SamlAnswer> {
    const form: MessageFormPage = {
      purpose: 'sign-on',
      applicationName: compiled.application.displayName,
      actionUrl: action,
      fields: {
        SAMLResponse: response,
        ...(relayState === undefined ? {} : { RelayState: relayState }),
      },
    }
    const location = await this.#parts.handOver.begin(compiled, form, sessionId)
    return location === undefined
      ? { kind: 'page', formAction: 'any', body: messageFormPage(form) }
      : { kind: 'redirect', location }
  }

  async #keep(pending: PendingSignOn): Promise<string> {
    const { db, clock } = this.#parts
    const id = randomBytes(32).toString('base64url')
    await oidcModel.saveOidcModel(db, { model, id }, pending, clock() + pendingMs)
    return id
  }

  #redirect(id: string): SamlAnswer {
    return { kind: 'redirect', location: `${this.#parts.urls.resume}?state=${id}` }
  }

  /**
   * The person signs in as for any application: it is an OpenID client, and its redirect URI is our own. The code that
   * comes back is left to expire: the session that the browser then has is what counts.
   */
  #signIn(pending: PendingSignOn, id: string): SamlAnswer {
    const { urls, loginOrigin, tenantId } = this.#parts
    const url = new URL(`${loginOrigin}/${tenantId}/oauth2/v2.0/authorize`)
    const parameters = {
      client_id: pending.applicationId,
      response_type: 'code',
      redirect_uri: urls.resume,
      scope: 'openid',
      state: id,
      code_challenge: createHash('sha256').update(randomBytes(32)).digest('base64url'),
      code_challenge_method: 'S256',
      login_hint: pending.subject,
      prompt: pending.forceAuthn ? 'login' : undefined,
    }
    for (const [name, value] of Object.entries(parameters))
      if (value !== undefined) url.searchParams.set(name, value)
    return { kind: 'redirect', location: url.href }
  }

  #findApplication(entityId: string): SamlApplication {
    const compiled = this.#parts.snapshot().findApplicationByEntityId(entityId)
    if (!isSaml(compiled))
      throw new SamlError(
        'SAML_MESSAGE_INVALID',
        `no application has the entity ID ${entityId.slice(0, 200)}`,
      )
    return compiled
  }

  #record(
    request: IncomingMessage,
    session: IdentitySession,
    compiled: SamlApplication,
    kind: string,
    detail: Record<string, unknown>,
  ): Promise<void> {
    const { db, clock } = this.#parts
    return recordSignOn(db, request, kind, compiled, session, clock(), detail)
  }
}

export function isSaml(compiled: CompiledApplication | undefined): compiled is SamlApplication {
  return compiled?.application.signOn.method === 'saml'
}

/** @param action an external URL */
function isConsumer(compiled: SamlApplication, action: string): boolean {
  return compiled.application.signOn.assertionConsumerServices.some(
    ({ url }) => toExternalUrl(compiled, url) === action,
  )
}

/**
 * Where a response goes: to one of the places that an administrator has named, and nowhere else, however the request is
 * signed (SAML profiles section 4.1.4.1).
 */
function findConsumer(
  compiled: SamlApplication,
  asked: { consumerUrl: string | undefined; consumerIndex: number | undefined },
): { action: string; recipient: string } {
  const { assertionConsumerServices } = compiled.application.signOn
  const { consumerUrl, consumerIndex } = asked
  if (consumerUrl !== undefined) {
    const action = toExternalUrl(compiled, consumerUrl)
    if (!isConsumer(compiled, action))
      throw new SamlError(
        'SAML_MESSAGE_INVALID',
        `the assertion consumer service ${consumerUrl.slice(0, 200)} is none of the application's`,
      )
    return { action, recipient: consumerUrl }
  }
  const found =
    consumerIndex === undefined
      ? assertionConsumerServices[0]
      : assertionConsumerServices.find(({ index }) => index === consumerIndex)
  if (!found)
    throw new SamlError(
      'SAML_MESSAGE_INVALID',
      `the application has no assertion consumer service ${consumerIndex}`,
    )
  return { action: toExternalUrl(compiled, found.url), recipient: found.url }
}
