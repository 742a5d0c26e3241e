import type { Claims, CompiledApplication, Session } from '@sallyport/domain'
import { formatFields } from '@sallyport/http1'
import { compileHeaders } from '@sallyport/sso/headers'

/** Header fields of sign-on, made once for each session and the application that it was last used for. */
export class HeaderSignOn {
  readonly #latest = new WeakMap<Session, { compiled: CompiledApplication; lines: string }>()
  /** Compiled once for each configuration. */
  readonly #writers = new WeakMap<CompiledApplication, (claims: Claims) => string[]>()

  /**
   * @returns field lines, each with a CRLF in front
   * @throws HeaderSignOnError `SIGN_ON_HEADERS_TOO_LARGE`, ClaimError `SIGN_ON_CLAIM_TOO_LONG`
   */
  lines(compiled: CompiledApplication, session: Session): string {
    const latest = this.#latest.get(session)
    if (latest?.compiled === compiled) return latest.lines
    const fields = this.#writerOf(compiled)(session.claims)
    const lines = fields.length > 0 ? `\r\n${formatFields(fields)}` : ''
    this.#latest.set(session, { compiled, lines })
    return lines
  }

  #writerOf(compiled: CompiledApplication): (claims: Claims) => string[] {
    const known = this.#writers.get(compiled)
    if (known) return known
    const writer = compileHeaders(compiled.headers)
    this.#writers.set(compiled, writer)
    return writer
  }
}
