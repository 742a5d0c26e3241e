import { randomBytes } from 'node:crypto'
import type { Duplex } from 'node:stream'
import {
  type AccessEvent,
  applicationSchema,
  type CompiledApplication,
  type IdentitySession,
  PORTAL_APPLICATION_ID,
  type Session,
  type Snapshot,
} from '@sallyport/domain'
import { type ServerConnection, type ServerOptions, serveConnection } from '@sallyport/http1'
import type { TunnelSession } from '@sallyport/protocol'
import type { AccessRecord } from './access-record.ts'
import { plainAddress, TrustedProxies } from './addresses.ts'
import { type CookieNames, cookieNames } from './cookies.ts'
import { Exchange } from './exchange.ts'
import type { RingKey } from './seal.ts'
import { SessionCookies, type SessionFacts, sessionLifetimeMs } from './session-cookie.ts'
import { type SessionSource, Sessions } from './sessions.ts'
import { SignIn, type SignInProvider } from './sign-in.ts'
import { FieldFilter } from './to-origin.ts'
import { type ConnectedTunnel, TunnelPool } from './tunnels.ts'

/** Identity, as far as the gateway needs it. */
export interface IdentityProvider extends SignInProvider, SessionSource {
  /** Ends a sign-in and every session that came of it. */
  endSession(sessionId: string, reason: string): Promise<void>
}

export interface PortalRequest {
  method: string
  path: string
  session: Session
}

export interface LocalAnswer {
  statusCode: number
  fields: string[]
  body: string
}

export interface GatewayOptions {
  /** The configuration in force; asked once per request. */
  snapshot(): Snapshot
  identity: IdentityProvider
  /** The portal runs in this process. */
  portal(request: PortalRequest): Promise<LocalAnswer>
  cookieKeys: readonly RingKey[]
  /** The port that external URLs hold. */
  port: number
  /** Addresses and ranges whose `X-Forwarded-For` counts. */
  trustedProxies: readonly string[]
  /** Longest life of a sign-in, milliseconds. */
  absoluteLifetimeMs: number
  clock(): number
  record(record: AccessRecord): void
  /** A mistake of ours; the request was answered 500. */
  onInternalError(error: unknown, id: string): void
  http?: ServerOptions
}

/** An open stream is decided again at half the life of a session cookie. */
const recheckMs = sessionLifetimeMs / 2
const sweepMs = 15_000

/**
 * The data plane: takes connections of clients and tunnels of connectors, and joins them request by
 * request.
 */
export class Gateway {
  readonly options: GatewayOptions
  readonly tunnels = new TunnelPool()
  readonly sessions: Sessions
  readonly sessionCookies: SessionCookies
  readonly signIn: SignIn
  readonly cookieNames: CookieNames
  readonly trustedProxies: TrustedProxies
  /** Requests that are being relayed. */
  readonly open = new Set<Exchange>()
  readonly responseLimits = { maxHeadBytes: 262_144, maxFields: 1_000 }
  readonly #connections = new Set<ServerConnection>()
  readonly #idPrefix = randomBytes(6).toString('hex')
  readonly #sweep: NodeJS.Timeout
  #idCount = 0
  #onReleased: (() => void) | undefined
  #compiledFor: Snapshot | undefined
  #filter: FieldFilter | undefined
  #instructions = new Map<string, { json: Buffer; host: string; origin: string }>()
  #portal: CompiledApplication | undefined

  constructor(options: GatewayOptions) {
    this.options = options
    this.sessions = new Sessions(options.identity)
    this.sessionCookies = new SessionCookies(options.cookieKeys)
    this.cookieNames = cookieNames(options.port)
    this.signIn = new SignIn(options.identity, options.cookieKeys, this.cookieNames)
    this.trustedProxies = new TrustedProxies(options.trustedProxies)
    this.#sweep = setInterval(() => this.#recheckAll(), sweepMs)
    this.#sweep.unref()
  }

  /**
   * Serves HTTP/1.1 to one client.
   *
   * @param socket plain, or TLS after its handshake; the gateway closes it
   * @param serverName of the handshake, lower case; undefined without TLS
   */
  serveClient(socket: Duplex & { remoteAddress?: string | undefined }, serverName?: string): void {
    const connection = {
      serverName,
      peerAddress: plainAddress(socket.remoteAddress ?? ''),
    }
    const served: ServerConnection = serveConnection(socket, this.options.http ?? {}, {
      onExchange: (exchange) => new Exchange(this, exchange, connection).handle(),
      onError: (error) => this.#recordBadHead(error, connection.peerAddress),
      onClose: () => this.#connections.delete(served),
    })
    this.#connections.add(served)
  }

  /** Takes a tunnel of a connector that has been authenticated. @returns to be called when it has closed */
  addTunnel(tunnel: ConnectedTunnel): () => void {
    this.tunnels.add(tunnel)
    return () => this.tunnels.delete(tunnel)
  }

  /** Takes in an event of the feed. */
  apply(event: AccessEvent): void {
    this.sessions.apply(event)
    if (event.kind === 'connector-revoked')
      this.tunnels.closeConnector(event.connectorId, new Error('connector was revoked'))
    else if (event.kind === 'configuration-changed') this.#cutUnassigned()
    else this.#cutEnded(event.kind === 'claims-changed' ? event.userId : undefined)
  }

  snapshot(): Snapshot {
    return this.options.snapshot()
  }

  /** A correlation ID: unique, and cheap enough for every request. */
  nextId(): string {
    this.#idCount += 1
    return `${this.#idPrefix}-${this.#idCount.toString(36)}`
  }

  fieldFilter(): FieldFilter {
    this.#refresh()
    return this.#filter!
  }

  portal(): CompiledApplication {
    this.#refresh()
    return this.#portal!
  }

  portalUrl(): string {
    const { port } = this.options
    return `https://${this.snapshot().hosts.apps}${port === 443 ? '' : `:${port}`}/`
  }

  /** The application that answers for the root of a host, or the first one published there. */
  startApplication(host: string): CompiledApplication | undefined {
    const snapshot = this.snapshot()
    if (host === snapshot.hosts.apps) return this.portal()
    const root = snapshot.findApplication(host, { path: '/', query: '', readings: [] })?.compiled
    if (root) return root
    for (const compiled of snapshot.applications.values())
      if (compiled.externalHost === host) return compiled
    return undefined
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

  internalHost(compiled: CompiledApplication, label: string | undefined): string {
    return this.#instruction(compiled, label).host
  }

  internalOrigin(compiled: CompiledApplication, label: string | undefined): string {
    return this.#instruction(compiled, label).origin
  }

  /** Destination and correlation ID for the connector; all but the ID is the same bytes for each request of an application. */
  openPayload(
    compiled: CompiledApplication,
    label: string | undefined,
    id: string,
    upgrade: boolean,
  ): Buffer {
    const { json } = this.#instruction(compiled, label, upgrade)
    const payload = Buffer.allocUnsafe(1 + id.length + json.length)
    payload[0] = id.length
    payload.write(id, 1, 'latin1')
    json.copy(payload, 1 + id.length)
    return payload
  }

  #instruction(compiled: CompiledApplication, label: string | undefined, upgrade = false) {
    this.#refresh()
    const { application } = compiled
    const key = `${application.id} ${label ?? ''} ${upgrade ? 1 : 0}`
    const known = this.#instructions.get(key)
    if (known) return known
    const name =
      label === undefined ? compiled.internalHost : compiled.internalHost.replace(/^\*/, label)
    const isDefaultPort =
      compiled.internalPort === (compiled.internalProtocol === 'https:' ? 443 : 80)
    const host = isDefaultPort ? name : `${name}:${compiled.internalPort}`
    const instruction = {
      host,
      origin: `${compiled.internalProtocol}//${host}`,
      json: Buffer.from(
        JSON.stringify({
          v: 1,
          app: application.id,
          url: `${compiled.internalProtocol}//${name}:${compiled.internalPort}`,
          validate: application.validateBackendCertificate,
          timeoutMs: application.backendTimeoutMs,
          ...(upgrade ? { upgrade: true } : {}),
        }),
      ),
    }
    // Labels of wildcards come from clients.
    if (this.#instructions.size >= 10_000) this.#instructions.clear()
    this.#instructions.set(key, instruction)
    return instruction
  }

  /** What is worked out from a Snapshot is worked out once for each. */
  #refresh(): void {
    const snapshot = this.options.snapshot()
    if (snapshot === this.#compiledFor) return
    this.#compiledFor = snapshot
    this.#filter = new FieldFilter(snapshot)
    this.#instructions = new Map()
    this.#portal = portalApplication(snapshot)
  }

  #cutEnded(changedUserId?: string): void {
    for (const exchange of this.open) {
      const { session } = exchange
      if (!session) continue
      if (this.sessions.hasEnded(session)) exchange.cut('session-ended')
      else if (session.userId === changedUserId) void this.#recheck(exchange)
    }
  }

  #cutUnassigned(): void {
    const snapshot = this.snapshot()
    for (const exchange of this.open) {
      const id = exchange.match?.compiled.application.id
      const compiled = id === undefined ? undefined : snapshot.findApplicationById(id)
      const { session } = exchange
      if (!compiled) exchange.cut('application-not-found')
      else if (compiled.application.preAuthentication === 'passthrough') continue
      else if (!session) exchange.cut('session-missing')
      else if (
        compiled.application.assignmentRequired &&
        !session.principalIds.some((principal) => compiled.assigned.has(principal))
      )
        exchange.cut('user-not-assigned')
    }
  }

  #recheckAll(): void {
    const nowAt = this.options.clock()
    this.sessions.prune(nowAt, this.options.absoluteLifetimeMs)
    for (const exchange of this.open) {
      if (!exchange.session) continue
      if (nowAt >= exchange.session.absoluteExpiresAt) exchange.cut('session-expired')
      else if (nowAt - exchange.checkedAt >= recheckMs) void this.#recheck(exchange)
    }
  }

  /** Decides an open stream again, against the session and not against the cookie it began with. */
  async #recheck(exchange: Exchange): Promise<void> {
    const session = exchange.session!
    exchange.checkedAt = this.options.clock()
    try {
      const found = await this.sessions.read(session)
      if (!found || this.sessions.hasEnded(session)) {
        exchange.cut('session-ended')
        return
      }
      const compiled = this.snapshot().findApplicationById(exchange.match!.compiled.application.id)
      const principals = [found.userId, ...found.claims.groups.map(({ id }) => id)]
      if (
        !compiled ||
        (compiled.application.assignmentRequired &&
          !principals.some((principal) => compiled.assigned.has(principal)))
      )
        exchange.cut('user-not-assigned')
    } catch (error) {
      // Identity could not be asked: the stream stays until it can, at most until its absolute limit.
      this.options.onInternalError(error, exchange.id)
    }
  }

  #recordBadHead(
    error: { code: string; statusCode: number; message: string },
    address: string,
  ): void {
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
      clientAddress: address,
      receivedBytes: 0,
      sentBytes: 0,
      totalMs: 0,
      gatewayMs: undefined,
      connectorMs: undefined,
      originMs: undefined,
      detail: error.message,
    })
  }

  /** Lets requests under way finish, at most for so many milliseconds; new ones go elsewhere. */
  async drain(graceMs: number): Promise<void> {
    for (const connection of this.#connections) connection.closeWhenIdle()
    if (!this.#isAnsweringSomebody()) return
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, graceMs)
      this.#onReleased = () => {
        if (this.#isAnsweringSomebody()) return
        clearTimeout(timer)
        resolve()
      }
    })
  }

  /** A request has come to its end. */
  release(exchange: Exchange): void {
    this.open.delete(exchange)
    this.#onReleased?.()
  }

  /** WebSockets are not waited for: they would stay for hours. */
  #isAnsweringSomebody(): boolean {
    for (const exchange of this.open) if (!exchange.upgraded) return true
    return false
  }

  close(): void {
    clearInterval(this.#sweep)
    for (const tunnel of this.tunnels.all()) tunnel.session.close()
    for (const connection of this.#connections) connection.destroy()
  }
}

export type { ConnectedTunnel, TunnelSession }

/** The portal as sessions and sign-in see it: everybody who is signed in may open it. */
function portalApplication(snapshot: Snapshot): CompiledApplication {
  const port = snapshot.port === 443 ? '' : `:${snapshot.port}`
  const url = `https://${snapshot.hosts.apps}${port}/`
  const application = applicationSchema.parse({
    id: PORTAL_APPLICATION_ID,
    name: 'portal',
    displayName: 'Your applications',
    externalUrl: url,
    internalUrl: url,
    assignmentRequired: false,
    visible: false,
  })
  return {
    application,
    assigned: new Set(),
    externalHost: snapshot.hosts.apps,
    externalPort: snapshot.port,
    externalPath: '/',
    internalProtocol: 'https:',
    internalHost: snapshot.hosts.apps,
    internalPort: snapshot.port,
    internalPath: '/',
  }
}
