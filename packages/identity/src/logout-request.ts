import { lookup } from 'node:dns/promises'
import { request } from 'node:https'
import { BlockList, isIP, isIPv6 } from 'node:net'

/** Where back-channel logout may go. */
export interface LogoutDestinations {
  /** Addresses and CIDR ranges inside that may be reached; addresses of the internet always may. */
  allow: readonly string[]
  /** Certificate authorities that are trusted, PEM. */
  authorities: readonly string[]
  /** Addresses of a host; the system's resolver unless given. */
  resolve?: (host: string) => Promise<string[]>
}

/** Not of the internet (IANA special-purpose registries, multicast, and forms that hold another address). */
const special: readonly string[] = [
  ...['0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12'],
  ...['192.0.0.0/24', '192.0.2.0/24', '192.88.99.0/24', '192.168.0.0/16', '198.18.0.0/15'],
  ...['198.51.100.0/24', '203.0.113.0/24', '224.0.0.0/4', '240.0.0.0/4'],
  ...['::/127', '64:ff9b::/96', '64:ff9b:1::/48', '100::/64', '2001::/23', '2001:db8::/32'],
  ...['2002::/16', 'fc00::/7', 'fe80::/10', 'fec0::/10', 'ff00::/8'],
]

const notOfTheInternet = toBlockList(special)

function toBlockList(ranges: readonly string[]): BlockList {
  const list = new BlockList()
  for (const range of ranges) {
    const [address = '', bits] = range.split('/')
    const family = isIPv6(address) ? 'ipv6' : 'ipv4'
    list.addSubnet(address, Number(bits ?? (family === 'ipv6' ? 128 : 32)), family)
  }
  return list
}

/**
 * Makes a `fetch` for the OpenID provider that reaches nothing but what administrators have configured. The address that was looked
 * at is the one that is dialled, so that a name cannot mean another one a moment later; no redirect is followed.
 *
 * @param isConfigured whether an application has exactly this URL
 */
export function createLogoutFetch(
  destinations: LogoutDestinations,
  isConfigured: (url: string) => boolean,
): (input: string, init: RequestInit) => Promise<Response> {
  const allowed = toBlockList(destinations.allow)
  const resolve = destinations.resolve ?? resolveHost
  const mayReach = (address: string): boolean => {
    const family = isIPv6(address) ? 'ipv6' : 'ipv4'
    if (allowed.check(address, family)) return true
    // An IPv4 address in disguise is asked for by its own name.
    return !/^::ffff:/i.test(address) && !notOfTheInternet.check(address, family)
  }
  return async (input, init) => {
    const url = new URL(input)
    if (url.protocol !== 'https:' || init.method !== 'POST' || !isConfigured(url.href))
      throw new TypeError(`the OpenID provider tried to reach ${url.origin}`)
    const host = url.hostname.replace(/^\[(.*)\]$/, '$1')
    const addresses = isIP(host) === 0 ? await resolve(host) : [host]
    const address = addresses.find(mayReach)
    if (address === undefined)
      throw new Error(
        `${host} is at ${addresses.join(', ') || 'no address'}, which is none of the internet; list it in logoutAllow`,
      )
    return await post(url, host, address, destinations.authorities, init)
  }
}

function post(
  url: URL,
  host: string,
  address: string,
  authorities: readonly string[],
  init: RequestInit,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    const body = String(init.body)
    const outgoing = request(
      {
        method: 'POST',
        host: address,
        port: url.port || 443,
        path: url.pathname + url.search,
        headers: {
          host: url.host,
          'content-type': 'application/x-www-form-urlencoded',
          'content-length': Buffer.byteLength(body),
        },
        agent: false,
        ca: [...authorities],
        // The certificate is that of the name, whatever address it was found at.
        ...(isIP(host) === 0 ? { servername: host } : {}),
        ...(init.signal ? { signal: init.signal } : {}),
      },
      (incoming) => {
        // What it answers is of no interest, and may be endless.
        incoming.destroy()
        resolve(new Response(null, { status: incoming.statusCode ?? 500 }))
      },
    )
    outgoing.on('error', reject)
    outgoing.end(body)
  })
}

async function resolveHost(host: string): Promise<string[]> {
  return (await lookup(host, { all: true })).map(({ address }) => address)
}
