import {
  type CompiledApplication,
  type Decision,
  decide,
  isReservedTarget,
  type Match,
  PORTAL_APPLICATION_ID,
  parseTarget,
  type RequestTarget,
  type Session,
  type SignInReason,
  TargetError,
  toInternalPath,
} from '@sallyport/domain'
import {
  type BodySink,
  type FieldList,
  fieldValues,
  findField,
  formatFields,
  parseFields,
  parseResponseHead,
  type ServerExchange,
} from '@sallyport/http1'
import { ResetCode, type StreamHandler, TunnelError, type TunnelStream } from '@sallyport/protocol'
import { toHeaderFields } from '@sallyport/sso/headers'
import type { AccessRecord } from './access-record.ts'
import { parseForwardedFor } from './addresses.ts'
import { answerFailure, answerSignIn } from './answers.ts'
import { findCookie } from './cookies.ts'
import { RequestError, reasonFailures, resetFailures } from './failures.ts'
import type { Gateway } from './gateway.ts'
import { parseHost } from './host.ts'
import { handleReserved } from './reserved.ts'
import { type SessionFacts, sessionLifetimeMs } from './session-cookie.ts'
import { takeTiming, toClientFields } from './to-client.ts'
import { toOriginHead } from './to-origin.ts'
import type { ConnectedTunnel } from './tunnels.ts'

/** What is known of the connection that a request came by. */
export interface Connection {
  /** Server name of the TLS handshake, lower case; undefined on the plain listener. */
  serverName: string | undefined
  peerAddress: string
}

/** One request from its head to its access record: matched, decided, relayed or answered. */
export class Exchange implements StreamHandler {
  readonly gateway: Gateway
  readonly server: ServerExchange
  readonly connection: Connection
  readonly id: string
  readonly at: number
  readonly #startedMs: number
  clientAddress: string
  host = ''
  target: RequestTarget | undefined
  match: Match | undefined
  session: Session | undefined
  decision: AccessRecord['decision'] = 'none'
  reason: string | undefined
  detail: string | undefined
  /** A session cookie to set with the answer. */
  setCookie: string | undefined
  /** When the session was last found to be good, for open streams; epoch milliseconds. */
  checkedAt = 0
  #tunnel: ConnectedTunnel | undefined
  #stream: TunnelStream | undefined
  #refused: Set<ConnectedTunnel> | undefined
  /** Head of a request that no connector has accepted yet, and that another one may get. */
  #unaccepted: string | undefined
  #receiving = false
  #requestEnded = false
  #upgraded = false
  #statusCode = 0
  #receivedBytes = 0
  #sentBytes = 0
  #connectorMs: number | undefined
  #originMs: number | undefined
  #headMs = 0
  #ended = false

  constructor(gateway: Gateway, server: ServerExchange, connection: Connection) {
    this.gateway = gateway
    this.server = server
    this.connection = connection
    this.id = gateway.nextId()
    this.#startedMs = performance.now()
    this.at = gateway.options.clock()
    this.clientAddress = connection.peerAddress
    server.onClose = () => this.clientLeft()
  }

  /** `https://host[:port]` that the client asked for. */
  get origin(): string {
    return `https://${this.externalHost}`
  }

  /** Host with its port, unless that is 443. */
  get externalHost(): string {
    const { port } = this.gateway.options
    return port === 443 ? this.host : `${this.host}:${port}`
  }

  get ended(): boolean {
    return this.#ended
  }

  /** Whether it is, or asks to be, a WebSocket. */
  get upgraded(): boolean {
    return this.#upgraded
  }

  handle(): void {
    try {
      this.#begin()
    } catch (error) {
      this.fail(error)
    }
  }

  #begin(): void {
    const { gateway, server } = this
    const { request } = server
    const snapshot = gateway.snapshot()
    this.host = parseHost(findField(request.fields, 'host'), gateway.options.port)
    const { serverName } = this.connection
    if (serverName !== undefined && serverName !== this.host)
      throw new RequestError(
        'HOST_MISMATCH',
        'Host differs from the server name of the handshake',
        {
          reason: 'host-mismatch',
        },
      )
    if (gateway.trustedProxies.has(this.connection.peerAddress)) {
      const listed = fieldValues(request.fields, 'x-forwarded-for')
      this.clientAddress = gateway.trustedProxies.clientAddress(
        this.connection.peerAddress,
        listed.length > 0 ? parseForwardedFor(listed) : undefined,
      )
    }
    const target = parseTarget(request.target)
    this.target = target
    // RFC 9110 section 9.3.6: its target is an authority, and never a path.
    if (request.method === 'CONNECT')
      throw new RequestError('REQUEST_INVALID', 'CONNECT is not for a path', {
        reason: 'target-invalid',
      })
    const isPortal = this.host === snapshot.hosts.apps
    if (isReservedTarget(target)) {
      if (!isPortal && !snapshot.isPublishedHost(this.host))
        throw new RequestError('APPLICATION_NOT_FOUND', 'no application on this host', {
          reason: 'application-not-found',
        })
      this.decision = 'reserved'
      this.#whenDone(handleReserved(this))
      return
    }
    this.match = isPortal
      ? { compiled: gateway.portal(), label: undefined }
      : snapshot.findApplication(this.host, target)
    const compiled = this.match?.compiled
    if (compiled === undefined || compiled.application.preAuthentication === 'passthrough') {
      this.#decided(
        decide(compiled, undefined, { nowAt: this.at, sessionReason: 'session-missing' }),
      )
      return
    }
    const facts = this.#readCookie()
    if (typeof facts === 'string') {
      this.#decided(decide(compiled, undefined, { nowAt: this.at, sessionReason: facts }))
      return
    }
    const session = gateway.sessions.find(facts)
    // Past half its life the cookie is sealed again, which asks identity and not a cache.
    if (session && this.at - facts.sealedAt < sessionLifetimeMs / 2) {
      this.#decideWith(compiled, session)
      return
    }
    this.#whenDone(this.#readSession(compiled, facts))
  }

  /** @returns what the cookie says, or why there is no session */
  #readCookie(): SessionFacts | SignInReason {
    const { gateway } = this
    const values = fieldValues(this.server.request.fields, 'cookie')
    const cookie = values.length === 0 ? undefined : findCookie(values, gateway.cookieNames.session)
    if (cookie === undefined) return 'session-missing'
    const facts = cookie === null ? undefined : gateway.sessionCookies.open(cookie, this.host)
    if (!facts) return 'session-invalid'
    if (this.at >= facts.expiresAt || this.at >= facts.absoluteExpiresAt) return 'session-expired'
    // A cookie from the future was sealed by a clock that nobody can rely on.
    if (facts.sealedAt > this.at + 300_000) return 'session-invalid'
    return gateway.sessions.hasEnded(facts) ? 'session-ended' : facts
  }

  async #readSession(compiled: CompiledApplication, facts: SessionFacts): Promise<void> {
    const { gateway } = this
    const identitySession = await gateway.sessions.read(facts).catch((cause: unknown) => {
      throw new RequestError('SIGN_IN_UNAVAILABLE', 'identity could not be asked', { cause })
    })
    if (this.#ended) return
    const ended =
      !identitySession ||
      identitySession.userId !== facts.userId ||
      identitySession.signInEpoch !== facts.signInEpoch ||
      gateway.sessions.hasEnded(facts)
    if (ended) {
      this.#decided(decide(compiled, undefined, { nowAt: this.at, sessionReason: 'session-ended' }))
      return
    }
    if (this.at - facts.sealedAt >= sessionLifetimeMs / 2)
      this.setCookie = gateway.sessionCookie(identitySession, this.host).setCookie
    const session = gateway.sessions.find(facts) ?? gateway.sessions.join(facts, identitySession)
    this.#decideWith(compiled, session)
  }

  #decideWith(compiled: CompiledApplication, session: Session): void {
    this.session = session
    this.#decided(decide(compiled, session, { nowAt: this.at, sessionReason: 'session-missing' }))
  }

  #decided(decision: Decision): void {
    this.decision = decision.kind
    if (decision.kind === 'allow') {
      const { compiled } = decision
      const { signOn } = compiled.application
      // Sign-on by headers needs a person.
      const signOnFields =
        this.session && signOn.method === 'headers' ? this.#signOnFields(compiled) : []
      if (compiled.application.id === PORTAL_APPLICATION_ID) this.#whenDone(this.#answerLocally())
      else this.#relay(compiled, signOnFields)
    } else if (decision.kind === 'sign-in') {
      this.reason = decision.reason
      answerSignIn(this, decision.compiled)
    } else {
      throw new RequestError(reasonFailures[decision.reason], decision.reason, {
        reason: decision.reason,
      })
    }
  }

  #signOnFields(compiled: CompiledApplication): string[] {
    try {
      return toHeaderFields(compiled.application.signOn, this.session!.claims)
    } catch (cause) {
      throw new RequestError('SIGN_ON_FAILED', 'sign-on headers could not be made', { cause })
    }
  }

  /** An application that lives in this process: the portal. */
  async #answerLocally(): Promise<void> {
    const { request } = this.server
    const answer = await this.gateway.options.portal({
      method: request.method,
      path: this.target!.path,
      session: this.session!,
    })
    this.answer(answer.statusCode, answer.fields, answer.body)
  }

  #relay(compiled: CompiledApplication, signOnFields: readonly string[]): void {
    const { gateway, server } = this
    const { request, framing } = server
    const upgrade = server.upgradeRequested && this.#isWebSocket(request.fields)
    const expect = findField(request.fields, 'expect')
    if (expect !== undefined && expect.toLowerCase() !== '100-continue')
      throw new RequestError('EXPECTATION_FAILED', 'Expect is not 100-continue')
    const { application } = compiled
    const internalHost = gateway.internalHost(compiled, this.match!.label)
    const head = toOriginHead(
      {
        method: request.method,
        target: toInternalPath(compiled, this.target!.path) + this.target!.query,
        fields: request.fields,
        host: application.hostHeader === 'external' ? this.externalHost : internalHost,
        externalHost: this.externalHost,
        externalPort: gateway.options.port,
        clientAddress: this.clientAddress,
        peerAddress: this.connection.peerAddress,
        forwardedFor: application.forwardedFor,
        framingLine:
          framing.kind === 'length'
            ? `\r\nContent-Length: ${framing.length}`
            : framing.kind === 'chunked'
              ? '\r\nTransfer-Encoding: chunked'
              : '',
        upgrade,
        expectContinue: server.expectsContinue,
        signOnFields,
      },
      gateway.fieldFilter(),
    )
    this.#upgraded = upgrade
    this.#requestEnded =
      !upgrade && (framing.kind === 'none' || (framing.kind === 'length' && framing.length === 0))
    this.#openStream(compiled, head)
    gateway.open.add(this)
    this.checkedAt = this.at
  }

  /** @returns whether the upgrade is one to a WebSocket; others are not offered to the origin */
  #isWebSocket(fields: FieldList): boolean {
    if (findField(fields, 'upgrade')?.toLowerCase() !== 'websocket') return false
    // RFC 6455 section 4.2.1. What an origin would refuse must not become a pipe (attack 27).
    if (this.server.request.method !== 'GET')
      throw new RequestError('REQUEST_INVALID', 'WebSocket upgrade by another method than GET')
    if (findField(fields, 'sec-websocket-version') !== '13')
      throw new RequestError('WEBSOCKET_VERSION', 'Sec-WebSocket-Version is not 13')
    const keys = fieldValues(fields, 'sec-websocket-key')
    if (keys.length !== 1 || !/^[A-Za-z0-9+/]{22}==$/.test(keys[0]!))
      throw new RequestError('REQUEST_INVALID', 'Sec-WebSocket-Key is missing or malformed')
    return true
  }

  #openStream(compiled: CompiledApplication, head: string): void {
    const { gateway } = this
    const group = compiled.application.connectorGroup
    const tunnel = gateway.tunnels.pick(group, this.#refused)
    if (!tunnel)
      throw new RequestError(
        this.#refused ? 'CONNECTOR_OVERLOADED' : 'NO_CONNECTOR',
        `no connector of group ${group} takes the request`,
      )
    this.#tunnel = tunnel
    this.#unaccepted = head
    try {
      this.#stream = tunnel.session.openStream(
        gateway.openPayload(compiled, this.match!.label, this.id, this.#upgraded),
        this,
      )
    } catch (error) {
      if (!(error instanceof TunnelError)) throw error
      // Full, or closed since it was picked: nothing was sent.
      this.#refused ??= new Set()
      this.#refused.add(tunnel)
      this.#openStream(compiled, head)
      return
    }
    this.#stream.sendHead(head, this.#requestEnded)
  }

  // --- from the connector

  onAccepted(): void {
    this.#unaccepted = undefined
    if (!this.#requestEnded && !this.#upgraded) this.#receive()
  }

  onHead(text: string, end: boolean): void {
    try {
      this.#takeHead(text, end)
    } catch (error) {
      this.fail(error)
    }
  }

  #takeHead(text: string, end: boolean): void {
    const head = parseResponseHead(text, this.gateway.responseLimits)
    this.#unaccepted = undefined
    if (head.statusCode < 200 && head.statusCode !== 101) {
      if (head.statusCode === 100) this.server.sendContinue()
      else
        this.server.sendInformational({
          ...head,
          fields: toClientFields(head.fields, this.#translation()),
        })
      return
    }
    if (this.server.headSent) {
      this.#abort('CONNECTOR_FAILED', 'connector sent a second response head')
      return
    }
    const timing = takeTiming(head.fields)
    this.#headMs = performance.now() - this.#startedMs
    if (timing) {
      this.#originMs = timing.firstByteMs
      this.#connectorMs = timing.connectorMs
    }
    const switches = head.statusCode === 101
    if (switches && !this.#upgraded) {
      this.#abort('ORIGIN_RESPONSE_INVALID', 'origin switched protocols unasked')
      return
    }
    const fields = toClientFields(head.fields, this.#translation())
    if (this.setCookie !== undefined) fields.push('Set-Cookie', this.setCookie)
    if (switches) fields.push('Upgrade', 'websocket')
    this.#statusCode = head.statusCode
    this.server.sendHead({ statusCode: head.statusCode, reason: head.reason, fields }, { end })
    if (switches) {
      this.server.onDrain = () => this.#stream?.resume()
      this.#receive()
      return
    }
    // The origin refused to upgrade: there is no pipe, only an answer.
    if (this.#upgraded) {
      this.#upgraded = false
      this.#requestEnded = true
      this.#stream!.end()
    }
    if (end) this.#responseEnded()
    else this.server.onDrain = () => this.#stream?.resume()
  }

  #translation() {
    const compiled = this.match!.compiled
    return {
      compiled,
      internalOrigin: this.gateway.internalOrigin(compiled, this.match!.label),
      externalOrigin: this.origin,
    }
  }

  onData(chunk: Buffer): void {
    this.#sentBytes += chunk.length
    if (!this.server.write(chunk)) this.#stream!.pause()
  }

  onEnd(trailers: string | undefined): void {
    if (this.#upgraded) {
      this.server.end()
      this.#pipeHalfEnded()
      return
    }
    if (!this.server.headSent) {
      this.#abort('CONNECTOR_FAILED', 'connector ended the stream without a response')
      return
    }
    this.server.end(
      undefined,
      trailers
        ? toClientFields(parseFields(trailers), this.#translation()).filter(
            (_, index, all) => !/^set-cookie$/i.test(all[index - (index % 2)]!),
          )
        : undefined,
    )
    this.#responseEnded()
  }

  #responseEnded(): void {
    // An answer that came before the whole request: the rest of the request is of no use.
    if (!this.#requestEnded) this.#stream!.reset(ResetCode.CANCELLED, 'response is complete')
    this.finish(this.#statusCode)
  }

  #halves = 0
  #pipeHalfEnded(): void {
    this.#halves += 1
    if (this.#halves === 2) this.finish(101)
  }

  onWritable(): void {
    if (this.#receiving) this.server.resume()
  }

  onReset(error: TunnelError): void {
    if (this.#ended) return
    const head = this.#unaccepted
    if (error.retryable && head !== undefined) {
      this.#refused ??= new Set()
      this.#refused.add(this.#tunnel!)
      try {
        this.#openStream(this.match!.compiled, head)
      } catch (failure) {
        this.fail(failure)
      }
      return
    }
    const failure =
      error.code === 'TUNNEL_CLOSED' || error.resetCode === undefined
        ? 'CONNECTOR_LOST'
        : (resetFailures[error.resetCode] ?? 'CONNECTOR_FAILED')
    this.#stream = undefined
    this.#abort(failure, error.detail ?? error.message)
  }

  // --- from the client

  #receive(): void {
    if (this.#receiving) return
    this.#receiving = true
    this.server.receive(new ClientBody(this))
  }

  takeClientData(chunk: Buffer): void {
    this.#receivedBytes += chunk.length
    if (this.#stream && !this.#stream.write(chunk)) this.server.pause()
  }

  takeClientEnd(trailers: FieldList): void {
    this.#requestEnded = true
    const kept = trailers.length > 0 ? this.gateway.fieldFilter().trailers(trailers) : trailers
    this.#stream?.end(kept.length > 0 ? formatFields(kept) : undefined)
    if (this.#upgraded) this.#pipeHalfEnded()
  }

  clientLeft(): void {
    if (this.#ended) return
    this.#stream?.reset(ResetCode.CANCELLED, 'client left')
    this.reason ??= 'client-left'
    this.finish(this.#upgraded && this.#statusCode === 101 ? 101 : 499)
  }

  // --- endings

  /** Ends an open exchange because access has ended. */
  cut(reason: string): void {
    if (this.#ended) return
    this.reason = reason
    this.#stream?.reset(ResetCode.CANCELLED, reason)
    this.server.abort()
    this.finish(this.#statusCode || 401)
  }

  /** Ends with one of our own answers. */
  answer(statusCode: number, fields: FieldList, body: string | Buffer): void {
    if (this.#ended) return
    const bytes = typeof body === 'string' ? Buffer.from(body) : body
    this.#sentBytes = bytes.length
    this.server.sendHead({
      statusCode,
      fields: [
        ...fields,
        ...(this.setCookie === undefined ? [] : ['Set-Cookie', this.setCookie]),
        'Content-Length',
        String(bytes.length),
      ],
    })
    this.server.end(bytes)
    this.finish(statusCode)
  }

  /** The one error exit. */
  fail(error: unknown): void {
    if (this.#ended) return
    const failure = toRequestError(error)
    this.reason ??= failure.reason ?? failure.code
    if (failure.reason && this.decision === 'none') this.decision = 'deny'
    this.detail ??= describe(error)
    if (failure.code === 'INTERNAL') this.gateway.options.onInternalError(error, this.id)
    this.#stream?.reset(ResetCode.CANCELLED, failure.code)
    this.#stream = undefined
    if (this.server.headSent) {
      this.server.abort()
      this.finish(this.#statusCode)
      return
    }
    answerFailure(this, failure.code)
  }

  #abort(code: ConstructorParameters<typeof RequestError>[0], detail: string): void {
    this.detail = detail
    this.fail(new RequestError(code, detail))
  }

  #whenDone(work: Promise<void>): void {
    work.catch((error: unknown) => this.fail(error))
  }

  finish(statusCode: number): void {
    if (this.#ended) return
    this.#ended = true
    this.gateway.release(this)
    this.server.onDrain = undefined
    const totalMs = performance.now() - this.#startedMs
    const application = this.match?.compiled.application
    this.gateway.options.record({
      at: this.at,
      id: this.id,
      host: this.host,
      method: this.server.request.method,
      path: this.target?.path ?? '',
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
      totalMs,
      gatewayMs: this.#connectorMs === undefined ? undefined : this.#headMs - this.#connectorMs,
      connectorMs: this.#connectorMs,
      originMs: this.#originMs,
      detail: this.detail,
    })
  }
}

/** Receives what the client sends; made only for requests that have a body, and for WebSockets. */
class ClientBody implements BodySink {
  readonly #exchange: Exchange

  constructor(exchange: Exchange) {
    this.#exchange = exchange
  }

  onData(chunk: Buffer): void {
    this.#exchange.takeClientData(chunk)
  }

  onEnd(trailers: FieldList): void {
    this.#exchange.takeClientEnd(trailers)
  }

  onError(): void {
    this.#exchange.clientLeft()
  }
}

function toRequestError(error: unknown): RequestError {
  if (error instanceof RequestError) return error
  if (error instanceof TargetError)
    return new RequestError('REQUEST_INVALID', error.message, {
      cause: error,
      reason: error.code === 'TARGET_AMBIGUOUS' ? 'target-ambiguous' : 'target-invalid',
    })
  const code = (error as { code?: unknown } | undefined)?.code
  if (typeof code === 'string' && code.startsWith('HTTP1_'))
    return new RequestError('ORIGIN_RESPONSE_INVALID', 'response cannot be passed on', {
      cause: error,
    })
  return new RequestError('INTERNAL', 'internal error', { cause: error })
}

function describe(error: unknown): string {
  const parts: string[] = []
  for (let at = error; at instanceof Error && parts.length < 4; at = at.cause)
    parts.push(at.message)
  return parts.join(': ') || String(error)
}
