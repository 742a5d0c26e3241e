import { TunnelError } from './errors.ts'

/** Bytes 0-2 payload length, 3 type, 4 flags, 5-8 stream id; big-endian. */
export const headerBytes = 9
export const maxPayloadBytes = 65_536

export const FrameType = {
  HELLO: 0,
  OPEN: 1,
  HEADERS: 2,
  DATA: 3,
  TRAILERS: 4,
  WINDOW: 5,
  RESET: 6,
  PING: 7,
  GOAWAY: 8,
} as const
export type FrameType = (typeof FrameType)[keyof typeof FrameType]

export const Flag = {
  /** HEADERS, DATA: the sender half-closes. */
  END: 1,
  /** HEADERS: the head goes on in the next HEADERS frame of this stream. */
  MORE: 2,
  /** OPEN: the gateway grants 64 KiB for the answer instead of 256 KiB. */
  SMALL: 1,
  /** PING: an answer. */
  ACK: 1,
} as const

interface FrameRule {
  name: string
  minBytes: number
  maxBytes: number
  ofStream: boolean
}

/** Indexed by frame type. A length outside its bounds is never waited for. */
const rules: readonly FrameRule[] = [
  { name: 'HELLO', minBytes: 13, maxBytes: 4096, ofStream: false },
  { name: 'OPEN', minBytes: 0, maxBytes: maxPayloadBytes, ofStream: true },
  { name: 'HEADERS', minBytes: 0, maxBytes: maxPayloadBytes, ofStream: true },
  { name: 'DATA', minBytes: 0, maxBytes: maxPayloadBytes, ofStream: true },
  { name: 'TRAILERS', minBytes: 0, maxBytes: maxPayloadBytes, ofStream: true },
  { name: 'WINDOW', minBytes: 4, maxBytes: 4, ofStream: true },
  { name: 'RESET', minBytes: 2, maxBytes: 1026, ofStream: true },
  { name: 'PING', minBytes: 8, maxBytes: 8, ofStream: false },
  { name: 'GOAWAY', minBytes: 6, maxBytes: 1030, ofStream: false },
]

/** Receives decoded frames. The bytes are good only until the method returns. */
export interface FrameSink {
  /** Any known type but DATA, complete: its payload is `bytes` from `start` to `end`. */
  onFrame(
    type: number,
    flags: number,
    streamId: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): void
  /** The header of a DATA frame, before its payload. */
  onDataStart(flags: number, streamId: number, length: number): void
  /** A DATA payload, as its bytes come in; `last` on the final piece, which may be empty. */
  onDataPiece(piece: Buffer, last: boolean): void
}

const emptyPayload = Buffer.alloc(0)

/**
 * Cuts a byte sequence into frames, however it is split. DATA payloads are passed on as they
 * arrive, without a copy; other payloads are assembled, which never takes more than one
 * `maxPayloadBytes`. Unknown types are skipped.
 */
export class FrameDecoder {
  readonly #sink: FrameSink
  #stopped = false
  readonly #header = Buffer.alloc(headerBytes)
  #headerFill = 0
  #inPayload = false
  #type = 0
  #flags = 0
  #streamId = 0
  #rest = 0
  #assembled: Buffer | undefined
  #assembledFill = 0

  constructor(sink: FrameSink) {
    this.#sink = sink
  }

  /** Makes this and every later `push` return without looking further. */
  stop(): void {
    this.#stopped = true
    this.#assembled = undefined
  }

  /**
   * @returns what is wrong with the bytes, after which nothing more is decoded; never throws by
   * itself
   */
  push(chunk: Buffer): TunnelError | undefined {
    let at = 0
    while (!this.#stopped) {
      if (!this.#inPayload) {
        if (this.#headerFill === 0 && chunk.length - at >= headerBytes) {
          this.#readHeader(chunk, at)
          at += headerBytes
        } else {
          const taken = chunk.copy(this.#header, this.#headerFill, at)
          at += taken
          this.#headerFill += taken
          if (this.#headerFill < headerBytes) return undefined
          this.#headerFill = 0
          this.#readHeader(this.#header, 0)
        }
        const error = this.#checkHeader()
        if (error) {
          this.stop()
          return error
        }
        this.#inPayload = true
        if (this.#type === FrameType.DATA) {
          this.#sink.onDataStart(this.#flags, this.#streamId, this.#rest)
          if (this.#stopped) return undefined
        }
      }
      const available = chunk.length - at
      if (available === 0 && this.#rest > 0) return undefined
      const end = at + Math.min(available, this.#rest)
      this.#takePayload(chunk, at, end)
      at = end
      if (at === chunk.length) return undefined
    }
    return undefined
  }

  #readHeader(bytes: Buffer, at: number): void {
    this.#rest = (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!
    this.#type = bytes[at + 3]!
    this.#flags = bytes[at + 4]!
    this.#streamId = readUint32(bytes, at + 5)
  }

  #checkHeader(): TunnelError | undefined {
    const length = this.#rest
    const rule = rules[this.#type]
    if (!rule) {
      return length > maxPayloadBytes
        ? new TunnelError('TUNNEL_FRAME_INVALID', `frame type ${this.#type} of ${length} bytes`)
        : undefined
    }
    if (length < rule.minBytes || length > rule.maxBytes) {
      return new TunnelError('TUNNEL_FRAME_INVALID', `${rule.name} frame of ${length} bytes`)
    }
    if (rule.ofStream !== this.#streamId > 0) {
      return new TunnelError(
        'TUNNEL_FRAME_INVALID',
        `${rule.name} frame on stream ${this.#streamId}`,
      )
    }
    return undefined
  }

  #takePayload(chunk: Buffer, at: number, end: number): void {
    const rest = this.#rest - (end - at)
    this.#rest = rest
    if (rest === 0) this.#inPayload = false
    if (this.#type === FrameType.DATA) {
      this.#sink.onDataPiece(end > at ? chunk.subarray(at, end) : emptyPayload, rest === 0)
      return
    }
    if (this.#type >= rules.length) return
    if (rest === 0 && !this.#assembled) {
      this.#sink.onFrame(this.#type, this.#flags, this.#streamId, chunk, at, end)
      return
    }
    this.#assembled ??= Buffer.allocUnsafeSlow(end - at + rest)
    this.#assembledFill += chunk.copy(this.#assembled, this.#assembledFill, at, end)
    if (rest > 0) return
    const payload = this.#assembled
    this.#assembled = undefined
    this.#assembledFill = 0
    this.#sink.onFrame(this.#type, this.#flags, this.#streamId, payload, 0, payload.length)
  }
}

/** As `readUInt32BE`, without its checks: the caller knows that the bytes are there. */
export function readUint32(bytes: Buffer, at: number): number {
  return (
    ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0
  )
}

/** Each byte one character. As `toString('latin1')`, without its dispatch over encodings. */
export function latin1(bytes: Buffer, start: number, end: number): string {
  return (bytes as Buffer & { latin1Slice(start: number, end: number): string }).latin1Slice(
    start,
    end,
  )
}

const slabBytes = 32_768

/** As `write(text, at, 'latin1')`, without its dispatch over encodings. */
interface Latin1Writer {
  latin1Write(text: string, at: number, length: number): number
}

/**
 * Payloads up to this are copied beside their header: cheaper than one more buffer for the socket.
 */
export const copyLimitBytes = 4096
/** Frames that grow while they are written stay shorter than this: streams shall interleave. */
const joinBytes = 16_384

/**
 * Frames on their way to the socket, encoded as they are made. Small ones share a slab, which is
 * written through once and then left to the garbage collector, so that the socket may hold on to
 * what it was given.
 */
export class FrameWriter {
  #slab = emptyPayload as Buffer & Latin1Writer
  #start = 0
  #at = 0
  #parts: Buffer[] = []
  #bytes = 0
  /** The stream whose DATA frame is the last one here, and where it begins in the slab; 0 for none. */
  #lastDataId = 0
  #lastDataAt = 0

  /** Encoded and not yet taken. */
  get bytes(): number {
    return this.#bytes
  }

  /**
   * @returns everything encoded since the last call, whole frames in order; the caller owns the
   * buffers
   */
  take(): Buffer[] {
    this.#seal()
    const parts = this.#parts
    this.#parts = []
    this.#bytes = 0
    this.#lastDataId = 0
    return parts
  }

  /** Forgets what was not taken. */
  clear(): void {
    this.take()
  }

  frame(type: FrameType, flags: number, streamId: number, payload: Buffer): void {
    this.header(type, flags, streamId, payload.length)
    this.payload(payload)
  }

  /** @param text latin1, at most `maxPayloadBytes` */
  textFrame(type: FrameType, flags: number, streamId: number, text: string): void {
    this.#reserve(headerBytes + text.length)
    this.header(type, flags, streamId, text.length)
    this.#slab.latin1Write(text, this.#at, text.length)
    this.#at += text.length
    this.#bytes += text.length
  }

  /** HEADERS, in as many frames as the text needs. */
  head(streamId: number, text: string, end: boolean): void {
    let at = 0
    for (; text.length - at > maxPayloadBytes; at += maxPayloadBytes) {
      this.textFrame(FrameType.HEADERS, Flag.MORE, streamId, text.slice(at, at + maxPayloadBytes))
    }
    this.textFrame(FrameType.HEADERS, end ? Flag.END : 0, streamId, at > 0 ? text.slice(at) : text)
  }

  /**
   * DATA: a frame of its own, or more of the one that was written last, if it is of this stream.
   *
   * @param chunk small enough to be copied beside its header: `copyLimitBytes`
   */
  data(streamId: number, chunk: Buffer): void {
    const { length } = chunk
    const headerAt = this.#lastDataAt
    const joined = this.#at - headerAt - headerBytes + length
    const slab = this.#slab
    if (this.#lastDataId === streamId && slab.length - this.#at >= length && joined <= joinBytes) {
      this.#putLength(headerAt, joined)
      this.payload(chunk)
      return
    }
    this.#reserve(headerBytes + length)
    this.header(FrameType.DATA, 0, streamId, length)
    this.#lastDataId = streamId
    this.#lastDataAt = this.#at - headerBytes
    this.payload(chunk)
  }

  /** Ends the stream with its DATA frame that was written last. @returns false if another frame follows it */
  endLastData(streamId: number): boolean {
    if (this.#lastDataId !== streamId) return false
    this.#slab[this.#lastDataAt + 4] = Flag.END
    return true
  }

  window(streamId: number, increment: number): void {
    this.#reserve(headerBytes + 4)
    this.header(FrameType.WINDOW, 0, streamId, 4)
    this.#uint32(increment)
  }

  reset(streamId: number, code: number, detail: string): void {
    const text = encodeDetail(detail)
    this.header(FrameType.RESET, 0, streamId, 2 + text.length)
    this.#uint16(code)
    this.payload(text)
  }

  ping(flags: number, token: Buffer): void {
    this.frame(FrameType.PING, flags, 0, token)
  }

  goAway(lastStreamId: number, code: number, reason: string): void {
    const text = encodeDetail(reason)
    this.header(FrameType.GOAWAY, 0, 0, 6 + text.length)
    this.#uint32(lastStreamId)
    this.#uint16(code)
    this.payload(text)
  }

  /** A header whose payload of exactly `length` bytes follows by `payload()`. */
  header(type: FrameType, flags: number, streamId: number, length: number): void {
    this.#reserve(headerBytes)
    this.#lastDataId = 0
    const slab = this.#slab
    const at = this.#at
    this.#putLength(at, length)
    slab[at + 3] = type
    slab[at + 4] = flags
    slab[at + 5] = streamId >>> 24
    slab[at + 6] = streamId >>> 16
    slab[at + 7] = streamId >>> 8
    slab[at + 8] = streamId
    this.#at = at + headerBytes
    this.#bytes += headerBytes
  }

  #putLength(at: number, length: number): void {
    const slab = this.#slab
    slab[at] = length >>> 16
    slab[at + 1] = length >>> 8
    slab[at + 2] = length
  }

  payload(piece: Buffer): void {
    if (piece.length > copyLimitBytes) {
      this.#seal()
      this.#parts.push(piece)
    } else {
      this.#reserve(piece.length)
      piece.copy(this.#slab, this.#at)
      this.#at += piece.length
    }
    this.#bytes += piece.length
  }

  #uint32(value: number): void {
    this.#reserve(4)
    this.#at = this.#slab.writeUInt32BE(value, this.#at)
    this.#bytes += 4
  }

  #uint16(value: number): void {
    this.#reserve(2)
    this.#at = this.#slab.writeUInt16BE(value, this.#at)
    this.#bytes += 2
  }

  #reserve(bytes: number): void {
    if (this.#slab.length - this.#at >= bytes) return
    this.#seal()
    this.#slab = Buffer.allocUnsafeSlow(Math.max(bytes, slabBytes)) as Buffer & Latin1Writer
    this.#start = 0
    this.#at = 0
  }

  #seal(): void {
    if (this.#at === this.#start) return
    this.#parts.push(this.#slab.subarray(this.#start, this.#at))
    this.#start = this.#at
  }
}

const maxDetailBytes = 1024

function encodeDetail(detail: string): Buffer {
  const text = Buffer.from(detail, 'utf8')
  if (text.length <= maxDetailBytes) return text
  let end = maxDetailBytes
  // Not in the middle of a character: continuation bytes are 10xxxxxx.
  while ((text[end]! & 0xc0) === 0x80) end--
  return text.subarray(0, end)
}
