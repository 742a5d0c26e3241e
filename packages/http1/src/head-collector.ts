import { Http1Error } from './errors.ts'
import { type HeadLimits, MAX_LINE_BYTES_BESIDE_TARGET } from './head.ts'
import { latin1 } from './latin1.ts'

const END_OF_HEAD = Buffer.from('\r\n\r\n')
const CR = 0x0d
const LF = 0x0a

/**
 * Finds the end of a head in bytes that come in any pieces. A head that lies in one piece is cut out of it; only a head
 * in several pieces is copied, and no byte of it is searched twice.
 */
export class HeadCollector {
  /** How many bytes of the last chunk belong to the head; valid when `take` returned a text. */
  consumed = 0
  readonly #limits: HeadLimits
  readonly #kind: 'request' | 'response'
  #held: Buffer | undefined
  #length = 0
  #emptyLineSeen = false

  constructor(kind: 'request' | 'response', limits: HeadLimits) {
    this.#kind = kind
    this.#limits = limits
  }

  /** True while a part of a head is held. */
  get begun(): boolean {
    return this.#length > 0
  }

  /**
   * @returns the head without its final empty line, or undefined when more is needed (the chunk was used up then)
   * @throws Http1Error `HTTP1_HEAD_TOO_LARGE`, `HTTP1_TARGET_TOO_LONG`, `HTTP1_HEAD_INVALID`
   */
  take(chunk: Buffer): string | undefined {
    if (this.#length > 0) return this.#takePieces(chunk)
    const start = this.#skipEmptyLine(chunk, chunk.length)
    const end = chunk.indexOf(END_OF_HEAD, start)
    if (end === -1 || end - start > this.#limits.maxHeadBytes) {
      return this.#takePieces(start === 0 ? chunk : chunk.subarray(start))
    }
    this.consumed = end + 4
    this.#emptyLineSeen = false
    return latin1(chunk, start, end)
  }

  // RFC 9112 section 2.2: a server should ignore at least one empty line before the request line. One is what is needed.
  #skipEmptyLine(bytes: Buffer, length: number): number {
    if (length < 2 || bytes[0] !== CR || bytes[1] !== LF) return 0
    if (this.#emptyLineSeen || this.#kind === 'response') return 0
    this.#emptyLineSeen = true
    return 2
  }

  #takePieces(chunk: Buffer): string | undefined {
    const before = this.#length
    const room = this.#limits.maxHeadBytes + END_OF_HEAD.length - before
    const taken = Math.min(chunk.length, room)
    const held = this.#append(chunk, taken)
    const skipped = before < 2 ? this.#skipEmptyLine(held, this.#length) : 0
    if (skipped > 0) {
      held.copyWithin(0, skipped, this.#length)
      this.#length -= skipped
      if (this.#length === 0) this.drop()
      // What the empty line gave back may be room for more of this chunk.
      if (taken < chunk.length) return this.#takePieces(chunk.subarray(taken))
    }
    const bytes = held.subarray(0, this.#length)
    const end = bytes.indexOf(END_OF_HEAD, Math.max(0, before - skipped - 3))
    if (end !== -1) {
      this.consumed = taken - (this.#length - end - END_OF_HEAD.length)
      this.#emptyLineSeen = false
      this.drop()
      return latin1(bytes, 0, end)
    }
    this.#refuseEarly(bytes, Math.max(0, before - skipped))
    return undefined
  }

  drop(): void {
    this.#held = undefined
    this.#length = 0
  }

  #append(chunk: Buffer, taken: number): Buffer {
    const needed = this.#length + taken
    let held = this.#held
    if (held === undefined || held.length < needed) {
      const larger = Buffer.allocUnsafeSlow(Math.max(needed, 512, (held?.length ?? 0) * 2))
      held?.copy(larger, 0, 0, this.#length)
      held = larger
      this.#held = held
    }
    chunk.copy(held, this.#length, 0, taken)
    this.#length = needed
    return held
  }

  // What cannot become a head is refused at once instead of at the timeout: lines that end in LF alone, and too much.
  #refuseEarly(bytes: Buffer, from: number): void {
    for (let at = bytes.indexOf(LF, from); at !== -1; at = bytes.indexOf(LF, at + 1)) {
      if (at === 0 || bytes[at - 1] !== CR) {
        throw new Http1Error('HTTP1_HEAD_INVALID', 'a line ends in LF alone')
      }
    }
    const { maxHeadBytes, maxTargetBytes } = this.#limits
    const maxLineBytes = maxTargetBytes + MAX_LINE_BYTES_BESIDE_TARGET + 1
    if (this.#kind === 'request' && bytes.length > maxLineBytes && !bytes.includes(LF)) {
      throw new Http1Error('HTTP1_TARGET_TOO_LONG', `a request line over ${maxTargetBytes} bytes`)
    }
    if (bytes.length >= maxHeadBytes + END_OF_HEAD.length) {
      throw new Http1Error('HTTP1_HEAD_TOO_LARGE', `a head over ${maxHeadBytes} bytes`)
    }
  }
}
