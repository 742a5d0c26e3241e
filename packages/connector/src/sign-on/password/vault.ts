import { ResetCode } from '@sallyport/protocol'
import {
  type Credential,
  openCredential,
  SealingError,
  type SealingKey,
} from '@sallyport/sso/password'
import { OriginFailure } from '../../failure.ts'
import type { Assertion } from '../assertion.ts'
import { type PasswordFacts, readPasswordFacts } from './facts.ts'
import { CredentialRefused } from './form-sign-in.ts'
import { SecretFinder } from './secrets.ts'

/** A credential in use. */
export interface OpenedCredential {
  /** Of this version, for this application, origin and action; the same for everybody who shares it. */
  readonly key: string
  readonly facts: PasswordFacts
  readonly credential: Credential
  readonly secrets: SecretFinder
}

const maxRefused = 10_000
const maxTaken = 10_000
/** An application that took a password so long ago may know another one by now. */
const provenMs = 10 * 60_000

/** Opens credentials, and remembers which are taken and which must not be sent again. */
export class Vault {
  readonly #key: SealingKey
  /** Epoch milliseconds. */
  readonly #clock: () => number
  #opened = new WeakMap<Assertion, OpenedCredential>()
  /** Why, by `OpenedCredential.key`; oldest first. */
  readonly #refused = new Map<string, string>()
  /** When an application last took one, by the same key. */
  readonly #takenAt = new Map<string, number>()

  constructor(key: SealingKey, clock: () => number = Date.now) {
    this.#key = key
    this.#clock = clock
  }

  /**
   * @throws CredentialRefused for one that an application has turned down
   * @throws OriginFailure `SIGN_ON_FAILED`: `CREDENTIAL_UNREADABLE` when it is not sealed to this connector, or for something else
   */
  open(assertion: Assertion): OpenedCredential {
    const opened = this.#opened.get(assertion) ?? this.#open(assertion)
    this.#opened.set(assertion, opened)
    this.check(opened)
    return opened
  }

  /** @throws CredentialRefused for one that an application has turned down */
  check({ key }: OpenedCredential): void {
    const why = this.#refused.get(key)
    if (why !== undefined) throw new CredentialRefused(why)
  }

  #open(assertion: Assertion): OpenedCredential {
    const facts = readPasswordFacts(assertion)
    const { subject, version, form, sealed } = facts
    const { applicationId, origin } = assertion
    const action = form ? `form ${form.formAction}` : 'basic'
    const copy = sealed.get(this.#key.fingerprint)
    try {
      if (copy === undefined)
        throw new SealingError('SEALED_FOR_ANOTHER_KEY', 'it is not sealed to this connector')
      const binding = { applicationId, subject, origin, action, version }
      const credential = openCredential(this.#key, copy, binding)
      return {
        key: JSON.stringify([applicationId, subject, origin, action, version]),
        facts,
        credential,
        secrets: new SecretFinder(credential),
      }
    } catch (error) {
      if (!(error instanceof SealingError)) throw error
      throw new OriginFailure(ResetCode.SIGN_ON_FAILED, `CREDENTIAL_UNREADABLE: ${error.message}`, {
        cause: error,
      })
    }
  }

  /** Whether an application has taken it of late: until then one at a time may try it, as each would count as a wrong one. */
  isProven({ key }: OpenedCredential): boolean {
    const takenAt = this.#takenAt.get(key)
    return takenAt !== undefined && this.#clock() - takenAt < provenMs
  }

  noteTaken({ key }: OpenedCredential): void {
    if (this.#takenAt.size >= maxTaken && !this.#takenAt.has(key)) this.#takenAt.clear()
    this.#takenAt.set(key, this.#clock())
  }

  /** It is not given out again. */
  refuse({ key }: OpenedCredential, why: string): CredentialRefused {
    this.#takenAt.delete(key)
    if (this.#refused.size >= maxRefused)
      this.#refused.delete(this.#refused.keys().next().value as string)
    this.#refused.set(key, why)
    return new CredentialRefused(why)
  }

  /** Lets go of what was opened. */
  forget(): void {
    this.#opened = new WeakMap()
  }
}
