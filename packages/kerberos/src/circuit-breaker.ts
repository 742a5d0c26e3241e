export interface CircuitBreakerOptions {
  now(): number
  /** So many failures in a row open it. */
  failures?: number
  /** How long it stays open at first; it doubles while the failures go on. */
  openMs?: number
  maxOpenMs?: number
}

/**
 * Spares callers the wait for what has just failed. It closes by itself: when its time is over, one caller is let
 * through, and what becomes of that call decides for all.
 */
export class CircuitBreaker {
  readonly #now: () => number
  readonly #failures: number
  readonly #openMs: number
  readonly #maxOpenMs: number
  #inARow = 0
  #openUntil = 0
  #trying = false

  constructor({ now, failures = 3, openMs = 1000, maxOpenMs = 15_000 }: CircuitBreakerOptions) {
    this.#now = now
    this.#failures = failures
    this.#openMs = openMs
    this.#maxOpenMs = maxOpenMs
  }

  /** Until when calls are refused; undefined when the caller may go on, and then it owes one of the two below. */
  findRefusal(): number | undefined {
    if (this.#inARow < this.#failures) return undefined
    const now = this.#now()
    if (now < this.#openUntil) return this.#openUntil
    if (this.#trying) return now + this.#openMs
    this.#trying = true
    return undefined
  }

  succeeded(): void {
    this.#inARow = 0
    this.#trying = false
  }

  failed(): void {
    this.#trying = false
    this.#inARow += 1
    const beyond = this.#inARow - this.#failures
    if (beyond < 0) return
    const openMs = Math.min(this.#openMs * 2 ** Math.min(beyond, 10), this.#maxOpenMs)
    this.#openUntil = this.#now() + openMs
  }

  /** The call ended without telling anything about the other side. */
  abandoned(): void {
    this.#trying = false
  }
}
