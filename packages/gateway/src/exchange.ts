import {
  type CompiledApplication,
  type Decision,
  isReservedTarget,
  type Match,
  PORTAL_APPLICATION_ID,
  parseTarget,
  type RequestTarget,
  type Session,
  type SignInReason,
  splitLogoutPass,
} from '@sallyport/domain'
import {
  type FieldList,
  parseFields,
  type ResponseHead,
  type ServerExchange,
} from '@sallyport/http1'
import { ResetCode, type TunnelError, type TunnelStream } from '@sallyport/protocol'
import { type AccessRecord, recordedPath } from './access-record.ts'
import { Activity } from './activity.ts'
import { bodyLengthOf, sendInformational, toAnswerLines } from './answer-head.ts'
import { answerFailure, answerFromPortal, answerSignIn } from './answers.ts'
import type { SignOnAssertion } from './assertions.ts'
import type { Client } from './client.ts'
import { receiveBody, toOriginTrailers } from './client-body.ts'
import type { ClientFields } from './client-fields.ts'
import { decideOpen, decideRequest } from './deciding.ts'
import {
  answerOfCodec,
  connectorFailed,
  describeError,
  failureOf,
  RequestError,
  refusal,
  toRequestError,
} from './failures.ts'
import type { Gateway } from './gateway.ts'
import { toExternalHost } from './host.ts'
import { receiveLogout } from './logout-delivery.ts'
import { writeOriginHead } from './origin-head.ts'
import { isCredentialRefused, refuseCredential } from './refused-credential.ts'
import { checkMethod, checkServerName } from './request-checks.ts'
import { askIdentity, joinAnswer, readClaims, readSessionCookie } from './request-session.ts'
import { RequestSignOn } from './request-sign-on.ts'
import { handleReserved } from './reserved.ts'
import { isToReseal, type SessionFacts, sessionFields } from './session-cookie.ts'
import { noteRefused, type Opening, openOriginStream } from './stream-opening.ts'
import { readTiming, type Translation, toClientFields, toClientTrailers } from './to-client.ts'
import type { Trace } from './trace.ts'
import type { ConnectedTunnel } from './tunnels.ts'
import type { Destination } from './view.ts'
import { abortWhenSent, forgetRequest, isWebSocket } from './websocket.ts'

/** More 1xx answers to one request than any server has a use for. */
const limitInformational = 32

/**
 * How far it has come. `waiting`: for the head of the answer, from identity or from the origin. `answering`: the head has
 * gone out. `pipe`: a WebSocket, bytes both ways. `ended`: recorded.
 */
type Phase = 'waiting' | 'answering' | 'pipe' | 'ended'

/**
 * One request from its head to its access record: matched, decided, relayed or answered. Its methods are called
 * from a connection and from a tunnel, whose loops serve others too: none of them throws.
 */
export class Exchange implements Opening, Translation {
  readonly gateway: Gateway
  readonly server: ServerExchange
  readonly client: Client
  readonly id: string
  /** Epoch milliseconds. */
  readonly at: number
  readonly #startedMs: number
  readonly #trace: Trace | undefined
  clientAddress: string
  host = ''
  #fields: ClientFields | undefined
  target: RequestTarget | undefined
  match: Match | undefined
  session: Session | undefined
  decision: AccessRecord['decision'] = 'none'
  reason: string | undefined
  detail: string | undefined
  refused: Set<ConnectedTunnel> | undefined
  tunnel: ConnectedTunnel | undefined
  /** Kept by `OpenExchanges`. */
  openAt = -1
  /** When the session was last read, for streams that stay open; epoch milliseconds, 0 when it is to be read again. */
  checkedAt = 0
  /** It is a message of sign-out that has shown its pass. */
  #deliversLogout = false
  /** Of a request whose body had to be looked at first. */
  #body: Buffer | undefined
  /** A session cookie to set with the answer. */
  #setCookie: string | undefined
  #signOn: RequestSignOn | undefined
  #phase: Phase = 'waiting'
  #destination: Destination | undefined
  #stream: TunnelStream | undefined
  /** Head of a request that no connector has accepted yet, and that another one may get. */
  #unaccepted: { head: string; assertion: SignOnAssertion | null } | undefined
  /** What the connector has of the person. */
  #credential: SignOnAssertion['credential']
  /** It asks for a WebSocket, and the origin has not said no. */
  #upgrade = false
  #receiving = false
  /** Of a pipe. */
  #activity: Activity | undefined
  /** Of a pipe: the origin has closed its half. */
  #responseEnded = false
  #requestEnded = false
  #informational = 0
  #statusCode = 0
  #expectedBytes: number | undefined
  #receivedBytes = 0
  #sentBytes = 0
  #headMs = 0
  #connectorMs: number | undefined
  #originMs: number | undefined

  constructor(gateway: Gateway, server: ServerExchange, client: Client) {
    this.gateway = gateway
    this.server = server
    this.client = client
    this.id = gateway.nextId()
    this.#startedMs = performance.now()
    this.at = gateway.options.clock()
    this.#trace = gateway.options.tracing?.begin(
      this.at,
      client.isTrusted ? server.request.fields : undefined,
    )
    this.clientAddress = client.peerAddress
    server.onClose = (error) => this.clientLeft(error)
  }

  /** `https://host[:port]` that the client asked for. */
  get externalOrigin(): string {
    return `https://${toExternalHost(this.host, this.gateway.options.port)}`
  }

  get internalOrigin(): string {
    return this.#destination!.origin
  }

  /** The application that was found; only after that. */
  get compiled(): CompiledApplication {
    return this.match!.compiled
  }

  /** Whether it is, or asks to be, a WebSocket. */
  get upgraded(): boolean {
    return this.#upgrade
  }

  get #isEnded(): boolean {
    return this.#phase === 'ended'
  }

  handle(): void {
    try {
      this.#begin()
    } catch (error) {
      this.fail(error)
    }
  }

  // --- deciding

  #begin(): void {
    const { gateway, client } = this
    const { method, target, fields } = this.server.request
    const known = client.fields(fields)
    this.#fields = known
    this.host = known.host
    checkServerName(client, this.host)
    this.clientAddress = known.clientAddress
    this.target = parseTarget(target)
    checkMethod(method)
    if (!isReservedTarget(this.target)) {
      this.#route()
      return
    }
    if (!gateway.view().isServed(this.host)) {
      this.#decide(undefined, 'session-missing')
      return
    }
    this.decision = 'reserved'
    this.#whenDone(handleReserved(this))
  }

  #route(): void {
    this.match = this.gateway.view().findApplication(this.host, this.target!)
    const split =
      this.match?.compiled.application.signOn.method === 'saml'
        ? splitLogoutPass(this.target!.query)
        : undefined
    if (split) this.#deliverLogout(split)
    else this.#routeBySession()
  }

  /** A message of sign-out that identity has sent on its way needs no session, and takes nothing of one along. */
  #deliverLogout({ query, pass }: { query: string; pass: string }): void {
    // No application hears of the pass: it is no part of what was signed.
    this.target = { ...this.target!, query }
    const { id } = this.compiled.application
    const isDelivery = receiveLogout(this, pass, (isOurs, body) => {
      if (this.#isEnded) return
      try {
        this.#body = body
        // The configuration may have changed while the body came, and the pass is for the application that was there.
        this.match = this.gateway.view().findApplication(this.host, this.target!)
        this.#deliversLogout = isOurs && this.match?.compiled.application.id === id
        if (this.#deliversLogout) this.#decide(undefined, 'session-missing')
        else this.#routeBySession()
      } catch (error) {
        this.fail(error)
      }
    })
    if (!isDelivery) this.#routeBySession()
  }

  #routeBySession(): void {
    const { gateway, match } = this
    if (match?.compiled.application.preAuthentication !== 'identity') {
      this.#decide(undefined, 'session-missing')
      return
    }
    const idleLimitMs = gateway.view().idleLimitOf(match.compiled)
    const facts = readSessionCookie(this, this.#fields!.cookie, idleLimitMs)
    if (typeof facts === 'string') {
      this.#decide(undefined, facts)
      return
    }
    const session = gateway.sessions.find(facts)
    // An old cookie is sealed again, which asks identity and not a cache.
    if (session && !isToReseal(facts, idleLimitMs, this.at))
      this.#decide(session, 'session-missing')
    else this.#whenDone(this.#readSession(facts))
  }

  async #readSession(facts: SessionFacts): Promise<void> {
    const { gateway } = this
    const found = await askIdentity(this, facts)
    if (this.#isEnded) return
    // The configuration may have changed meanwhile.
    this.match = gateway.view().findApplication(this.host, this.target!)
    const session = joinAnswer(this, facts, found)
    const idleLimitMs = this.match && gateway.view().idleLimitOf(this.match.compiled)
    if (found && session && isToReseal(facts, idleLimitMs, this.at))
      this.#setCookie = gateway.sessionCookie(found, this.host).setCookie
    this.#decide(session, 'session-ended')
  }

  /** @param sessionReason why there is no session, if there is none */
  #decide(session: Session | undefined, sessionReason: SignInReason): void {
    // Whoever uses an application without sign-in is nobody to it, also when it has just become one.
    this.session =
      this.match?.compiled.application.preAuthentication === 'identity' ? session : undefined
    this.#decided(decideRequest(this, sessionReason, this.#deliversLogout))
  }

  #decided(decision: Decision): void {
    if (decision.kind !== 'allow') {
      this.#refuse(decision)
      return
    }
    this.decision = 'allow'
    const { compiled } = decision
    if (compiled.application.id === PORTAL_APPLICATION_ID) this.#whenDone(answerFromPortal(this))
    else this.#relay(compiled)
  }

  #refuse(decision: Exclude<Decision, { kind: 'allow' }>): void {
    this.decision = decision.kind
    this.reason = decision.reason
    if (decision.kind === 'sign-in') answerSignIn(this, decision.compiled)
    else throw refusal(decision.reason)
  }

  /** Decides an open exchange again. One that is not allowed any more ends. @param nowAt epoch milliseconds */
  decideAgain(nowAt: number): void {
    if (this.#isEnded) return
    const decision = decideOpen(this, this.#deliversLogout, nowAt)
    if (decision.kind !== 'allow') this.#endBy(decision)
  }

  /** For how long the client has sent nothing into an open WebSocket, milliseconds; 0 for anything else. */
  idleMs(nowAt: number): number {
    return this.#phase === 'pipe' ? this.#activity!.idleMs(this.#receivedBytes, nowAt) : 0
  }

  /** Ends an open exchange, whose person has done nothing for longer than the application allows. */
  endIdle(): void {
    this.#endBy({ kind: 'sign-in', compiled: this.compiled, reason: 'session-idle' })
  }

  #endBy(decision: Exclude<Decision, { kind: 'allow' }>): void {
    this.#stream?.reset(ResetCode.CANCELLED, decision.reason)
    this.#stream = undefined
    try {
      if (this.#phase === 'waiting') {
        this.#refuse(decision)
        return
      }
    } catch (error) {
      this.fail(error)
      return
    }
    this.reason = decision.reason
    this.#abort()
    this.finish(this.#statusCode)
  }

  // --- to the connector

  #relay(compiled: CompiledApplication): void {
    const { gateway, server } = this
    const { request, framing } = server
    const destination = gateway.view().destination(this.match!)
    this.#destination = destination
    this.#signOn ??= new RequestSignOn(gateway)
    const signOn = this.#signOn.find(this.session, this.match!, destination)
    if (!signOn) {
      this.#whenDone(this.#askForSignOn(destination))
      return
    }
    this.#upgrade = server.upgradeRequested && isWebSocket(request.method, request.fields)
    const fields = this.#fields!
    if (!fields.expectsNothingElse)
      throw new RequestError('EXPECTATION_FAILED', 'Expect is not 100-continue')
    const head = writeOriginHead(this, compiled, fields, destination, signOn)
    const hasBody = framing.kind === 'chunked' || (framing.kind === 'length' && framing.length > 0)
    this.#requestEnded = !this.#upgrade && !hasBody
    this.checkedAt = this.at
    gateway.open.add(this)
    this.#openStream(head + (this.#trace?.originLines ?? ''), signOn.forConnector)
  }

  async #askForSignOn(destination: Destination): Promise<void> {
    const { sessions } = this.gateway
    const session = this.session!
    if (!(await this.#signOn!.read(session, this.match!, destination)))
      sessions.noteEnded(session.sessionId, this.at)
    // The event came while nobody looked through this exchange: it is not open yet.
    const isStale = !sessions.hasEnded(session) && !sessions.isCurrent(session)
    const current = isStale ? await readClaims(this, session) : session
    if (this.#isEnded) return
    // Meanwhile access may have ended, or the configuration changed.
    this.match = this.gateway.view().findApplication(this.host, this.target!)
    this.#decide(sessions.hasEnded(current) ? undefined : current, 'session-ended')
  }

  /** @throws RequestError when no connector is left that has not refused */
  #openStream(head: string, assertion: SignOnAssertion | null): void {
    this.#credential = assertion?.credential
    this.#stream = openOriginStream(this, this.#destination!, assertion)
    this.#unaccepted = { head, assertion }
    this.#stream.sendHead(head, this.#requestEnded)
  }

  // --- from the connector

  onAccepted(): void {
    this.#unaccepted = undefined
    if (this.#requestEnded || this.#upgrade) return
    if (this.#body) this.#sendWhole(this.#body)
    else this.#receive()
  }

  onHead(text: string, end: boolean): void {
    try {
      this.#takeHead(text, end)
    } catch (error) {
      this.fail(error)
    }
  }

  #takeHead(text: string, end: boolean): void {
    if (this.#phase !== 'waiting') throw connectorFailed('connector sent a second response head')
    const timing = readTiming(text)
    const head = this.client.responses.readResponse(text, timing?.end)
    if (head.statusCode < 200 && head.statusCode !== 101) {
      if (end) throw connectorFailed('connector ended the stream without a response')
      this.#informational += 1
      if (this.#informational > limitInformational)
        throw new RequestError('ORIGIN_RESPONSE_INVALID', 'origin sends 1xx without end')
      sendInformational(this, head)
      return
    }
    this.#headMs = performance.now() - this.#startedMs
    if (timing) {
      this.#originMs = timing.firstByteMs
      this.#connectorMs = timing.connectorMs
    }
    if (head.statusCode === 101) this.#switchProtocols(head, end)
    else this.#beginAnswer(head, end)
  }

  #switchProtocols({ statusCode, reason, fields }: ResponseHead, end: boolean): void {
    if (!this.#upgrade || end)
      throw new RequestError('ORIGIN_RESPONSE_INVALID', 'origin switched protocols unasked')
    const kept = [...toClientFields(fields, this), ...sessionFields(this.#setCookie)]
    kept.push('Upgrade', 'websocket')
    this.#statusCode = statusCode
    this.server.sendHead({ statusCode, reason, fields: kept })
    this.#becomePipe()
  }

  #beginAnswer(head: ResponseHead, end: boolean): void {
    const { statusCode, reason } = head
    const lines = toAnswerLines(head, this, this.#destination!, sessionFields(this.#setCookie))
    this.#expectedBytes = bodyLengthOf(this, statusCode, lines)
    if (end && (this.#expectedBytes ?? 0) > 0)
      throw connectorFailed('connector ended the stream before the body')
    this.#statusCode = statusCode
    this.server.sendHead({ statusCode, reason, fields: lines }, { end })
    this.#phase = 'answering'
    if (this.#upgrade) {
      // The origin answered instead of switching: there is no pipe, only an answer.
      this.#upgrade = false
      this.#requestEnded = true
      this.#stream!.end()
    }
    if (end) this.#responseComplete()
  }

  /** It may idle for days: what was needed for its request only is let go. */
  #becomePipe(): void {
    this.#phase = 'pipe'
    this.#activity = new Activity(this.gateway.options.clock())
    this.refused = undefined
    this.#setCookie = undefined
    this.#signOn = undefined
    this.#fields = undefined
    this.target = forgetRequest(this)
    this.#receive()
  }

  onData(chunk: Buffer): void {
    try {
      if (this.#phase === 'waiting') throw connectorFailed('connector sent data before a head')
      this.#sentBytes += chunk.length
      if (this.#expectedBytes !== undefined && this.#sentBytes > this.#expectedBytes)
        throw connectorFailed('connector sent more than the response holds')
      if (this.server.write(chunk)) return
      this.server.onDrain ??= () => this.#stream?.resume()
      this.#stream?.pause()
    } catch (error) {
      this.fail(error)
    }
  }

  onEnd(trailers: string | undefined): void {
    try {
      if (this.#phase === 'pipe') {
        this.#responseEnded = true
        this.server.end()
        if (this.#requestEnded) this.finish(101)
        return
      }
      if (this.#phase === 'waiting')
        throw connectorFailed('connector ended the stream without a response')
      if (this.#expectedBytes !== undefined && this.#sentBytes < this.#expectedBytes)
        throw connectorFailed('connector ended the stream before the body')
      this.server.end(undefined, trailers ? toClientTrailers(parseFields(trailers)) : undefined)
      this.#responseComplete()
    } catch (error) {
      this.fail(error)
    }
  }

  #responseComplete(): void {
    // An answer that came before the whole request: the rest of the request is of no use.
    if (!this.#requestEnded) this.#stream!.reset(ResetCode.CANCELLED, 'response is complete')
    this.finish(this.#statusCode)
  }

  onWritable(): void {
    if (this.#receiving) this.server.resume()
  }

  onReset(error: TunnelError): void {
    if (this.#isEnded) return
    this.#stream = undefined
    try {
      const again = this.#unaccepted
      if (error.retryable && again) {
        noteRefused(this)
        this.#openStream(again.head, again.assertion)
      } else if (error.resetCode === ResetCode.NO_ERROR && this.#responseEnded) {
        // The origin has gone after all that it sent: the client still gets that, and nobody hears the client any more.
        abortWhenSent(this.server)
        this.finish(101)
      } else if (this.#credential && isCredentialRefused(error))
        this.#whenDone(refuseCredential(this.gateway, this.#credential, error.detail!))
      else throw new RequestError(failureOf(error), error.detail ?? error.message)
    } catch (failure) {
      this.fail(failure)
    }
  }

  // --- from the client

  #receive(): void {
    if (this.#receiving) return
    this.#receiving = true
    receiveBody(this)
  }

  #sendWhole(body: Buffer): void {
    this.#receivedBytes = body.length
    this.#requestEnded = true
    this.#stream!.write(body)
    this.#stream!.end()
  }

  takeClientData(chunk: Buffer): void {
    try {
      this.#receivedBytes += chunk.length
      if (this.#stream && !this.#stream.write(chunk)) this.server.pause()
    } catch (error) {
      this.fail(error)
    }
  }

  takeClientEnd(trailers: FieldList): void {
    try {
      this.#requestEnded = true
      const kept = trailers.length > 0 ? toOriginTrailers(trailers, this) : undefined
      this.#stream?.end(kept)
      if (this.#phase === 'pipe' && this.#responseEnded) this.finish(101)
    } catch (error) {
      this.fail(error)
    }
  }

  /**
   * The client has gone, or its connection has failed.
   *
   * @param error of the codec; one that the codec answers by itself names the answer
   */
  clientLeft(error?: Error): void {
    if (this.#isEnded) return
    this.#stream?.reset(ResetCode.CANCELLED, 'client left')
    const answered = error && answerOfCodec(error)
    this.reason = answered?.reason ?? this.reason ?? 'client-left'
    this.detail = answered?.detail ?? this.detail
    this.finish(this.#statusCode || (answered?.statusCode ?? 499))
  }

  // --- endings

  /** Ends what is under way because the service stops. */
  abandon(): void {
    if (this.#isEnded) return
    this.#stream?.reset(ResetCode.CANCELLED, 'service stops')
    this.reason = 'service-stopped'
    this.#abort()
    this.finish(this.#statusCode || 503)
  }

  /** Ends with one of our own answers. */
  answer(statusCode: number, fields: FieldList, body: string | Buffer): void {
    if (this.#phase !== 'waiting') return
    const bytes = typeof body === 'string' ? Buffer.from(body) : body
    const all = [...fields, 'Content-Length', String(bytes.length)]
    if (this.#setCookie !== undefined) all.push('Set-Cookie', this.#setCookie)
    this.server.sendHead({ statusCode, fields: all })
    this.#phase = 'answering'
    this.#statusCode = statusCode
    if (this.server.request.method !== 'HEAD') this.#sentBytes = bytes.length
    this.server.end(bytes)
    this.finish(statusCode)
  }

  /** The one error exit. */
  fail(error: unknown): void {
    if (this.#isEnded) return
    const failure = toRequestError(error)
    this.reason ??= failure.reason ?? failure.code
    if (failure.reason && this.decision === 'none') this.decision = 'deny'
    this.detail ??= describeError(failure)
    if (failure.code === 'INTERNAL') this.gateway.options.onInternalError(error, this.id)
    this.#stream?.reset(ResetCode.CANCELLED, failure.code)
    this.#stream = undefined
    if (!this.server.headSent) {
      try {
        answerFailure(this, failure.code)
        return
      } catch (second) {
        this.gateway.options.onInternalError(second, this.id)
      }
    }
    this.#abort()
    this.finish(this.#statusCode || 500)
  }

  /** What still waits for the client never leaves; of what the system has taken nobody knows how far it comes. */
  #abort(): void {
    const { writableLength } = this.server.connection.socket
    this.#sentBytes = Math.max(0, this.#sentBytes - writableLength)
    this.server.abort()
  }

  #whenDone(work: Promise<void>): void {
    work.catch((error: unknown) => this.fail(error))
  }

  finish(statusCode: number): void {
    if (this.#isEnded) return
    this.#phase = 'ended'
    this.gateway.release(this)
    const application = this.match?.compiled.application
    const connectorMs = this.#connectorMs
    const record: AccessRecord = {
      at: this.at,
      id: this.id,
      host: this.host,
      method: this.server.request.method,
      path: this.target?.path ?? recordedPath(this.server.request.target),
      statusCode,
      decision: this.decision,
      reason: this.reason,
      application: application?.name,
      applicationId: application?.id,
      userId: this.session?.userId,
      userName: this.session?.claims.userName,
      sessionId: this.session?.sessionId,
      connector: this.tunnel?.connectorName,
      clientAddress: this.clientAddress,
      receivedBytes: this.#receivedBytes,
      sentBytes: this.#sentBytes,
      totalMs: performance.now() - this.#startedMs,
      gatewayMs: connectorMs === undefined ? undefined : Math.max(0, this.#headMs - connectorMs),
      connectorMs,
      originMs: this.#originMs,
      detail: this.detail,
    }
    this.gateway.options.record(record)
    this.#trace?.end(record)
  }
}
