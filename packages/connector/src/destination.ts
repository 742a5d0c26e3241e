import { ResetCode } from '@sallyport/protocol'
import { type Address, findAddress, formatAddress } from './address.ts'
import { type AllowList, isLocalhostName, loopbackAddresses } from './allow-list.ts'
import type { Resolve } from './dial.ts'
import { OriginFailure } from './failure.ts'

/** Where an origin is, as the gateway names it. Parsed once; nothing is permitted by it. */
export interface Destination {
  /** `http://host[:port]`, as the URL parser spells it. */
  readonly url: string
  readonly secure: boolean
  /** Lower case, without a trailing dot; undefined when the host is an address. */
  readonly name: string | undefined
  readonly address: Address | undefined
  /** What the certificate has to be for: the name, or the address without brackets. */
  readonly host: string
  readonly port: number
}

/**
 * Reads the origin of an internal URL. The URL parser turns decimal, octal, hexadecimal and short
 * IPv4 spellings into the address they mean, and refuses IPv6 zones.
 *
 * @throws OriginFailure `DESTINATION_FORBIDDEN`
 */
export function parseDestination(text: string): Destination {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const secure = url?.protocol === 'https:'
  if (!url || (!secure && url.protocol !== 'http:'))
    throw new OriginFailure(ResetCode.DESTINATION_FORBIDDEN, 'the destination is no http(s) URL')
  if (url.username || url.password || url.search || url.hash || url.pathname !== '/')
    throw new OriginFailure(ResetCode.DESTINATION_FORBIDDEN, 'the destination is no bare origin')
  const host = url.hostname.replace(/^\[|\]$/g, '').replace(/\.$/, '')
  const address = findAddress(host)
  const port = url.port === '' ? (secure ? 443 : 80) : Number(url.port)
  if (host === '' || port === 0)
    throw new OriginFailure(ResetCode.DESTINATION_FORBIDDEN, 'the destination has no host or port')
  return {
    url: url.origin,
    secure,
    name: address ? undefined : host,
    address,
    host: address ? formatAddress(address) : host,
    port,
  }
}

/**
 * Resolves a destination once and keeps the addresses that the allow-list permits. Only what is
 * returned may be dialled, and by address: a second look-up could give another answer (DNS
 * rebinding).
 *
 * @returns at least one address
 * @throws OriginFailure `DESTINATION_FORBIDDEN`, `NAME_NOT_RESOLVED`
 */
export async function resolveDestination(
  destination: Destination,
  allowList: AllowList,
  resolve: Resolve,
): Promise<string[]> {
  const { name, port } = destination
  // A name that no rule could permit is not looked up either: a query can carry data out.
  if (!allowList.mayPermit(name, port))
    throw new OriginFailure(
      ResetCode.DESTINATION_FORBIDDEN,
      `${destination.host} port ${port} is not on the allow-list`,
    )
  const candidates = await findCandidates(destination, resolve)
  const permitted: string[] = []
  let refusal: string | undefined
  for (const address of candidates) {
    const verdict = allowList.judge(name, address, port)
    if (verdict.permitted) permitted.push(formatAddress(address))
    else refusal ??= verdict.reason
  }
  if (permitted.length === 0)
    throw new OriginFailure(
      ResetCode.DESTINATION_FORBIDDEN,
      name === undefined ? refusal! : `${name}: ${refusal}`,
    )
  return permitted
}

async function findCandidates(
  { name, address }: Destination,
  resolve: Resolve,
): Promise<readonly Address[]> {
  if (address) return [address]
  if (isLocalhostName(name!)) return loopbackAddresses
  let texts: readonly string[]
  try {
    texts = await resolve(name!)
  } catch (cause) {
    throw new OriginFailure(ResetCode.NAME_NOT_RESOLVED, `${name} cannot be resolved`, { cause })
  }
  // An address with a zone is none to us: link-local names are not dialled by accident.
  const addresses = texts.map(findAddress).filter((found) => found !== undefined)
  if (addresses.length === 0)
    throw new OriginFailure(ResetCode.NAME_NOT_RESOLVED, `${name} has no usable address`)
  return addresses
}
