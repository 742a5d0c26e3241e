import { type FieldList, fieldValues, findField } from '@sallyport/http1'
import { findCookie } from './cookies.ts'
import type { ForwardedLines } from './to-origin.ts'
import type { Destination } from './view.ts'

/** What the fields of an origin request depend on beside the fields of the client's. */
interface OriginLinesKey {
  /** One object for each origin and configuration. */
  destination: Destination
  upgrade: boolean
  signOnLines: string
  assertionLine: string
}

/** What follows from the fields of a request: found out once for a client that repeats them. */
export class ClientFields {
  readonly list: FieldList
  /** Lower case, without port. */
  readonly host: string
  readonly clientAddress: string
  readonly forwarded: ForwardedLines
  /** Value of the session cookie; null when there are several. */
  readonly cookie: string | undefined | null
  /** There is no `Expect`, or it is 100-continue. */
  readonly expectsNothingElse: boolean
  #key: OriginLinesKey | undefined
  #originLines = ''

  constructor(
    list: FieldList,
    facts: { host: string; clientAddress: string; forwarded: ForwardedLines; cookieName: string },
  ) {
    this.list = list
    this.host = facts.host
    this.clientAddress = facts.clientAddress
    this.forwarded = facts.forwarded
    const cookies = fieldValues(list, 'cookie')
    this.cookie = cookies.length === 0 ? undefined : findCookie(cookies, facts.cookieName)
    const expect = findField(list, 'expect')
    this.expectsNothingElse = expect === undefined || expect.toLowerCase() === '100-continue'
  }

  /** The field lines for the origin, made anew only when what they depend on has changed. */
  originLines(key: OriginLinesKey, make: () => string): string {
    const last = this.#key
    if (
      last?.destination !== key.destination ||
      last.upgrade !== key.upgrade ||
      last.signOnLines !== key.signOnLines ||
      last.assertionLine !== key.assertionLine
    ) {
      this.#originLines = make()
      this.#key = key
    }
    return this.#originLines
  }
}
