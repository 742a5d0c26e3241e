import type { LookupFunction } from 'node:net'
import { connect as netConnect } from 'node:net'
import { CircuitBreaker, type CircuitBreakerOptions } from './circuit-breaker.ts'
import { application, parseElement } from './der.ts'
import { type Dns, discoverKdcs } from './discovery.ts'
import { KerberosError } from './errors.ts'
import { type Connect, callTcp, type KdcAddress } from './kdc-connection.ts'
import { KdcCode } from './kdc-errors.ts'
import { MessageType, parseKrbError } from './messages.ts'

export interface KdcsOptions {
  /** KDCs of realms, in the order of preference; a realm without them is looked up by `dns`. */
  realms?: Readonly<Record<string, readonly KdcAddress[]>>
  dns?: Dns
  now?(): number
  /** 0 to 1, for the order of KDCs of equal rank. */
  random?(): number
  connect?: Connect
  /** How long one KDC may take for one answer. */
  timeoutMs?: number
  /** A KDC that did not answer is asked last for so long. */
  avoidMs?: number
  /** How long what DNS said is good. */
  discoveryMs?: number
  breaker?: Omit<CircuitBreakerOptions, 'now'>
}

interface Realm {
  kdcs: readonly KdcAddress[]
  discoveredAt: number
  breaker: CircuitBreaker
}

type Attempt = NonNullable<KerberosError['facts']['attempts']>[number]

/** Carries messages to the KDCs of realms: the next one answers for one that does not. */
export class Kdcs {
  readonly #options: KdcsOptions
  readonly #now: () => number
  readonly #realms = new Map<string, Realm>()
  readonly #failedAt = new Map<string, number>()
  readonly #lookup: LookupFunction | undefined

  constructor(options: KdcsOptions) {
    this.#options = options
    this.#now = options.now ?? Date.now
    this.#lookup = options.dns && toLookup(options.dns)
  }

  /**
   * @returns the answer of the first KDC that gave one, unread
   * @throws KerberosError `KERBEROS_REALM_UNKNOWN`, `KERBEROS_KDC_UNREACHABLE`; the reason of `signal`
   */
  async exchange(realm: string, message: Buffer, signal?: AbortSignal): Promise<Buffer> {
    const found = await this.#find(realm)
    const refusedUntil = found.breaker.findRefusal()
    if (refusedUntil !== undefined) {
      const inMs = refusedUntil - this.#now()
      throw new KerberosError(
        'KERBEROS_KDC_UNREACHABLE',
        `no KDC of ${realm} answered lately: the next attempt is in ${inMs} ms`,
        { realm, reason: 'circuit-open', retryAt: refusedUntil },
      )
    }
    const attempts: Attempt[] = []
    try {
      for (const address of this.#byHealth(found.kdcs)) {
        const reply = await this.#attempt(address, message, attempts, signal)
        if (!reply) continue
        found.breaker.succeeded()
        return reply
      }
    } catch (error) {
      found.breaker.abandoned()
      throw error
    }
    found.breaker.failed()
    // Perhaps DNS knows better by now.
    found.discoveredAt = Number.NEGATIVE_INFINITY
    const tried = attempts.map(({ host, port, reason }) => `${host}:${port} ${reason}`).join('; ')
    throw new KerberosError(
      'KERBEROS_KDC_UNREACHABLE',
      `no KDC of ${realm} answers: ${tried || 'none is configured'}`,
      { realm, attempts },
    )
  }

  /** @returns undefined when another KDC has to answer */
  async #attempt(
    address: KdcAddress,
    message: Buffer,
    attempts: Attempt[],
    signal: AbortSignal | undefined,
  ): Promise<Buffer | undefined> {
    const { connect = netConnect, timeoutMs = 1500 } = this.#options
    const id = toId(address)
    try {
      const lookup = this.#lookup
      const call = { address, message, timeoutMs, connect, lookup, signal }
      const reply = await callTcp({ ...call, lengthBytes: 4 })
      if (isUnavailable(reply)) throw new Error('says that it is unavailable')
      this.#failedAt.delete(id)
      return reply
    } catch (error) {
      if (signal?.aborted) throw signal.reason
      this.#failedAt.set(id, this.#now())
      attempts.push({ ...address, reason: (error as Error).message })
      return undefined
    }
  }

  /** Those that failed a short while ago come last, so that only one caller waits for them. */
  #byHealth(kdcs: readonly KdcAddress[]): KdcAddress[] {
    const since = this.#now() - (this.#options.avoidMs ?? 30_000)
    const avoided = (kdc: KdcAddress) => (this.#failedAt.get(toId(kdc)) ?? -1) > since
    return [...kdcs.filter((kdc) => !avoided(kdc)), ...kdcs.filter(avoided)]
  }

  async #find(realm: string): Promise<Realm> {
    const { realms = {}, dns, random = Math.random, discoveryMs = 300_000 } = this.#options
    const configured = Object.hasOwn(realms, realm) ? realms[realm] : undefined
    const known = this.#realms.get(realm)
    if (known && (configured || this.#now() - known.discoveredAt < discoveryMs)) return known
    const kdcs = configured?.length ? configured : await this.#discover(realm, dns, random, known)
    const found = known ?? {
      kdcs,
      discoveredAt: 0,
      breaker: new CircuitBreaker({ ...this.#options.breaker, now: this.#now }),
    }
    found.kdcs = kdcs
    found.discoveredAt = this.#now()
    this.#realms.set(realm, found)
    return found
  }

  async #discover(
    realm: string,
    dns: Dns | undefined,
    random: () => number,
    known: Realm | undefined,
  ): Promise<readonly KdcAddress[]> {
    if (!dns) {
      throw new KerberosError('KERBEROS_REALM_UNKNOWN', `no KDC of ${realm} is configured`, {
        realm,
        reason: 'not-configured',
      })
    }
    try {
      return await discoverKdcs(dns, realm, random)
    } catch (error) {
      // A resolver that fails takes nothing away from what it said before.
      if (known) return known.kdcs
      throw error
    }
  }
}

function isUnavailable(reply: Buffer): boolean {
  if (reply[0] !== application(MessageType.ERROR)) return false
  try {
    return parseKrbError(parseElement(reply)).code === KdcCode.SERVICE_UNAVAILABLE
  } catch {
    // Whoever reads the reply says what is wrong with it.
    return false
  }
}

const toId = ({ host, port }: KdcAddress): string => `${host}:${port}`

/** Names of KDCs are resolved where they were found: the domain's DNS is often not the machine's. */
function toLookup(dns: Dns): LookupFunction {
  return (hostname, _options, callback) => {
    resolveAddresses(dns, hostname).then(
      (addresses) => (callback as LookupCallback)(null, addresses),
      (error) => (callback as LookupCallback)(error, []),
    )
  }
}

type LookupCallback = (
  error: NodeJS.ErrnoException | null,
  addresses: { address: string; family: number }[],
) => void

async function resolveAddresses(
  dns: Dns,
  hostname: string,
): Promise<{ address: string; family: number }[]> {
  const [four, six] = await Promise.allSettled([dns.resolve4(hostname), dns.resolve6(hostname)])
  const found = [
    ...(four.status === 'fulfilled' ? four.value : []).map((address) => ({ address, family: 4 })),
    ...(six.status === 'fulfilled' ? six.value : []).map((address) => ({ address, family: 6 })),
  ]
  if (found.length === 0 && four.status === 'rejected') throw four.reason
  return found
}
