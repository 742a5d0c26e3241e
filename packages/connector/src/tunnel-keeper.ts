import type { TLSSocket } from 'node:tls'
import {
  type TunnelError,
  type TunnelErrorCode,
  type TunnelLimits,
  type TunnelOptions,
  TunnelSession,
  type TunnelStream,
} from '@sallyport/protocol'
import { ConnectorError, type ConnectorErrorCode, findErrorCode, toError } from './errors.ts'
import type { Log } from './log.ts'

const firstDelayMs = 100
const maxDelayMs = 10_000
/** A tunnel that lived this long was no failed attempt. */
const provenMs = 5_000

const tunnelFailures: Partial<Record<TunnelErrorCode, ConnectorErrorCode>> = {
  TUNNEL_TIMEOUT: 'SERVICE_TIMEOUT',
  TUNNEL_VERSION_UNSUPPORTED: 'SERVICE_PROTOCOL_MISMATCH',
  TUNNEL_FRAME_INVALID: 'SERVICE_PROTOCOL_MISMATCH',
  TUNNEL_PROTOCOL_VIOLATION: 'SERVICE_PROTOCOL_MISMATCH',
}

export type TunnelState = 'connecting' | 'connected' | 'waiting' | 'stopped'

export interface TunnelStatus {
  state: TunnelState
  /** Since when it is connected, epoch milliseconds. */
  connectedAt?: number
  roundTripMs?: number
  /** Streams open, those of tunnels that are draining included. */
  streams: number
  /** Attempts since the last tunnel that lasted. */
  attempts: number
  /** Why there was no tunnel the last time there was none. */
  lastError?: { code: string; message: string; at: number }
}

export interface TunnelKeeperOptions {
  /** An authenticated connection to the service. Errors are the attempt's. */
  dial(signal: AbortSignal): Promise<TLSSocket>
  capabilities: readonly string[]
  limits: Partial<TunnelLimits>
  onStream(stream: TunnelStream): void
  /** A mistake of ours while a stream was served; the stream was reset. */
  onHandlerError(error: unknown, stream: TunnelStream): void
  /** Turns what ended a tunnel into a named error. */
  explain(error: Error): ConnectorError
  onStateChange(state: TunnelState): void
  onRead: TunnelOptions['onRead']
  log: Log
  clock: () => number
  /** 0 to 1. */
  random: () => number
  name: string
}

/**
 * Delay before attempt `attempts + 1`: doubles from 100 ms to 10 s, and of each the upper half is
 * left to chance, so that a hundred connectors do not come back in step.
 */
export function backoffMs(attempts: number, random: () => number): number {
  const fullMs = Math.min(firstDelayMs * 2 ** Math.max(attempts - 1, 0), maxDelayMs)
  return fullMs / 2 + (fullMs / 2) * random()
}

/** Keeps one tunnel up: dials, serves, and dials again when the tunnel ends or drains. */
export class TunnelKeeper {
  readonly #options: TunnelKeeperOptions
  /** The tunnel that takes new streams. */
  #current: TunnelSession | undefined
  /** Connected, but the other end has not said hello. */
  #opening: TunnelSession | undefined
  readonly #draining = new Set<TunnelSession>()
  #state: TunnelState = 'stopped'
  #connectedAt: number | undefined
  #attempts = 0
  #lastError: TunnelStatus['lastError']
  #timer: NodeJS.Timeout | undefined
  readonly #stopping = new AbortController()
  #onEmpty: (() => void) | undefined
  readonly #onSettled: (() => void)[] = []

  constructor(options: TunnelKeeperOptions) {
    this.#options = options
  }

  get status(): TunnelStatus {
    const roundTripMs = this.#current?.roundTripMs
    return {
      state: this.#state,
      streams: [...this.#sessions()].reduce((sum, session) => sum + session.openStreamCount, 0),
      attempts: this.#attempts,
      ...(this.#connectedAt === undefined ? {} : { connectedAt: this.#connectedAt }),
      ...(roundTripMs === undefined ? {} : { roundTripMs }),
      ...(this.#lastError ? { lastError: this.#lastError } : {}),
    }
  }

  start(): void {
    this.#dial()
  }

  /** Dials a second tunnel and lets the first one drain once it is up: after a renewal. */
  replace(): void {
    if (this.#state === 'connected') this.#dial()
  }

  /** Resolves when no dial is under way. */
  settled(): Promise<void> {
    if (this.#state !== 'connecting') return Promise.resolve()
    return new Promise((resolve) => this.#onSettled.push(resolve))
  }

  /** Takes no new streams; resolves when those that are open have ended. */
  drain(reason: string): Promise<void> {
    this.#stop()
    return new Promise((resolve) => {
      this.#onEmpty = resolve
      for (const session of this.#sessions()) session.goAway(reason)
      this.#checkEmpty()
    })
  }

  /** Ends everything now. */
  close(): void {
    this.#stop()
    for (const session of this.#sessions()) session.close()
  }

  *#sessions(): Iterable<TunnelSession> {
    if (this.#current) yield this.#current
    if (this.#opening) yield this.#opening
    yield* this.#draining
  }

  #stop(): void {
    clearTimeout(this.#timer)
    this.#stopping.abort(new ConnectorError('SERVICE_TIMEOUT', 'the connector is stopping'))
    this.#setState('stopped')
  }

  #setState(state: TunnelState): void {
    if (this.#state === state) return
    this.#state = state
    if (state !== 'connected') this.#connectedAt = undefined
    this.#options.onStateChange(state)
    if (state !== 'connecting') for (const settled of this.#onSettled.splice(0)) settled()
  }

  #dial(): void {
    const { signal } = this.#stopping
    if (signal.aborted) return
    clearTimeout(this.#timer)
    if (!this.#current) this.#setState('connecting')
    this.#attempts += 1
    this.#options.dial(signal).then(
      (socket) => (signal.aborted ? void socket.destroy() : this.#open(socket)),
      (error) => {
        if (!signal.aborted) this.#retry(this.#options.explain(toError(error)))
      },
    )
  }

  #open(socket: TLSSocket): void {
    const { capabilities, limits, log, name, clock } = this.#options
    let readyAt: number | undefined
    let farewell: string | undefined
    socket.setNoDelay(true)
    const session: TunnelSession = new TunnelSession(socket, {
      side: 'connector',
      capabilities,
      limits,
      onRead: this.#options.onRead,
      onStream: (stream) => this.#options.onStream(stream),
      onReady: () => {
        readyAt = performance.now()
        const previous = this.#current
        if (previous) this.#retire(previous, 'replaced by a new tunnel')
        this.#current = session
        this.#opening = undefined
        this.#connectedAt = clock()
        this.#setState('connected')
        log.info({ tunnel: name }, 'tunnel connected')
      },
      onGoAway: (reason) => {
        log.info({ tunnel: name, reason }, 'the service drains the tunnel')
        farewell = reason
        if (this.#current !== session) return
        this.#current = undefined
        this.#draining.add(session)
        this.#ended(readyAt, farewell, undefined)
      },
      onClose: (error) => {
        const wasInUse = this.#current === session || this.#opening === session
        if (this.#current === session) this.#current = undefined
        if (this.#opening === session) this.#opening = undefined
        this.#draining.delete(session)
        if (wasInUse) this.#ended(readyAt, farewell, error)
        this.#checkEmpty()
      },
      onHandlerError: (error, stream) => {
        log.error({ tunnel: name, stream: stream.id, err: toError(error) }, 'exchange failed')
        this.#options.onHandlerError(error, stream)
      },
    })
    this.#opening = session
  }

  #retire(session: TunnelSession, reason: string): void {
    this.#draining.add(session)
    session.goAway(reason)
  }

  #ended(
    readyAt: number | undefined,
    farewell: string | undefined,
    error: TunnelError | undefined,
  ): void {
    if (this.#stopping.signal.aborted) return
    if (readyAt !== undefined && performance.now() - readyAt >= provenMs) this.#attempts = 0
    this.#retry(this.#describeEnd(readyAt !== undefined, farewell, error))
  }

  #describeEnd(
    wasReady: boolean,
    farewell: string | undefined,
    error: TunnelError | undefined,
  ): ConnectorError {
    if (farewell !== undefined)
      return new ConnectorError('SERVICE_REFUSED', `the service ended the tunnel: ${farewell}`)
    // TLS 1.3 tells a client that its certificate was refused only after its own handshake is over.
    if (error?.cause instanceof Error) return this.#options.explain(error.cause)
    if (error && error.code !== 'TUNNEL_CLOSED')
      return new ConnectorError(
        tunnelFailures[error.code] ?? 'SERVICE_UNREACHABLE',
        error.message,
        {
          cause: error,
        },
      )
    return wasReady
      ? new ConnectorError('SERVICE_UNREACHABLE', 'the service closed the tunnel')
      : new ConnectorError(
          'SERVICE_REFUSED',
          "the service closed the connection before it said hello: it may not accept this connector's certificate",
        )
  }

  #retry(error: ConnectorError): void {
    const { log, name, clock, random } = this.#options
    const { code, message } = error
    if (this.#lastError?.code !== code || this.#attempts <= 1)
      log.warn(
        { tunnel: name, code, detail: message, cause: findErrorCode(error.cause) },
        'no tunnel',
      )
    this.#lastError = { code, message, at: clock() }
    // When a replacement failed, the tunnel that should have been replaced is still good.
    if (!this.#current) this.#setState('waiting')
    if (this.#stopping.signal.aborted) return
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#dial(), backoffMs(this.#attempts, random))
  }

  #checkEmpty(): void {
    if (!this.#onEmpty || this.#current || this.#opening || this.#draining.size > 0) return
    this.#onEmpty()
    this.#onEmpty = undefined
  }
}
