import { KerberosError } from './errors.ts'
import { KdcCode } from './kdc-errors.ts'
import type { AccountKey } from './keytab.ts'

/** Domains that lock accounts do so after some ten wrong passwords in as many minutes. */
const againAfterMs = 10 * 60_000

/**
 * Remembers that a KDC has turned the keys of the account down. Each try counts there as a wrong password, and every request of
 * anybody would be one: the account would be locked, also for connectors whose keytab is good.
 */
export class RefusedKeys {
  readonly #now: () => number
  #latest: { keys: readonly AccountKey[]; error: KerberosError; retryAt: number } | undefined

  constructor(now: () => number) {
    this.#now = now
  }

  /** @throws KerberosError as the KDC had it, while these same keys are not to be tried */
  check(keys: readonly AccountKey[]): void {
    if (!this.#latest) return
    const { error, retryAt, keys: refused } = this.#latest
    if (this.#now() >= retryAt || !areSame(keys, refused)) return
    const { code, message, facts } = error
    const when = new Date(retryAt).toISOString()
    throw new KerberosError(
      code,
      `${message}; the account would be locked: its keys are not tried again before ${when}, unless the keytab changes`,
      { ...facts, retryAt, cause: error },
    )
  }

  /** @param error of the exchange that the keys were for; others than of the keys are of no interest */
  note(keys: readonly AccountKey[], error: unknown): void {
    if (!(error instanceof KerberosError)) return
    if (error.facts.stage !== 'as' || error.facts.kerberosCode !== KdcCode.PREAUTH_FAILED) return
    this.#latest = { keys, error, retryAt: this.#now() + againAfterMs }
  }
}

function areSame(one: readonly AccountKey[], other: readonly AccountKey[]): boolean {
  return (
    one.length === other.length &&
    one.every(
      ({ kvno, key }, at) => kvno === other[at]!.kvno && key.bytes.equals(other[at]!.key.bytes),
    )
  )
}
