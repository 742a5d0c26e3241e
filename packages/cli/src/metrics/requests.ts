import type { AccessRecord } from '@sallyport/gateway'

const decisions = ['allow', 'sign-in', 'deny', 'reserved', 'own', 'none'] as const
const statusClasses = ['1xx', '2xx', '3xx', '4xx', '5xx'] as const
/** Reasons and codes are words of ours; if one should come from elsewhere, no more than this are told apart. */
const limitReasons = 100

/** Upper bounds of the buckets, milliseconds. */
export const durationBoundsMs = [
  0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000,
] as const

/** Durations by bucket. */
export class Durations {
  /** By bucket; the last one has no upper bound. */
  readonly counts = new Float64Array(durationBoundsMs.length + 1)
  sumMs = 0

  add(ms: number): void {
    let index = 0
    while (index < durationBoundsMs.length && ms > durationBoundsMs[index]!) index += 1
    this.counts[index]! += 1
    this.sumMs += ms
  }
}

/** How often each of a few words occurred. */
export class Words {
  readonly counts = new Map<string, number>()

  add(word: string): void {
    const known = this.counts.get(word)
    if (known !== undefined) this.counts.set(word, known + 1)
    else if (this.counts.size < limitReasons) this.counts.set(word, 1)
    else this.counts.set('other', (this.counts.get('other') ?? 0) + 1)
  }
}

function classOf(statusCode: number): number {
  return Math.min(Math.max(Math.trunc(statusCode / 100), 1), 5) - 1
}

/** What is counted of requests to one system host. */
export class SystemRequestCounts {
  readonly #byClass = new Float64Array(statusClasses.length)
  readonly durations = new Durations()

  add(statusCode: number, totalMs: number): void {
    this.#byClass[classOf(statusCode)]! += 1
    this.durations.add(totalMs)
  }

  /** Of those that occurred. */
  *outcomes(): Iterable<{ status: string; count: number }> {
    for (const [column, status] of statusClasses.entries())
      if (this.#byClass[column]! > 0) yield { status, count: this.#byClass[column]! }
  }
}

/**
 * What is counted of every request: a few additions, because each request pays for it. Nothing is told apart
 * by what a client chooses.
 */
export class RequestCounts {
  readonly #byOutcome = new Float64Array(decisions.length * statusClasses.length)
  readonly parts = {
    total: new Durations(),
    gateway: new Durations(),
    connector: new Durations(),
    origin: new Durations(),
  }
  readonly denials = new Words()
  readonly failures = new Words()
  receivedBytes = 0
  sentBytes = 0

  add(record: AccessRecord): void {
    const { decision, statusCode, reason, gatewayMs, connectorMs, originMs } = record
    this.#byOutcome[decisions.indexOf(decision) * statusClasses.length + classOf(statusCode)]! += 1
    this.receivedBytes += record.receivedBytes
    this.sentBytes += record.sentBytes
    this.parts.total.add(record.totalMs)
    if (gatewayMs !== undefined) this.parts.gateway.add(gatewayMs)
    if (connectorMs !== undefined)
      this.parts.connector.add(Math.max(0, connectorMs - (originMs ?? 0)))
    if (originMs !== undefined) this.parts.origin.add(originMs)
    if (reason === undefined) return
    if (decision === 'deny') this.denials.add(reason)
    else if (decision !== 'sign-in') this.failures.add(reason)
  }

  /** Of those that occurred. */
  *outcomes(): Iterable<{ decision: string; status: string; count: number }> {
    for (const [row, decision] of decisions.entries())
      for (const [column, status] of statusClasses.entries()) {
        const count = this.#byOutcome[row * statusClasses.length + column]!
        if (count > 0) yield { decision, status, count }
      }
  }
}
