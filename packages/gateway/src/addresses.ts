import { BlockList, isIP } from 'node:net'

/**
 * One spelling for each address: IPv4 mapped into IPv6 is IPv4, however it is written, so that a list of
 * addresses cannot be passed by another spelling.
 *
 * @returns what is no IP address as it is
 */
export function plainAddress(address: string): string {
  if (!address.includes(':') || address.includes('%') || isIP(address) !== 6) return address
  // WHATWG's serialiser is the only one in the runtime that compresses IPv6 (RFC 5952).
  const plain = new URL(`http://[${address}]`).hostname.slice(1, -1)
  const mapped = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(plain)
  if (!mapped) return plain
  const high = Number.parseInt(mapped[1]!, 16)
  const low = Number.parseInt(mapped[2]!, 16)
  return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`
}

/** The peers whose `X-Forwarded-For` counts. Empty unless configured. */
export class TrustedProxies {
  readonly #list = new BlockList()
  readonly #empty: boolean

  /**
   * @param ranges addresses or CIDR ranges
   * @throws TypeError for anything else
   */
  constructor(ranges: readonly string[]) {
    this.#empty = ranges.length === 0
    for (const range of ranges) {
      const [, address = '', bits] = /^([^/%]+)(?:\/([0-9]{1,3}))?$/.exec(range) ?? []
      const version = isIP(address)
      if (version === 0 || Number(bits ?? 0) > (version === 4 ? 32 : 128))
        throw new TypeError(`no address and no range of addresses: ${range}`)
      const family = version === 4 ? 'ipv4' : 'ipv6'
      if (bits === undefined) this.#list.addAddress(address, family)
      else this.#list.addSubnet(address, Number(bits), family)
    }
  }

  has(address: string): boolean {
    if (this.#empty) return false
    const version = isIP(address)
    return version !== 0 && this.#list.check(address, version === 4 ? 'ipv4' : 'ipv6')
  }

  /**
   * The client's address: the peer's, or, when the peer is trusted, the last listed address that is not.
   * A list that is not wholly addresses says nothing.
   */
  clientAddress(peer: string, forwardedFor: readonly string[] | undefined): string {
    if (!forwardedFor || !this.has(peer)) return peer
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
  const list = text.split(',').map((entry) => plainAddress(entry.replace(/^[ \t]+|[ \t]+$/g, '')))
  // A zone (`fe80::1%eth0`) means nothing to anybody else.
  return list.length <= 20 && list.every((entry) => isIP(entry) !== 0 && !entry.includes('%'))
    ? list
    : undefined
}
