import { type FieldList, fieldValues } from '@sallyport/http1'
import { toBasicValue } from '@sallyport/sso/password'
import type { Authorization } from '../sign-on.ts'
import type { OpenedCredential, Vault } from './vault.ts'

/**
 * HTTP Basic (RFC 7617). Until an application has taken a credential, one request at a time tries it: a page has many
 * parts, and each would count as a wrong password.
 */
export class BasicSignOn {
  readonly #vault: Vault
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
    if (this.#vault.isProven(opened)) return this.#toAuthorization(opened, () => {})
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
    const { credential, secrets } = opened
    return {
      fields: ['Authorization', toBasicValue(credential)],
      readAnswer: (statusCode, fields) => {
        if (statusCode === 401 && asksForBasic(fields)) {
          const refused = this.#vault.refuse(opened, 'the application answered 401 to it')
          settled()
          throw refused
        }
        // Before it looked at the credential, or without.
        if (statusCode < 400) this.#vault.noteTaken(opened)
        settled()
        return 'taken'
      },
      isOwnField: (_, value) => secrets.isIn(value),
      end: settled,
    }
  }
}

function asksForBasic(fields: FieldList): boolean {
  return fieldValues(fields, 'www-authenticate').some((value) =>
    /(?:^|,)\s*basic(?:\s|,|$)/i.test(value),
  )
}
