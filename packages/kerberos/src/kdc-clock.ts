/**
 * The clocks of KDCs, as far as their answers tell: tickets are good by those, whatever ours says. Asking with a wrong
 * clock is refused (RFC 4120 section 3.1.3), so what a KDC says corrects the next question to it.
 */
export class KdcClock {
  readonly #now: () => number
  readonly #offsets = new Map<string, number>()
  readonly #onSkew: ((skew: ClockSkew) => void) | undefined
  readonly #warnAboveMs: number
  readonly #lastMicros = new Map<string, bigint>()

  /** @param onSkew called when a KDC's clock turns out to be far from ours, or no longer far */
  constructor(now: () => number, onSkew?: (skew: ClockSkew) => void, warnAboveMs = 60_000) {
    this.#now = now
    this.#onSkew = onSkew
    this.#warnAboveMs = warnAboveMs
  }

  /** Ours, in epoch milliseconds. */
  ownNow(): number {
    return this.#now()
  }

  now(realm: string): number {
    return this.#now() + (this.#offsets.get(realm) ?? 0)
  }

  /** Epoch microseconds, never the same twice: receivers take a second one for a replay. */
  nowMicros(realm: string): bigint {
    const micros = BigInt(Math.floor(this.now(realm))) * 1000n
    const last = this.#lastMicros.get(realm) ?? 0n
    const next = micros > last ? micros : last + 1n
    this.#lastMicros.set(realm, next)
    return next
  }

  /** @param kdcAt what a KDC of the realm said now, to the second */
  learn(realm: string, kdcAt: number): void {
    const clientAt = this.#now()
    const before = this.#offsets.get(realm) ?? 0
    // Within the second that it said, our own clock is the finer one.
    const exact = kdcAt - Math.floor(clientAt / 1000) * 1000
    const offset = Math.abs(exact) <= 2000 ? 0 : exact
    if (Math.abs(offset - before) <= 2000 && offset !== 0) return
    this.#offsets.set(realm, offset)
    const far = Math.abs(offset) > this.#warnAboveMs
    if (far) this.#onSkew?.({ realm, clientAt, kdcAt })
    // Times go back with the KDC's clock; what was given out before is then no measure.
    if (offset < before) this.#lastMicros.delete(realm)
  }
}

export interface ClockSkew {
  realm: string
  clientAt: number
  kdcAt: number
}
