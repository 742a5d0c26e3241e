import { randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { messageFormPage, signedOutPage, toExternalUrl } from '@sallyport/domain'
import {
  buildLogoutRequest,
  buildLogoutResponse,
  encode,
  meansNameId,
  type NameId,
  parseLogoutRequest,
  parseLogoutResponse,
  type ReceivedMessage,
  readIssuer,
  SamlError,
  type StatusCode,
  signXml,
  toRedirectUrl,
  verifyMessage,
  type Xml,
} from '@sallyport/sso/saml'
import { oidcModel, saml, sessions } from '@sallyport/store'
import { findSessionId, type SamlAnswer, type SamlParts } from './answer.ts'
import { readSigningKey } from './keys.ts'
import { isSaml, type SamlApplication } from './single-sign-on.ts'

/** An application that is to be told that a session has ended. */
interface Participant {
  applicationId: string
  sessionIndex: string
  nameId: NameId
}

/** A logout request of an application, which gets its answer at the end. */
interface Asked {
  applicationId: string
  requestId: string
  relayState?: string | undefined
  nameId: { value: string; format?: string | undefined }
  sessionIndexes: readonly string[]
}

/** A browser on its way from one application to the next, when its session has ended. */
interface Round {
  [member: string]: unknown
  asked?: Asked | undefined
  /** What is answered in the end. Undefined: nothing has ended yet. */
  codes?: readonly [StatusCode, StatusCode?] | undefined
  participants: readonly Participant[]
  /** How many of them have been sent a request. */
  told: number
  /** Where the browser goes in the end, unless an application asked. */
  returnTo?: string | undefined
}

const model = 'SamlLogout'
const roundMs = 300_000

/**
 * Single logout (SAML profiles section 4.4), by the browser: it carries a request to each application in turn, and the answer back.
 * The session has ended before the first of them is told, so that it does not matter to it how far the browser comes.
 */
export class SamlSingleLogout {
  readonly #parts: SamlParts

  constructor(parts: SamlParts) {
    this.#parts = parts
  }

  /**
   * For a session that has just ended.
   *
   * @returns where its browser is to go; undefined when no application has to be told
   */
  async begin(sessionId: string): Promise<string | undefined> {
    const participants = await this.#listParticipants(sessionId)
    if (participants.length === 0) return undefined
    return this.#urlOf(await this.#keep({ participants, told: 0, codes: ['success'] }))
  }

  /** @param url what `begin` gave @param returnTo where the browser would have gone without it */
  async returnTo(url: string, returnTo: string): Promise<void> {
    const id = new URL(url).searchParams.get('state')!
    const round = await this.#find(id)
    if (round) await this.#keep({ ...round, returnTo }, id)
  }

  /**
   * A logout request, or an answer to one of ours.
   *
   * @throws SamlError when it is not to be believed
   */
  async accept(
    message: ReceivedMessage,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<SamlAnswer> {
    const { urls, clock } = this.#parts
    const issuer = readIssuer(message.root)
    const compiled = this.#parts.snapshot().findApplicationByEntityId(issuer)
    if (!isSaml(compiled)) throw refuse(`no application has the entity ID ${issuer.slice(0, 200)}`)
    const { requestCertificates } = compiled.application.signOn
    const applicationId = compiled.application.id
    if (message.kind === 'response') {
      const root = verifyMessage(message, requestCertificates, requestCertificates.length > 0)
      const answer = parseLogoutResponse(root, urls.service, clock())
      return this.#takeAnswer(applicationId, answer)
    }
    if (!compiled.application.signOn.singleLogoutService)
      throw refuse('the application has no logout service for the answer')
    // Anybody could sign people out otherwise: a link would do.
    const root = verifyMessage(message, requestCertificates, true)
    const { id, nameId, sessionIndexes } = parseLogoutRequest(root, urls.service, clock())
    const asked = {
      applicationId,
      requestId: id,
      relayState: message.relayState,
      nameId,
      sessionIndexes,
    }
    const kept = await this.#keep({ asked, participants: [], told: 0 })
    // A form from another site comes without our cookie; the redirect to ourselves brings it.
    if (message.binding === 'post') return { kind: 'redirect', location: this.#urlOf(kept) }
    return this.next(kept, request, response)
  }

  /** Sends the browser to the next application, or to the end. */
  async next(id: string, request: IncomingMessage, response: ServerResponse): Promise<SamlAnswer> {
    const { portalOrigin, binding, clock } = this.#parts
    const found = await this.#find(id)
    // Whoever was told knows the ID of the round; what the next one calls the person is for this browser only.
    const isElsewhere = found && found.told > 0 && !(await binding.isBound(request, id))
    if (!found || isElsewhere)
      return { kind: 'page', body: signedOutPage({ signInUrl: `${portalOrigin}/` }) }
    const round = found.codes ? found : await this.#end(found, request, response)
    for (let told = round.told; told < round.participants.length; told += 1) {
      const participant = round.participants[told]!
      const compiled = this.#parts.snapshot().findApplicationById(participant.applicationId)
      // It may have been changed or removed meanwhile.
      if (!isSaml(compiled) || !compiled.application.signOn.singleLogoutService) continue
      if (round.told === 0) await binding.bind(request, response, id, clock() + roundMs)
      await this.#keep({ ...round, told: told + 1 }, id)
      return this.#tell(compiled, participant, `_${id}.${told + 1}`)
    }
    await oidcModel.deleteOidcModel(this.#parts.db, { model, id })
    if (round.asked) return this.#answer(round.asked, round.codes!)
    if (round.returnTo !== undefined) return { kind: 'redirect', location: round.returnTo }
    return { kind: 'page', body: signedOutPage({ signInUrl: `${portalOrigin}/` }) }
  }

  /** Ends the session that an application's request means, if it is this browser's. */
  async #end(round: Round, request: IncomingMessage, response: ServerResponse): Promise<Round> {
    const { db, provider, clock, endSession } = this.#parts
    const { applicationId, nameId, sessionIndexes } = round.asked!
    const sessionId = await findSessionId(provider, request, response)
    const isLive = sessionId !== undefined && (await sessions.isLiveSession(db, sessionId, clock()))
    // Whoever has signed out already is signed out.
    if (!isLive) return { ...round, codes: ['success'] }
    const told = await this.#listAll(sessionId)
    const own = told.find((one) => one.applicationId === applicationId)
    const isMeant =
      own !== undefined &&
      meansNameId({ nameId: { value: nameId.value, format: nameId.format } }, own.nameId) &&
      (sessionIndexes.length === 0 || sessionIndexes.includes(own.sessionIndex))
    if (!isMeant) return { ...round, codes: ['requester', 'unknownPrincipal'] }
    await endSession(sessionId, 'signed-out')
    const participants = this.#withService(told).filter((one) => one !== own)
    return { ...round, codes: ['success'], participants }
  }

  async #takeAnswer(
    applicationId: string,
    { inResponseTo, succeeded }: { inResponseTo: string | undefined; succeeded: boolean },
  ): Promise<SamlAnswer> {
    const [, id = '', told] = /^_([\w-]{43})\.(\d{1,4})$/.exec(inResponseTo ?? '') ?? []
    const round = await this.#find(id)
    const current = round?.participants[round.told - 1]
    if (!round || round.told !== Number(told) || current?.applicationId !== applicationId)
      throw refuse('the logout response answers nothing that was asked')
    if (!succeeded) await this.#keep({ ...round, codes: ['success', 'partialLogout'] }, id)
    return { kind: 'redirect', location: this.#urlOf(id) }
  }

  async #tell(
    compiled: SamlApplication,
    { nameId, sessionIndex }: Participant,
    id: string,
  ): Promise<SamlAnswer> {
    const { urls, clock } = this.#parts
    const { entityId, singleLogoutService } = compiled.application.signOn
    const { url } = singleLogoutService!
    const message = buildLogoutRequest(
      { issuer: urls.entityId, destination: url, nowAt: clock() },
      { id, nameId, sessionIndex, audience: entityId },
    )
    return this.#send(compiled, 'request', url, message, undefined)
  }

  async #answer(asked: Asked, codes: readonly [StatusCode, StatusCode?]): Promise<SamlAnswer> {
    const { urls, clock, snapshot, portalOrigin } = this.#parts
    const compiled = snapshot().findApplicationById(asked.applicationId)
    const service = isSaml(compiled) && compiled.application.signOn.singleLogoutService
    if (!isSaml(compiled) || !service)
      return { kind: 'page', body: signedOutPage({ signInUrl: `${portalOrigin}/` }) }
    const destination = service.responseUrl ?? service.url
    const message = buildLogoutResponse(
      { issuer: urls.entityId, destination, nowAt: clock() },
      asked.requestId,
      codes,
    )
    return this.#send(compiled, 'response', destination, message, asked.relayState)
  }

  /** By the binding that the application wants; always signed. */
  async #send(
    compiled: SamlApplication,
    kind: 'request' | 'response',
    destination: string,
    message: Xml,
    relayState: string | undefined,
  ): Promise<SamlAnswer> {
    const { db, open, logoutPasses } = this.#parts
    const { application } = compiled
    const key = await readSigningKey(db, open, application.id)
    const url = toExternalUrl(compiled, destination)
    if (application.signOn.singleLogoutService!.binding === 'redirect')
      return {
        kind: 'redirect',
        location: logoutPasses.issue({
          applicationId: application.id,
          method: 'GET',
          url: toRedirectUrl(url, kind, message, relayState, key),
        }),
      }
    const name = kind === 'request' ? 'SAMLRequest' : 'SAMLResponse'
    const fields = {
      [name]: encode(signXml(message, key)),
      ...(relayState === undefined ? {} : { RelayState: relayState }),
    }
    const delivery = { applicationId: application.id, method: 'POST', url } as const
    return {
      kind: 'page',
      formAction: 'any',
      body: messageFormPage({
        purpose: 'sign-out',
        applicationName: application.displayName,
        actionUrl: logoutPasses.issue(delivery, toFormBody(fields)),
        fields,
      }),
    }
  }

  async #listParticipants(sessionId: string): Promise<Participant[]> {
    return this.#withService(await this.#listAll(sessionId))
  }

  async #listAll(sessionId: string): Promise<Participant[]> {
    const rows = await saml.listSamlSessions(this.#parts.db, sessionId)
    return rows.map(({ applicationId, sessionIndex, nameId, nameIdFormat }) => ({
      applicationId,
      sessionIndex,
      nameId: { value: nameId, format: nameIdFormat as NameId['format'] },
    }))
  }

  #withService(participants: readonly Participant[]): Participant[] {
    const { snapshot } = this.#parts
    return participants.filter(({ applicationId }) => {
      const compiled = snapshot().findApplicationById(applicationId)
      return isSaml(compiled) && compiled.application.signOn.singleLogoutService !== undefined
    })
  }

  #urlOf(id: string): string {
    return `${this.#parts.urls.logout}?state=${id}`
  }

  async #find(id: string): Promise<Round | undefined> {
    return (await oidcModel.findOidcModel(this.#parts.db, { model, id })) as Round | undefined
  }

  async #keep(round: Round, known?: string): Promise<string> {
    const { db, clock } = this.#parts
    const id = known ?? randomBytes(32).toString('base64url')
    await oidcModel.saveOidcModel(db, { model, id }, round, clock() + roundMs)
    return id
  }
}

/** What a browser makes of a form with these fields. */
function toFormBody(fields: Readonly<Record<string, string>>): string {
  return new URLSearchParams(
    Object.entries(fields).map(([name, value]): [string, string] => [
      name,
      value.replace(/\r\n?|\n/g, '\r\n'),
    ]),
  ).toString()
}

function refuse(message: string): SamlError {
  return new SamlError('SAML_MESSAGE_INVALID', message)
}
