import { networkInterfaces } from 'node:os'
import {
  type Address,
  type AddressClass,
  embeddedAddresses,
  findAddress,
  formatAddress,
  isWithin,
  type Prefix,
  refusedBlocks,
} from './address.ts'
import { ConnectorError } from './errors.ts'

/** One line of the allow-list. `port` undefined: every port. */
export type AllowRule =
  | { kind: 'name'; text: string; name: string; port: number | undefined }
  | { kind: 'suffix'; text: string; suffix: string; port: number | undefined }
  | { kind: 'addresses'; text: string; prefix: Prefix; port: number | undefined }

/** What `--allow-private` stands for: RFC 1918, and unique local IPv6 (RFC 4193). */
export const privateRules: readonly string[] = [
  '10.0.0.0/8',
  '172.16.0.0/12',
  '192.168.0.0/16',
  'fc00::/7',
]

/**
 * Reads rules `HOST[:PORT]`, `*.SUFFIX[:PORT]`, `ADDRESS[:PORT]`, `CIDR[:PORT]`; IPv6 with a port
 * in brackets, as `[fd00::/8]:443`. The word `private` stands for `privateRules`.
 *
 * @throws ConnectorError `ALLOW_RULE_INVALID` with every problem
 */
export function parseAllowRules(texts: readonly string[]): AllowRule[] {
  const problems: string[] = []
  const rules: AllowRule[] = []
  for (const text of texts.flatMap((text) => (text === 'private' ? privateRules : text))) {
    const rule = readRule(text.trim())
    if (typeof rule === 'string') problems.push(`${text}: ${rule}`)
    else rules.push(rule)
  }
  if (problems.length > 0)
    throw new ConnectorError('ALLOW_RULE_INVALID', problems.join('\n'), { problems })
  return rules
}

/** @returns the rule, or what is wrong with it */
function readRule(text: string): AllowRule | string {
  const parts =
    /^\[(?<inner>[^\]]*)\](?::(?<innerPort>.*))?$/.exec(text)?.groups ??
    (text.split(':').length > 2 ? { inner: text } : undefined) ??
    /^(?<inner>[^:]*)(?::(?<innerPort>.*))?$/.exec(text)?.groups
  const host = parts?.inner ?? ''
  let port: number | undefined
  if (parts?.innerPort !== undefined) {
    port = /^[1-9][0-9]{0,4}$/.test(parts.innerPort) ? Number(parts.innerPort) : 0
    if (port < 1 || port > 65535) return 'the port must be 1-65535'
  }
  if (host.includes('/')) return readCidr(text, host, port)
  const address = findAddress(host)
  if (address)
    return { kind: 'addresses', text, prefix: { address, bits: address.length * 8 }, port }
  if (host.includes(':') || text.startsWith('['))
    return 'must be an IPv6 address without a zone, or a CIDR such as [fd00::/8]:443'
  const name = host.toLowerCase().replace(/\.$/, '')
  const plain = name.replace(/^\*\./, '')
  if (!isHostName(plain)) return 'must be HOST:PORT, *.SUFFIX:PORT, ADDRESS:PORT or CIDR[:PORT]'
  return name.startsWith('*.')
    ? { kind: 'suffix', text, suffix: name.slice(1), port }
    : { kind: 'name', text, name, port }
}

function readCidr(text: string, cidr: string, port: number | undefined): AllowRule | string {
  const slash = cidr.indexOf('/')
  const address = findAddress(cidr.slice(0, slash))
  const length = cidr.slice(slash + 1)
  if (!address || (cidr.includes(':') && address.length === 4))
    return 'must begin with an IPv4 or IPv6 address'
  const bits = /^(?:0|[1-9][0-9]{0,2})$/.test(length) ? Number(length) : -1
  if (bits < 0 || bits > address.length * 8)
    return `the prefix length must be 0-${address.length * 8}`
  const prefix = { address, bits }
  const network = address.slice()
  for (let bit = bits; bit < address.length * 8; bit += 1)
    network[bit >> 3]! &= ~(0x80 >> (bit & 7))
  // 10.0.0.5/8 is more often a slip of the pen than a wish for sixteen million addresses.
  if (!isWithin(address, { address: network, bits: address.length * 8 }))
    return `has bits set beyond its prefix; write ${formatAddress(network)}/${bits} or ${formatAddress(address)}`
  return { kind: 'addresses', text, prefix, port }
}

function isHostName(name: string): boolean {
  const labels = name.split('.')
  return (
    name.length <= 253 &&
    labels.every((label) => /^(?!-)[a-z0-9_-]{1,63}(?<!-)$/.test(label)) &&
    // What ends in a number is an odd spelling of an IPv4 address (WHATWG URL, "ends in a number").
    !/^(?:[0-9]+|0x[0-9a-f]*)$/.test(labels.at(-1)!)
  )
}

/** RFC 6761 section 6.3: these names mean loopback, and no resolver is asked. */
export function isLocalhostName(name: string): boolean {
  return name === 'localhost' || name.endsWith('.localhost')
}

/** Whether an address may be dialled, and why not. */
export type Verdict =
  | { permitted: true; rule: AllowRule }
  | { permitted: false; reason: string; class?: AddressClass }

/**
 * The destinations this connector dials; the gateway has no say in it. An empty list permits
 * nothing.
 *
 * An address of a class in `refusedBlocks`, or one of the machine's own, is permitted only by a
 * rule that lies wholly within that block: `127.0.0.1:9000` or `127.0.0.0/8`, not `0.0.0.0/0`. A
 * host rule never permits one, except that `localhost` (and names below it) means loopback.
 */
export class AllowList {
  readonly rules: readonly AllowRule[]
  readonly #ownAddresses: () => readonly string[]

  /** @param ownAddresses addresses of this machine's interfaces, asked for at each verdict */
  constructor(
    rules: readonly AllowRule[],
    ownAddresses: () => readonly string[] = readOwnAddresses,
  ) {
    this.rules = rules.flatMap(spellOutLocalhost)
    this.#ownAddresses = ownAddresses
  }

  /** Whether any rule could permit this name and port, so that it is worth resolving. */
  mayPermit(name: string | undefined, port: number): boolean {
    return this.rules.some(
      (rule) =>
        (rule.port === undefined || rule.port === port) &&
        (rule.kind === 'addresses' || (name !== undefined && matchesName(rule, name))),
    )
  }

  /**
   * @param name host of the internal URL, lower case, no trailing dot; undefined when it is an
   *   address
   * @param address what would be dialled
   */
  judge(name: string | undefined, address: Address, port: number): Verdict {
    const obstacles = this.#obstacles(address)
    let named: AllowRule | undefined
    for (const rule of this.rules) {
      if (rule.port !== undefined && rule.port !== port) continue
      if (rule.kind === 'addresses') {
        if (!isWithin(address, rule.prefix)) continue
        if (obstacles.every(({ bits }) => rule.prefix.bits >= bits))
          return { permitted: true, rule }
        named = rule
      } else if (name !== undefined && matchesName(rule, name)) {
        const beyond = isLocalhostName(rule.kind === 'name' ? rule.name : rule.suffix.slice(1))
          ? obstacles.filter((obstacle) => obstacle.class !== 'loopback')
          : obstacles
        if (beyond.length === 0) return { permitted: true, rule }
        named = rule
      }
    }
    const text = formatAddress(address)
    const [obstacle] = obstacles
    if (named && obstacle)
      return {
        permitted: false,
        class: obstacle.class,
        reason: `${text} is refused (${obstacle.class}) unless a rule names it; ${named.text} does not`,
      }
    return { permitted: false, reason: `${text} port ${port} is not on the allow-list` }
  }

  /** What stands against an address: how long a prefix has to be to count as naming it. */
  #obstacles(address: Address): { class: AddressClass; bits: number }[] {
    const obstacles: { class: AddressClass; bits: number }[] = []
    for (const block of refusedBlocks)
      if (isWithin(address, block.prefix))
        obstacles.push({ class: block.class, bits: block.prefix.bits })
    const own = this.#ownAddresses()
    const text = formatAddress(address)
    if (own.includes(text)) obstacles.push({ class: 'own-address', bits: address.length * 8 })
    if (obstacles.length > 0) return obstacles
    for (const inner of embeddedAddresses(address)) {
      const block = refusedBlocks.find((refused) => isWithin(inner, refused.prefix))
      if (block) obstacles.push({ class: block.class, bits: 128 })
      else if (own.includes(formatAddress(inner)))
        obstacles.push({ class: 'own-address', bits: 128 })
    }
    return obstacles
  }
}

/** @param name lower case, no trailing dot */
export function matchesName(rule: AllowRule, name: string): boolean {
  return rule.kind === 'name'
    ? rule.name === name
    : rule.kind === 'suffix' && name.endsWith(rule.suffix) && name.length > rule.suffix.length
}

/** `localhost:9000` is the same destination as `127.0.0.1:9000` and `[::1]:9000`. */
function spellOutLocalhost(rule: AllowRule): AllowRule[] {
  if (rule.kind !== 'name' || rule.name !== 'localhost') return [rule]
  const { text, port } = rule
  return [
    rule,
    ...loopbackAddresses.map((address): AllowRule => {
      return { kind: 'addresses', text, prefix: { address, bits: address.length * 8 }, port }
    }),
  ]
}

/** What `localhost` resolves to here. */
export const loopbackAddresses: readonly Address[] = [
  findAddress('127.0.0.1')!,
  findAddress('::1')!,
]

/** Addresses of the machine's interfaces but loopback's own, which are a class by themselves. */
function readOwnAddresses(): string[] {
  const texts: string[] = []
  for (const entries of Object.values(networkInterfaces()))
    for (const entry of entries ?? []) {
      const address = findAddress(entry.address)
      if (address && !isLoopback(address)) texts.push(formatAddress(address))
    }
  return texts
}

function isLoopback(address: Address): boolean {
  return refusedBlocks.some(
    (block) => block.class === 'loopback' && isWithin(address, block.prefix),
  )
}
