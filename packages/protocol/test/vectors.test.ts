import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { FrameDecoder, FrameType } from '../src/frame.ts'
import { runSession } from './harness.ts'
import {
  type Decoded,
  type DecodedFrame,
  decodeFrames,
  type Outcome,
  receiveSession,
  type SessionCase,
  toBytes,
} from './independent-decoder.ts'

interface FrameVector extends Decoded {
  name: string
  hex: string
}

interface SessionVector extends SessionCase {
  name: string
  hex: string
  resets: [number, string][]
  goAway?: string
  heads: [number, string][]
  open: number[]
}

function readVectors<T>(file: string): T[] {
  return JSON.parse(readFileSync(new URL(`../vectors/${file}`, import.meta.url), 'utf8')) as T[]
}

const typeNames = Object.keys(FrameType)
const flagNames: Record<string, string[]> = {
  OPEN: ['SMALL'],
  HEADERS: ['END', 'MORE'],
  DATA: ['END'],
  PING: ['ACK'],
}

/** Our decoder, brought into the form of the vectors. */
function decodeWithSource(pieces: Buffer[]): Decoded {
  const frames: DecodedFrame[] = []
  const describeFrame = (type: number, flags: number, streamId: number, payload: Buffer) => {
    const name = typeNames[type]!
    const frame: DecodedFrame = {
      type: name,
      flags: (flagNames[name] ?? []).filter((_, bit) => flags & (1 << bit)),
      streamId,
    }
    if (name === 'WINDOW') frame.increment = payload.readUInt32BE(0)
    else if (name === 'RESET') {
      frame.code = payload.readUInt16BE(0)
      frame.detail = payload.toString('utf8', 2)
    } else if (name === 'GOAWAY') {
      frame.lastStreamId = payload.readUInt32BE(0)
      frame.code = payload.readUInt16BE(4)
      frame.detail = payload.toString('utf8', 6)
    } else frame.payload = payload.toString('hex')
    frames.push(frame)
  }
  let data: { flags: number; streamId: number; pieces: Buffer[] } | undefined
  const decoder = new FrameDecoder({
    onFrame: (type, flags, streamId, bytes, start, end) =>
      describeFrame(type, flags, streamId, bytes.subarray(start, end)),
    onDataStart(flags, streamId) {
      data = { flags, streamId, pieces: [] }
    },
    onDataPiece(piece, last) {
      data!.pieces.push(Buffer.from(piece))
      if (last) {
        describeFrame(FrameType.DATA, data!.flags, data!.streamId, Buffer.concat(data!.pieces))
      }
    },
  })
  for (const piece of pieces) {
    const error = decoder.push(piece)
    if (error) return { frames, error: error.code.replace('TUNNEL_', '') }
  }
  return { frames }
}

/** Whole, byte by byte, and where it is short cut in two at every place. */
function* splits(bytes: Buffer): Generator<Buffer[]> {
  yield [bytes]
  if (bytes.length > 70_000) {
    for (const size of [16_384, 9973]) {
      yield Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) =>
        bytes.subarray(index * size, (index + 1) * size),
      )
    }
    return
  }
  yield Array.from(bytes, (_, index) => bytes.subarray(index, index + 1))
  if (bytes.length > 200) return
  for (let at = 1; at < bytes.length; at++) yield [bytes.subarray(0, at), bytes.subarray(at)]
}

describe('frames.json', () => {
  for (const vector of readVectors<FrameVector>('frames.json')) {
    test(vector.name, () => {
      const bytes = toBytes(vector.hex)
      const expected: Decoded = {
        frames: vector.frames.map((frame) =>
          frame.payload === undefined
            ? frame
            : { ...frame, payload: toBytes(frame.payload).toString('hex') },
        ),
        ...(vector.error && { error: vector.error }),
      }
      assert.deepEqual(decodeFrames(bytes), expected, 'the independent decoder')
      for (const pieces of splits(bytes)) assert.deepEqual(decodeWithSource(pieces), expected)
    })
  }
})

describe('sessions.json', () => {
  for (const vector of readVectors<SessionVector>('sessions.json')) {
    test(`${vector.side}: ${vector.name}`, async () => {
      const bytes = toBytes(vector.hex)
      const expected: Outcome = {
        resets: vector.resets,
        heads: vector.heads.map(([id, head]) => [id, toBytes(head).toString('latin1')]),
        open: vector.open,
        ...(vector.goAway && { goAway: vector.goAway }),
      }
      assert.deepEqual(receiveSession(vector, bytes), expected, 'the independent decoder')
      for (const pieces of splits(bytes)) {
        const { outcome, disorder } = await runSession(vector, pieces)
        assert.deepEqual(
          { ...outcome, open: outcome.open.length },
          { ...expected, open: expected.open.length },
        )
        assert.deepEqual(disorder, [])
      }
    })
  }
})
