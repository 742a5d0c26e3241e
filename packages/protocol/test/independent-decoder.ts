/**
 * The receiving half of SPEC.md, written from that text alone and sharing no code with src: a check
 * that the text is complete, and an oracle for the fuzzer. It wants all bytes at once and is in no
 * hurry.
 */

export interface DecodedFrame {
  type: string
  flags: string[]
  streamId: number
  /** Hex of the payload, for types whose payload has no layout of its own. */
  payload?: string
  increment?: number
  code?: number
  detail?: string
  lastStreamId?: number
}

export interface Decoded {
  frames: DecodedFrame[]
  error?: string
}

/** Hex with spaces; `aa*1000` is a run. */
export function toBytes(hex: string): Buffer {
  const pieces = hex.split(/\s+/).filter((piece) => piece !== '')
  return Buffer.concat(
    pieces.map((piece) => {
      const [digits, times] = piece.split('*')
      if (!/^([0-9a-f]{2})+$/.test(digits!)) throw new Error(`not hex: ${piece}`)
      const once = Buffer.from(digits!, 'hex')
      return times === undefined ? once : Buffer.alloc(once.length * Number(times), once)
    }),
  )
}

interface TypeRow {
  name: string
  least: number
  most: number
  onStream: boolean
  flags: [bit: number, name: string][]
}

const table: Record<number, TypeRow> = {
  0: { name: 'HELLO', least: 13, most: 4096, onStream: false, flags: [] },
  1: { name: 'OPEN', least: 0, most: 65536, onStream: true, flags: [[1, 'SMALL']] },
  2: {
    name: 'HEADERS',
    least: 0,
    most: 65536,
    onStream: true,
    flags: [
      [1, 'END'],
      [2, 'MORE'],
    ],
  },
  3: { name: 'DATA', least: 0, most: 65536, onStream: true, flags: [[1, 'END']] },
  4: { name: 'TRAILERS', least: 0, most: 65536, onStream: true, flags: [] },
  5: { name: 'WINDOW', least: 4, most: 4, onStream: true, flags: [] },
  6: { name: 'RESET', least: 2, most: 1026, onStream: true, flags: [] },
  7: { name: 'PING', least: 8, most: 8, onStream: false, flags: [[1, 'ACK']] },
  8: { name: 'GOAWAY', least: 6, most: 1030, onStream: false, flags: [] },
}

interface RawFrame {
  row: TypeRow
  flags: Set<string>
  streamId: number
  payload: Buffer
  /** The bytes ended before the payload did; a DATA frame has its effect all the same. */
  cut: boolean
}

function* cutFrames(bytes: Buffer): Generator<RawFrame, string | undefined> {
  let rest = bytes
  while (rest.length >= 9) {
    const length = rest.readUIntBE(0, 3)
    const row = table[rest.readUInt8(3)]
    const flagBits = rest.readUInt8(4)
    const streamId = rest.readUInt32BE(5)
    if (!row) {
      if (length > 65536) return 'FRAME_INVALID'
    } else if (length < row.least || length > row.most) {
      return 'FRAME_INVALID'
    } else if (row.onStream !== (streamId !== 0)) {
      return 'FRAME_INVALID'
    }
    const payload = rest.subarray(9, 9 + length)
    const cut = payload.length < length
    if (row) {
      const flags = new Set(row.flags.filter(([bit]) => flagBits & bit).map(([, name]) => name))
      // Only the length of a DATA frame matters to the rules, so that a cut one is padded.
      const whole = cut ? Buffer.concat([payload], length) : payload
      if (!cut || row.name === 'DATA') yield { row, flags, streamId, payload: whole, cut }
    }
    rest = rest.subarray(9 + length)
  }
  return undefined
}

/** Sections 1, 3, 6 and 8: bytes to frames. */
export function decodeFrames(bytes: Buffer): Decoded {
  const frames: DecodedFrame[] = []
  const cutter = cutFrames(bytes)
  for (;;) {
    const step = cutter.next()
    if (step.done) return step.value ? { frames, error: step.value } : { frames }
    const { row, flags, streamId, payload, cut } = step.value
    if (cut) continue
    const frame: DecodedFrame = { type: row.name, flags: [...flags], streamId }
    if (row.name === 'WINDOW') frame.increment = payload.readUInt32BE()
    else if (row.name === 'RESET') {
      frame.code = payload.readUInt16BE()
      frame.detail = payload.subarray(2).toString('utf8')
    } else if (row.name === 'GOAWAY') {
      frame.lastStreamId = payload.readUInt32BE()
      frame.code = payload.readUInt16BE(4)
      frame.detail = payload.subarray(6).toString('utf8')
    } else frame.payload = payload.toString('hex')
    frames.push(frame)
  }
}

export interface SessionCase {
  side: 'gateway' | 'connector'
  hello?: boolean
  reader?: 'unaccepted' | 'paused'
  opened?: number
  maxStreams?: number
}

export interface Outcome {
  resets: [streamId: number, code: string][]
  goAway?: string
  heads: [streamId: number, head: string][]
  /** Streams that neither side has reset. */
  open: number[]
}

interface Half {
  credit: number
  ownCredit: number
  ended: boolean
  /** By DATA or TRAILERS, which a reader that pauses has not been given yet. */
  endedBehindHead: boolean
  anyData: boolean
  heads: number
  allHeadBytes: number
  part: string | undefined
  accepted: boolean
}

class SessionEnd {
  readonly code: string | undefined
  constructor(code: string | undefined) {
    this.code = code
  }
}

/** Sections 2 to 8: what one side has to say about the bytes it received. */
export function receiveSession(setup: SessionCase, bytes: Buffer): Outcome {
  const outcome: Outcome = { resets: [], heads: [], open: [] }
  const streams = new Map<number, Half>()
  let highest = 0
  /** Over by NO_ERROR, but its reader, which pauses, has not been given the end. */
  let unread = 0
  const newHalf = (credit: number, ownCredit: number): Half => ({
    credit,
    ownCredit,
    ended: false,
    endedBehindHead: false,
    anyData: false,
    heads: 0,
    allHeadBytes: 0,
    part: undefined,
    accepted: false,
  })
  if (setup.side === 'gateway') {
    for (let id = 1; id <= (setup.opened ?? 0); id++) streams.set(id, newHalf(262144, 0))
    highest = setup.opened ?? 0
  }
  let greeted = setup.hello !== false

  /** Returns the stream error, if any. */
  const receive = ({ row, flags, streamId, payload, cut }: RawFrame): string | undefined => {
    if (row.name === 'HELLO') {
      if (greeted) throw new SessionEnd('PROTOCOL_ERROR')
      const error = checkHello(payload, setup.side)
      if (error) throw new SessionEnd(error)
      greeted = true
      return undefined
    }
    if (row.name === 'GOAWAY') {
      const last = payload.readUInt32BE()
      if (setup.side === 'gateway') {
        for (const [id, stream] of streams) if (id > last && !stream.accepted) streams.delete(id)
      }
      if (payload.readUInt16BE(4) !== 0) throw new SessionEnd(undefined)
      return undefined
    }
    if (!greeted) throw new SessionEnd('PROTOCOL_ERROR')
    if (row.name === 'PING') return undefined
    if (row.name === 'OPEN') {
      if (setup.side === 'gateway' || streamId <= highest) throw new SessionEnd('PROTOCOL_ERROR')
      highest = streamId
      if (streams.size + unread >= (setup.maxStreams ?? 20000)) return 'REFUSED'
      const granted = setup.reader === 'paused' ? 262144 : 0
      streams.set(streamId, newHalf(granted, flags.has('SMALL') ? 65536 : 262144))
      return undefined
    }
    if (streamId > highest) throw new SessionEnd('PROTOCOL_ERROR')
    const stream = streams.get(streamId)
    if (!stream) return undefined
    switch (row.name) {
      case 'HEADERS': {
        if (stream.part === undefined) {
          if (stream.ended || stream.anyData) return 'PROTOCOL_ERROR'
          if (setup.side === 'connector' && stream.heads > 0) {
            return 'PROTOCOL_ERROR'
          }
        }
        const head = (stream.part ?? '') + payload.toString('latin1')
        stream.allHeadBytes += payload.length
        if (head.length > 262144 || stream.allHeadBytes > 524288) {
          return 'PROTOCOL_ERROR'
        }
        stream.accepted = true
        if (flags.has('MORE')) {
          if (payload.length < 16384) return 'PROTOCOL_ERROR'
          stream.part = head
          return undefined
        }
        stream.part = undefined
        stream.heads++
        outcome.heads.push([streamId, head])
        stream.ended = flags.has('END')
        return undefined
      }
      case 'DATA':
        if (stream.ended || stream.part !== undefined) {
          return 'PROTOCOL_ERROR'
        }
        if (payload.length === 0 && !flags.has('END')) {
          return 'PROTOCOL_ERROR'
        }
        if (payload.length > stream.credit) return 'FLOW_VIOLATION'
        stream.accepted = true
        stream.credit -= payload.length
        stream.anyData = true
        if (flags.has('END') && !cut) {
          stream.ended = true
          stream.endedBehindHead = true
        }
        return undefined
      case 'TRAILERS':
        if (stream.ended || stream.part !== undefined) {
          return 'PROTOCOL_ERROR'
        }
        stream.allHeadBytes += payload.length
        if (stream.allHeadBytes > 524288) return 'PROTOCOL_ERROR'
        stream.accepted = true
        stream.ended = true
        stream.endedBehindHead = true
        return undefined
      case 'WINDOW': {
        const increment = payload.readUInt32BE()
        if (increment === 0) return 'PROTOCOL_ERROR'
        if (stream.ownCredit + increment > 2147483647) {
          return 'FLOW_VIOLATION'
        }
        stream.accepted = true
        stream.ownCredit += increment
        return undefined
      }
      case 'RESET':
        if (payload.readUInt16BE() === 0 && stream.endedBehindHead && setup.reader === 'paused') {
          unread++
        }
        streams.delete(streamId)
        return undefined
      default:
        throw new Error(`no rule for ${row.name}`)
    }
  }

  try {
    const cutter = cutFrames(bytes)
    for (;;) {
      const step = cutter.next()
      if (step.done) {
        if (step.value) throw new SessionEnd(step.value)
        break
      }
      const error = receive(step.value)
      if (!error) continue
      outcome.resets.push([step.value.streamId, error])
      streams.delete(step.value.streamId)
    }
    outcome.open = [...streams.keys()]
  } catch (end) {
    if (!(end instanceof SessionEnd)) throw end
    if (end.code) outcome.goAway = end.code
  }
  return outcome
}

function checkHello(payload: Buffer, side: 'gateway' | 'connector'): string | undefined {
  if (payload.toString('latin1', 0, 4) !== 'SPT1') return 'FRAME_INVALID'
  const [least, most] = [payload.readUInt8(4), payload.readUInt8(5)]
  const version = Math.min(most, 1)
  if (version < least || version < 1) return 'VERSION_UNSUPPORTED'
  if (payload.readUInt8(6) !== (side === 'gateway' ? 2 : 1)) return 'PROTOCOL_ERROR'
  let rest = payload.subarray(13)
  for (let count = payload.readUInt8(12); count > 0; count--) {
    if (rest.length === 0 || rest.length < 1 + rest.readUInt8()) return 'FRAME_INVALID'
    rest = rest.subarray(1 + rest.readUInt8())
  }
  return undefined
}
