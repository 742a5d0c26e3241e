import type { Duplex } from 'node:stream'
import { type FieldList, formatFields } from './fields.ts'
import { refuseFramingTrailers } from './framing.ts'
import { latin1 } from './latin1.ts'
import { SendBuffer } from './send-buffer.ts'

/**
 * How the body of the current message is written. `auto`: not yet known, it gets a length if it is complete before its
 * head has left, else it is chunked. `none`: there is no body, what is written is swallowed. `raw`: bytes as they are.
 */
export type BodyMode = 'idle' | 'auto' | 'length' | 'chunked' | 'none' | 'raw'

// Up to this size, to copy the body behind its head into one string is cheaper than a vectored write (measured on TCP: 0.8
// of the CPU time at 120 bytes, equal at about 1 KiB, 1.6 times as much at 4 KiB).
const COPY_LIMIT_BYTES = 1024

const waiting: MessageWriter[] = []

function flushWaiting(): void {
  let index = 0
  try {
    // A flush may call into a Duplex that writes to another one at once; what it adds is flushed in the same loop.
    while (index < waiting.length) waiting[index++]!.flush()
  } finally {
    waiting.splice(0, index)
    if (waiting.length > 0) process.nextTick(flushWaiting)
  }
}

/** Writes messages to one socket; all that is written in one tick leaves together. */
export class MessageWriter {
  mode: BodyMode = 'idle'
  readonly #socket: Duplex
  readonly buffer: SendBuffer
  #head = ''
  #remaining = 0
  #corked = false
  #waiting = false

  constructor(socket: Duplex) {
    this.#socket = socket
    this.buffer = new SendBuffer(socket)
  }

  /**
   * Begins a message. Its head is held back until a part of the body comes, or the end of the tick.
   *
   * @param head without the final CRLF and empty line, and for `auto` and `chunked` without the framing field
   */
  begin(head: string, mode: BodyMode, length = 0): void {
    this.#head = head
    this.#remaining = length
    this.mode = mode
    this.#wait()
  }

  /** A message without a body, at the end of the tick. `head` as for `begin`. */
  beginWhole(head: string): void {
    this.begin(head, 'idle')
  }

  /** A whole small message, such as an informational head. */
  writeText(text: string): boolean {
    return this.#socket.write(text, 'latin1')
  }

  /** True if so many bytes more are not too many. */
  fits(bytes: number): boolean {
    return this.mode !== 'length' || bytes <= this.#remaining
  }

  /** True if so many bytes more are exactly all. */
  completes(bytes: number): boolean {
    return this.mode !== 'length' || bytes === this.#remaining
  }

  write(chunk: Buffer): boolean {
    if (this.mode === 'none') return true
    if (chunk.length === 0) return this.buffer.hasRoom()
    if (this.mode === 'auto') this.mode = 'chunked'
    const head = this.#takeHead()
    if (this.mode !== 'chunked') {
      this.#remaining -= chunk.length
      // The last part of a body has nothing to wait for.
      if (this.mode !== 'length' || this.#remaining > 0) this.#cork()
      this.#send(head, chunk, '')
    } else {
      this.#cork()
      this.#send(`${head}${chunk.length.toString(16)}\r\n`, chunk, '\r\n')
    }
    return this.buffer.hasRoom()
  }

  /** Ends the message, not the socket. */
  end(chunk: Buffer | undefined, trailers: FieldList | undefined): void {
    const { mode } = this
    const length = chunk?.length ?? 0
    const trailerText = trailers === undefined ? '' : formatTrailers(trailers)
    if (mode === 'auto') {
      this.mode = trailerText === '' ? 'length' : 'chunked'
      if (trailerText === '') this.#head += `\r\nContent-Length: ${length}`
    }
    const chunked = this.mode === 'chunked'
    let head = this.#takeHead()
    // Before anything is written: a Duplex in memory may bring the answer while it takes the bytes.
    this.mode = 'idle'
    const suffix = chunked ? `${length > 0 ? '\r\n' : ''}0\r\n${trailerText}\r\n` : ''
    if (length === 0 || mode === 'none') {
      head += suffix
      if (head !== '') this.#socket.write(head, 'latin1')
    } else {
      if (chunked) head += `${length.toString(16)}\r\n`
      this.#send(head, chunk!, suffix)
    }
    this.buffer.end()
  }

  /** Sends what was held back. */
  flush(): void {
    this.#waiting = false
    if (this.#head !== '' && !this.#socket.destroyed) {
      if (this.mode === 'auto') this.mode = 'chunked'
      this.#socket.write(this.#takeHead(), 'latin1')
    }
    if (this.#corked) {
      this.#corked = false
      this.#socket.uncork()
    }
  }

  #takeHead(): string {
    const head = this.#head
    if (head === '') return ''
    this.#head = ''
    return this.mode === 'chunked'
      ? `${head}\r\nTransfer-Encoding: chunked\r\n\r\n`
      : `${head}\r\n\r\n`
  }

  #send(prefix: string, chunk: Buffer, suffix: string): void {
    const socket = this.#socket
    if (prefix === '' && suffix === '') {
      socket.write(chunk)
    } else if (chunk.length <= COPY_LIMIT_BYTES) {
      socket.write(prefix + latin1(chunk) + suffix, 'latin1')
    } else {
      this.#cork()
      if (prefix !== '') socket.write(prefix, 'latin1')
      socket.write(chunk)
      if (suffix !== '') socket.write(suffix, 'latin1')
    }
  }

  #cork(): void {
    if (this.#corked) return
    this.#corked = true
    this.#socket.cork()
    this.#wait()
  }

  #wait(): void {
    if (this.#waiting) return
    this.#waiting = true
    if (waiting.push(this) === 1) process.nextTick(flushWaiting)
  }
}

function formatTrailers(trailers: FieldList): string {
  if (trailers.length === 0) return ''
  refuseFramingTrailers(trailers)
  return `${formatFields(trailers)}\r\n`
}
