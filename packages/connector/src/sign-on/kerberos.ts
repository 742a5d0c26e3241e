import {
  type DelegationEngine,
  type Authorization as KerberosAuthorization,
  KerberosError,
  type UserName,
} from '@sallyport/kerberos'
import type { Assertion } from './assertion.ts'
import {
  failed,
  findLocalRefusal,
  type KerberosFacts,
  readKerberosFacts,
} from './kerberos-facts.ts'
import type { KerberosAccount } from './kerberos-settings.ts'
import { findReply, isNegotiation } from './negotiate.ts'
import type { AnswerOutcome, Authorization, SignOnMethod, SignOnRequest } from './sign-on.ts'

interface Used {
  account: KerberosAccount
  user: UserName
}

const maxPeople = 10_000
/**
 * An application that takes no ticket may take none of this person: it is not for a new one again before that. Domain controllers
 * tell each other of a new key in about that time.
 */
const renewalMs = 15_000
const maxRenewals = 10_000

/** Signs people on by constrained delegation: a ticket in the person's name, a token of it for each request. */
export class KerberosSignOn implements SignOnMethod {
  readonly #accounts: readonly KerberosAccount[]
  /** By which names people have been signed on, by user ID; oldest first. */
  readonly #used = new Map<string, Map<string, Used>>()

  /** When applications last took no ticket, as `performance.now()`; oldest first. */
  readonly #renewedMs = new Map<string, number>()

  constructor(accounts: readonly KerberosAccount[]) {
    this.#accounts = accounts
  }

  authorize(assertion: Assertion, request: SignOnRequest): Authorization | Promise<Authorization> {
    const facts = readKerberosFacts(assertion.claims)
    const account = this.#findAccount(facts.spn)
    const refusal = findLocalRefusal(facts.user, account.neverImpersonate)
    if (refusal !== undefined) throw failed('KERBEROS_USER_REFUSED', refusal)
    if (facts.onChallenge && request.isRepeatable && request.challenges === 0) return anonymous
    this.#note(assertion.subject, { account, user: facts.user })
    return this.#authorize(facts, account, request)
  }

  async #authorize(
    { user, spn, format, onChallenge }: KerberosFacts,
    { engine }: KerberosAccount,
    { isRepeatable, challenges, signal, channelBinding }: SignOnRequest,
  ): Promise<Authorization> {
    const made = await engine
      .authorize({ user, spn, format, signal, channelBinding })
      .catch(explain)
    // The ticket may be of a key that the application has changed since: once more, with a new one.
    const mayRepeat = isRepeatable && challenges < (onChallenge ? 2 : 1)
    return {
      fields: ['Authorization', `Negotiate ${made.token.toString('base64')}`],
      only: { channelBinding },
      readAnswer: (statusCode, fields) => {
        const reply = findReply(fields)
        if (statusCode === 401 && reply !== undefined) {
          if (this.#renew(engine, user, spn) && mayRepeat) return 'again'
          return reply === '' ? 'refused' : verifyReply(made, reply, 'refused')
        }
        return reply ? verifyReply(made, reply, 'taken') : 'taken'
      },
      isOwnField: isNegotiation,
      end: () => made.release?.(),
    }
  }

  /** @returns whether the next token comes of another ticket */
  #renew(engine: DelegationEngine, user: UserName, spn: string): boolean {
    const key = JSON.stringify([user.type, user.name, user.realm, spn])
    const nowMs = performance.now()
    if (nowMs - (this.#renewedMs.get(key) ?? Number.NEGATIVE_INFINITY) < renewalMs) return false
    this.#renewedMs.delete(key)
    if (this.#renewedMs.size >= maxRenewals) {
      const [oldest] = this.#renewedMs.keys()
      this.#renewedMs.delete(oldest!)
    }
    this.#renewedMs.set(key, nowMs)
    engine.forgetTicket(user, spn)
    return true
  }

  #findAccount(spn: string): KerberosAccount {
    const found = this.#accounts.find((account) => account.serves(spn))
    if (found) return found
    throw failed(
      'KERBEROS_NOT_CONFIGURED',
      this.#accounts.length === 0
        ? 'this connector has no keytab; add an account to "kerberos" in connector.json'
        : `no account in "kerberos" of connector.json is for ${spn}`,
    )
  }

  #note(subject: string, used: Used): void {
    let names = this.#used.get(subject)
    if (!names) {
      if (this.#used.size >= maxPeople) {
        const [oldest] = this.#used.keys()
        this.forget(oldest!)
      }
      names = new Map()
      this.#used.set(subject, names)
    }
    const { account, user } = used
    names.set(JSON.stringify([account.account, user.type, user.name, user.realm]), used)
  }

  forget(subject: string): void {
    for (const { account, user } of this.#used.get(subject)?.values() ?? [])
      account.engine.forgetUser(user)
    this.#used.delete(subject)
  }

  close(): void {
    for (const { engine } of this.#accounts) engine.close()
  }
}

/** The application may want to be asked by nobody first. */
const anonymous: Authorization = {
  fields: [],
  readAnswer: (statusCode, fields) =>
    statusCode === 401 && findReply(fields) !== undefined ? 'again' : 'taken',
  isOwnField: isNegotiation,
}

/** @returns `outcome`, unless whoever answered is not to be believed */
function verifyReply(
  made: KerberosAuthorization,
  reply: string,
  outcome: AnswerOutcome,
): AnswerOutcome | Promise<AnswerOutcome> {
  try {
    const verified = made.verifyReply(Buffer.from(reply, 'base64'))
    return verified ? verified.then(() => outcome, explain) : outcome
  } catch (error) {
    return explain(error)
  }
}

/** @throws OriginFailure with the code of Kerberos, what failed, and what to do */
function explain(error: unknown): never {
  if (!(error instanceof KerberosError)) throw error
  throw failed(error.code, `${error.message}; ${error.remedy}`, error)
}
