import type { SealingKey } from '@sallyport/sso/password'
import type { Origin } from '../../origin.ts'
import type { Assertion } from '../assertion.ts'
import type { Authorization, SignOnMethod, SignOnRequest } from '../sign-on.ts'
import { BasicSignOn } from './basic-sign-on.ts'
import { FormSignOn } from './form-sign-on.ts'
import { Vault } from './vault.ts'

/** Sign-on with a password that the person, or a group, keeps for the application. */
export class PasswordSignOn implements SignOnMethod {
  readonly #vault: Vault
  readonly #basic: BasicSignOn
  readonly #form: FormSignOn

  constructor(options: {
    key: SealingKey
    /** @throws OriginFailure `DESTINATION_FORBIDDEN` */
    findOrigin(url: string, validate: boolean, applicationId: string): Origin
    clock(): number
  }) {
    this.#vault = new Vault(options.key, options.clock)
    this.#basic = new BasicSignOn(this.#vault)
    this.#form = new FormSignOn({ ...options, vault: this.#vault })
  }

  authorize(assertion: Assertion, request: SignOnRequest): Authorization | Promise<Authorization> {
    const open = () => this.#vault.open(assertion)
    const opened = open()
    return opened.facts.form
      ? this.#form.authorize(opened, assertion, request)
      : this.#basic.authorize(opened, open)
  }

  forget(): void {
    this.#vault.forget()
  }

  close(): void {
    this.#vault.forget()
    this.#form.close()
  }
}
