/**
 * Random sessions against the oracle of independent-decoder.ts:
 *
 *   node packages/protocol/test/fuzz.ts [--iterations 1000000] [--seed 1]
 *
 * Each input is a sequence of frames, mostly sensible, then damaged in some inputs, cut into pieces
 * at random. Whatever it is, the session must not throw, must call handlers in order, and must
 * answer with the same resets and the same GOAWAY as the oracle. The first difference is printed as
 * a case for vectors/sessions.json.
 */
import assert from 'node:assert/strict'
import { parseArgs } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { nextTurn, runSession } from './harness.ts'
import { receiveSession, type SessionCase } from './independent-decoder.ts'

/** Uniform integers below a bound; the same for the same seed (mulberry32). */
export class Random {
  #state: number
  constructor(seed: number) {
    this.#state = seed >>> 0
  }
  below(bound: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = this.#state
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) % bound
  }
  oneIn(times: number): boolean {
    return this.below(times) === 0
  }
  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)]!
  }
}

const types = [1, 1, 2, 2, 2, 3, 3, 3, 3, 4, 5, 5, 6, 7, 8, 0, 9, 255]
const increments = [0, 1, 65_536, 262_144, 0x7fff_ffff - 262_144, 0x7fff_ffff, 0x8000_0000]
const lengths = [0, 1, 2, 5, 30, 16_383, 16_384, 65_535, 65_536]

function makeFrame(random: Random, ids: { last: number }): Buffer {
  const type = random.pick(types)
  const known = ids.last === 0 ? 1 : 1 + random.below(ids.last)
  let streamId = random.oneIn(60) ? random.below(ids.last + 3) : known
  let payload: Buffer = Buffer.alloc(0)
  const flags = random.oneIn(3) ? random.below(4) : random.oneIn(20) ? random.below(256) : 0
  switch (type) {
    case 0:
      streamId = 0
      payload = Buffer.from('5350543101010100000000640000', 'hex').subarray(0, 13)
      break
    case 1:
      if (!random.oneIn(40)) streamId = ids.last + 1
      ids.last = Math.max(ids.last, streamId)
      payload = Buffer.alloc(random.below(5))
      break
    case 5:
      payload = Buffer.alloc(4)
      payload.writeUInt32BE(random.oneIn(3) ? random.pick(increments) : 1 + random.below(1000))
      break
    case 6:
      payload = Buffer.alloc(2 + random.below(4), 'x')
      payload.writeUInt16BE(random.below(18))
      break
    case 7:
      streamId = 0
      payload = Buffer.alloc(8, random.below(256))
      break
    case 8:
      streamId = 0
      payload = Buffer.alloc(6)
      payload.writeUInt32BE(random.below(4))
      payload.writeUInt16BE(random.oneIn(4) ? random.below(9) : 0, 4)
      break
    default:
      payload = Buffer.alloc(random.oneIn(12) ? random.pick(lengths) : 1 + random.below(40), 'a')
  }
  const header = Buffer.alloc(9)
  header.writeUIntBE(payload.length, 0, 3)
  header.writeUInt8(type, 3)
  header.writeUInt8(flags, 4)
  header.writeUInt32BE(streamId, 5)
  return Buffer.concat([header, payload])
}

function damage(random: Random, bytes: Buffer): Buffer {
  if (bytes.length === 0) return bytes
  const at = random.below(bytes.length)
  switch (random.below(5)) {
    case 0:
      bytes[at] = bytes[at]! ^ (1 << random.below(8))
      return bytes
    case 1:
      bytes[at] = random.below(256)
      return bytes
    case 2:
      return bytes.subarray(0, at)
    case 3:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + random.below(4))])
    default:
      return Buffer.concat([
        bytes.subarray(0, at),
        Buffer.from([random.below(256)]),
        bytes.subarray(at),
      ])
  }
}

export interface FuzzInput {
  setup: SessionCase
  bytes: Buffer
  pieces: Buffer[]
}

export function makeInput(random: Random): FuzzInput {
  const side = random.oneIn(3) ? 'gateway' : 'connector'
  const setup: SessionCase = { side }
  if (side === 'gateway') setup.opened = 1 + random.below(4)
  else setup.reader = random.oneIn(4) ? 'unaccepted' : 'paused'
  if (random.oneIn(50)) setup.hello = false
  if (random.oneIn(10)) setup.maxStreams = Math.max(1 + random.below(4), setup.opened ?? 0)
  const ids = { last: setup.opened ?? 0 }
  const frames = Array.from({ length: 1 + random.below(24) }, () => makeFrame(random, ids))
  let bytes: Buffer = Buffer.concat(frames)
  if (random.oneIn(40)) bytes = Buffer.from(bytes.map(() => random.below(256)))
  while (random.oneIn(3)) bytes = damage(random, bytes)
  const pieces: Buffer[] = []
  for (let at = 0; at < bytes.length; ) {
    const size = random.oneIn(3) ? 1 + random.below(12) : 1 + random.below(bytes.length)
    pieces.push(bytes.subarray(at, at + size))
    at += size
  }
  return { setup, bytes, pieces }
}

/**
 * @returns the case that went wrong, ready for vectors/sessions.json, with what happened instead
 */
export async function tryInput(input: FuzzInput): Promise<object | undefined> {
  const expected = receiveSession(input.setup, input.bytes)
  const vector = { name: 'found by fuzzing', ...input.setup, hex: input.bytes.toString('hex') }
  try {
    const { outcome, disorder } = await runSession(input.setup, input.pieces)
    assert.deepEqual(disorder, [])
    assert.deepEqual(
      { ...outcome, open: outcome.open.length },
      { ...expected, open: expected.open.length },
    )
    return undefined
  } catch (error) {
    return { ...vector, ...expected, pieces: input.pieces.map((piece) => piece.length), error }
  }
}

/**
 * Bytes that are really in use. Buffers are freed beside the collector, so it is called until
 * nothing changes.
 */
export async function usedBytes(): Promise<number> {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  for (let before = Number.POSITIVE_INFINITY; ; ) {
    collect()
    await nextTurn()
    const { external } = process.memoryUsage()
    if (external >= before) break
    before = external
  }
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

const together = 50

/** @param onProgress after every 50,000 inputs or so */
export async function fuzz(
  seed: number,
  iterations: number,
  onProgress: (done: number) => Promise<void> | void = () => {},
): Promise<object | undefined> {
  const random = new Random(seed)
  for (let done = 0; done < iterations; done += together) {
    const inputs = Array.from({ length: together }, () => makeInput(random))
    const failures = await Promise.all(inputs.map(tryInput))
    const failure = failures.find((found) => found !== undefined)
    if (failure) return failure
    if (done % 50_000 === 0) await onProgress(done)
  }
  return undefined
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      iterations: { type: 'string', default: '1000000' },
      seed: { type: 'string', default: '1' },
    },
  })
  const failure = await fuzz(Number(values.seed), Number(values.iterations), async (done) => {
    console.log(`${done} inputs, ${((await usedBytes()) / 1e6).toFixed(1)} MB in use`)
  })
  if (failure) {
    console.error(failure)
    process.exitCode = 1
  }
}
