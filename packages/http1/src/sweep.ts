/** Something whose deadlines are looked at now and then. */
export interface Swept {
  sweep(nowMs: number): void
}

/**
 * One interval timer for any number of connections, so that an exchange arms and clears no timer: it writes a number. The
 * clock counts ticks of that timer, not time; so a process that was stopped or busy for a minute does not take it out on
 * the clients whose bytes were waiting.
 */
export class Sweep {
  readonly intervalMs: number
  nowMs = 0
  readonly #entries = new Set<Swept>()
  #timer: NodeJS.Timeout | undefined

  constructor(intervalMs: number) {
    this.intervalMs = intervalMs
  }

  add(entry: Swept): void {
    this.#entries.add(entry)
    this.#timer ??= setInterval(() => this.#tick(), this.intervalMs).unref()
  }

  delete(entry: Swept): void {
    this.#entries.delete(entry)
    if (this.#entries.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  /** @returns the instant on this clock by which `timeoutMs` have certainly passed; never, for 0 */
  deadline(timeoutMs: number): number {
    return timeoutMs === 0 ? Number.POSITIVE_INFINITY : this.nowMs + timeoutMs + this.intervalMs
  }

  #tick(): void {
    this.nowMs += this.intervalMs
    for (const entry of this.#entries) entry.sweep(this.nowMs)
  }
}

const sweeps = new Map<number, Sweep>()

/** The shared sweep that is fine enough for the shortest of these timeouts (an eighth of it; 0 is off). */
export function sweepFor(timeoutsMs: number[]): Sweep {
  const shortest = Math.min(...timeoutsMs.filter((timeout) => timeout > 0))
  const intervalMs = [1000, 100].find((interval) => interval * 8 <= shortest) ?? 10
  let sweep = sweeps.get(intervalMs)
  if (sweep === undefined) {
    sweep = new Sweep(intervalMs)
    sweeps.set(intervalMs, sweep)
  }
  return sweep
}
