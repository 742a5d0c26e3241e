import { isIPv4, isIPv6 } from 'node:net'

/**
 * An IP address as bytes: 4 or 16. IPv4-mapped IPv6 never occurs: it is the IPv4 address it stands
 * for.
 */
export type Address = Uint8Array

/** A block of addresses; `bits` leading bits are fixed. */
export interface Prefix {
  address: Address
  bits: number
}

/**
 * Reads an address as the operating system or a URL spells it.
 *
 * @returns undefined for anything else, also for an IPv6 address with a zone
 */
export function findAddress(text: string): Address | undefined {
  if (isIPv4(text)) return Uint8Array.from(text.split('.').map(Number))
  if (!isIPv6(text) || text.includes('%')) return undefined
  return fromIPv6(text)
}

function fromIPv6(text: string): Address {
  // The URL parser writes every spelling as hex groups with at most one `::`.
  const groups = new URL(`http://[${text}]`).hostname.slice(1, -1)
  const [head = '', tail] = groups.split('::')
  const left = head === '' ? [] : head.split(':')
  const right = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => '0')
  const bytes = new Uint8Array(16)
  for (const [index, group] of [...left, ...zeros, ...right].entries()) {
    const value = Number.parseInt(group, 16)
    bytes[index * 2] = value >> 8
    bytes[index * 2 + 1] = value & 0xff
  }
  return isWithin(bytes, mapped) ? bytes.slice(12) : bytes
}

/** The usual spelling, as `findAddress` reads it. */
export function formatAddress(address: Address): string {
  if (address.length === 4) return address.join('.')
  const groups: string[] = []
  for (let index = 0; index < 16; index += 2)
    groups.push(((address[index]! << 8) | address[index + 1]!).toString(16))
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1)
}

export function isWithin(address: Address, prefix: Prefix): boolean {
  if (address.length !== prefix.address.length) return false
  const whole = prefix.bits >> 3
  for (let index = 0; index < whole; index += 1)
    if (address[index] !== prefix.address[index]) return false
  const rest = prefix.bits & 7
  if (rest === 0) return true
  const mask = (0xff << (8 - rest)) & 0xff
  return (address[whole]! & mask) === (prefix.address[whole]! & mask)
}

const mapped: Prefix = {
  address: Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 0, 0),
  bits: 96,
}

function prefix(text: string): Prefix {
  const [address = '', bits] = text.split('/')
  return { address: findAddress(address)!, bits: Number(bits) }
}

/** Why an address is refused unless a rule names it. */
export type AddressClass =
  | 'unspecified'
  | 'loopback'
  | 'link-local'
  | 'multicast'
  | 'broadcast'
  | 'metadata'
  | 'own-address'

/**
 * Blocks that no rule reaches by accident (RFC 6890). 0.0.0.0/8 as a whole: Linux connects 0.0.0.0
 * to itself. The metadata services of the large clouds hand out credentials to whoever can reach
 * them.
 */
export const refusedBlocks: readonly { class: AddressClass; prefix: Prefix }[] = (
  [
    ['unspecified', '0.0.0.0/8'],
    ['unspecified', '::/128'],
    ['loopback', '127.0.0.0/8'],
    ['loopback', '::1/128'],
    ['link-local', '169.254.0.0/16'],
    ['link-local', 'fe80::/10'],
    ['multicast', '224.0.0.0/4'],
    ['multicast', 'ff00::/8'],
    ['broadcast', '255.255.255.255/32'],
    ['metadata', '169.254.169.254/32'],
    ['metadata', '169.254.170.2/32'],
    ['metadata', '100.100.100.200/32'],
    ['metadata', '168.63.129.16/32'],
    ['metadata', '192.0.0.192/32'],
    ['metadata', 'fd00:ec2::254/128'],
    ['metadata', 'fd20:ce::254/128'],
  ] as const
).map(([name, text]) => ({ class: name, prefix: prefix(text) }))

// Where an IPv6 address holds an IPv4 one that a router or the host itself may unwrap:
// IPv4-compatible (RFC 4291 section 2.5.5.1), IPv4-translated (RFC 2765), NAT64 (RFC 6052, RFC
// 8215), 6to4 (RFC 3056).
const embeddings: readonly { prefix: Prefix; offset: number }[] = [
  { prefix: prefix('::/96'), offset: 12 },
  { prefix: prefix('::ffff:0:0:0/96'), offset: 12 },
  { prefix: prefix('64:ff9b::/96'), offset: 12 },
  { prefix: prefix('64:ff9b:1::/48'), offset: 12 },
  { prefix: prefix('2002::/16'), offset: 2 },
]
const localNat64 = prefix('64:ff9b:1::/48')
const teredo = prefix('2001::/32')

/** The IPv4 addresses that an IPv6 address may be unwrapped to on its way. */
export function embeddedAddresses(address: Address): Address[] {
  if (address.length === 4) return []
  const found: Address[] = []
  for (const { prefix, offset } of embeddings)
    if (isWithin(address, prefix)) found.push(address.slice(offset, offset + 4))
  // RFC 6052 section 2.2, prefix of 48 bits: two bytes, the zero octet, two bytes.
  if (isWithin(address, localNat64))
    found.push(Uint8Array.of(address[6]!, address[7]!, address[9]!, address[10]!))
  // RFC 4380 section 4: the client's address with every bit inverted.
  if (isWithin(address, teredo)) found.push(address.slice(12).map((byte) => byte ^ 0xff))
  // RFC 5214 section 6.1 (ISATAP): interface identifier 0000:5efe or 0200:5efe.
  if (
    (address[8]! & 0xfd) === 0 &&
    address[9] === 0 &&
    address[10] === 0x5e &&
    address[11] === 0xfe
  )
    found.push(address.slice(12))
  return found
}
