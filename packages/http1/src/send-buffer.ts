import type { Duplex } from 'node:stream'

/** A reader is fast when it takes so many bytes of ours in a millisecond: 4 MB/s. */
const fastBytesPerMs = 4_096
/** So many times the socket's own mark may wait for a reader that has shown to be fast. */
const largestFactor = 16
const usualBytes = 65_536
/** A buffer that has not been full for so long does not need what it has grown by. */
const idleMs = 2_000

/** What the buffers of many sockets may hold together beyond the sockets' own marks. */
export class SendMemory {
  #freeBytes: number
  readonly #grown = new Set<SendBuffer>()

  constructor(bytes: number) {
    this.#freeBytes = bytes
  }

  get freeBytes(): number {
    return this.#freeBytes
  }

  /** @returns whether there was so much, or buffers that do not need theirs have given it back */
  take(bytes: number, taker: SendBuffer): boolean {
    if (bytes > this.#freeBytes)
      for (const buffer of this.#grown) if (buffer !== taker) buffer.releaseIfIdle()
    if (bytes > this.#freeBytes) return false
    this.#freeBytes -= bytes
    this.#grown.add(taker)
    return true
  }

  /** All that this one had taken. */
  giveBack(bytes: number, taker: SendBuffer): void {
    this.#freeBytes += bytes
    this.#grown.delete(taker)
  }
}

const processMemory = new SendMemory(64 * 1024 * 1024)

/**
 * How much of a message may wait in a socket. It begins with the socket's own mark (64 KiB for those of Node), and who
 * reaches it has to wait until all of that has left. Towards a reader that empties it in a moment this would be most of the
 * time, so that buffers of such readers grow as long as there is memory for it.
 */
export class SendBuffer {
  readonly #socket: Duplex
  readonly #memory: SendMemory
  readonly #clock: () => number
  #limitBytes: number
  #isFull = false
  /** When it was last found full. */
  #fullAt = 0
  /** The message is over, and what it left is still here. */
  #isEnding = false

  /** @param clock milliseconds, of which only differences matter */
  constructor(
    socket: Duplex,
    memory: SendMemory = processMemory,
    clock: () => number = monotonicMs,
  ) {
    this.#socket = socket
    this.#memory = memory
    this.#clock = clock
    this.#limitBytes = socket.writableHighWaterMark
  }

  /** @returns false when the writer should wait for the socket's `drain`, which is to be told to `drained()` */
  hasRoom(): boolean {
    const socket = this.#socket
    if (!socket.writable) return false
    // Below its own mark no `drain` would come.
    if (!socket.writableNeedDrain || socket.writableLength < this.#limitBytes) return true
    if (!this.#isFull) {
      this.#isFull = true
      this.#fullAt = this.#clock()
    }
    return false
  }

  /**
   * How long a reader may take for what waits now, milliseconds.
   *
   * @param usualMs for as much as waits in a socket by default, 64 KiB; 0 is for ever
   */
  timeoutMs(usualMs: number): number {
    return usualMs * Math.max(1, Math.ceil(this.#socket.writableLength / usualBytes))
  }

  /** The socket has taken all that waited. */
  drained(): void {
    if (this.#isEnding) this.release()
    if (!this.#isFull) return
    this.#isFull = false
    const tookMs = this.#clock() - this.#fullAt
    const limitBytes = this.#limitBytes
    const largestBytes = largestFactor * this.#socket.writableHighWaterMark
    if (tookMs * fastBytesPerMs > limitBytes) this.release()
    else if (limitBytes < largestBytes && this.#memory.take(limitBytes, this))
      this.#limitBytes = 2 * limitBytes
  }

  /** The message is complete. What it has grown by is given back when no more than usual waits. */
  end(): void {
    const { writableLength, writableHighWaterMark } = this.#socket
    if (writableLength > writableHighWaterMark) this.#isEnding = true
    else this.release()
  }

  releaseIfIdle(): void {
    const { writableLength, writableHighWaterMark } = this.#socket
    if (writableLength <= writableHighWaterMark && this.#clock() - this.#fullAt > idleMs)
      this.release()
  }

  /** Gives back what it has grown by. */
  release(): void {
    const markBytes = this.#socket.writableHighWaterMark
    if (this.#limitBytes > markBytes) this.#memory.giveBack(this.#limitBytes - markBytes, this)
    this.#limitBytes = markBytes
    this.#isEnding = false
    this.#isFull = false
  }
}

function monotonicMs(): number {
  return performance.now()
}
