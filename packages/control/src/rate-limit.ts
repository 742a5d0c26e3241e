import { isIPv6, SocketAddress } from 'node:net'

/** Generic cell rate algorithm: one number per key, the time at which its bucket is full again. */
export class RateLimit {
  readonly #burst: number
  readonly #intervalMs: number
  readonly #limitKeys: number
  readonly #fullAt = new Map<string, number>()

  /**
   * @param limits `burst` at once, then one more after each interval; of more than `limitKeys` keys the
   *   one used least recently is forgotten
   */
  constructor(limits: { burst: number; intervalMs: number; limitKeys?: number }) {
    this.#burst = limits.burst
    this.#intervalMs = limits.intervalMs
    this.#limitKeys = limits.limitKeys ?? 50_000
  }

  /** @returns 0 when it may go on, otherwise the milliseconds to wait; what is refused costs nothing */
  take(key: string, nowAt: number): number {
    const limitMs = this.#burst * this.#intervalMs
    const known = this.#fullAt.get(key) ?? 0
    // Further ahead than one can get: the clock was set back, and must not lock anybody out.
    const before = known > nowAt + limitMs ? nowAt : Math.max(known, nowAt)
    const fullAt = before + this.#intervalMs
    const waitMs = fullAt - limitMs - nowAt
    if (waitMs > 0) return waitMs
    this.#fullAt.delete(key)
    this.#fullAt.set(key, fullAt)
    if (this.#fullAt.size > this.#limitKeys) this.#fullAt.delete(this.#fullAt.keys().next().value!)
    return 0
  }
}

/** What counts as one client: an IPv4 address, or the /64 that one IPv6 subscriber has. */
export function clientOf(address: string | undefined): string {
  if (address === undefined) return 'unknown'
  const plain = address.replace(/%.*$/, '')
  if (!isIPv6(plain)) return plain
  // SocketAddress spells an address in one way only; a mapped IPv4 address keeps its dots.
  const canonical = new SocketAddress({ address: plain, family: 'ipv6' }).address
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(canonical)
  if (mapped) return mapped[1]!
  const [head = '', tail] = canonical.split('::')
  const left = head === '' ? [] : head.split(':')
  const right = tail ? tail.split(':') : []
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => '0')
  return `${[...left, ...zeros, ...right].slice(0, 4).join(':')}::/64`
}
