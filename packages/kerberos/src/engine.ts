import { randomBytes } from 'node:crypto'
import { createToken } from './ap-exchange.ts'
import { requestTgt } from './as-exchange.ts'
import type { Authorization, DelegationEngine, DelegationRequest } from './delegation.ts'
import { explainDenial } from './denial.ts'
import { KerberosError } from './errors.ts'
import { checkEvidence, openEvidence, toAccountName } from './evidence.ts'
import { type ExchangeContext, type ExchangeFacts, type Ticket, toFacts } from './exchange.ts'
import { KdcClock } from './kdc-clock.ts'
import { KdcCode } from './kdc-errors.ts'
import type { Random } from './key.ts'
import { type AccountKey, type KeytabEntry, keysOf } from './keytab.ts'
import {
  formatName,
  formatPrincipal,
  NameType,
  type Principal,
  type PrincipalName,
  parsePrincipal,
  parseSpn,
  parseUser,
  type UserName,
} from './names.ts'
import type { DirectoryAccount } from './pac.ts'
import { RefusedKeys } from './refused-keys.ts'
import { requestEvidence, requestServiceTicket } from './s4u.ts'
import { ExpiringCache } from './ticket-cache.ts'

export interface KerberosEngineOptions {
  /** The connector's account: `svc-connector@CORP.EXAMPLE`. */
  account: string
  /** Read again for each new ticket-granting ticket, so that a new keytab is found without a restart. */
  readKeytab(): Promise<readonly KeytabEntry[]>
  /** Named in errors. */
  keytabFile?: string
  kdcs: ExchangeContext['kdcs']
  now?(): number
  random?: Random
  /** What is asked for; the KDC may give less. */
  ticketLifetimeMs?: number
  /** A ticket is used for so long at most: it goes on working when the user was disabled. */
  cacheLifetimeMs?: number
  /** So many users, and so many pairs of user and application, are remembered. */
  cacheEntries?: number
  /** Why an account must not be impersonated; by default `findPrivilege`. */
  findRefusal?(account: DirectoryAccount): string | undefined
  /** Something works, and should not stay as it is: so far, a clock that is far off. */
  onWarning?(warning: KerberosError): void
}

/** The KDC of Active Directory takes no ticket for these purposes in its last two minutes. */
const lastMinutesMs = 150_000
/** A refused user is asked for again with a new ticket of ours, when ours is older. */
const freshMs = 60_000

interface Credentials {
  tgt: Ticket
  keys: readonly AccountKey[]
  obtainedAt: number
  renewAt: number
}

interface Evidence {
  user: Principal
  ticket: Ticket
  account: DirectoryAccount
}

interface ServiceTicket {
  userKey: string
  ticket: Ticket
}

/** Our own implementation of the protocols, over sockets of ours, for one account of one realm. */
export class KerberosEngine implements DelegationEngine {
  readonly #account: Principal
  readonly #options: KerberosEngineOptions
  readonly #context: ExchangeContext
  readonly #evidence: ExpiringCache<Evidence>
  readonly #tickets: ExpiringCache<ServiceTicket>
  /** First requests that are under way: others of the same user and application wait for them. */
  readonly #underWay = new Map<string, { userKey: string; result: Promise<Ticket> }>()
  #credentials: Promise<Credentials> | undefined
  readonly #refusedKeys: RefusedKeys
  /** Counts what was forgotten: evidence from before it is not kept after it. */
  #generation = 0
  #closed = false

  /** @throws KerberosError `KERBEROS_NAME_INVALID` */
  constructor(options: KerberosEngineOptions) {
    const { now = Date.now, random = randomBytes, cacheEntries = 10_000 } = options
    this.#account = parsePrincipal(options.account)
    this.#options = options
    this.#context = {
      kdcs: options.kdcs,
      clock: new KdcClock(now, (skew) => options.onWarning?.(toWarning(skew))),
      random,
      ticketLifetimeMs: options.ticketLifetimeMs ?? 10 * 3_600_000,
    }
    this.#refusedKeys = new RefusedKeys(now)
    this.#evidence = new ExpiringCache(cacheEntries, now)
    this.#tickets = new ExpiringCache(cacheEntries, now)
  }

  async authorize(request: DelegationRequest): Promise<Authorization> {
    if (this.#closed) throw new TypeError('the Kerberos engine is closed')
    request.signal?.throwIfAborted()
    const service = parseSpn(request.spn)
    const user = parseUser(request.user, this.#account.realm)
    const ticket = await untilAborted(this.#getTicket(user, service), request.signal)
    const { bytes, verifyReply } = createToken(this.#context, ticket, {
      format: request.format,
      mutual: true,
      channelBinding: request.channelBinding,
      realm: this.#account.realm,
    })
    return { token: bytes, principal: formatPrincipal(ticket.client), verifyReply }
  }

  forgetTicket(user: UserName, spn: string): void {
    const parsed = parseUser(user, this.#account.realm)
    const key = toTicketKey(toUserKey(parsed), parseSpn(spn))
    this.#generation += 1
    this.#tickets.delete(key)
    this.#underWay.delete(key)
    // Whatever was wrong with the ticket may be in what it was made of.
    this.#evidence.delete(toUserKey(parsed))
  }

  forgetUser(user: UserName): void {
    const userKey = toUserKey(parseUser(user, this.#account.realm))
    this.#generation += 1
    this.#evidence.delete(userKey)
    this.#tickets.deleteWhere((entry) => entry.userKey === userKey)
    for (const [key, entry] of this.#underWay) {
      if (entry.userKey === userKey) this.#underWay.delete(key)
    }
  }

  close(): void {
    this.#closed = true
    this.#generation += 1
    this.#credentials = undefined
    this.#evidence.clear()
    this.#tickets.clear()
    this.#underWay.clear()
  }

  async checkAccount(): Promise<{ kdcOffsetMs: number }> {
    this.#credentials = undefined
    await this.#getCredentials()
    const { clock } = this.#context
    return { kdcOffsetMs: clock.now(this.#account.realm) - clock.ownNow() }
  }

  #getTicket(user: Principal, service: PrincipalName): Promise<Ticket> {
    const userKey = toUserKey(user)
    const key = toTicketKey(userKey, service)
    const cached = this.#tickets.get(key)
    if (cached) return Promise.resolve(cached.ticket)
    const underWay = this.#underWay.get(key)
    if (underWay) return underWay.result
    const result = this.#delegate(user, service)
    const entry = { userKey, result }
    this.#underWay.set(key, entry)
    const settle = (ticket?: Ticket) => {
      // Forgotten meanwhile: who waited has it, nobody else will.
      if (this.#underWay.get(key) !== entry) return
      this.#underWay.delete(key)
      if (ticket) this.#tickets.set(key, { userKey, ticket }, this.#usableUntil(ticket))
    }
    result.then(settle, () => settle())
    return result
  }

  /** Once more from the beginning, if the failure may be of what was kept from before. */
  async #delegate(user: Principal, service: PrincipalName): Promise<Ticket> {
    const credentials = this.#credentials
    const evidence = this.#evidence.get(toUserKey(user))
    try {
      return await this.#delegateOnce(user, service)
    } catch (error) {
      const kept = credentials && (await credentials.catch(() => undefined))
      if (
        !isOfOldTickets(error, kept && this.#context.clock.ownNow() - kept.obtainedAt, !!evidence)
      ) {
        throw error
      }
      if (this.#credentials === credentials) this.#credentials = undefined
      this.#evidence.delete(toUserKey(user))
      return this.#delegateOnce(user, service)
    }
  }

  async #delegateOnce(user: Principal, service: PrincipalName): Promise<Ticket> {
    const credentials = await this.#getCredentials()
    const evidence = await this.#getEvidence(credentials, user)
    const facts = this.#facts('s4u2proxy', evidence.user, service)
    const { tgt } = credentials
    try {
      return await requestServiceTicket(this.#context, tgt, evidence.ticket, service, facts)
    } catch (error) {
      if (!(error instanceof KerberosError)) throw error
      throw await explainDenial(error, this.#context, {
        ...credentials,
        ...evidence,
        service,
        facts,
      })
    }
  }

  async #getEvidence(credentials: Credentials, user: Principal): Promise<Evidence> {
    const userKey = toUserKey(user)
    const cached = this.#evidence.get(userKey)
    if (cached) return cached
    const generation = this.#generation
    let evidence = await this.#requestEvidence(credentials, user)
    if (user.type === NameType.ENTERPRISE) {
      // Applications make nothing of such a name: the same user again, by the name that the directory told.
      evidence = await this.#requestEvidence(
        credentials,
        toAccountName(evidence.user, evidence.account),
      )
    }
    if (generation === this.#generation) {
      this.#evidence.set(userKey, evidence, this.#usableUntil(evidence.ticket))
    }
    return evidence
  }

  async #requestEvidence({ tgt, keys }: Credentials, user: Principal): Promise<Evidence> {
    const facts = this.#facts('s4u2self', user)
    const ticket = await requestEvidence(this.#context, tgt, user, facts)
    const content = openEvidence(ticket, keys, facts)
    const account = checkEvidence(user, content, facts, this.#options.findRefusal)
    return { user, ticket, account }
  }

  async #getCredentials(): Promise<Credentials> {
    const current = this.#credentials
    if (current) {
      const { renewAt } = await current
      if (this.#context.clock.ownNow() < renewAt) return current
      // Whoever comes first renews for all.
      if (this.#credentials !== current && this.#credentials) return this.#credentials
    }
    const next = this.#requestCredentials()
    this.#credentials = next
    next.catch(() => {
      if (this.#credentials === next) this.#credentials = undefined
    })
    return next
  }

  async #requestCredentials(): Promise<Credentials> {
    const { keytabFile, readKeytab } = this.#options
    const keys = keysOf(await readKeytab(), this.#account, keytabFile)
    this.#refusedKeys.check(keys)
    const tgt = await requestTgt(this.#context, this.#account, keys).catch((error: unknown) => {
      this.#refusedKeys.note(keys, error)
      throw error
    })
    const obtainedAt = this.#context.clock.ownNow()
    const lifetimeMs = tgt.endAt - this.#context.clock.now(this.#account.realm)
    const renewAt = obtainedAt + Math.min(lifetimeMs / 2, lifetimeMs - lastMinutesMs)
    return { tgt, keys, obtainedAt, renewAt }
  }

  /** By our clock: never beyond the ticket's own end. */
  #usableUntil(ticket: Ticket): number {
    const { clock } = this.#context
    const now = clock.ownNow()
    const left = ticket.endAt - clock.now(this.#account.realm)
    return now + Math.min(left, this.#options.cacheLifetimeMs ?? 15 * 60_000)
  }

  #facts(stage: 's4u2self' | 's4u2proxy', user: Principal, service?: PrincipalName): ExchangeFacts {
    const { keytabFile } = this.#options
    return {
      ...toFacts(stage, this.#account.realm, this.#account),
      user: formatPrincipal(user),
      ...(service && { spn: formatName(service) }),
      ...(keytabFile !== undefined && { file: keytabFile }),
    }
  }
}

/** Ours, the user's evidence, or the key behind either may have changed since they were made. */
function isOfOldTickets(error: unknown, ageMs: number | undefined, hadEvidence: boolean): boolean {
  if (!(error instanceof KerberosError)) return false
  const { kerberosCode, stage } = error.facts
  if (stage === 'as' || stage === 'ap') return false
  if (ageMs === undefined && !hadEvidence) return false
  // Sealed with a key that the keytab did not have when it was last read.
  if (error.code === 'KERBEROS_KEYTAB_STALE') return true
  if (kerberosCode === KdcCode.TICKET_EXPIRED || kerberosCode === KdcCode.TGT_REVOKED) return true
  // Of whom is the account that was disabled, the user's or ours? A new ticket of ours tells.
  const aboutAnyone = kerberosCode === KdcCode.POLICY || kerberosCode === KdcCode.CLIENT_REVOKED
  return aboutAnyone && (ageMs ?? 0) > freshMs
}

/** A JSON list: no character of a name can make it another key. */
function toUserKey({ type, components, realm }: Principal): string {
  return JSON.stringify([type, ...components, realm])
}

function toTicketKey(userKey: string, { components }: PrincipalName): string {
  return JSON.stringify([userKey, ...components.map((part) => part.toLowerCase())])
}

function toWarning({ realm, clientAt, kdcAt }: { realm: string; clientAt: number; kdcAt: number }) {
  const [own, theirs] = [clientAt, kdcAt].map((at) => new Date(at).toISOString())
  return new KerberosError(
    'KERBEROS_CLOCK_SKEW',
    `the clock of the KDC of ${realm} says ${theirs}, ours ${own}: tickets are asked for by the KDC's`,
    { realm, clientAt, kdcAt },
  )
}

/** The work goes on for the others who wait for it. */
export function untilAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work
  return new Promise<T>((resolve, reject) => {
    const abort = () => reject(signal.reason)
    signal.addEventListener('abort', abort, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}
