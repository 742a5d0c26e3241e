import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { ClientConnection, type ClientOptions, type FieldList } from '@sallyport/http1'
import { toEndPointBinding } from '@sallyport/kerberos'
import { ResetCode } from '@sallyport/protocol'
import type { AllowList } from './allow-list.ts'
import type {
  ClientCertificate,
  ClientCertificates,
  WatchedClientCertificate,
} from './client-certificate.ts'
import { connectThroughProxy, describeProxy } from './connect-proxy.ts'
import { type Destination, resolveDestination } from './destination.ts'
import { dialTcp, type Resolve } from './dial.ts'
import { ConnectorError } from './errors.ts'
import { OriginFailure } from './failure.ts'
import { type ResponseFacts, toResponseFacts } from './fields.ts'
import type { OriginTls } from './origin-tls.ts'

/** How origins are reached; the same for all of them. */
export interface OriginNetwork {
  allowList: AllowList
  resolve: Resolve
  tls: OriginTls
  /** What this connector shows to origins that ask for a certificate. */
  certificates: ClientCertificates
  /** HTTP proxy towards origins. */
  proxy: URL | undefined
  limits: OriginLimits
  /** One object for all connections: the codec groups them by it. */
  clientOptions: ClientOptions
}

export interface OriginLimits {
  /** An unused connection is closed after that. */
  idleMs: number
  /**
   * A request that may not be repeated takes a connection only if it was used that recently: the
   * server may be closing an older one at this moment, and many do after 5 s.
   */
  freshMs: number
  /** A connection is not used again when it is that old, so that changes of address are noticed. */
  maxAgeMs: number
  /** Unused connections kept per origin. */
  maxIdle: number
}

export const defaultOriginLimits: OriginLimits = {
  idleMs: 60_000,
  freshMs: 4_000,
  maxAgeMs: 600_000,
  maxIdle: 256,
}

/** Completes a network with what the codec needs. @param onRead told how many bytes each read of an origin has brought */
export function originNetwork(
  network: Omit<OriginNetwork, 'clientOptions'>,
  onRead?: (bytes: number) => void,
): OriginNetwork {
  return {
    ...network,
    clientOptions: {
      idleTimeoutMs: network.limits.idleMs,
      // A tunnel takes heads of 262,144 bytes; ours gain a field, and a space after each colon.
      maxHeadBytes: 260_000,
      maxFields: 500,
      onRead,
    },
  }
}

/** To whom a connection to an origin belongs; it serves nobody else. */
export interface ConnectionOwner {
  /** '' for connections that carry nobody's credentials, and are shared. */
  readonly key: string
  /** The client's connection that it belongs to, and lives and dies with. */
  readonly connection?: string
}

export const nobody: ConnectionOwner = { key: '' }

/** Keys of persons begin with a bracket. */
export function toClientOwner(applicationId: string, connection: string): ConnectionOwner {
  return { key: `connection ${applicationId} ${connection}`, connection }
}

interface ConnectionFacts {
  /** As `performance.now()`. */
  openedAt: number
  owner: ConnectionOwner
  certificate: ClientCertificate | undefined
  channelBinding: Buffer | undefined
}

/** One connection to an origin. It belongs to one exchange at a time, or to the origin's pool. */
export class OriginConnection {
  readonly http: ClientConnection
  readonly openedAt: number
  idleSince = 0
  readonly owner: ConnectionOwner
  /** What the origin was shown if it asked; undefined: nothing. */
  readonly certificate: ClientCertificate | undefined
  /** It has carried a request before the current one. */
  reused = false
  /** What ties a credential to this end of TLS (RFC 5929, `tls-server-end-point`); undefined without TLS. */
  readonly channelBinding: Buffer | undefined
  /**
   * It must not serve anybody else: the origin may have tied a user to the connection (NTLM,
   * Negotiate), or was asked to speak another protocol on it. One that is a client's own serves it on.
   */
  exclusive = false
  /** For who uses it as a raw pipe: the codec says no more once the origin has ended its half. */
  onClosed: (() => void) | undefined = undefined

  /** Of the latest answer: the next one may well have the same fields. */
  #answerFields: FieldList | undefined
  #answer: ResponseFacts | undefined

  constructor(
    http: ClientConnection,
    { openedAt, owner, certificate, channelBinding }: ConnectionFacts,
  ) {
    this.http = http
    this.owner = owner
    this.certificate = certificate
    this.channelBinding = channelBinding
    this.openedAt = openedAt
  }

  /**
   * Field lines of an answer for the gateway, each with its CRLF in front. Makes the connection
   * exclusive when the answer ties, or offers to tie, a user to it.
   *
   * @param fields as the codec gave them: the same list for fields that repeat
   * @param upgraded for a 101, which keeps its `Connection` and `Upgrade`
   */
  responseLines(fields: FieldList, upgraded: boolean): string {
    let answer = this.#answer
    if (answer === undefined || upgraded || this.#answerFields !== fields) {
      answer = toResponseFacts(fields, upgraded)
      this.#answer = upgraded ? undefined : answer
      this.#answerFields = upgraded ? undefined : fields
    }
    if (answer.authenticatesConnection) this.exclusive = true
    return answer.lines
  }
}

/**
 * One origin (scheme, host, port, validation; for an application with a client certificate, one of its own) with its
 * unused connections, last used first.
 */
export class Origin {
  readonly destination: Destination
  readonly validate: boolean
  /** Shown to it if it asks; then all requests are of the same application. */
  readonly certificate: WatchedClientCertificate | undefined
  readonly #network: OriginNetwork
  readonly #pinned: PinnedConnections
  readonly #idle: OriginConnection[] = []
  readonly #all = new Set<OriginConnection>()
  #resolving: Promise<readonly string[]> | undefined
  #session: Buffer | undefined
  /** What the origin was shown when `#session` began: a session that is resumed says the same again. */
  #sessionCertificate: ClientCertificate | undefined
  #channelBinding: Buffer | undefined
  #closed = false

  constructor(
    destination: Destination,
    validate: boolean,
    certificate: WatchedClientCertificate | undefined,
    network: OriginNetwork,
    pinned: PinnedConnections,
  ) {
    this.destination = destination
    this.validate = validate
    this.certificate = certificate
    this.#network = network
    this.#pinned = pinned
  }

  get connectionCount(): number {
    return this.#all.size
  }

  /** Of the connection that was opened last: that of the next one most likely. */
  get channelBinding(): Buffer | undefined {
    return this.#channelBinding
  }

  get idleCount(): number {
    return this.#idle.length
  }

  /**
   * Takes the connection that was used last. A client's own is taken however old it is: what the origin knows of it would
   * be lost with it.
   *
   * @param nowAt as `performance.now()`
   * @param repeatable whether the request may be sent again if the connection turns out to be dead
   */
  take(owner: ConnectionOwner, nowAt: number, repeatable: boolean): OriginConnection | undefined {
    const isPinned = owner.connection !== undefined
    const { freshMs, maxAgeMs } = this.#network.limits
    for (;;) {
      let index = this.#idle.length - 1
      while (index >= 0 && this.#idle[index]!.owner.key !== owner.key) index -= 1
      const connection = this.#idle[index]
      if (!connection) return undefined
      if (!isPinned && !repeatable && nowAt - connection.idleSince > freshMs) return undefined
      if (index === this.#idle.length - 1) this.#idle.pop()
      else this.#idle.splice(index, 1)
      if (
        connection.http.reusable &&
        (isPinned || nowAt - connection.openedAt <= maxAgeMs) &&
        connection.certificate === this.certificate?.current
      ) {
        connection.reused = true
        return connection
      }
      connection.http.destroy()
    }
  }

  /**
   * Opens a connection to an address that the allow-list permits.
   *
   * @throws OriginFailure, or the error of the network or of TLS; the signal's reason
   */
  async open(owner: ConnectionOwner, signal: AbortSignal): Promise<OriginConnection> {
    const certificate = this.certificate?.get()
    const addresses = await this.#resolve()
    const socket = await this.#dial(addresses, signal)
    let stream: Socket | TLSSocket = socket
    if (this.destination.secure) {
      const { tls } = this.#network
      const secure = await tls.secure(
        socket,
        this.destination,
        this.validate,
        certificate,
        this.#sessionCertificate === certificate ? this.#session : undefined,
        signal,
      )
      secure.on('session', (session) => {
        this.#session = session
        this.#sessionCertificate = certificate
      })
      const shown = secure.getPeerX509Certificate()
      if (shown) this.#channelBinding = toEndPointBinding(shown)
      stream = secure
    }
    if (signal.aborted || this.#closed) {
      stream.destroy()
      throw signal.reason ?? new OriginFailure(ResetCode.CANCELLED, 'the connector is stopping')
    }
    return this.#adopt(stream, owner, certificate)
  }

  /** Destroys what is unused; connections in use end with their exchange. */
  close(): void {
    this.#closed = true
    for (const connection of this.#idle.splice(0)) connection.http.destroy()
  }

  /**
   * Everyone who asks while a look-up is under way shares its answer; nothing is remembered beyond
   * it.
   */
  #resolve(): Promise<readonly string[]> {
    this.#resolving ??= resolveDestination(
      this.destination,
      this.#network.allowList,
      this.#network.resolve,
    ).finally(() => {
      this.#resolving = undefined
    })
    return this.#resolving
  }

  async #dial(addresses: readonly string[], signal: AbortSignal): Promise<Socket> {
    const { proxy, resolve } = this.#network
    const { port, secure } = this.destination
    if (!proxy) return dialTcp(addresses, port, signal, { isPlain: !secure })
    // The proxy gets the address that was checked, not the name: it would look the name up again.
    let failure: unknown
    for (const address of addresses) {
      try {
        return await connectThroughProxy(proxy, address, port, signal, resolve)
      } catch (error) {
        if (signal.aborted) throw error
        failure ??= error
      }
    }
    if (failure instanceof ConnectorError)
      throw new OriginFailure(
        ResetCode.ORIGIN_UNREACHABLE,
        `${failure.code} ${describeProxy(proxy)}: ${failure.message}`,
        { cause: failure },
      )
    throw failure
  }

  #adopt(
    stream: Socket | TLSSocket,
    owner: ConnectionOwner,
    certificate: ClientCertificate | undefined,
  ): OriginConnection {
    const http = new ClientConnection(stream, this.#network.clientOptions)
    const connection = new OriginConnection(http, {
      openedAt: performance.now(),
      owner,
      certificate,
      channelBinding: this.#channelBinding,
    })
    this.#all.add(connection)
    this.#pinned.add(connection)
    http.onIdle = () => this.#keep(connection)
    http.onClose = () => this.#forget(connection)
    return connection
  }

  #keep(connection: OriginConnection): void {
    const { maxIdle } = this.#network.limits
    const isSpent = connection.exclusive && connection.owner.connection === undefined
    if (isSpent || this.#closed || maxIdle === 0) {
      connection.http.destroy()
      return
    }
    // That of a person who will not come back must not keep others from being kept.
    if (this.#idle.length >= maxIdle) this.#idle.shift()!.http.destroy()
    connection.idleSince = performance.now()
    this.#idle.push(connection)
  }

  #forget(connection: OriginConnection): void {
    this.#all.delete(connection)
    this.#pinned.delete(connection)
    const index = this.#idle.lastIndexOf(connection)
    if (index >= 0) this.#idle.splice(index, 1)
    connection.onClosed?.()
  }
}

/** Connections that belong to connections of clients, by those. */
class PinnedConnections {
  readonly #byClient = new Map<string, Set<OriginConnection>>()

  add(connection: OriginConnection): void {
    const client = connection.owner.connection
    if (client === undefined) return
    const known = this.#byClient.get(client)
    if (known) known.add(connection)
    else this.#byClient.set(client, new Set([connection]))
  }

  delete(connection: OriginConnection): void {
    const client = connection.owner.connection
    if (client === undefined) return
    const known = this.#byClient.get(client)
    known?.delete(connection)
    if (known?.size === 0) this.#byClient.delete(client)
  }

  close(clients: readonly string[]): void {
    for (const client of clients)
      for (const connection of [...(this.#byClient.get(client) ?? [])]) connection.http.destroy()
  }
}

const maxOrigins = 4_096

/**
 * All origins by URL and validation, and by application where that has a client certificate. Those that nobody uses are forgotten when there are too many.
 */
export class Origins {
  readonly #network: OriginNetwork
  readonly #origins = new Map<string, Origin>()
  readonly #pinned = new PinnedConnections()
  #closed = false

  constructor(network: OriginNetwork) {
    this.#network = network
  }

  /** @param applicationId for whose requests; undefined: for none, and then no client certificate is shown */
  find(destination: Destination, validate: boolean, applicationId: string | undefined): Origin {
    const certificate =
      applicationId === undefined
        ? undefined
        : this.#network.certificates.find(applicationId, destination)
    const key = `${validate} ${destination.url}${certificate ? ` ${applicationId}` : ''}`
    let origin = this.#origins.get(key)
    if (!origin) {
      if (this.#origins.size >= maxOrigins) this.#dropUnused()
      origin = new Origin(destination, validate, certificate, this.#network, this.#pinned)
      if (this.#closed) origin.close()
      this.#origins.set(key, origin)
    }
    return origin
  }

  /** Closes what belongs to connections of clients that are no more. */
  closePinned(clients: readonly string[]): void {
    this.#pinned.close(clients)
  }

  list(): Iterable<Origin> {
    return this.#origins.values()
  }

  close(): void {
    this.#closed = true
    for (const origin of this.#origins.values()) origin.close()
  }

  #dropUnused(): void {
    for (const [key, origin] of this.#origins)
      if (origin.connectionCount === 0) this.#origins.delete(key)
  }
}
