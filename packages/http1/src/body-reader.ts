import { Http1Error } from './errors.ts'
import { type FieldList, parseFields } from './fields.ts'
import type { BodyFraming } from './framing.ts'
import { refuseFramingTrailers } from './framing.ts'
import type { HeadLimits } from './head.ts'
import { latin1 } from './latin1.ts'

const CR = 0x0d
const LF = 0x0a
const MAX_SIZE_DIGITS = 16
const MAX_EXTENSION_BYTES = 16 * 1024
// Small chunks are joined, because what is done for each piece costs more than the copy; large ones are not copied.
const MAX_JOINED_BYTES = 8 * 1024
// RFC 9112 section 7.1, less the whitespace that it tolerates: a chunk line means one thing or nothing.
const TOKEN = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+"
const QUOTED =
  '"(?:[\\t \\x21\\x23-\\x5b\\x5d-\\x7e\\x80-\\xff]|\\\\[\\t \\x21-\\x7e\\x80-\\xff])*"'
const EXTENSIONS = new RegExp(`^(?:;${TOKEN}(?:=(?:${TOKEN}|${QUOTED}))?)*$`)
const HEX_DIGITS = /^[0-9a-fA-F]+$/
const NONE: FieldList = []

/** Where in a body the next byte falls. `none` bodies are over before they begin. */
type Place = 'counted' | 'until-close' | 'size-line' | 'after-data' | 'trailers' | 'over'

/**
 * Decodes one body from bytes that come in any pieces. After each `read` the fields tell what came of it; several small
 * chunks of a chunked body in one piece come out as one.
 */
export class BodyReader {
  /** Decoded by the last `read`; undefined when it was only framing. */
  data: Buffer | undefined
  /** The body is invalid; nothing may be read any more. What came before is in `data`. */
  error: Http1Error | undefined
  trailers: FieldList = NONE
  readonly #limits: HeadLimits
  #place: Place
  /** Bytes of the body, or of the current chunk, that have yet to come. */
  #remaining = 0
  #chunked = false
  #line = ''
  #trailerText = ''
  #extensionBytes = 0

  constructor(framing: BodyFraming, limits: HeadLimits) {
    this.#limits = limits
    switch (framing.kind) {
      case 'none':
        this.#place = 'over'
        break
      case 'length':
        this.#remaining = framing.length
        this.#place = framing.length === 0 ? 'over' : 'counted'
        break
      case 'chunked':
        this.#chunked = true
        this.#place = 'size-line'
        break
      case 'close':
        this.#place = 'until-close'
    }
  }

  /** The whole body was read. */
  get done(): boolean {
    return this.#place === 'over'
  }

  /** The body ends when the connection ends, and so may end now. */
  get endsWithConnection(): boolean {
    return this.#place === 'until-close'
  }

  /** Bytes that have certainly yet to come. */
  get remaining(): number {
    return this.#remaining
  }

  /** @returns how many bytes of the chunk were read; the rest is to be read next, of this body or after it if `done` */
  read(chunk: Buffer): number {
    this.data = undefined
    // What follows an error has no meaning any more.
    if (this.error !== undefined) return chunk.length
    if (this.#place === 'until-close') {
      this.data = chunk
      return chunk.length
    }
    if (!this.#chunked) return this.#readCounted(chunk)
    try {
      return this.#readChunked(chunk)
    } catch (error) {
      this.error = error as Http1Error
      return chunk.length
    }
  }

  #readCounted(chunk: Buffer): number {
    const taken = Math.min(this.#remaining, chunk.length)
    this.#remaining -= taken
    if (this.#remaining === 0) this.#place = 'over'
    if (taken > 0) this.data = taken === chunk.length ? chunk : chunk.subarray(0, taken)
    return taken
  }

  #readChunked(chunk: Buffer): number {
    const { length } = chunk
    let offset = 0
    let pieces: Buffer[] | undefined
    let bytes = 0
    try {
      while (offset < length && this.#place !== 'over') {
        if (this.#place === 'counted') {
          const end = Math.min(offset + this.#remaining, length)
          bytes += end - offset
          if (this.data !== undefined && bytes > MAX_JOINED_BYTES) break
          const piece = chunk.subarray(offset, end)
          this.#remaining -= end - offset
          offset = end
          if (this.#remaining === 0) this.#place = 'after-data'
          if (this.data === undefined) this.data = piece
          else if (pieces === undefined) pieces = [this.data, piece]
          else pieces.push(piece)
        } else if (this.#place === 'after-data') {
          offset = this.#readAfterData(chunk, offset)
        } else {
          offset = this.#readLine(chunk, offset)
        }
      }
    } finally {
      if (pieces !== undefined) this.data = Buffer.concat(pieces)
    }
    return offset
  }

  #readAfterData(chunk: Buffer, offset: number): number {
    const expected = this.#line === '' ? CR : LF
    if (chunk[offset] !== expected) throw invalid('chunk data is not followed by CRLF')
    if (expected === CR) {
      this.#line = '\r'
    } else {
      this.#line = ''
      this.#place = 'size-line'
    }
    return offset + 1
  }

  #readLine(chunk: Buffer, offset: number): number {
    const lf = chunk.indexOf(LF, offset)
    const end = lf === -1 ? chunk.length : lf + 1
    this.#checkLineRoom(end - offset)
    const line = this.#line + latin1(chunk, offset, end)
    if (lf === -1) {
      this.#line = line
      return end
    }
    this.#line = ''
    if (!line.endsWith('\r\n')) throw invalid('a line ends in LF alone')
    if (this.#place === 'size-line') this.#readSizeLine(line)
    else this.#readTrailerLine(line)
    return end
  }

  // Before the bytes are kept: a line that never ends must not fill the memory.
  #checkLineRoom(added: number): void {
    const length = this.#line.length + added
    if (this.#place === 'trailers') {
      if (this.#trailerText.length + length > this.#limits.maxHeadBytes) {
        throw new Http1Error('HTTP1_TRAILERS_TOO_LARGE', 'too many bytes of trailers')
      }
    } else if (this.#extensionBytes + length > MAX_EXTENSION_BYTES + MAX_SIZE_DIGITS + 2) {
      throw new Http1Error('HTTP1_CHUNK_EXTENSIONS_TOO_LARGE', 'too many bytes of chunk extensions')
    }
  }

  #readSizeLine(line: string): void {
    const semicolon = line.indexOf(';')
    const digitsEnd = semicolon === -1 ? line.length - 2 : semicolon
    if (semicolon !== -1) {
      this.#extensionBytes += line.length - 2 - semicolon
      if (this.#extensionBytes > MAX_EXTENSION_BYTES) {
        throw new Http1Error('HTTP1_CHUNK_EXTENSIONS_TOO_LARGE', 'too many bytes of extensions')
      }
      if (!EXTENSIONS.test(line.slice(semicolon, -2))) throw invalid('invalid chunk extension')
    }
    const digits = line.slice(0, digitsEnd)
    if (!HEX_DIGITS.test(digits) || digits.length > MAX_SIZE_DIGITS) {
      throw invalid('invalid chunk size')
    }
    this.#remaining = Number.parseInt(digits, 16)
    if (!Number.isSafeInteger(this.#remaining)) throw invalid('chunk size over 2^53')
    this.#place = this.#remaining === 0 ? 'trailers' : 'counted'
  }

  #readTrailerLine(line: string): void {
    if (line !== '\r\n') {
      this.#trailerText += line
      return
    }
    if (this.#trailerText !== '') {
      this.trailers = parseFields(this.#trailerText.slice(0, -2), this.#limits.maxFields)
      refuseFramingTrailers(this.trailers)
    }
    this.#place = 'over'
  }
}

function invalid(message: string): Http1Error {
  return new Http1Error('HTTP1_BODY_INVALID', message)
}
