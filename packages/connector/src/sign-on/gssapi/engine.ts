import {
  type AccountFacts,
  type ApplicationFacts,
  type Authorization,
  CircuitBreaker,
  checkEvidence,
  type DelegationEngine,
  type DelegationRequest,
  type DirectoryAccount,
  explainByEvidence,
  formatName,
  formatPrincipal,
  type KdcAddress,
  KerberosError,
  type KerberosErrorCode,
  type KerberosFacts,
  keysOf,
  NameType,
  openEvidence,
  type Principal,
  parsePrincipal,
  parseSpn,
  parseUser,
  RefusedKeys,
  readApplicationReply,
  readKeytabFile,
  readSentTicket,
  toAccountName,
  toKerberosError,
  type UserName,
  unproved,
  untilAborted,
  wrapSpnego,
} from '@sallyport/kerberos'
import { toError } from '../../errors.ts'
import { toKrb5Configuration } from './configuration.ts'
import type { Answer, Failure, Question } from './messages.ts'
import { GssapiProcess, GssapiProcessError } from './process.ts'

export interface GssapiEngineOptions {
  /** `svc-sallyport@CORP.EXAMPLE`. */
  account: string
  /** Absolute path. */
  keytab: string
  /** Of realms; the others are looked up by DNS. */
  realms: Readonly<Record<string, readonly KdcAddress[]>>
  /** How long one answer of the library may take. */
  timeoutMs?: number
  /** A ticket is used for so long at most: it goes on working when the user was disabled. */
  cacheLifetimeMs?: number
  /** Why an account must not be impersonated; by default `findPrivilege`. */
  findRefusal?(account: DirectoryAccount): string | undefined
  now?(): number
}

type Stage = 'as' | 's4u2self' | 's4u2proxy' | 'ap'

interface Person {
  /** In the process that made it, and in no other. */
  process: GssapiProcess
  id: number
  user: Principal
  account: DirectoryAccount
  forwardable: boolean
  usableUntil: number
}

const maxPeople = 2_000
/** Tickets of a process that is younger are not what has gone old. */
const freshMs = 60_000

/**
 * MIT's library in a process of its own, behind the same interface as our own client: it speaks what that does not (RC4), others
 * have run it against Windows for decades, and each is a judge of the other. What the KDC says of a user is checked here as there: the evidence is
 * opened with the key of our own keytab before any token is made of it.
 */
export class GssapiEngine implements DelegationEngine {
  readonly #options: GssapiEngineOptions
  readonly #account: Principal
  readonly #now: () => number
  readonly #breaker: CircuitBreaker
  readonly #people = new Map<string, Person>()
  readonly #underWay = new Map<string, Promise<Person>>()
  readonly #refusedKeys: RefusedKeys
  /** The account's own tickets are being asked for: all wait for one attempt. */
  #signingIn: Promise<void> | undefined
  #process: GssapiProcess | undefined
  /** When the process was started, by `now`. */
  #startedAt = 0
  #generation = 0
  #closed = false

  /** @throws KerberosError `KERBEROS_NAME_INVALID` */
  constructor(options: GssapiEngineOptions) {
    this.#options = options
    this.#account = parsePrincipal(options.account)
    this.#now = options.now ?? Date.now
    this.#breaker = new CircuitBreaker({ now: this.#now })
    this.#refusedKeys = new RefusedKeys(this.#now)
  }

  /** Of the process with the library, while there is one. */
  get processId(): number | undefined {
    return this.#process?.isOver === false ? this.#process.processId : undefined
  }

  async authorize(request: DelegationRequest): Promise<Authorization> {
    if (this.#closed) throw new TypeError('the Kerberos engine is closed')
    const { signal } = request
    signal?.throwIfAborted()
    const spn = formatName(parseSpn(request.spn))
    const user = parseUser(request.user, this.#account.realm)
    const made = this.#authorize(user, spn, request)
    try {
      return await untilAborted(made, signal)
    } catch (error) {
      // Who asked may be gone before there is a token: nobody else would let go of it.
      made.then(
        ({ release }) => release?.(),
        () => undefined,
      )
      throw error
    }
  }

  async #authorize(
    user: Principal,
    spn: string,
    request: DelegationRequest,
  ): Promise<Authorization> {
    const process = this.#process
    try {
      return await this.#authorizeOnce(user, spn, request)
    } catch (error) {
      if (isForgotten(error)) return this.#authorizeOnce(user, spn, request)
      if (!isOfOldTickets(error) || !process) throw error
      // All that was kept may be of keys from before: once more, from the beginning. Others may have begun anew already.
      if (this.#process === process) {
        if (this.#now() - this.#startedAt < freshMs) throw error
        this.#restart()
      }
      return this.#authorizeOnce(user, spn, request)
    }
  }

  async #authorizeOnce(
    user: Principal,
    spn: string,
    { format, channelBinding }: DelegationRequest,
  ): Promise<Authorization> {
    const person = await this.#getPerson(user)
    const { process } = person
    const answer = await this.#ask(process, 's4u2proxy', person.user, spn, {
      do: 'token',
      person: person.id,
      spn: `${spn}@${this.#account.realm}`,
      binding: channelBinding?.toString('base64'),
    }).catch((error) => {
      throw error instanceof KerberosError ? explainByEvidence(error, person) : error
    })
    const token = toBuffer(answer.token)
    const exchange = answer.exchange!
    const facts: ApplicationFacts = {
      ...this.#facts('ap', person.user, spn),
      clientAt: this.#now(),
    }
    return {
      token: format === 'spnego' ? wrapSpnego(token) : token,
      principal: formatPrincipal(person.user),
      verifyReply: (reply) => this.#verify(process, exchange, reply, facts),
      release: () => this.#let(process, { do: 'release', exchange }),
    }
  }

  async #verify(
    process: GssapiProcess,
    exchange: number,
    reply: Buffer | undefined,
    facts: ApplicationFacts,
  ): Promise<void> {
    const { token } = readApplicationReply(reply, facts, (proof) => proof)
    const question: Question = { do: 'verify', exchange, reply: token.toString('base64') }
    const { failure, source } = await process.ask(question).catch((error: unknown) => {
      if (!(error instanceof GssapiProcessError)) throw error
      throw unproved(facts, 'missing', `the library cannot tell: ${error.message}`, error)
    })
    if (failure?.kind === 'forgotten') throw unproved(facts, 'missing', failure.message)
    if (failure) throw unproved(facts, reasonOf(failure), failure.message)
    if (source === facts.user) return
    throw new KerberosError(
      'KERBEROS_USER_MISMATCH',
      `ap: the library has asked as ${source} instead of ${facts.user}`,
      facts,
    )
  }

  forgetTicket(user: UserName, _spn: string): void {
    // Tickets for applications are kept with the credentials of their user.
    this.forgetUser(user)
  }

  forgetUser(user: UserName): void {
    const key = toKey(parseUser(user, this.#account.realm))
    this.#generation += 1
    this.#underWay.delete(key)
    const person = this.#people.get(key)
    this.#people.delete(key)
    if (person) this.#let(person.process, { do: 'release', person: person.id })
  }

  async checkAccount(): Promise<AccountFacts> {
    this.#restart()
    await this.#signIn()
    return { kdcOffsetMs: undefined }
  }

  close(): void {
    this.#closed = true
    this.#restart()
  }

  // ---- users

  #getPerson(user: Principal): Promise<Person> {
    const key = toKey(user)
    const known = this.#people.get(key)
    if (known && known.usableUntil > this.#now() && !known.process.isOver)
      return Promise.resolve(known)
    const underWay = this.#underWay.get(key)
    if (underWay) return underWay
    const generation = this.#generation
    const made = this.#impersonate(user)
    this.#underWay.set(key, made)
    made
      .then((person) => {
        if (generation === this.#generation) this.#keep(key, person)
        // Those who wait for it ask for their tokens first, and are then the last who know of it.
        else setImmediate(() => this.#let(person.process, { do: 'release', person: person.id }))
      })
      .catch(() => undefined)
      .finally(() => {
        if (this.#underWay.get(key) === made) this.#underWay.delete(key)
      })
    return made
  }

  #keep(key: string, person: Person): void {
    const old = this.#people.get(key)
    if (old) this.#let(old.process, { do: 'release', person: old.id })
    this.#people.delete(key)
    if (this.#people.size >= maxPeople) {
      const [oldest, { process, id }] = this.#people.entries().next().value!
      this.#people.delete(oldest)
      this.#let(process, { do: 'release', person: id })
    }
    this.#people.set(key, person)
  }

  async #impersonate(user: Principal): Promise<Person> {
    const person = await this.#impersonateOnce(user)
    if (user.type !== NameType.ENTERPRISE) return person
    this.#let(person.process, { do: 'release', person: person.id })
    return this.#impersonateOnce(toAccountName(user, person.account))
  }

  async #impersonateOnce(user: Principal): Promise<Person> {
    const facts = this.#facts('s4u2self', user)
    await this.#signIn()
    // Read after that: the evidence is sealed with the key that counts now.
    const keys = await this.#readKeys()
    const process = this.#getProcess()
    const name = user.components[0]!
    const answer = await this.#ask(process, 's4u2self', user, undefined, {
      do: 'impersonate',
      user: `${name}@${user.realm}`,
      kind: user.type === NameType.ENTERPRISE ? 'enterprise' : 'principal',
    })
    const id = answer.person!
    try {
      const content = openEvidence(readSentTicket(toBuffer(answer.token)), keys, facts)
      const account = checkEvidence(user, content, facts, this.#options.findRefusal)
      const { forwardable } = content
      const usableUntil = this.#now() + (this.#options.cacheLifetimeMs ?? 15 * 60_000)
      return { process, id, user, account, forwardable, usableUntil }
    } catch (error) {
      this.#let(process, { do: 'release', person: id })
      throw error
    }
  }

  /**
   * Has the library get, or renew, the tickets of our own account: what the KDC says against them is none of a user's, and keys
   * that it has turned down are not tried with every request.
   */
  #signIn(): Promise<void> {
    this.#signingIn ??= this.#signInOnce().finally(() => {
      this.#signingIn = undefined
    })
    return this.#signingIn
  }

  async #signInOnce(): Promise<void> {
    const keys = await this.#readKeys()
    this.#refusedKeys.check(keys)
    try {
      await this.#ask(this.#getProcess(), 'as', undefined, undefined, { do: 'account' })
    } catch (error) {
      this.#refusedKeys.note(keys, error)
      throw error
    }
  }

  /** Before the library looks: it says of every keytab that is not in order that there is no cache of credentials. */
  async #readKeys() {
    const { keytab } = this.#options
    return keysOf(await readKeytabFile(keytab), this.#account, keytab)
  }

  // ---- the process

  #getProcess(): GssapiProcess {
    if (this.#process && !this.#process.isOver) return this.#process
    const { account, keytab, realms, timeoutMs = 5_000 } = this.#options
    this.#startedAt = this.#now()
    const configuration = toKrb5Configuration(this.#account.realm, realms)
    try {
      this.#process = new GssapiProcess({ account, keytab, timeoutMs, configuration })
    } catch (cause) {
      throw new KerberosError(
        'KERBEROS_ENGINE_UNAVAILABLE',
        `the process with the GSSAPI library cannot be started: ${toError(cause).message}`,
        { ...this.#facts('as'), cause },
      )
    }
    return this.#process
  }

  #restart(): void {
    this.#generation += 1
    this.#people.clear()
    this.#underWay.clear()
    this.#process?.close()
    this.#process = undefined
  }

  /** What becomes of it makes no difference. */
  #let(process: GssapiProcess, question: Question): void {
    if (!process.isOver) process.ask(question).catch(() => undefined)
  }

  /** @throws KerberosError */
  async #ask(
    process: GssapiProcess,
    stage: Stage,
    user: Principal | undefined,
    spn: string | undefined,
    question: Question,
  ): Promise<Answer> {
    const facts = { ...this.#facts(stage, user, spn), clientAt: this.#now() }
    const { realm } = this.#account
    // A token of tickets that are there needs no KDC.
    const refusedUntil = question.do === 'token' ? undefined : this.#breaker.findRefusal()
    if (refusedUntil !== undefined)
      throw new KerberosError(
        'KERBEROS_KDC_UNREACHABLE',
        `no KDC of ${realm} answered lately: the next attempt is in ${refusedUntil - this.#now()} ms`,
        { ...facts, reason: 'circuit-open', retryAt: refusedUntil },
      )
    let answer: Answer
    try {
      answer = await process.ask(question)
    } catch (error) {
      if (!(error instanceof GssapiProcessError)) throw error
      if (error.reason === 'timeout') this.#breaker.failed()
      else this.#breaker.abandoned()
      const [code, what] = ofProcess[error.reason]
      throw new KerberosError(code, `${stage}: ${what}: ${error.message}`, {
        ...facts,
        reason: error.reason,
        cause: error,
      })
    }
    if (answer.failure) {
      const error = toRefusal(answer.failure, stage, facts)
      if (error.code === 'KERBEROS_KDC_UNREACHABLE') this.#breaker.failed()
      else this.#breaker.succeeded()
      throw error
    }
    // Tickets of our own and tokens may have come of what was there: then nobody was asked.
    if (question.do === 'impersonate') this.#breaker.succeeded()
    else if (question.do === 'account') this.#breaker.abandoned()
    return answer
  }

  #facts<S extends Stage>(stage: S, user?: Principal, spn?: string) {
    const { account, keytab } = this.#options
    return {
      stage,
      realm: this.#account.realm,
      account,
      file: keytab,
      ...(user && { user: formatPrincipal(user) }),
      ...(spn !== undefined && { spn }),
    }
  }
}

const ofProcess = {
  unavailable: ['KERBEROS_ENGINE_UNAVAILABLE', 'the GSSAPI library cannot be used'],
  ended: ['KERBEROS_ENGINE_UNAVAILABLE', 'the process with the GSSAPI library is gone'],
  timeout: ['KERBEROS_KDC_UNREACHABLE', 'no KDC answers the GSSAPI library'],
} as const satisfies Record<GssapiProcessError['reason'], readonly [KerberosErrorCode, string]>

/** What MIT's library counts its codes from: those of the protocol, and behind 127 its own. */
const firstMinor = 2_529_638_912

const ownCodes: Readonly<Record<number, KerberosErrorCode>> = {
  // KRB5_KDCREP_MODIFIED, KRB5_IN_TKT_REALM_MISMATCH
  147: 'KERBEROS_KDC_REPLY_INVALID',
  149: 'KERBEROS_KDC_REPLY_INVALID',
  // KRB5_KDCREP_SKEW
  148: 'KERBEROS_CLOCK_SKEW',
  // KRB5_PROG_ETYPE_NOSUPP
  150: 'KERBEROS_ETYPE_UNSUPPORTED',
  // KRB5_REALM_UNKNOWN
  154: 'KERBEROS_REALM_UNKNOWN',
  // KRB5_KDC_UNREACH
  156: 'KERBEROS_KDC_UNREACHABLE',
  // KRB5_KT_NOTFOUND; KRB5_CC_NOTFOUND, said of every keytab that is not in order
  181: 'KERBEROS_KEYTAB_NO_KEY',
  195: 'KERBEROS_KEYTAB_NO_KEY',
}

function toRefusal(
  { kind, minor = 0, message }: Failure,
  stage: Stage,
  facts: KerberosFacts & { clientAt: number },
): KerberosError {
  if (kind === 'forgotten') return ticketsGone(stage, facts)
  const code = minor - firstMinor
  if (code >= 0 && code < 128) return toKerberosError({ code, text: message }, stage, facts)
  return new KerberosError(ownCodes[code] ?? 'KERBEROS_KDC_REFUSED', `${stage}: ${message}`, facts)
}

function ticketsGone(stage: Stage, facts: KerberosFacts): KerberosError {
  return new KerberosError('KERBEROS_KDC_REFUSED', `${stage}: the tickets are gone`, {
    ...facts,
    reason: 'forgotten',
  })
}

/** Ours, the user's evidence, or the key behind either may have changed since they were made. */
function isOfOldTickets(error: unknown): boolean {
  if (!(error instanceof KerberosError) || error.facts.stage === 'as') return false
  const { code, facts } = error
  const { kerberosCode } = facts
  // 20 TGT_REVOKED, 32 TICKET_EXPIRED
  return code === 'KERBEROS_KEYTAB_STALE' || kerberosCode === 20 || kerberosCode === 32
}

/** Their access ended, or changed, just before the token was asked for. */
function isForgotten(error: unknown): boolean {
  return error instanceof KerberosError && error.facts.reason === 'forgotten'
}

/** 31: the integrity is wrong; KRB5_MUTUAL_FAILED: it answers another request. */
function reasonOf({ minor = 0 }: Failure): string {
  const code = minor - firstMinor
  return code === 31 ? 'tampered' : code === 158 ? 'another-exchange' : 'malformed'
}

function toKey({ type, components, realm }: Principal): string {
  return JSON.stringify([type, ...components, realm])
}

function toBuffer(base64: string | undefined): Buffer {
  return Buffer.from(base64 ?? '', 'base64')
}
