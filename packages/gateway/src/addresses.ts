import { BlockList, isIP } from 'node:net'

/** IPv4 mapped into IPv6 is IPv4, so that a list of proxies cannot be passed by the other spelling. */
export function plainAddress(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)
  return mapped ? mapped[1]! : address
}

/** The peers whose `X-Forwarded-For` counts. Empty unless configured. */
export class TrustedProxies {
  readonly #list = new BlockList()
  readonly #empty: boolean

  /** @param ranges addresses or CIDR ranges */
  constructor(ranges: readonly string[]) {
    this.#empty = ranges.length === 0
    for (const range of ranges) {
      const [address = '', bits] = range.split('/')
      const family = isIP(address) === 6 ? 'ipv6' : 'ipv4'
      if (bits === undefined) this.#list.addAddress(address, family)
      else this.#list.addSubnet(address, Number(bits), family)
    }
  }

  has(address: string): boolean {
    return !this.#empty && this.#list.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4')
  }

  /**
   * The client's address: the peer's, or, when the peer is trusted, the last listed address that is not.
   * A list that is not wholly addresses says nothing.
   */
  clientAddress(peer: string, forwardedFor: readonly string[] | undefined): string {
    if (!this.has(peer) || !forwardedFor) return peer
    for (let index = forwardedFor.length - 1; index >= 0; index -= 1)
      if (!this.has(forwardedFor[index]!)) return forwardedFor[index]!
    return forwardedFor[0] ?? peer
  }
}

/**
 * Reads `X-Forwarded-For` fields.
 *
 * @returns the addresses in order; undefined when any entry is no IP address or there are over 20
 */
export function parseForwardedFor(values: readonly string[]): string[] | undefined {
  const text = values.join(',')
  if (text.length > 2_000) return undefined
  const list = text.split(',').map((entry) => plainAddress(entry.trim()))
  // A zone (`fe80::1%eth0`) means nothing to anybody else.
  return list.length <= 20 && list.every((entry) => isIP(entry) !== 0 && !entry.includes('%'))
    ? list
    : undefined
}
