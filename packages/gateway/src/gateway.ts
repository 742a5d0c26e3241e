import { randomBytes } from 'node:crypto'
import type { Duplex } from 'node:stream'
import type {
  AccessEvent,
  DenySet,
  IdentitySession,
  MessageFormPage,
  Session,
  Snapshot,
} from '@sallyport/domain'
import type { Http1Error, ServerOptions } from '@sallyport/http1'
import type { TunnelSession } from '@sallyport/protocol'
import type { AccessRecord } from './access-record.ts'
import { TrustedProxies } from './addresses.ts'
import type { AssertionCache } from './assertion-cache.ts'
import {
  type AssertionLine,
  type AssertionSource,
  applicationAssertions,
  connectorAssertions,
  type SignOnAssertion,
} from './assertions.ts'
import { Client } from './client.ts'
import { type CookieNames, cookieNames } from './cookies.ts'
import { EndedPeople } from './ended-people.ts'
import type { Exchange } from './exchange.ts'
import { type AccessFeed, FeedWatch } from './feed-watch.ts'
import { HeaderSignOn } from './header-sign-on.ts'
import { OpenExchanges } from './open-exchanges.ts'
import { type OwnRequest, sendOwnRequest } from './own-request.ts'
import { PinnedConnections } from './pinned-connections.ts'
import type { RingKey } from './seal.ts'
import { SessionCookies, type SessionFacts, sessionLifetimeMs } from './session-cookie.ts'
import { type SessionSource, Sessions } from './sessions.ts'
import { SignIn, type SignInProvider } from './sign-in.ts'
import { type Tracing, traceFields } from './trace.ts'
import { type ConnectedTunnel, TunnelPool } from './tunnels.ts'
import { View } from './view.ts'

/** Identity, as far as the gateway needs it. */
export interface IdentityProvider extends SignInProvider, SessionSource, AssertionSource {
  /** Where a sign-on by SAML begins that the application has not asked for. */
  samlStartUrl(applicationId: string): string
  /**
   * Takes a message to an application that a page of its own host is to send by a form; it is there no more after that.
   *
   * @param request `origin` of the host, `sessionId` of the person who asks there
   */
  takeForm(request: { id: string; origin: string; sessionId: string }): Promise<
    | { kind: 'form'; form: MessageFormPage }
    /** `other-session`: it is for somebody else, or for the same person in another session. */
    | { kind: 'other-session' | 'gone' }
  >
  /**
   * Takes the pass of a message of sign-out, which is good for nothing after that.
   *
   * @param delivery `url` as the browser asked for it, without the pass
   * @returns SHA-256 of the body that goes with it, base64url; undefined when it is none for this message
   */
  takeLogoutPass(
    pass: string,
    delivery: { applicationId: string; method: 'GET' | 'POST'; url: string },
  ): string | undefined
  /**
   * Ends a sign-in and every session that came of it.
   *
   * @returns where the browser is to go, so that applications end their sessions too
   */
  endSession(sessionId: string, reason: string): Promise<string | undefined>
  /** The sessions were in use in the minute before the instant. */
  noteUse(sessionIds: readonly string[], at: number): Promise<void>
}

export interface PortalRequest {
  method: string
  path: string
  session: Session
  /** Correlation ID, for what the portal has to refuse. */
  id: string
}

export interface LocalAnswer {
  statusCode: number
  fields: string[]
  body: string
}

export interface GatewayOptions {
  /** The configuration in force; asked for each request, so it must be at hand. */
  snapshot(): Snapshot
  identity: IdentityProvider
  feed: AccessFeed
  /** Nobody is let in when the feed has proved nothing for so long, milliseconds. */
  feedSilenceLimitMs: number
  /** The portal runs in this process. */
  portal(request: PortalRequest): Promise<LocalAnswer>
  /** The keys in force, the one that seals first; asked every second, and the same array until they change. */
  cookieKeys(): readonly RingKey[]
  /** The port that external URLs hold. */
  port: number
  /** Addresses and ranges whose `X-Forwarded-For` counts. */
  trustedProxies: readonly string[]
  /** Longest life of a sign-in, milliseconds. */
  absoluteLifetimeMs: number
  clock(): number
  /** Milliseconds of a clock that nobody sets; that of the process unless given. */
  monotonicMs?(): number
  record(record: AccessRecord): void
  /** Absent: no request is followed, and what clients say of traces goes to origins as it is. */
  tracing?: Tracing | undefined
  /** A mistake of ours; the request was answered 500. */
  onInternalError(error: unknown, id: string): void
  /** Whether access has ended cannot be known any more, or can again. */
  onFeedChange?(isSilent: boolean): void
  /** The feed proved nothing this time; it is asked again. */
  onFeedError?(error: unknown): void
  http?: ServerOptions
}

const monotonicMs = () => performance.now()

/** The session of an open stream is read again at half the life of a session cookie. */
const rereadMs = sessionLifetimeMs / 2
const tickMs = 1_000
/** Every so many ticks open streams are looked at for limits of time. */
const ticksPerSweep = 15
/** And so many identity hears which sessions were in use. */
const ticksPerReport = 60

/**
 * The data plane: takes connections of clients and tunnels of connectors, and joins them request by
 * request.
 */
export class Gateway {
  readonly options: GatewayOptions
  readonly tunnels = new TunnelPool()
  readonly pinned = new PinnedConnections(this.tunnels)
  readonly sessions: Sessions
  readonly feed: FeedWatch
  readonly sessionCookies: SessionCookies
  readonly signIn: SignIn
  readonly headerSignOn = new HeaderSignOn()
  readonly applicationAssertions: AssertionCache<AssertionLine>
  readonly connectorAssertions: AssertionCache<SignOnAssertion>
  readonly cookieNames: CookieNames
  readonly trustedProxies: TrustedProxies
  /** Requests that are being relayed. */
  readonly open = new OpenExchanges<Exchange>()
  readonly #http: ServerOptions
  readonly #clients = new Set<Client>()
  readonly #idPrefix = randomBytes(6).toString('hex')
  readonly #timer: NodeJS.Timeout
  #ticks = 0
  #idCount = 0
  /** Fields that no client may send, beside those that never may. */
  readonly #ownFields: ReadonlySet<string>
  #view: View
  #ring: readonly RingKey[]
  /** The Snapshot that open streams were last decided by. */
  #decidedBy: Snapshot
  #cannotRead = false
  #changedUsers = new Set<string>()
  readonly #endedPeople = new EndedPeople()
  readonly #toRetry = new Set<Exchange>()
  #look: NodeJS.Immediate | undefined
  #drained: Promise<void> | undefined
  #onReleased: (() => void) | undefined
  #onClientsGone: (() => void) | undefined

  constructor(options: GatewayOptions) {
    this.options = options
    this.#http = options.http ?? {}
    this.sessions = new Sessions(options.identity)
    this.applicationAssertions = applicationAssertions(options.identity, () => options.clock())
    this.connectorAssertions = connectorAssertions(options.identity, () => options.clock())
    this.feed = new FeedWatch({
      feed: options.feed,
      limitMs: options.feedSilenceLimitMs,
      clock: () => options.clock(),
      monotonicMs: () => (options.monotonicMs ?? monotonicMs)(),
      apply: (denySet) => this.#catchUp(denySet),
      onChange: (isSilent) => this.#feedChanged(isSilent),
      onError: (error) => options.onFeedError?.(error),
    })
    this.#ring = options.cookieKeys()
    this.sessionCookies = new SessionCookies(this.#ring)
    this.cookieNames = cookieNames(options.port)
    this.signIn = new SignIn(options.identity, this.#ring, this.cookieNames)
    this.trustedProxies = new TrustedProxies(options.trustedProxies)
    this.#ownFields = options.tracing ? traceFields : new Set()
    this.#view = new View(options.snapshot(), this.#ownFields)
    this.#decidedBy = this.#view.snapshot
    this.#timer = setInterval(() => this.#tick(), tickMs)
    this.#timer.unref()
  }

  /**
   * Serves HTTP/1.1 to one client.
   *
   * @param socket plain, or TLS after its handshake; the gateway closes it
   * @param serverName of the handshake, lower case; undefined without TLS
   */
  serveClient(socket: Duplex & { remoteAddress?: string | undefined }, serverName?: string): void {
    this.#clients.add(new Client(this, socket, serverName, this.#http))
  }

  /** The connection of a client is closed. */
  clientGone(client: Client): void {
    this.#clients.delete(client)
    if (this.#clients.size === 0) this.#onClientsGone?.()
  }

  /** Takes a tunnel of a connector that has been authenticated. @returns to be called when it has closed */
  addTunnel(tunnel: ConnectedTunnel): () => void {
    this.tunnels.add(tunnel)
    // It may be new, and then no assertion is addressed to it yet.
    this.connectorAssertions.forget()
    return () => this.tunnels.delete(tunnel)
  }

  /**
   * Tells an application something that no client has sent, through a connector of its group.
   *
   * @returns the status code of its answer
   * @throws Error whose message begins with the failure's code
   */
  tell(request: OwnRequest): Promise<number> {
    return sendOwnRequest(this, request)
  }

  /** Reads what has ended. Until then nobody is let in who needs a session. @throws what the feed rejects with */
  async start(): Promise<void> {
    await this.feed.start()
  }

  /** Takes in an event of the feed. To be subscribed before `start`. */
  apply(event: AccessEvent): void {
    this.sessions.apply(event)
    if (this.view().signsOnAtConnectors) this.#endedPeople.note(event)
    switch (event.kind) {
      case 'feed-interrupted':
        this.feed.interrupted()
        break
      case 'connector-revoked':
        this.tunnels.revoke(event.connectorId)
        this.connectorAssertions.forget()
        break
      case 'connector-moved':
        this.tunnels.move(event.connectorId, event.connectorGroup)
        this.connectorAssertions.forget()
        this.feed.overtaken()
        break
      case 'configuration-changed':
        this.#decideBySnapshot()
        break
      case 'claims-changed':
        this.#changedUsers.add(event.userId)
        this.#lookSoon()
        break
      default:
        this.#lookSoon()
    }
  }

  /** The Snapshot in force, with what is worked out from it. */
  view(): View {
    const snapshot = this.options.snapshot()
    if (snapshot !== this.#view.snapshot) this.#view = new View(snapshot, this.#ownFields)
    return this.#view
  }

  /** A correlation ID: unique, and cheap enough for every request. */
  nextId(): string {
    this.#idCount += 1
    return `${this.#idPrefix}-${this.#idCount.toString(36)}`
  }

  portalUrl(): string {
    return this.#urlOf(this.view().snapshot.hosts.apps)
  }

  loginUrl(): string {
    return this.#urlOf(this.view().snapshot.hosts.login)
  }

  #urlOf(host: string): string {
    const { port } = this.options
    return `https://${host}${port === 443 ? '' : `:${port}`}/`
  }

  sessionCookie(
    session: IdentitySession,
    host: string,
  ): { setCookie: string; facts: SessionFacts } {
    const { value, facts } = this.sessionCookies.seal(session, host, this.options.clock())
    return {
      setCookie: `${this.cookieNames.session}=${value}; Path=/; Secure; HttpOnly; SameSite=Lax`,
      facts,
    }
  }

  // --- access that ends

  /** Events come by the thousand when a group changes: open streams are looked through once for all of a tick. */
  #lookSoon(): void {
    this.#look ??= setImmediate(() => {
      this.#look = undefined
      const nowAt = this.options.clock()
      this.#endedPeople.tell(this.tunnels.all())
      this.pinned.releaseEnded((session) => this.sessions.hasEnded(session))
      const changed = this.#changedUsers
      this.#changedUsers = new Set()
      for (const exchange of this.open) {
        const { session } = exchange
        if (!session) continue
        if (this.sessions.hasEnded(session)) exchange.decideAgain(nowAt)
        else if (changed.has(session.userId)) void this.#readAgain(exchange)
      }
    })
  }

  /** Takes in what may have been missed; nothing that is remembered of people counts any more. */
  #catchUp(denySet: DenySet): void {
    this.sessions.learn(denySet)
    for (const connectorId of denySet.revokedConnectorIds) this.tunnels.revoke(connectorId)
    for (const { connectorId, connectorGroup } of denySet.connectorGroups)
      this.tunnels.move(connectorId, connectorGroup)
    this.#decideBySnapshot()
    for (const exchange of this.open) if (exchange.session) void this.#readAgain(exchange)
  }

  #feedChanged(isSilent: boolean): void {
    if (isSilent) {
      const nowAt = this.options.clock()
      for (const exchange of this.open) if (exchange.session) exchange.decideAgain(nowAt)
    }
    this.options.onFeedChange?.(isSilent)
  }

  /** Another process may have changed the configuration: then the event comes before the Snapshot. */
  #decideBySnapshot(): void {
    const snapshot = this.options.snapshot()
    if (snapshot === this.#decidedBy) return
    this.#decidedBy = snapshot
    const nowAt = this.options.clock()
    for (const exchange of this.open) exchange.decideAgain(nowAt)
  }

  /** Takes the keys that are in force now. */
  useKeys(): void {
    const ring = this.options.cookieKeys()
    if (ring === this.#ring) return
    this.#ring = ring
    this.sessionCookies.useKeys(ring)
    this.signIn.useKeys(ring)
  }

  /** Asks again about the streams of which identity could not be asked. */
  retry(): void {
    if (this.#toRetry.size === 0) return
    const again = [...this.#toRetry]
    this.#toRetry.clear()
    for (const exchange of again) if (this.open.has(exchange)) void this.#readAgain(exchange)
  }

  #tick(): void {
    this.feed.tick()
    this.retry()
    this.useKeys()
    this.#decideBySnapshot()
    this.#ticks += 1
    if (this.#ticks % ticksPerSweep === 0) this.sweep()
    if (this.#ticks % ticksPerReport === 0) this.reportUse()
  }

  /** Says which sessions were in use; an open stream is use. */
  reportUse(): void {
    const used = new Set(this.sessions.takeUsed())
    for (const { session } of this.open) if (session) used.add(session.sessionId)
    if (used.size === 0) return
    this.options.identity
      .noteUse([...used], this.options.clock())
      .catch((error: unknown) => this.options.onFeedError?.(error))
  }

  /** Ends what has come to a limit of time, and reads sessions again that were not for long. */
  sweep(): void {
    const nowAt = this.options.clock()
    this.sessions.prune(nowAt, this.options.absoluteLifetimeMs)
    for (const claims of this.sessions.claims()) {
      this.applicationAssertions.prune(claims, nowAt)
      this.connectorAssertions.prune(claims, nowAt)
    }
    this.#cannotRead = false
    this.pinned.releaseEnded(
      (session) => this.sessions.hasEnded(session) || nowAt >= session.absoluteExpiresAt,
    )
    for (const exchange of this.open) {
      const { session } = exchange
      if (!session) continue
      const idleLimitMs = this.view().idleLimitOf(exchange.compiled)
      if (nowAt >= session.absoluteExpiresAt) exchange.decideAgain(nowAt)
      else if (idleLimitMs !== undefined && exchange.idleMs(nowAt) > idleLimitMs) exchange.endIdle()
      else if (nowAt - exchange.checkedAt >= rereadMs) void this.#readAgain(exchange)
    }
  }

  /** Whether nobody has asked the host for anything, in the session, for longer than its limit. */
  isIdle(
    { sessionId, sealedAt }: SessionFacts,
    host: string,
    nowAt: number,
    limitMs: number | undefined,
  ): boolean {
    return (
      limitMs !== undefined &&
      nowAt - sealedAt > limitMs &&
      !this.#isWorking(sessionId, host, nowAt, limitMs)
    )
  }

  /** Whether somebody who asks a host for nothing sends into a WebSocket there, or did within the limit. */
  #isWorking(sessionId: string, host: string, nowAt: number, idleLimitMs: number): boolean {
    for (const exchange of this.open)
      if (
        exchange.session?.sessionId === sessionId &&
        exchange.host === host &&
        exchange.upgraded &&
        exchange.idleMs(nowAt) <= idleLimitMs
      )
        return true
    return false
  }

  /** Decides an open stream by what identity says of its session now. */
  async #readAgain(exchange: Exchange): Promise<void> {
    const session = exchange.session!
    exchange.checkedAt = this.options.clock()
    try {
      const found = await this.sessions.read(session)
      if (found && found.signInEpoch === session.signInEpoch)
        exchange.session = this.sessions.join(session, found)
      else
        this.sessions.apply({
          kind: 'session-ended',
          sessionId: session.sessionId,
          at: this.options.clock(),
        })
      exchange.decideAgain(this.options.clock())
    } catch (error) {
      // Identity could not be asked: the stream stays as long as the feed is heard, and is asked about every second.
      exchange.checkedAt = 0
      this.#toRetry.add(exchange)
      if (!this.#cannotRead) this.options.onInternalError(error, exchange.id)
      this.#cannotRead = true
    }
  }

  // --- records

  /** A head that was no request, and that the codec has answered. */
  recordBadHead(error: Http1Error, clientAddress: string): void {
    this.options.record({
      at: this.options.clock(),
      id: this.nextId(),
      host: '',
      method: '',
      path: '',
      statusCode: error.statusCode,
      decision: 'deny',
      reason: error.code,
      application: undefined,
      applicationId: undefined,
      userId: undefined,
      userName: undefined,
      sessionId: undefined,
      connector: undefined,
      clientAddress,
      receivedBytes: 0,
      sentBytes: 0,
      totalMs: 0,
      gatewayMs: undefined,
      connectorMs: undefined,
      originMs: undefined,
      detail: error.message,
    })
  }

  // --- the end

  /** A request has come to its end. */
  release(exchange: Exchange): void {
    this.open.delete(exchange)
    this.#toRetry.delete(exchange)
    this.#onReleased?.()
  }

  /** Lets requests under way finish, at most for so many milliseconds; new ones go elsewhere. */
  drain(graceMs: number): Promise<void> {
    for (const client of this.#clients) client.closeWhenIdle()
    this.#drained ??= this.#whenAnswered(graceMs)
    return this.#drained
  }

  #whenAnswered(graceMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, graceMs)
      this.#onReleased = () => {
        if (this.#isAnsweringSomebody()) return
        clearTimeout(timer)
        resolve()
      }
      this.#onReleased()
    })
  }

  /** WebSockets are not waited for: they would stay for hours. */
  #isAnsweringSomebody(): boolean {
    for (const exchange of this.open) if (!exchange.upgraded) return true
    return false
  }

  /** Ends everything that is open; resolves when every request has been recorded. */
  async close(): Promise<void> {
    clearInterval(this.#timer)
    this.feed.close()
    this.pinned.close()
    clearImmediate(this.#look)
    for (const exchange of this.open) exchange.abandon()
    for (const tunnel of this.tunnels.all()) tunnel.session.close()
    if (this.#clients.size === 0) return
    const gone = new Promise<void>((resolve) => {
      this.#onClientsGone = resolve
    })
    for (const client of this.#clients) client.destroy()
    await gone
  }
}

export type { ConnectedTunnel, TunnelSession }
