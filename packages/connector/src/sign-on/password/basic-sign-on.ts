import { type FieldList, fieldValues } from '@sallyport/http1'
import { toBasicValue } from '@sallyport/sso/password'
import type { Authorization } from '../sign-on.ts'
import type { OpenedCredential, Vault } from './vault.ts'

const maxProven = 10_000

/**
 * HTTP Basic (RFC 7617). Until an application has taken a credential once, one request at a time tries it: a page has many
 * parts, and each would count as a wrong password.
 */
export class BasicSignOn {
  readonly #vault: Vault
  readonly #proven = new Set<string>()
  /** Requests that are trying a credential, by its key. */
  readonly #trying = new Map<string, Promise<void>>()

  constructor(vault: Vault) {
    this.#vault = vault
  }

  /** @param reopen looks again whether the credential may be sent */
  authorize(
    opened: OpenedCredential,
    reopen: () => OpenedCredential,
  ): Authorization | Promise<Authorization> {
    if (this.#proven.has(opened.key)) return this.#toAuthorization(opened, () => {})
    const trying = this.#trying.get(opened.key)
    if (trying) return trying.then(() => this.authorize(reopen(), reopen))
    let done = () => {}
    this.#trying.set(
      opened.key,
      new Promise((resolve) => {
        done = () => {
          this.#trying.delete(opened.key)
          done = () => {}
          resolve()
        }
      }),
    )
    return this.#toAuthorization(opened, () => done())
  }

  #toAuthorization(opened: OpenedCredential, settled: () => void): Authorization {
    const { credential, secrets, key } = opened
    return {
      fields: ['Authorization', toBasicValue(credential)],
      readAnswer: (statusCode, fields) => {
        if (statusCode === 401 && asksForBasic(fields)) {
          const refused = this.#vault.refuse(opened, 'the application answered 401 to it')
          this.#proven.delete(key)
          settled()
          throw refused
        }
        // Before it looked at the credential, or without.
        if (statusCode < 400) this.#prove(key)
        settled()
        return 'taken'
      },
      isOwnField: (_, value) => secrets.isIn(value),
      end: settled,
    }
  }

  #prove(key: string): void {
    if (this.#proven.size >= maxProven) this.#proven.clear()
    this.#proven.add(key)
  }
}

function asksForBasic(fields: FieldList): boolean {
  return fieldValues(fields, 'www-authenticate').some((value) =>
    /(?:^|,)\s*basic(?:\s|,|$)/i.test(value),
  )
}
