import type { Duplex } from 'node:stream'
import { FrameWriter } from './frame.ts'
import type { Stream } from './stream.ts'
import type { TunnelClock } from './tunnel.ts'

/** What one turn of a stream sends at most, and what one write to the socket aims at. */
export const turnBytes = 65_536
const batchBytes = 131_072

/**
 * A batch of control frames and small data that has grown so far does not wait for the rest of what the event loop has to
 * read: the other side would have nothing to do meanwhile. Smaller ones cost more than they bring.
 */
const earlyBytes = 12_288

/** Queued bytes of all streams together above which every `write()` says false. */
const congestedBytes = 16_777_216

/**
 * How much may wait in the socket, where nothing can pass it any more. It begins with the socket's own mark, and doubles each
 * time that the socket is empty again within `soonMs`: to wait for that would be most of the time of a fast transfer. On a
 * slow link it stays as it is, so that small answers do not stand behind large ones for long.
 */
const largestRoomBytes = 524_288
const soonMs = 10

/**
 * How long the news that a stream without a body was accepted may wait for other frames to travel
 * with.
 */
const acceptDelayMs = 20

/**
 * The sending half of a tunnel. Frames gather until the event loop has read every socket that was
 * ready, or there are many of them, then go out in one write: control frames as they were made, credit, then data, one turn
 * per stream in rotation. While the socket is full, control frames wait here and data waits in its
 * stream.
 */
export class Outbound {
  readonly writer = new FrameWriter()
  readonly #duplex: Duplex
  readonly #clock: TunnelClock
  readonly #controlBacklogBytes: number
  readonly #onBacklogFull: () => void
  readonly #flushNow = (): void => {
    this.#scheduled = false
    this.flush()
  }
  readonly #flushEarly = (): void => {
    this.#early = false
    this.flush()
  }
  #scheduled = false
  #early = false
  #blocked = false
  #blockedAt = 0
  #roomBytes: number
  #closed = false
  #queuedBytes = 0
  #firstReady: Stream | undefined
  #lastReady: Stream | undefined
  #granting: Stream[] = []
  #writable: Stream[] = []
  #acceptTimer: unknown
  #acceptDue = false

  constructor(
    duplex: Duplex,
    clock: TunnelClock,
    controlBacklogBytes: number,
    onBacklogFull: () => void,
  ) {
    this.#duplex = duplex
    this.#roomBytes = duplex.writableHighWaterMark
    this.#clock = clock
    this.#controlBacklogBytes = controlBacklogBytes
    this.#onBacklogFull = onBacklogFull
    duplex.on('drain', () => {
      if (this.#blocked) this.#adjustRoom()
      this.#blocked = false
      this.flush()
    })
  }

  get congested(): boolean {
    return this.#queuedBytes > congestedBytes
  }

  /** Control frames wait because the socket is full, more than half of what may. */
  get backlogged(): boolean {
    return this.writer.bytes > this.#controlBacklogBytes / 2
  }

  /** Nothing waits for its turn or for the socket, and the batch has room: small data may join it. */
  get takesAtOnce(): boolean {
    return !this.#blocked && !this.#firstReady && this.writer.bytes < batchBytes
  }

  /** Sends what `writer` holds, with the rest of this turn of the event loop. */
  schedule(): void {
    if (this.writer.bytes > this.#controlBacklogBytes) this.#onBacklogFull()
    if (this.#blocked || this.#closed) return
    if (!this.#scheduled) {
      this.#scheduled = true
      setImmediate(this.#flushNow)
    } else if (!this.#early && this.writer.bytes >= earlyBytes) {
      this.#early = true
      process.nextTick(this.#flushEarly)
    }
  }

  countQueued(bytes: number): void {
    this.#queuedBytes += bytes
  }

  /** Gives a stream with something to send its place in the rotation. */
  enqueue(stream: Stream): void {
    if (stream.inRotation) return
    stream.inRotation = true
    if (this.#lastReady) this.#lastReady.nextInRotation = stream
    else this.#firstReady = stream
    this.#lastReady = stream
    this.schedule()
  }

  /** Lets a stream add its WINDOW to the next batch. */
  enqueueGrant(stream: Stream): void {
    this.#granting.push(stream)
    this.schedule()
  }

  /** Calls `onWritable` after the batch that is being put together. */
  enqueueWritable(stream: Stream): void {
    this.#writable.push(stream)
  }

  flush(): void {
    while (!this.#blocked && !this.#closed) {
      if (this.#onlyAcceptsWait()) break
      this.#emitGrants()
      this.#emitData()
      if (this.writer.bytes === 0) break
      this.#write()
      if (!this.#firstReady) break
    }
    this.#notifyWritable()
  }

  /**
   * Sends a last frame, if any, and nothing afterwards. Data that waits is dropped; so are control
   * frames that wait for a full socket, unless `orderly`.
   */
  close(orderly: boolean, addLast: (writer: FrameWriter) => void): void {
    if (this.#closed) return
    this.#closed = true
    if (this.#acceptTimer !== undefined) this.#clock.stopTimer(this.#acceptTimer)
    if (this.#blocked && !orderly) this.writer.clear()
    addLast(this.writer)
    if (this.writer.bytes > 0) this.#write()
    this.#firstReady = undefined
    this.#lastReady = undefined
    this.#granting = []
    this.#writable = []
  }

  #emitGrants(): void {
    if (this.#granting.length === 0) return
    const granting = this.#granting
    this.#granting = []
    this.#acceptDue = false
    for (const stream of granting) stream.emitGrant(this.writer)
  }

  #emitData(): void {
    const limit = this.writer.bytes + batchBytes
    let stream = this.#firstReady
    while (stream && this.writer.bytes < limit) {
      this.#firstReady = stream.nextInRotation
      if (!this.#firstReady) this.#lastReady = undefined
      stream.nextInRotation = undefined
      stream.inRotation = false
      stream.emitData(this.writer)
      if (stream.hasDataToSend) this.#rotate(stream)
      stream = this.#firstReady
    }
  }

  #rotate(stream: Stream): void {
    stream.inRotation = true
    if (this.#lastReady) this.#lastReady.nextInRotation = stream
    else this.#firstReady = stream
    this.#lastReady = stream
  }

  #write(): void {
    const duplex = this.#duplex
    const parts = this.writer.take()
    if (duplex.destroyed || duplex.writableEnded) return
    if (parts.length === 1) {
      duplex.write(parts[0]!)
    } else {
      duplex.cork()
      for (const part of parts) duplex.write(part)
      duplex.uncork()
    }
    // Below its own mark no `drain` would come.
    this.#blocked = duplex.writableNeedDrain && duplex.writableLength >= this.#roomBytes
    if (this.#blocked) this.#blockedAt = this.#clock.now()
  }

  #adjustRoom(): void {
    const tookMs = this.#clock.now() - this.#blockedAt
    if (tookMs > soonMs) this.#roomBytes = this.#duplex.writableHighWaterMark
    else if (this.#roomBytes < largestRoomBytes) this.#roomBytes *= 2
  }

  // A response usually follows soon and says the same as the grant; one more write to the socket
  // would cost more than all the rest of a small exchange.
  #onlyAcceptsWait(): boolean {
    if (this.#acceptDue || this.#granting.length === 0) return false
    if (this.writer.bytes > 0 || this.#firstReady) return false
    for (const stream of this.#granting) if (!stream.grantCanWait) return false
    this.#acceptTimer ??= this.#clock.startTimer(() => {
      this.#acceptTimer = undefined
      this.#acceptDue = true
      this.flush()
    }, acceptDelayMs)
    return true
  }

  #notifyWritable(): void {
    while (this.#writable.length > 0) {
      const writable = this.#writable
      this.#writable = []
      for (const stream of writable) stream.notifyWritable()
    }
  }
}
