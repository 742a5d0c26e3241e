import { isRefusal, type Message, readers } from './readers.ts'

/** Numbers that are the same for the same seed (xorshift32). */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0 || 1
  }

  below(limit: number): number {
    this.#state ^= this.#state << 13
    this.#state ^= this.#state >>> 17
    this.#state ^= this.#state << 5
    return (this.#state >>> 0) % limit
  }
}

export interface FuzzReport {
  accepted: number
  refused: number
}

/** @throws the first error that is not a refusal, with the input that led to it */
export function fuzz(seed: number, count: number, messages: readonly Message[]): FuzzReport {
  const random = new Random(seed)
  const report = { accepted: 0, refused: 0 }
  for (let turn = 0; turn < count; turn += 1) {
    const { name, reader, bytes } = messages[random.below(messages.length)]!
    const input = mutate(bytes, random)
    try {
      readers[reader](input)
      report.accepted += 1
    } catch (error) {
      if (!isRefusal(error)) {
        const cause = { cause: error }
        throw new Error(`seed ${seed}, ${name} as ${input.toString('hex')}: ${error}`, cause)
      }
      report.refused += 1
    }
  }
  return report
}

/** Bytes that lengths, tags and counts are made of. */
const interesting = [0, 1, 0x1f, 0x30, 0x7f, 0x80, 0x81, 0x82, 0x84, 0xa0, 0xff]

function mutate(bytes: Buffer, random: Random): Buffer {
  let input = Buffer.from(bytes)
  for (let times = 1 + random.below(3); times > 0; times -= 1) {
    const at = random.below(input.length + 1)
    const other = random.below(input.length + 1)
    const [from, to] = at < other ? [at, other] : [other, at]
    const piece = input.subarray(from, Math.min(to, from + 40))
    switch (random.below(7)) {
      case 0:
        if (at < input.length) input[at]! ^= 1 << random.below(8)
        break
      case 1:
        if (at < input.length) input[at] = interesting[random.below(interesting.length)]!
        break
      case 2:
        input = input.subarray(0, at)
        break
      case 3:
        input = Buffer.concat([input.subarray(0, from), input.subarray(from + piece.length)])
        break
      case 4:
        input = Buffer.concat([input.subarray(0, at), piece, input.subarray(at)])
        break
      case 5:
        if (at < input.length) input[at] = random.below(256)
        break
      default:
        if (at + 4 <= input.length) input.writeInt32BE(random.below(2 ** 32) | 0, at)
    }
    if (input.length === 0) break
  }
  return input
}
