import { type MemoryBudget, minimumWindowBytes } from './budget.ts'
import { ResetCode, TunnelError, type TunnelErrorCode } from './errors.ts'
import {
  copyLimitBytes,
  Flag,
  FrameType,
  type FrameWriter,
  latin1,
  maxPayloadBytes,
} from './frame.ts'
import { type Outbound, turnBytes } from './outbound.ts'
import { ChunkQueue } from './queue.ts'
import type { StreamHandler, TunnelClock, TunnelStream } from './tunnel.ts'

export const maxHeadBytes = 262_144
/** All heads and trailers of one direction together: informational heads have no other bound. */
const maxAllHeadsBytes = 2 * maxHeadBytes
/**
 * A head that spans frames does so in large parts, or its assembly would cost more than its bytes.
 */
const minHeadPartBytes = 16_384
const maxCredit = 0x7fff_ffff
/** Whatever moves so much is not small. */
const bulkBytes = 131_072

/**
 * Queued bytes above which `write()` says false, below which it is made good, and which end the
 * stream.
 */
const fullBytes = 262_144
const roomAgainBytes = 131_072
const overfullBytes = 4_194_304

/** What the streams of one session share. */
export interface StreamHost {
  readonly side: 'gateway' | 'connector'
  readonly outbound: Outbound
  readonly budget: MemoryBudget
  readonly clock: TunnelClock
  /** Bytes of heads that are not complete yet; false when there are too many. */
  holdHeadBytes(bytes: number): boolean
  /**
   * Round trip to reckon windows with; undefined when not measured yet. Asks for a new measurement
   * when it is old.
   */
  measureRoundTrip(): number | undefined
  /** A stream has moved `bulkBytes` of data, in either direction. */
  noteBulk(): void
  streamOver(stream: Stream): void
  handlerFailed(error: unknown, stream: Stream): void
}

const Send = { open: 0, ending: 1, ended: 2 } as const
const Receive = { open: 0, ending: 1, ended: 2 } as const
type Phase = 0 | 1 | 2

export class Stream implements TunnelStream {
  readonly id: number
  readonly openText: string
  handler: StreamHandler
  readonly #host: StreamHost

  // Rotation among the streams with data, kept by Outbound.
  nextInRotation: Stream | undefined
  inRotation = false

  #accepted = false
  /** Nothing more happens here: both sides ended, or one gave up. */
  #over = false

  #sendPhase: Phase = Send.open
  #sentHead = false
  #sentData = false
  #sendCredit: number
  #sendQueue: ChunkQueue | undefined
  #trailers: string | undefined
  #wantsWritable = false
  /** Gateway side: the first credit arrived. */
  #granted = false
  /** After our own `end()` and `reset(NO_ERROR)`: send the rest, hear nothing more. */
  #leaving: string | undefined

  #receivePhase: Phase = Receive.open
  #receivedHeads = 0
  #receivedHeadBytes = 0
  #receivedData = false
  #partialHead: string | undefined
  #receiveQueue: ChunkQueue | undefined
  #receivedTrailers: string | undefined
  #paused = false
  #delivering = false
  /**
   * The peer ended, then let us know that it needs nothing more; told after what it sent was read.
   */
  #dismissal: TunnelError | undefined

  /** In both directions, since the last time that it was `bulkBytes`. */
  #movedBytes = 0
  #window = 0
  #receiveCredit = 0
  /** Of the DATA frame whose payload is coming in: neither credit any more nor read yet. */
  #arrivingBytes = 0
  #ungranted = 0
  #grantQueued = false
  #grantedAt = -1
  #charge = 0

  /** @param windowBytes credit the peer holds from the start */
  constructor(
    host: StreamHost,
    id: number,
    openText: string,
    handler: StreamHandler,
    windowBytes: number,
    sendCredit: number,
  ) {
    this.#host = host
    this.id = id
    this.openText = openText
    this.handler = handler
    this.#sendCredit = sendCredit
    this.#receiveCredit = windowBytes
    if (windowBytes > 0) this.#resizeWindow(windowBytes)
  }

  get accepted(): boolean {
    return this.#accepted
  }

  // ---- what the owner does

  sendHead(head: string, end = false): void {
    if (this.#over || this.#dismissal) return
    if (this.#sendPhase !== Send.open || this.#sentData) {
      throw new TypeError('a head was sent after data or the end')
    }
    if (this.#host.side === 'gateway' && this.#sentHead) {
      throw new TypeError('a gateway sends one head')
    }
    checkLatin1(head, maxHeadBytes, 'head')
    if (this.#host.side === 'connector') {
      // Credit for a body that is complete already would be no use to anybody.
      if (this.#receivePhase === Receive.open) this.accept()
      else this.#accepted = true
    }
    this.#sentHead = true
    if (end) this.#sendPhase = Send.ended
    this.#host.outbound.writer.head(this.id, head, end)
    this.#host.outbound.schedule()
    if (end) this.#checkOver()
  }

  write(chunk: Buffer): boolean {
    if (this.#over || this.#dismissal) return false
    if (this.#sendPhase !== Send.open) throw new TypeError('data was written after the end')
    if (chunk.length > 0) {
      this.#sentData = true
      if (this.#writeAtOnce(chunk)) return this.#noteRoom()
      this.#sendQueue ??= new ChunkQueue()
      if (this.#sendQueue.bytes > overfullBytes) {
        this.reset(ResetCode.INTERNAL, 'writer ignored back-pressure')
        throw new TunnelError(
          'TUNNEL_QUEUE_FULL',
          `stream ${this.id}: written to although it was full`,
        )
      }
      this.#sendQueue.push(chunk, this.#sendCredit === 0)
      this.#host.outbound.countQueued(chunk.length)
      if (this.#sendCredit > 0) this.#host.outbound.enqueue(this)
    }
    return this.#noteRoom()
  }

  /**
   * What is small, and has nothing to wait for, goes into the batch without a turn in the rotation.
   *
   * @returns whether it did
   */
  #writeAtOnce(chunk: Buffer): boolean {
    const { outbound } = this.#host
    if (
      chunk.length > copyLimitBytes ||
      chunk.length > this.#sendCredit ||
      !outbound.takesAtOnce ||
      (this.#sendQueue !== undefined && this.#sendQueue.bytes > 0)
    )
      return false
    outbound.writer.data(this.id, chunk)
    this.#noteMoved(chunk.length)
    this.#sendCredit -= chunk.length
    outbound.schedule()
    return true
  }

  #noteRoom(): boolean {
    if (this.#hasRoom(fullBytes)) return true
    this.#wantsWritable = true
    return false
  }

  end(trailers?: string): void {
    if (this.#over) return
    if (this.#dismissal) {
      // The peer needs nothing more and we have nothing more: that is a clean end.
      this.#dismissal = undefined
      this.#checkOver()
      return
    }
    if (this.#sendPhase !== Send.open) throw new TypeError('a stream was ended twice')
    if (trailers) {
      checkLatin1(trailers, maxPayloadBytes, 'trailers')
      this.#trailers = trailers
    }
    this.#wantsWritable = false
    // What waits in the queue comes after the frame that was written last.
    const isAllWritten = (this.#sendQueue?.bytes ?? 0) === 0
    if (!trailers && isAllWritten && this.#host.outbound.writer.endLastData(this.id)) {
      this.#sendPhase = Send.ended
      this.#checkOver()
      return
    }
    this.#sendPhase = Send.ending
    if (this.hasDataToSend) this.#host.outbound.enqueue(this)
  }

  reset(code: ResetCode, detail = ''): void {
    if (this.#over) return
    if (code === ResetCode.REFUSED && this.#accepted) {
      throw new TypeError('a stream was refused after it was accepted')
    }
    if (code === ResetCode.NO_ERROR && this.#sendPhase === Send.ending) {
      this.#leaving = detail
      this.#dropReceived()
      return
    }
    this.#sendReset(code, detail)
    this.#finish()
  }

  accept(): void {
    if (this.#over || this.#accepted) return
    if (this.#host.side === 'gateway') throw new TypeError('a gateway accepts no streams')
    this.#accepted = true
    const window = this.#host.budget.initialWindow()
    this.#resizeWindow(window)
    this.#grant(window)
  }

  pause(): void {
    this.#paused = true
  }

  resume(): void {
    if (!this.#paused) return
    this.#paused = false
    this.#deliver()
    if (!this.#paused && !this.#over) this.#grantConsumed()
  }

  // ---- what Outbound asks

  get hasDataToSend(): boolean {
    if (this.#over || this.#sendPhase === Send.ended) return false
    const queued = this.#sendQueue?.bytes ?? 0
    return queued > 0 ? this.#sendCredit > 0 : this.#sendPhase === Send.ending
  }

  /** The grant only says that the stream was accepted: its body is complete already. */
  get grantCanWait(): boolean {
    return this.#over || this.#receivePhase !== Receive.open
  }

  emitGrant(writer: FrameWriter): void {
    this.#grantQueued = false
    const increment = this.#ungranted
    this.#ungranted = 0
    if (this.#over || increment === 0) return
    // Where the body is complete, credit is only news, and old news once a head has gone out.
    if (this.#receivePhase !== Receive.open && (this.#sentHead || this.#sentData)) return
    writer.window(this.id, increment)
  }

  /** One turn: up to `turnBytes` in one DATA frame, with the end if that was all. */
  emitData(writer: FrameWriter): void {
    if (!this.hasDataToSend) return
    const queue = this.#sendQueue
    const queued = queue?.bytes ?? 0
    const length = Math.min(queued, this.#sendCredit, turnBytes)
    const last = this.#sendPhase === Send.ending && length === queued
    if (length > 0 || this.#trailers === undefined) {
      const end = last && this.#trailers === undefined
      writer.header(FrameType.DATA, end ? Flag.END : 0, this.id, length)
      for (let rest = length; rest > 0; ) {
        const piece = queue!.take(rest)!
        writer.payload(piece)
        rest -= piece.length
      }
      this.#noteMoved(length)
      this.#sendCredit -= length
      this.#host.outbound.countQueued(-length)
    }
    if (last) {
      if (this.#trailers !== undefined) {
        writer.textFrame(FrameType.TRAILERS, 0, this.id, this.#trailers)
      }
      this.#sendPhase = Send.ended
      if (this.#leaving !== undefined) {
        writer.reset(this.id, ResetCode.NO_ERROR, this.#leaving)
        this.#finish()
      } else {
        this.#checkOver()
      }
    } else if (this.#wantsWritable && this.#hasRoom(roomAgainBytes)) {
      this.#host.outbound.enqueueWritable(this)
    }
  }

  notifyWritable(): void {
    if (this.#over || !this.#wantsWritable || !this.#hasRoom(fullBytes)) return
    this.#wantsWritable = false
    try {
      this.handler.onWritable()
    } catch (error) {
      this.#handlerThrew(error)
    }
  }

  // ---- what the session received

  receiveHead(flags: number, bytes: Buffer, start: number, payloadEnd: number): void {
    if (this.#deaf) return
    const continued = this.#partialHead !== undefined
    if (!continued && !this.#mayReceiveHead()) return
    const more = (flags & Flag.MORE) !== 0
    const length = payloadEnd - start
    this.#receivedHeadBytes += length
    const headBytes = (this.#partialHead?.length ?? 0) + length
    if (headBytes > maxHeadBytes || this.#receivedHeadBytes > maxAllHeadsBytes) {
      this.#violate('TUNNEL_PROTOCOL_VIOLATION', `heads of ${this.#receivedHeadBytes} bytes`)
      return
    }
    if (more) {
      if (length < minHeadPartBytes) {
        this.#violate('TUNNEL_PROTOCOL_VIOLATION', `part of a head of ${length} bytes`)
        return
      }
      if (!this.#host.holdHeadBytes(length)) {
        this.#fail(ResetCode.OVERLOADED, 'TUNNEL_OVERLOADED', 'too many unfinished heads')
        return
      }
      this.#partialHead = (this.#partialHead ?? '') + latin1(bytes, start, payloadEnd)
      this.#noteAccepted()
      return
    }
    let head = latin1(bytes, start, payloadEnd)
    if (continued) {
      head = this.#partialHead + head
      this.#dropPartialHead()
    }
    const end = (flags & Flag.END) !== 0
    this.#receivedHeads++
    if (end) this.#receivePhase = Receive.ended
    this.#noteAccepted()
    if (this.#over) return
    try {
      this.handler.onHead(head, end)
    } catch (error) {
      this.#handlerThrew(error)
    }
    if (end) this.#checkOver()
  }

  /** @returns whether the payload may be delivered */
  receiveDataStart(flags: number, length: number): boolean {
    if (this.#deaf) return false
    if (this.#receivePhase !== Receive.open || this.#partialHead !== undefined) {
      this.#violate('TUNNEL_PROTOCOL_VIOLATION', 'data after the end or within a head')
      return false
    }
    if (length === 0 && (flags & Flag.END) === 0) {
      this.#violate('TUNNEL_PROTOCOL_VIOLATION', 'data frame without data or end')
      return false
    }
    if (length > this.#receiveCredit) {
      this.#violate(
        'TUNNEL_FLOW_VIOLATION',
        `${length} bytes with credit for ${this.#receiveCredit}`,
      )
      return false
    }
    this.#receivedData = true
    this.#receiveCredit -= length
    this.#arrivingBytes = length
    this.#noteAccepted()
    return !this.#over
  }

  receiveData(piece: Buffer): void {
    if (this.#deaf) return
    this.#arrivingBytes -= piece.length
    this.#noteMoved(piece.length)
    if (this.#paused || this.#delivering || (this.#receiveQueue?.bytes ?? 0) > 0) {
      this.#receiveQueue ??= new ChunkQueue()
      this.#receiveQueue.push(piece, true)
      this.#recharge()
      return
    }
    this.#callData(piece)
    if (!this.#paused && !this.#over) this.#grantConsumed()
  }

  receiveEnd(trailers: string | undefined): void {
    if (this.#deaf) return
    this.#receivePhase = Receive.ending
    this.#receivedTrailers = trailers
    this.#deliver()
  }

  receiveTrailers(text: string): void {
    if (this.#deaf) return
    if (this.#receivePhase !== Receive.open || this.#partialHead !== undefined) {
      this.#violate('TUNNEL_PROTOCOL_VIOLATION', 'trailers after the end or within a head')
      return
    }
    this.#receivedHeadBytes += text.length
    if (this.#receivedHeadBytes > maxAllHeadsBytes) {
      this.#violate('TUNNEL_PROTOCOL_VIOLATION', `heads of ${this.#receivedHeadBytes} bytes`)
      return
    }
    this.#noteAccepted()
    if (this.#over) return
    this.receiveEnd(text.length > 0 ? text : undefined)
  }

  receiveWindow(increment: number): void {
    if (this.#over || this.#dismissal) return
    if (increment === 0) {
      this.#violate('TUNNEL_PROTOCOL_VIOLATION', 'window of nothing')
      return
    }
    if (increment > maxCredit - this.#sendCredit) {
      this.#violate(
        'TUNNEL_FLOW_VIOLATION',
        `${increment} more than a credit of ${this.#sendCredit}`,
      )
      return
    }
    this.#sendCredit += increment
    if (this.#host.side === 'gateway' && !this.#granted) {
      this.#granted = true
      this.#wantsWritable = this.#sendPhase === Send.open
    }
    this.#noteAccepted()
    if (this.#over) return
    if (this.hasDataToSend) this.#host.outbound.enqueue(this)
    if (this.#wantsWritable) this.notifyWritable()
  }

  receiveReset(code: ResetCode, detail: string): void {
    if (this.#over || this.#dismissal) return
    const facts = { resetCode: code, detail }
    if (code === ResetCode.REFUSED && this.#accepted) {
      // Taken at its word, a connector could make the gateway repeat a request that was acted upon.
      facts.resetCode = ResetCode.PROTOCOL_ERROR
    }
    const error = new TunnelError('TUNNEL_RESET', `stream ${this.id} was reset by the peer`, facts)
    if (code === ResetCode.NO_ERROR && this.#receivePhase === Receive.ending) {
      this.#dropQueued()
      this.#sendPhase = Send.ended
      this.#dismissal = error
      return
    }
    this.#end(error)
  }

  /** The session is over, or the peer said that it never saw this stream. */
  sessionEnded(error: TunnelError): void {
    if (this.#over) return
    // All of it arrived and all of ours went out: only the reader is not done yet.
    if (this.#receivePhase !== Receive.open && this.#sendPhase === Send.ended) return
    this.#end(error)
  }

  /** The connector's owner forgot to set a handler, or it threw. */
  abandon(): void {
    this.reset(ResetCode.INTERNAL)
  }

  // ---- inside

  /**
   * Nothing is read any more, or the peer has said its last word: frames that still arrive are
   * dropped.
   */
  get #deaf(): boolean {
    return this.#over || this.#leaving !== undefined || this.#dismissal !== undefined
  }

  get #tellsHandler(): boolean {
    return !this.#over && this.#leaving === undefined
  }

  #noteMoved(bytes: number): void {
    this.#movedBytes += bytes
    if (this.#movedBytes < bulkBytes) return
    this.#movedBytes = 0
    this.#host.noteBulk()
  }

  #hasRoom(limitBytes: number): boolean {
    const queued = this.#sendQueue?.bytes ?? 0
    return (
      queued < limitBytes &&
      queued < this.#sendCredit &&
      (queued === 0 || !this.#host.outbound.congested)
    )
  }

  #mayReceiveHead(): boolean {
    if (this.#receivePhase !== Receive.open || this.#receivedData) {
      this.#violate('TUNNEL_PROTOCOL_VIOLATION', 'head after data or the end')
      return false
    }
    if (this.#host.side === 'connector' && this.#receivedHeads > 0) {
      this.#violate('TUNNEL_PROTOCOL_VIOLATION', 'second head of a request')
      return false
    }
    return true
  }

  #noteAccepted(): void {
    if (this.#accepted || this.#host.side === 'connector') return
    this.#accepted = true
    try {
      this.handler.onAccepted?.()
    } catch (error) {
      this.#handlerThrew(error)
    }
  }

  #deliver(): void {
    if (this.#delivering) return
    this.#delivering = true
    const queue = this.#receiveQueue
    while (queue && queue.bytes > 0 && !this.#paused && this.#tellsHandler) {
      const chunk = queue.take(maxPayloadBytes)!
      this.#recharge()
      this.#callData(chunk)
    }
    this.#delivering = false
    if (!this.#tellsHandler || this.#paused || this.#receivePhase !== Receive.ending) return
    this.#receivePhase = Receive.ended
    const trailers = this.#receivedTrailers
    this.#receivedTrailers = undefined
    try {
      this.handler.onEnd(trailers)
    } catch (error) {
      this.#handlerThrew(error)
    }
    if (this.#over) return
    if (this.#dismissal) this.#end(this.#dismissal)
    else this.#checkOver()
  }

  /** Returns credit for what was read, in steps of half a window; here windows grow and shrink. */
  #grantConsumed(): void {
    if (this.#receivePhase !== Receive.open) return
    const held = this.#receiveQueue?.bytes ?? 0
    const committed = this.#receiveCredit + this.#arrivingBytes + held
    const consumed = this.#window - committed
    if (consumed * 2 < this.#window) return
    const { budget, clock } = this.#host
    const now = clock.now()
    const roundTripMs = this.#host.measureRoundTrip()
    // At this rate the whole window lasts for less than two round trips: the sender waits, or soon
    // will.
    const fast =
      roundTripMs !== undefined &&
      this.#grantedAt >= 0 &&
      (now - this.#grantedAt) * this.#window < 2 * roundTripMs * consumed
    this.#grantedAt = now
    this.#resizeWindow(budget.nextWindow(this.#window, committed, fast))
    this.#grant(this.#window - committed)
  }

  #grant(increment: number): void {
    if (increment <= 0) return
    this.#receiveCredit += increment
    this.#ungranted += increment
    if (this.#grantQueued) return
    this.#grantQueued = true
    this.#host.outbound.enqueueGrant(this)
  }

  #resizeWindow(windowBytes: number): void {
    this.#window = windowBytes
    this.#recharge()
  }

  #recharge(): void {
    const held = this.#receiveQueue?.bytes ?? 0
    this.#charge = this.#host.budget.charge(this.#charge, this.#window, held)
  }

  #violate(code: TunnelErrorCode, message: string): void {
    const reset =
      code === 'TUNNEL_FLOW_VIOLATION' ? ResetCode.FLOW_VIOLATION : ResetCode.PROTOCOL_ERROR
    this.#fail(reset, code, message)
  }

  #fail(resetCode: ResetCode, code: TunnelErrorCode, message: string): void {
    this.#sendReset(resetCode, message)
    this.#end(new TunnelError(code, `stream ${this.id}: ${message}`, { resetCode }))
  }

  #sendReset(code: ResetCode, detail: string): void {
    this.#host.outbound.writer.reset(this.id, code, detail)
    this.#host.outbound.schedule()
  }

  #checkOver(): void {
    if (this.#sendPhase === Send.ended && this.#receivePhase === Receive.ended) this.#finish()
  }

  /** Tells the handler, once and last. */
  #end(error: TunnelError): void {
    const told = this.#leaving !== undefined
    this.#finish()
    if (told) return
    try {
      this.handler.onReset(error)
    } catch (thrown) {
      this.#host.handlerFailed(thrown, this)
    }
  }

  #finish(): void {
    if (this.#over) return
    this.#over = true
    this.#dropQueued()
    this.#dropReceived()
    this.#host.streamOver(this)
  }

  #dropQueued(): void {
    if (this.#sendQueue) this.#host.outbound.countQueued(-this.#sendQueue.bytes)
    this.#sendQueue = undefined
    this.#trailers = undefined
    this.#wantsWritable = false
  }

  #dropReceived(): void {
    this.#dropPartialHead()
    this.#receiveQueue = undefined
    this.#host.budget.release(this.#charge)
    this.#charge = 0
    this.#window = minimumWindowBytes
  }

  #dropPartialHead(): void {
    if (this.#partialHead === undefined) return
    this.#host.holdHeadBytes(-this.#partialHead.length)
    this.#partialHead = undefined
  }

  #callData(chunk: Buffer): void {
    try {
      this.handler.onData(chunk)
    } catch (error) {
      this.#handlerThrew(error)
    }
  }

  #handlerThrew(error: unknown): void {
    this.abandon()
    this.#host.handlerFailed(error, this)
  }
}

// The pattern is answered at once for a string of one-byte characters, which all parsed heads are.
// A wider character would lose its upper byte on the wire, and with it could become a line end.
export function checkLatin1(text: string, limitBytes: number, what: string): void {
  if (text.length > limitBytes) throw new TypeError(`${what} of ${text.length} bytes`)
  if (/[^\x00-\xff]/.test(text)) throw new TypeError(`${what} with characters beyond latin1`)
}
