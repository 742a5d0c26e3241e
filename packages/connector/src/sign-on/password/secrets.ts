import type { Credential } from '@sallyport/sso/password'

/** Shorter ones would be found everywhere. */
const minLength = 6

/**
 * Finds a password in what an origin answers: one that gives back what it was sent would show the person, and every
 * script of the page, what nobody but the connector is to know.
 */
export class SecretFinder {
  readonly #spellings: readonly string[]

  constructor(credential: Credential) {
    const { userName, password } = credential
    const utf8 = Buffer.from(password, 'utf8')
    this.#spellings = [
      // Fields are bytes, each one character.
      utf8.toString('latin1'),
      encodeURIComponent(password),
      encodeURIComponent(password).replaceAll('%20', '+'),
      utf8.toString('base64'),
      utf8.toString('base64url'),
      Buffer.from(`${userName}:${password}`, 'utf8').toString('base64'),
    ].filter((text) => text.length >= minLength)
  }

  isIn(value: string): boolean {
    return this.#spellings.some((text) => value.includes(text))
  }
}
