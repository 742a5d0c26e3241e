import { performance } from 'node:perf_hooks'
import type { Duplex } from 'node:stream'
import { initialWindowBytes, MemoryBudget, minimumWindowBytes } from './budget.ts'
import { GoAwayCode, isResetCode, ResetCode, TunnelError, type TunnelErrorCode } from './errors.ts'
import { Flag, FrameDecoder, FrameType, latin1, maxPayloadBytes, readUint32 } from './frame.ts'
import { encodeHello, parseHello } from './handshake.ts'
import { Outbound } from './outbound.ts'
import { checkLatin1, Stream, type StreamHost } from './stream.ts'
import { StreamTable } from './stream-table.ts'
import type {
  StreamHandler,
  TunnelClock,
  TunnelLimits,
  TunnelOptions,
  TunnelStream,
} from './tunnel.ts'

export const defaultLimits: Readonly<TunnelLimits> = {
  maxStreams: 20_000,
  memoryBytes: 67_108_864,
  maxWindowBytes: 16_777_216,
  controlBacklogBytes: 16_777_216,
  pingAfterMs: 5000,
  deadAfterMs: 15_000,
  handshakeTimeoutMs: 10_000,
  firstStreamId: 1,
}

const maxStreamId = 0xffff_ffff
/** Parts of unfinished heads, of all streams together. */
const maxPartialHeadBytes = 8_388_608
/**
 * How long a closed tunnel waits for the peer to close too, so that our GOAWAY is not lost to a TCP
 * reset.
 */
const lingerMs = 1000
const tickMs = 1000
/**
 * While streams are open a tunnel is looked at more often: what waits on one where nothing comes through shall not be joined by
 * all that is asked for within the next seconds.
 */
const busyTickMs = 250
const roundTripSamples = 8
/** So long after the last sign of it a transfer counts as under way. */
const bulkMs = 2000

const systemClock: TunnelClock = {
  now: () => performance.now(),
  startTimer: (callback, delayMs) => setTimeout(callback, delayMs),
  stopTimer: (timer) => clearTimeout(timer as NodeJS.Timeout),
}

const errorCodes: Readonly<Record<GoAwayCode, TunnelErrorCode>> = {
  [GoAwayCode.NO_ERROR]: 'TUNNEL_CLOSED',
  [GoAwayCode.PROTOCOL_ERROR]: 'TUNNEL_PROTOCOL_VIOLATION',
  [GoAwayCode.FRAME_INVALID]: 'TUNNEL_FRAME_INVALID',
  [GoAwayCode.VERSION_UNSUPPORTED]: 'TUNNEL_VERSION_UNSUPPORTED',
  [GoAwayCode.TIMEOUT]: 'TUNNEL_TIMEOUT',
  [GoAwayCode.OVERLOADED]: 'TUNNEL_OVERLOADED',
  [GoAwayCode.INTERNAL]: 'TUNNEL_CLOSED',
}

type FrameHandler = (
  session: TunnelSession,
  flags: number,
  id: number,
  bytes: Buffer,
  start: number,
  end: number,
) => void

/**
 * One tunnel: a Duplex, already connected and authenticated, and the streams on it. It owns the
 * Duplex from now on.
 */
export class TunnelSession {
  readonly #duplex: Duplex
  readonly #options: TunnelOptions
  readonly #limits: TunnelLimits
  readonly #clock: TunnelClock
  readonly #outbound: Outbound
  readonly #budget: MemoryBudget
  readonly #host: StreamHost
  readonly #decoder: FrameDecoder
  readonly #streams = new StreamTable()
  #state: 'open' | 'closed' = 'open'
  #ready = false
  #draining = false
  #leaving = false
  #peerLeaving = false
  /** Gateway: the next to be given. Connector: above every one that was seen. */
  #nextStreamId: number
  #peerMaxStreams = Number.POSITIVE_INFINITY
  #peerCapabilities: ReadonlySet<string> = new Set()
  #partialHeadBytes = 0
  #dataStream: Stream | undefined
  #dataFlags = 0
  #timer: unknown
  #lingerTimer: unknown
  /** Until the tick that comes next. */
  #nextTickMs = tickMs
  #silentTicks = 0
  /** Of these ticks. */
  #silentMs = 0
  #handshakeMs = 0
  #pingToken = 0
  #pingSentAt = 0
  #pingPending = false
  #roundTrips: number[] = []
  #bulkAt: number | undefined

  /** @throws TypeError for a capability that is no word */
  constructor(duplex: Duplex, options: TunnelOptions) {
    this.#duplex = duplex
    this.#options = options
    this.#limits = { ...defaultLimits, ...options.limits }
    this.#clock = options.clock ?? systemClock
    this.#nextStreamId = this.#limits.firstStreamId
    this.#budget = new MemoryBudget(this.#limits.memoryBytes, this.#limits.maxWindowBytes)
    const hello = encodeHello({
      side: options.side,
      maxStreams: this.#limits.maxStreams,
      capabilities: options.capabilities ?? [],
    })
    this.#outbound = new Outbound(duplex, this.#clock, this.#limits.controlBacklogBytes, () =>
      setImmediate(() => this.#fail(GoAwayCode.OVERLOADED, 'the peer does not read')),
    )
    this.#host = {
      side: options.side,
      outbound: this.#outbound,
      budget: this.#budget,
      clock: this.#clock,
      holdHeadBytes: (bytes) => this.#holdHeadBytes(bytes),
      measureRoundTrip: () => this.#measureRoundTrip(),
      noteBulk: () => {
        this.#bulkAt = this.#clock.now()
      },
      streamOver: (stream) => this.#streamOver(stream),
      handlerFailed: (error, stream) => this.#handlerFailed(error, stream),
    }
    this.#decoder = new FrameDecoder({
      onFrame: (type, flags, id, bytes, start, end) =>
        this.#receive(type, flags, id, bytes, start, end),
      onDataStart: (flags, id, length) => this.#receiveDataStart(flags, id, length),
      onDataPiece: (piece, last) => this.#receiveDataPiece(piece, last),
    })
    this.#outbound.writer.frame(FrameType.HELLO, 0, 0, hello)
    this.#outbound.schedule()
    this.#timer = this.#clock.startTimer(this.#tick, this.#nextTickMs)
    duplex.on('data', (chunk: Buffer) => this.#read(chunk))
    duplex.on('end', () => this.#lost(undefined))
    duplex.on('error', (error) => this.#lost(error))
    duplex.on('close', () => this.#lost(undefined))
  }

  get openStreamCount(): number {
    return this.#streams.size
  }

  /** A long body is on its way, in either direction: what is small may stand behind it. */
  get carriesBulk(): boolean {
    if (this.#bulkAt === undefined) return false
    if (this.#clock.now() - this.#bulkAt < bulkMs) return true
    this.#bulkAt = undefined
    return false
  }

  /**
   * Nothing was heard for two ticks (250 to 500 ms while streams are open): the peer has nothing to say, or the way to it is
   * blocked.
   */
  get isSilent(): boolean {
    return this.#silentTicks > 1
  }

  /** No new streams: one side said so, or the tunnel is closed. */
  get draining(): boolean {
    return this.#draining || this.#state === 'closed'
  }

  /** The least of the latest measurements; undefined before the first. */
  get roundTripMs(): number | undefined {
    return this.#roundTrips.length > 0 ? Math.min(...this.#roundTrips) : undefined
  }

  /** Empty until `onReady`. */
  get peerCapabilities(): ReadonlySet<string> {
    return this.#peerCapabilities
  }

  /**
   * Gateway side. Nothing needs to be awaited: opening, head and body may be sent at once; body
   * bytes stay here until the connector accepted.
   *
   * @param openText at most 64 KiB, each byte one latin1 character
   * @throws TunnelError `TUNNEL_CLOSED` when draining or closed; `TUNNEL_FULL` when the connector
   *   takes no more streams or does not read fast enough. Another tunnel may do in both cases
   */
  openStream(openText: string, handler: StreamHandler): TunnelStream {
    if (this.#options.side !== 'gateway') throw new TypeError('only the gateway opens streams')
    checkLatin1(openText, maxPayloadBytes, 'opening')
    if (this.draining) throw new TunnelError('TUNNEL_CLOSED', 'the tunnel takes no new streams')
    const full = this.#streams.size >= Math.min(this.#peerMaxStreams, this.#limits.maxStreams)
    if (full || this.#outbound.backlogged) {
      throw new TunnelError('TUNNEL_FULL', `the tunnel has ${this.#streams.size} streams`)
    }
    const id = this.#nextStreamId++
    const window = this.#budget.initialWindow()
    const stream = new Stream(this.#host, id, '', handler, window, 0)
    this.#streams.add(stream)
    const flags = window < initialWindowBytes ? Flag.SMALL : 0
    this.#outbound.writer.textFrame(FrameType.OPEN, flags, id, openText)
    this.#outbound.schedule()
    if (id === maxStreamId) this.goAway('stream ids are used up')
    return stream
  }

  /**
   * Drains: takes no new streams, lets the open ones finish, then closes (`onClose(undefined)`).
   */
  goAway(reason: string): void {
    if (this.#state === 'closed' || this.#leaving) return
    this.#draining = true
    this.#leaving = true
    this.#outbound.writer.goAway(this.#lastStreamId(), GoAwayCode.NO_ERROR, reason)
    this.#outbound.schedule()
    this.#closeWhenDrained()
  }

  /**
   * Ends the tunnel now. Streams that are open get `TUNNEL_CLOSED`; `error` becomes the cause in
   * `onClose`.
   */
  close(error?: Error): void {
    if (!error) {
      this.#shutDown(undefined, GoAwayCode.NO_ERROR, 'closed')
      return
    }
    const closed = new TunnelError('TUNNEL_CLOSED', 'the tunnel was closed', { cause: error })
    this.#shutDown(closed, GoAwayCode.INTERNAL, 'closed after an error')
  }

  // ---- receiving

  static readonly #handlers: readonly FrameHandler[] = [
    (session, _flags, _id, bytes, start, end) => session.#receiveHello(bytes.subarray(start, end)),
    (session, flags, id, bytes, start, end) => session.#receiveOpen(flags, id, bytes, start, end),
    (session, flags, id, bytes, start, end) =>
      session.#find(id)?.receiveHead(flags, bytes, start, end),
    () => {}, // DATA comes by onDataStart and onDataPiece
    (session, _flags, id, bytes, start, end) =>
      session.#find(id)?.receiveTrailers(latin1(bytes, start, end)),
    (session, _flags, id, bytes, start) =>
      session.#find(id)?.receiveWindow(readUint32(bytes, start)),
    (session, _flags, id, bytes, start, end) =>
      session.#receiveReset(id, bytes.subarray(start, end)),
    (session, flags, _id, bytes, start, end) =>
      session.#receivePing(flags, bytes.subarray(start, end)),
    (session, _flags, _id, bytes, start, end) => session.#receiveGoAway(bytes.subarray(start, end)),
  ]

  #read(chunk: Buffer): void {
    this.#silentTicks = 0
    this.#options.onRead?.(chunk.length)
    const error = this.#decoder.push(chunk)
    if (error) this.#fail(GoAwayCode.FRAME_INVALID, error.message)
  }

  #receive(
    type: number,
    flags: number,
    id: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): void {
    // A peer that cannot agree to our HELLO may say so before its own went out.
    if (!this.#ready && type !== FrameType.HELLO && type !== FrameType.GOAWAY) {
      this.#fail(GoAwayCode.PROTOCOL_ERROR, `frame type ${type} before HELLO`)
      return
    }
    TunnelSession.#handlers[type]!(this, flags, id, bytes, start, end)
  }

  #receiveHello(payload: Buffer): void {
    if (this.#ready) {
      this.#fail(GoAwayCode.PROTOCOL_ERROR, 'second HELLO')
      return
    }
    const hello = parseHello(payload, this.#options.side)
    if (hello instanceof TunnelError) {
      this.#fail(goAwayCodeOf(hello), hello.message)
      return
    }
    this.#ready = true
    this.#peerMaxStreams = hello.maxStreams
    this.#peerCapabilities = new Set(hello.capabilities)
    this.#sendPing()
    this.#options.onReady?.()
  }

  #receiveOpen(flags: number, id: number, bytes: Buffer, start: number, end: number): void {
    if (this.#options.side === 'gateway') {
      this.#fail(GoAwayCode.PROTOCOL_ERROR, 'a connector opened a stream')
      return
    }
    if (id < this.#nextStreamId) {
      this.#fail(GoAwayCode.PROTOCOL_ERROR, `stream ${id} was opened twice`)
      return
    }
    this.#nextStreamId = id + 1
    if (this.#leaving || this.#streams.size >= this.#limits.maxStreams) {
      const why = this.#leaving ? 'going away' : 'too many streams'
      this.#outbound.writer.reset(id, ResetCode.REFUSED, why)
      this.#outbound.schedule()
      return
    }
    const credit = (flags & Flag.SMALL) === 0 ? initialWindowBytes : minimumWindowBytes
    const stream = new Stream(this.#host, id, latin1(bytes, start, end), noHandler, 0, credit)
    this.#streams.add(stream)
    try {
      this.#options.onStream?.(stream)
      if (stream.handler === noHandler) throw new TypeError('onStream set no handler')
    } catch (error) {
      stream.abandon()
      this.#handlerFailed(error, stream)
    }
  }

  #receiveDataStart(flags: number, id: number, length: number): void {
    if (!this.#ready) {
      this.#fail(GoAwayCode.PROTOCOL_ERROR, 'data before HELLO')
      return
    }
    const stream = this.#find(id)
    this.#dataStream = stream?.receiveDataStart(flags, length) ? stream : undefined
    this.#dataFlags = flags
  }

  #receiveDataPiece(piece: Buffer, last: boolean): void {
    const stream = this.#dataStream
    if (!stream) return
    if (piece.length > 0) stream.receiveData(piece)
    if (!last) return
    this.#dataStream = undefined
    if ((this.#dataFlags & Flag.END) !== 0) stream.receiveEnd(undefined)
  }

  #receiveReset(id: number, payload: Buffer): void {
    const stream = this.#find(id)
    if (!stream) return
    const code = payload.readUInt16BE(0)
    const detail = payload.toString('utf8', 2)
    if (isResetCode(code)) stream.receiveReset(code, detail)
    else stream.receiveReset(ResetCode.INTERNAL, `code ${code}: ${detail}`)
  }

  #receivePing(flags: number, token: Buffer): void {
    if ((flags & Flag.ACK) === 0) {
      this.#outbound.writer.ping(Flag.ACK, token)
      this.#outbound.schedule()
      return
    }
    if (!this.#pingPending || token.readUInt32BE(4) !== this.#pingToken) return
    this.#pingPending = false
    this.#roundTrips.push(this.#clock.now() - this.#pingSentAt)
    if (this.#roundTrips.length > roundTripSamples) this.#roundTrips.shift()
  }

  #receiveGoAway(payload: Buffer): void {
    const lastStreamId = payload.readUInt32BE(0)
    const code = payload.readUInt16BE(4)
    const reason = payload.toString('utf8', 6)
    if (this.#options.side === 'gateway') this.#refuseAbove(lastStreamId, reason)
    if (this.#state === 'closed') return
    if (code !== GoAwayCode.NO_ERROR) {
      const goAwayCode = code in errorCodes ? (code as GoAwayCode) : GoAwayCode.INTERNAL
      const error = new TunnelError('TUNNEL_CLOSED', `the peer ended the tunnel (${code})`, {
        goAwayCode,
        detail: reason,
      })
      this.#shutDown(error, GoAwayCode.NO_ERROR, '')
      return
    }
    if (this.#peerLeaving) return
    this.#peerLeaving = true
    this.#draining = true
    this.#options.onGoAway?.(reason)
  }

  /** Streams that the connector had not seen when it went away. */
  #refuseAbove(lastStreamId: number, reason: string): void {
    const error = new TunnelError('TUNNEL_RESET', 'the connector is going away', {
      resetCode: ResetCode.REFUSED,
      detail: reason,
    })
    for (const stream of this.#streams.all()) {
      if (stream.id > lastStreamId && !stream.accepted) stream.sessionEnded(error)
    }
  }

  /** Undefined for a stream that is over: what the peer sent before it knew is dropped. */
  #find(id: number): Stream | undefined {
    const stream = this.#streams.find(id)
    if (!stream && id >= this.#nextStreamId) {
      this.#fail(GoAwayCode.PROTOCOL_ERROR, `frame on stream ${id}, which was never opened`)
    }
    return stream
  }

  // ---- liveness

  readonly #tick = (): void => {
    if (this.#state === 'closed') return
    const passedMs = this.#nextTickMs
    // Only the gateway chooses among tunnels.
    const isBusy = this.#options.side === 'gateway' && this.#streams.size > 0
    this.#nextTickMs = isBusy ? busyTickMs : tickMs
    this.#timer = this.#clock.startTimer(this.#tick, this.#nextTickMs)
    // Counted in ticks, not by the clock: a machine that slept or a loop that was blocked for a
    // minute has not listened for a minute.
    const silentBeforeMs = this.#silentTicks === 0 ? 0 : this.#silentMs
    const silentMs = silentBeforeMs + passedMs
    this.#silentTicks++
    this.#silentMs = silentMs
    this.#handshakeMs += passedMs
    const { pingAfterMs, deadAfterMs, handshakeTimeoutMs } = this.#limits
    if (!this.#ready && this.#handshakeMs >= handshakeTimeoutMs) {
      this.#fail(GoAwayCode.TIMEOUT, `no HELLO within ${handshakeTimeoutMs} ms`)
      return
    }
    if (silentMs >= deadAfterMs) {
      this.#fail(GoAwayCode.TIMEOUT, `nothing heard for ${silentMs} ms`)
      return
    }
    const isDue = Math.floor(silentMs / pingAfterMs) > Math.floor(silentBeforeMs / pingAfterMs)
    if (this.#ready && isDue) this.#sendPing()
  }

  #sendPing(): void {
    const token = Buffer.alloc(8)
    this.#pingToken = (this.#pingToken + 1) >>> 0
    token.writeUInt32BE(this.#pingToken, 4)
    this.#pingPending = true
    this.#pingSentAt = this.#clock.now()
    this.#outbound.writer.ping(0, token)
    this.#outbound.schedule()
  }

  #measureRoundTrip(): number | undefined {
    if (this.#ready && this.#clock.now() - this.#pingSentAt > tickMs) this.#sendPing()
    return this.roundTripMs
  }

  // ---- ending

  #fail(code: GoAwayCode, message: string): void {
    this.#shutDown(new TunnelError(errorCodes[code], message, { goAwayCode: code }), code, message)
  }

  /** The Duplex ended, failed or was closed by someone. */
  #lost(error: Error | undefined): void {
    if (this.#state === 'closed') {
      this.#stopLingering()
      return
    }
    const clean = !error && this.#draining && this.#streams.size === 0
    const lost = new TunnelError('TUNNEL_CLOSED', 'the connection was lost', { cause: error })
    this.#shutDown(clean ? undefined : lost, GoAwayCode.NO_ERROR, '')
    this.#stopLingering()
  }

  #streamOver(stream: Stream): void {
    this.#streams.delete(stream)
    if (this.#leaving) this.#closeWhenDrained()
  }

  #closeWhenDrained(): void {
    if (this.#streams.size > 0) return
    // Not now: the last frames of the last stream may just be on their way into a batch.
    setImmediate(() => {
      this.#outbound.flush()
      this.#shutDown(undefined, undefined, '')
    })
  }

  /**
   * @param code for the GOAWAY; undefined when it was sent already, and everything else is to go
   * out too
   */
  #shutDown(error: TunnelError | undefined, code: GoAwayCode | undefined, reason: string): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#decoder.stop()
    if (this.#timer !== undefined) this.#clock.stopTimer(this.#timer)
    this.#outbound.close(code === undefined, (writer) => {
      if (code !== undefined) writer.goAway(this.#lastStreamId(), code, reason)
    })
    this.#linger()
    const forStreams =
      error?.code === 'TUNNEL_CLOSED'
        ? error
        : new TunnelError('TUNNEL_CLOSED', error?.message ?? 'the tunnel was closed', {
            cause: error,
          })
    for (const stream of this.#streams.all()) stream.sessionEnded(forStreams)
    this.#options.onClose(error)
  }

  #linger(): void {
    const duplex = this.#duplex
    if (duplex.destroyed) return
    duplex.end()
    duplex.resume()
    this.#lingerTimer = this.#clock.startTimer(() => duplex.destroy(), lingerMs)
  }

  #stopLingering(): void {
    if (this.#lingerTimer !== undefined) this.#clock.stopTimer(this.#lingerTimer)
    this.#lingerTimer = undefined
    if (!this.#duplex.destroyed) this.#duplex.destroy()
  }

  // ---- what streams ask

  #lastStreamId(): number {
    return this.#options.side === 'connector' ? this.#nextStreamId - 1 : 0
  }

  #holdHeadBytes(bytes: number): boolean {
    if (this.#partialHeadBytes + bytes > maxPartialHeadBytes) return false
    this.#partialHeadBytes += bytes
    return true
  }

  #handlerFailed(error: unknown, stream: Stream): void {
    if (this.#options.onHandlerError) {
      this.#options.onHandlerError(error, stream)
    } else {
      queueMicrotask(() => {
        throw error
      })
    }
  }
}

const ignore = (): void => {}

/** Stands until `onStream` has set another. */
const noHandler: StreamHandler = {
  onHead: ignore,
  onData: ignore,
  onEnd: ignore,
  onWritable: ignore,
  onReset: ignore,
}

function goAwayCodeOf(error: TunnelError): GoAwayCode {
  if (error.code === 'TUNNEL_VERSION_UNSUPPORTED') return GoAwayCode.VERSION_UNSUPPORTED
  return error.code === 'TUNNEL_FRAME_INVALID'
    ? GoAwayCode.FRAME_INVALID
    : GoAwayCode.PROTOCOL_ERROR
}
