import { createHash } from 'node:crypto'
import {
  type CompiledApplication,
  type Decision,
  decide,
  type IdentitySession,
  isReservedTarget,
  type Match,
  PORTAL_APPLICATION_ID,
  parseTarget,
  type RequestTarget,
  type Session,
  type SignInReason,
  splitLogoutPass,
  TargetError,
  toInternalPath,
} from '@sallyport/domain'
import {
  type FieldList,
  formatFields,
  formatResponseLines,
  parseFields,
  type ResponseHead,
  type ResponseLines,
  type ServerExchange,
} from '@sallyport/http1'
import { ResetCode, type TunnelError, type TunnelStream } from '@sallyport/protocol'
import type { AccessRecord } from './access-record.ts'
import { answerFailure, answerSignIn } from './answers.ts'
import type { SignOnAssertion } from './assertions.ts'
import type { Client } from './client.ts'
import { ClientBody, WholeBody } from './client-body.ts'
import type { ClientFields } from './client-fields.ts'
import {
  describeError,
  failureOf,
  RequestError,
  reasonFailures,
  toRequestError,
} from './failures.ts'
import { copyText } from './field-names.ts'
import type { Gateway } from './gateway.ts'
import { toExternalHost } from './host.ts'
import { takeLogoutPass } from './logout-delivery.ts'
import type { Pin } from './pinned-connections.ts'
import { RequestSignOn } from './request-sign-on.ts'
import { handleReserved } from './reserved.ts'
import { resealAfterMs, type SessionFacts } from './session-cookie.ts'
import { noConnector, noteRefused, type Opening, openStream } from './stream-opening.ts'
import {
  readTiming,
  type Translation,
  toClientFields,
  toClientTrailers,
  toInformationalFields,
} from './to-client.ts'
import { toOpenText, toOriginLines } from './to-origin.ts'
import type { Trace } from './trace.ts'
import type { ConnectedTunnel } from './tunnels.ts'
import type { Destination } from './view.ts'
import { isWebSocket } from './websocket.ts'

const limitTrailerBytes = 65_536
/** An application may take so long to answer a message of sign-out. */
const logoutDeliveryMs = 60_000
/** More 1xx answers to one request than any server has a use for. */
const limitInformational = 32
/** Of a path in the access record, for a target that was no path to us. */
const limitRecordedPath = 1_024

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
  #tunnel: ConnectedTunnel | undefined
  #stream: TunnelStream | undefined
  /** Head of a request that no connector has accepted yet, and that another one may get. */
  #unaccepted: { head: string; assertion: SignOnAssertion | null } | undefined
  /** What the connector has of the person. */
  #credential: SignOnAssertion['credential']
  /** It asks for a WebSocket, and the origin has not said no. */
  #upgrade = false
  #receiving = false
  /** Of a pipe: the origin has closed its half. */
  #responseEnded = false
  #requestEnded = false
  #informational = 0
  #statusCode = 0
  #expectedBytes: number | undefined
  #receivedBytes = 0
  /** Of these, what was there when somebody last looked, and when that was more than before; epoch milliseconds. */
  #seenBytes = 0
  #activeAt = 0
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
    if (client.serverName !== undefined && client.serverName !== this.host)
      throw new RequestError(
        'HOST_MISMATCH',
        'Host differs from the server name of the handshake',
        { reason: 'host-mismatch' },
      )
    this.clientAddress = known.clientAddress
    this.target = parseTarget(target)
    checkMethod(method)
    if (!isReservedTarget(this.target)) {
      this.#route()
      return
    }
    if (!gateway.view().isServed(this.host)) {
      this.#decided(decide(undefined, undefined, this.#signals('session-missing')))
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

  /**
   * A message of sign-out that was sent on its way by identity needs no session, and takes nothing of one along. Whatever else
   * shows a pass is a request as any other.
   */
  #deliverLogout({ query, pass }: { query: string; pass: string }): void {
    // No application hears of the pass: it is no part of what was signed.
    this.target = { ...this.target!, query }
    const bodyDigest = takeLogoutPass(this, pass)
    if (bodyDigest === undefined) this.#routeBySession()
    else if (this.server.request.method === 'GET') this.#decideDelivery(true)
    else
      this.server.receive(
        new WholeBody(this, (body) => {
          this.#body = body
          this.#decideDelivery(createHash('sha256').update(body).digest('base64url') === bodyDigest)
        }),
      )
  }

  #decideDelivery(isOurs: boolean): void {
    try {
      if (this.#isEnded) return
      // The configuration may have changed while the body came, and the pass is for the application that was there.
      const { id } = this.compiled.application
      this.match = this.gateway.view().findApplication(this.host, this.target!)
      this.#deliversLogout = isOurs && this.match?.compiled.application.id === id
      if (this.#deliversLogout) this.#decide(undefined, 'session-missing')
      else this.#routeBySession()
    } catch (error) {
      this.fail(error)
    }
  }

  #routeBySession(): void {
    const { gateway } = this
    const view = gateway.view()
    if (this.match?.compiled.application.preAuthentication !== 'identity') {
      this.#decide(undefined, 'session-missing')
      return
    }
    const facts = this.#readCookie()
    if (typeof facts === 'string') {
      this.#decide(undefined, facts)
      return
    }
    const idleLimitMs = view.idleLimitOf(this.match.compiled)
    if (gateway.isIdle(facts, this.host, this.at, idleLimitMs)) {
      this.#decide(undefined, 'session-idle')
      return
    }
    const session = gateway.sessions.find(facts)
    // An old cookie is sealed again, which asks identity and not a cache.
    if (session && this.at - facts.sealedAt < resealAfterMs(idleLimitMs))
      this.#decide(session, 'session-missing')
    else this.#whenDone(this.#readSession(facts))
  }

  /** @returns what the cookie says, or why there is no session */
  #readCookie(): SessionFacts | SignInReason {
    const { gateway } = this
    const { cookie } = this.#fields!
    if (cookie === undefined) return 'session-missing'
    const facts = cookie === null ? undefined : gateway.sessionCookies.open(cookie, this.host)
    if (!facts) return 'session-invalid'
    if (this.at >= facts.expiresAt || this.at >= facts.absoluteExpiresAt) return 'session-expired'
    // A cookie from the future was sealed by a clock that nobody can rely on.
    if (facts.sealedAt > this.at + 300_000) return 'session-invalid'
    return gateway.sessions.hasEnded(facts) ? 'session-ended' : facts
  }

  async #readSession(facts: SessionFacts): Promise<void> {
    const { gateway } = this
    const found = await this.#askIdentity(facts)
    if (this.#isEnded) return
    // The configuration may have changed meanwhile.
    this.match = gateway.view().findApplication(this.host, this.target!)
    if (found?.signInEpoch !== facts.signInEpoch)
      gateway.sessions.noteEnded(facts.sessionId, this.at)
    if (!found || gateway.sessions.hasEnded(facts)) {
      this.#decide(undefined, 'session-ended')
      return
    }
    const idleLimitMs = this.match && gateway.view().idleLimitOf(this.match.compiled)
    if (this.at - facts.sealedAt >= resealAfterMs(idleLimitMs))
      this.#setCookie = gateway.sessionCookie(found, this.host).setCookie
    this.#decide(
      gateway.sessions.find(facts) ?? gateway.sessions.join(facts, found),
      'session-missing',
    )
  }

  #signals(sessionReason: SignInReason) {
    return {
      nowAt: this.at,
      sessionReason,
      deliversLogout: this.#deliversLogout,
      feedIsSilent: this.gateway.feed.isSilent(),
    }
  }

  /** @param sessionReason why there is no session, if there is none */
  #decide(session: Session | undefined, sessionReason: SignInReason): void {
    const compiled = this.match?.compiled
    // Whoever uses an application without sign-in is nobody to it, also when it has just become one.
    this.session = compiled?.application.preAuthentication === 'identity' ? session : undefined
    this.#decided(decide(compiled, this.session, this.#signals(sessionReason)))
  }

  #decided(decision: Decision): void {
    if (decision.kind !== 'allow') {
      this.#refuse(decision)
      return
    }
    this.decision = 'allow'
    const { compiled } = decision
    if (compiled.application.id === PORTAL_APPLICATION_ID) this.#whenDone(this.#answerLocally())
    else this.#relay(compiled)
  }

  #refuse(decision: Exclude<Decision, { kind: 'allow' }>): void {
    this.decision = decision.kind
    this.reason = decision.reason
    if (decision.kind === 'sign-in') answerSignIn(this, decision.compiled)
    else
      throw new RequestError(reasonFailures[decision.reason], decision.reason, {
        reason: decision.reason,
      })
  }

  /**
   * Decides an open exchange again, as if its request came now: by the configuration in force, and by the session
   * instead of the cookie that it began with. One that is not allowed any more ends.
   *
   * @param nowAt epoch milliseconds
   */
  decideAgain(nowAt: number): void {
    if (this.#isEnded) return
    const { session } = this
    const ended = session && this.gateway.sessions.hasEnded(session)
    const decision = decide(
      this.#findAgain(),
      session && !ended ? { ...session, expiresAt: session.absoluteExpiresAt } : undefined,
      {
        nowAt,
        sessionReason: session ? 'session-ended' : 'session-missing',
        deliversLogout: this.#deliversLogout && nowAt - this.at < logoutDeliveryMs,
        feedIsSilent: this.gateway.feed.isSilent(),
      },
    )
    if (decision.kind !== 'allow') this.#endBy(decision)
  }

  /**
   * For how long the client has sent nothing into an open WebSocket, milliseconds; 0 for anything else. As far as
   * somebody looks: what was sent since the last time counts as sent now.
   */
  idleMs(nowAt: number): number {
    if (this.#phase !== 'pipe') return 0
    if (this.#seenBytes !== this.#receivedBytes) {
      this.#seenBytes = this.#receivedBytes
      this.#activeAt = nowAt
    }
    return nowAt - this.#activeAt
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
    this.server.abort()
    this.finish(this.#statusCode)
  }

  /** The application as it is now; undefined when the request would find another one, or none. */
  #findAgain(): CompiledApplication | undefined {
    try {
      const compiled = this.gateway.view().findApplication(this.host, this.target!)?.compiled
      return compiled?.application.id === this.compiled.application.id ? compiled : undefined
    } catch (error) {
      if (error instanceof TargetError) return undefined
      throw error
    }
  }

  // --- to the connector

  #relay(compiled: CompiledApplication): void {
    const { gateway, server } = this
    const { request, framing } = server
    const { application } = compiled
    const view = gateway.view()
    const destination = view.destination(this.match!)
    this.#destination = destination
    this.#signOn ??= new RequestSignOn(gateway)
    const signOn = this.#signOn.find(this.session, this.match!, destination)
    if (!signOn) {
      this.#whenDone(this.#askForSignOn(destination))
      return
    }
    const { lines: signOnLines, assertionLine, forConnector } = signOn
    this.#upgrade = server.upgradeRequested && isWebSocket(request.method, request.fields)
    const fields = this.#fields!
    if (!fields.expectsNothingElse)
      throw new RequestError('EXPECTATION_FAILED', 'Expect is not 100-continue')
    const hasBody = framing.kind === 'chunked' || (framing.kind === 'length' && framing.length > 0)
    const key = { destination, upgrade: this.#upgrade, signOnLines, assertionLine }
    const lines = fields.originLines(key, () =>
      toOriginLines(
        {
          fields: request.fields,
          host:
            application.hostHeader === 'external'
              ? toExternalHost(this.host, gateway.options.port)
              : destination.host,
          forwarded: fields.forwarded,
          peerAddress: this.client.peerAddress,
          forwardedFor: application.forwardedFor,
          framingLine:
            framing.kind === 'length'
              ? `\r\nContent-Length: ${framing.length}`
              : framing.kind === 'chunked'
                ? '\r\nTransfer-Encoding: chunked'
                : '',
          upgrade: key.upgrade,
          expectContinue: server.expectsContinue,
          dropsAuthorization: forConnector !== null,
          signOnLines,
          assertionLine,
        },
        view.fieldFilter(compiled),
      ),
    )
    const { path, query } = this.target!
    const head = `${request.method} ${toInternalPath(compiled, path)}${query} HTTP/1.1${lines}${this.#trace?.originLines ?? ''}`
    this.#requestEnded = !this.#upgrade && !hasBody
    this.checkedAt = this.at
    gateway.open.add(this)
    this.#openStream(head, forConnector)
  }

  async #askForSignOn(destination: Destination): Promise<void> {
    const { sessions } = this.gateway
    const session = this.session!
    if (!(await this.#signOn!.read(session, this.match!, destination)))
      sessions.noteEnded(session.sessionId, this.at)
    // The event came while nobody looked through this exchange: it is not open yet.
    const isStale = !sessions.hasEnded(session) && !sessions.isCurrent(session)
    this.#decideAfterWait(isStale ? await this.#readClaims(session) : session)
  }

  /** @returns the session as it is now */
  async #readClaims(session: Session): Promise<Session> {
    const { sessions } = this.gateway
    const found = await this.#askIdentity(session)
    if (found?.signInEpoch !== session.signInEpoch) sessions.noteEnded(session.sessionId, this.at)
    return found ? sessions.join(session, found) : session
  }

  #askIdentity(facts: Pick<Session, 'sessionId' | 'userId'>): Promise<IdentitySession | undefined> {
    return this.gateway.sessions.read(facts).catch((cause: unknown) => {
      throw new RequestError('SIGN_IN_UNAVAILABLE', 'identity could not be asked', { cause })
    })
  }

  /** Meanwhile access may have ended, or the configuration changed. */
  #decideAfterWait(session: Session): void {
    if (this.#isEnded) return
    const { gateway } = this
    this.match = gateway.view().findApplication(this.host, this.target!)
    this.#decide(gateway.sessions.hasEnded(session) ? undefined : session, 'session-ended')
  }

  /** @throws RequestError when no connector is left that has not refused */
  #openStream(head: string, assertion: SignOnAssertion | null): void {
    const { gateway } = this
    const { connectorGroup } = this.compiled.application
    const { upgradeInstruction, instruction: plainInstruction } = this.#destination!
    const instruction = this.#upgrade ? upgradeInstruction : plainInstruction
    this.#credential = assertion?.credential
    const open = (of: Pin | undefined, connectorIds: readonly string[] | undefined) =>
      openStream(
        this,
        gateway.tunnels,
        connectorGroup,
        toOpenText(
          this.id,
          of ? withConnection(instruction, of.id) : instruction,
          assertion?.token ?? '',
        ),
        connectorIds,
      )
    let pin = this.#findPin()
    let opened = pin?.connectorId ? open(pin, [pin.connectorId]) : undefined
    // What the origin knew of the connection is gone with the connector: it will ask again.
    if (!opened && pin?.connectorId) pin = this.client.pins!.replace(this.#pinKey(), pin)
    opened ??= open(pin, assertion?.connectorIds)
    if (!opened) throw noConnector(this, connectorGroup)
    if (pin) pin.connectorId = opened.tunnel.connectorId
    this.#tunnel = opened.tunnel
    this.#stream = opened.stream
    this.#unaccepted = { head, assertion }
    this.#stream.sendHead(head, this.#requestEnded)
  }

  /** The connection to the origin that is this client's own, where the origin may authenticate it. */
  #findPin(): Pin | undefined {
    return this.compiled.application.connectionAuthentication
      ? this.client.pins?.find(this.#pinKey(), this.session)
      : undefined
  }

  #pinKey(): string {
    return `${this.compiled.application.id} ${this.#destination!.origin}`
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
    const { server } = this
    const timing = readTiming(text)
    const head = this.client.responses.readResponse(text, timing?.end)
    if (head.statusCode < 200 && head.statusCode !== 101) {
      if (end) throw connectorFailed('connector ended the stream without a response')
      this.#informational += 1
      if (this.#informational > limitInformational)
        throw new RequestError('ORIGIN_RESPONSE_INVALID', 'origin sends 1xx without end')
      if (head.statusCode === 100) server.sendContinue()
      else
        server.sendInformational({
          ...head,
          fields: toInformationalFields(head.fields, this),
        })
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
    const kept = [...toClientFields(fields, this), ...this.#sessionFields(), 'Upgrade', 'websocket']
    this.#statusCode = statusCode
    this.server.sendHead({ statusCode, reason, fields: kept })
    this.#becomePipe()
  }

  #beginAnswer(head: ResponseHead, end: boolean): void {
    const { statusCode, reason } = head
    const lines = this.#answerLines(head)
    // A body that no status and no method forbids has the length that it says.
    this.#expectedBytes =
      statusCode === 204 || statusCode === 304 || this.server.request.method === 'HEAD'
        ? undefined
        : lines.length
    if (end && (this.#expectedBytes ?? 0) > 0)
      throw connectorFailed('connector ended the stream before the body')
    this.#statusCode = statusCode
    this.server.sendHead({ statusCode, reason, fields: lines }, { end })
    this.#phase = 'answering'
    if (this.#upgrade) this.#upgradeRefused()
    if (end) this.#responseComplete()
  }

  #answerLines({ fields, statusCode }: ResponseHead): ResponseLines {
    const sessionFields = this.#sessionFields()
    const make = () =>
      formatResponseLines([...toClientFields(fields, this), ...sessionFields], statusCode)
    if (sessionFields.length > 0) return make()
    const { host } = this
    return this.client.answerLines(
      { fields, destination: this.#destination!, host, statusCode },
      make,
    )
  }

  /** No cache may give this person's session to another one. */
  #sessionFields(): FieldList {
    return this.#setCookie === undefined
      ? []
      : ['Set-Cookie', this.#setCookie, 'Cache-Control', 'private']
  }

  /** The origin answered instead of switching: there is no pipe, only an answer. */
  #upgradeRefused(): void {
    this.#upgrade = false
    this.#requestEnded = true
    this.#stream!.end()
  }

  /** It may idle for days: what was needed for its request only is let go. */
  #becomePipe(): void {
    this.#phase = 'pipe'
    this.#activeAt = this.gateway.options.clock()
    this.refused = undefined
    this.#setCookie = undefined
    this.#signOn = undefined
    const { request } = this.server
    const { path, readings } = this.target!
    this.target = { path: copyText(path), query: '', readings: readings.map(copyText) }
    this.client.forget()
    this.#fields = undefined
    request.fields = []
    request.target = this.target.path
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
        noteRefused(this, this.#tunnel!)
        this.#openStream(again.head, again.assertion)
      } else if (error.resetCode === ResetCode.NO_ERROR && this.#responseEnded) this.#endPipe()
      else if (this.#credential && isCredentialRefused(error))
        this.#whenDone(this.#credentialRefused(this.#credential, error.detail!))
      else throw new RequestError(failureOf(error), error.detail ?? error.message)
    } catch (failure) {
      this.fail(failure)
    }
  }

  /** It must not be sent again, by any connector: that is noted before anybody hears of it. */
  async #credentialRefused(
    credential: { id: string; version: number },
    detail: string,
  ): Promise<void> {
    const { options, connectorAssertions } = this.gateway
    await options.identity.credentialRefused(credential)
    connectorAssertions.forget()
    throw new RequestError('CREDENTIAL_REFUSED', detail)
  }

  /** The origin has gone after all that it sent: the client still gets that, and nobody hears the client any more. */
  #endPipe(): void {
    const { server } = this
    const { socket } = server.connection
    if (socket.writableFinished) server.abort()
    else socket.once('finish', () => server.abort())
    this.finish(101)
  }

  // --- from the client

  #receive(): void {
    if (this.#receiving) return
    this.#receiving = true
    // The origin may take its time to say that it wants the body.
    if (this.server.expectsContinue)
      this.server.limitBody({
        minBodyBytesPerSecond: 0,
        bodyIdleTimeoutMs: Math.max(60_000, this.compiled.application.backendTimeoutMs),
      })
    this.server.receive(new ClientBody(this))
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
      const kept =
        trailers.length > 0
          ? formatFields(this.gateway.view().fieldFilter(this.compiled).trailers(trailers))
          : ''
      if (kept.length > limitTrailerBytes)
        throw new RequestError('REQUEST_INVALID', `trailers of ${kept.length} bytes`)
      this.#stream?.end(kept === '' ? undefined : kept)
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
    const { code, statusCode } = (error ?? {}) as { code?: string; statusCode?: number }
    if (code === undefined || code === 'HTTP1_CONNECTION_CLOSED' || code === 'HTTP1_ABORTED') {
      this.reason ??= 'client-left'
      this.finish(this.#statusCode || 499)
    } else {
      this.reason = code
      this.detail = error!.message
      this.finish(this.#statusCode || (statusCode ?? 499))
    }
  }

  // --- endings

  /** Ends what is under way because the service stops. */
  abandon(): void {
    if (this.#isEnded) return
    this.#stream?.reset(ResetCode.CANCELLED, 'service stops')
    this.reason = 'service-stopped'
    this.server.abort()
    this.finish(this.#statusCode || 503)
  }

  /** An application that lives in this process: the portal. */
  async #answerLocally(): Promise<void> {
    const { statusCode, fields, body } = await this.gateway.options.portal({
      method: this.server.request.method,
      path: this.target!.path,
      session: this.session!,
      id: this.id,
    })
    this.answer(statusCode, fields, body)
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
    this.server.abort()
    this.finish(this.#statusCode || 500)
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
      path: this.target?.path ?? pathOf(this.server.request.target),
      statusCode,
      decision: this.decision,
      reason: this.reason,
      application: application?.name,
      applicationId: application?.id,
      userId: this.session?.userId,
      userName: this.session?.claims.userName,
      sessionId: this.session?.sessionId,
      connector: this.#tunnel?.connectorName,
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

function checkMethod(method: string): void {
  // RFC 9110 section 9.3.6: its target is an authority, and never a path.
  if (method === 'CONNECT')
    throw new RequestError('REQUEST_INVALID', 'CONNECT is not for a path', {
      reason: 'target-invalid',
    })
  // They give back what reached the origin, sign-on included.
  if (method === 'TRACE' || method === 'TRACK')
    throw new RequestError('METHOD_NOT_IMPLEMENTED', `${method} is not relayed`)
}

/** @param instruction the JSON of an object */
function withConnection(instruction: string, id: string): string {
  return `${instruction.slice(0, -1)},"connection":"${id}"}`
}

function isCredentialRefused({ resetCode, detail }: TunnelError): boolean {
  return (
    resetCode === ResetCode.SIGN_ON_FAILED && detail?.startsWith('CREDENTIAL_REFUSED:') === true
  )
}

function connectorFailed(message: string): RequestError {
  return new RequestError('CONNECTOR_FAILED', message)
}

/** For the record of a request whose target was refused; never its query, nor an authority with a password. */
function pathOf(target: string): string {
  return target.startsWith('/') ? target.slice(0, limitRecordedPath).split(/[?#]/, 1)[0]! : ''
}
