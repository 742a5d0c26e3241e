import { isIPv6 } from 'node:net'

export interface RateLimitOptions {
  /** How many may come at once. */
  burst: number
  /** One more after each interval, in milliseconds. */
  intervalMs: number
  /** Keys remembered; beyond that the one that was used least recently is forgotten. */
  limitKeys?: number
}

/**
 * Generic cell rate algorithm, in memory: one number per key, the time at which its bucket is full
 * again.
 */
export class RateLimit {
  readonly #burst: number
  readonly #intervalMs: number
  readonly #limitKeys: number
  readonly #fullAt = new Map<string, number>()

  constructor({ burst, intervalMs, limitKeys = 100_000 }: RateLimitOptions) {
    this.#burst = burst
    this.#intervalMs = intervalMs
    this.#limitKeys = limitKeys
  }

  /** @returns 0 when it may go on, otherwise the milliseconds to wait; what is refused costs nothing */
  take(key: string, nowAt: number): number {
    const fullAt = Math.max(this.#fullAt.get(key) ?? 0, nowAt) + this.#intervalMs
    const waitMs = fullAt - this.#burst * this.#intervalMs - nowAt
    if (waitMs > 0) return waitMs
    this.#fullAt.delete(key)
    this.#fullAt.set(key, fullAt)
    if (this.#fullAt.size > this.#limitKeys)
      this.#fullAt.delete(this.#fullAt.keys().next().value as string)
    return 0
  }

  /** Gives back what one `take` took. */
  giveBack(key: string): void {
    const fullAt = this.#fullAt.get(key)
    if (fullAt !== undefined) this.#fullAt.set(key, fullAt - this.#intervalMs)
  }
}

/** What counts as one client: an IPv4 address, or the /64 that one IPv6 subscriber has. */
export function addressKey(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)
  if (mapped) return mapped[1]!
  if (!isIPv6(address)) return address
  const [head = '', tail] = address.split('%')[0]!.toLowerCase().split('::')
  const left = head === '' ? [] : head.split(':')
  const right = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = tail === undefined ? 0 : 8 - left.length - right.length
  const groups = [...left, ...Array.from({ length: zeros }, () => '0'), ...right]
  return groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')
}
