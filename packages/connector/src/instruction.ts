import { ResetCode } from '@sallyport/protocol'
import { parseDestination } from './destination.ts'
import { OriginFailure } from './failure.ts'
import type { Origin, Origins } from './origin.ts'

/**
 * What the gateway wants of one stream: the JSON part of OPEN, understood. Shared by all streams
 * that carry the same bytes.
 */
export interface Instruction {
  readonly applicationId: string
  readonly origin: Origin
  /** Until the response head, in milliseconds. */
  readonly timeoutMs: number
  readonly upgrade: boolean
  /**
   * The client's connection, which has a connection of its own to the origin: the origin may authenticate it. '' for
   * requests that share connections.
   */
  readonly connection: string
}

/** Of whom nothing is to be kept any more: the JSON part of OPEN of a stream that asks for nothing else. */
export interface Forgetting {
  readonly forget: {
    readonly users: readonly string[]
    readonly sessions: readonly string[]
    /** Connections of clients that are closed. */
    readonly connections?: readonly string[]
  }
}

const maxKept = 1_024
const maxTimeoutMs = 86_400_000

/**
 * Reads OPEN payloads, each byte one latin1 character: one byte of length, the correlation id in ASCII, JSON, and perhaps a line feed and a
 * sign-on assertion. The JSON is the same for every request of an application, so what it means is remembered by its bytes.
 */
export class Instructions {
  readonly #origins: Origins
  readonly #known = new Map<string, Instruction>()
  /** To compare a text is cheaper than to look it up, for which all of it is hashed. */
  #latestText: string | undefined
  #latest: Instruction | undefined

  constructor(origins: Origins) {
    this.#origins = origins
  }

  /**
   * @throws OriginFailure `PROTOCOL_ERROR` when it cannot be read, `DESTINATION_FORBIDDEN` when it
   *   names no origin
   */
  read(openText: string): Instruction | Forgetting {
    const start = 1 + idLengthOf(openText)
    const end = openText.indexOf('\n', start)
    const text = openText.slice(start, end < 0 ? undefined : end)
    if (text === this.#latestText) return this.#latest!
    const instruction = this.#known.get(text) ?? this.#learn(text)
    if (isKept(instruction)) {
      this.#latestText = text
      this.#latest = instruction
    }
    return instruction
  }

  #learn(text: string): Instruction | Forgetting {
    const instruction = this.#parse(Buffer.from(text, 'latin1').toString('utf8'))
    if (!isKept(instruction)) return instruction
    if (this.#known.size >= maxKept) {
      const [oldest] = this.#known.keys()
      this.#known.delete(oldest!)
    }
    this.#known.set(text, instruction)
    return instruction
  }

  #parse(text: string): Instruction | Forgetting {
    let value: unknown
    try {
      value = JSON.parse(text)
    } catch (cause) {
      throw new OriginFailure(ResetCode.PROTOCOL_ERROR, 'the instruction is no JSON', { cause })
    }
    if (isForgetting(value)) return value
    if (!isInstruction(value))
      throw new OriginFailure(ResetCode.PROTOCOL_ERROR, 'the instruction has an unknown form')
    return {
      applicationId: value.app,
      origin: this.#origins.find(parseDestination(value.url), value.validate, value.app),
      timeoutMs: value.timeoutMs,
      upgrade: value.upgrade === true,
      connection: value.connection ?? '',
    }
  }
}

/** What names a connection is the same for its requests only. */
function isKept(instruction: Instruction | Forgetting): instruction is Instruction {
  return !('forget' in instruction) && instruction.connection === ''
}

interface WireInstruction {
  v: 1
  app: string
  url: string
  validate: boolean
  timeoutMs: number
  upgrade?: boolean
  connection?: string
}

function isInstruction(value: unknown): value is WireInstruction {
  if (typeof value !== 'object' || value === null) return false
  const { v, app, url, validate, timeoutMs, upgrade, connection } = value as Record<string, unknown>
  return (
    v === 1 &&
    typeof app === 'string' &&
    typeof url === 'string' &&
    typeof validate === 'boolean' &&
    typeof timeoutMs === 'number' &&
    Number.isInteger(timeoutMs) &&
    timeoutMs >= 1 &&
    timeoutMs <= maxTimeoutMs &&
    (upgrade === undefined || typeof upgrade === 'boolean') &&
    (connection === undefined ||
      (typeof connection === 'string' && /^[\w-]{16,64}$/.test(connection)))
  )
}

function isForgetting(value: unknown): value is Forgetting {
  if (typeof value !== 'object' || value === null || !('forget' in value)) return false
  const { users, sessions, connections = [] } = (value.forget ?? {}) as Record<string, unknown>
  return [users, sessions, connections].every(
    (list) => Array.isArray(list) && list.every((id) => typeof id === 'string'),
  )
}

/** The sign-on assertion of an OPEN payload; undefined when it has none. */
export function readAssertionText(openText: string): string | undefined {
  const end = openText.indexOf('\n', 1 + idLengthOf(openText))
  return end < 0 ? undefined : openText.slice(end + 1)
}

/** The exchange id by which both logs name a request. Printable ASCII only: it goes into logs. */
export function readCorrelationId(openText: string): string {
  const text = openText.slice(1, 1 + idLengthOf(openText))
  return /^[\x21-\x7e]+$/.test(text) ? text : ''
}

function idLengthOf(openText: string): number {
  return openText === '' ? 0 : openText.charCodeAt(0)
}
