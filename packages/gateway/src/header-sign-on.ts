import type { Claims, CompiledApplication, Session } from '@sallyport/domain'
import { formatFields } from '@sallyport/http1'
import { compileHeaders } from '@sallyport/sso/headers'

/** What came of it the last time: field lines, or why there are none. */
interface Latest {
  compiled: CompiledApplication
  lines: string
  error: unknown
}

/** Header fields of sign-on, made once for each session and the application that it was last used for. */
export class HeaderSignOn {
  readonly #latest = new WeakMap<Session, Latest>()
  /** Compiled once for each configuration. */
  readonly #writers = new WeakMap<CompiledApplication, (claims: Claims) => string[]>()

  /**
   * @returns field lines, each with a CRLF in front
   * @throws HeaderSignOnError `SIGN_ON_HEADERS_TOO_LARGE`, ClaimError `SIGN_ON_CLAIM_TOO_LONG`
   */
  lines(compiled: CompiledApplication, session: Session): string {
    let latest = this.#latest.get(session)
    if (latest?.compiled !== compiled) {
      latest = this.#make(compiled, session)
      this.#latest.set(session, latest)
    }
    if (latest.error !== undefined) throw latest.error
    return latest.lines
  }

  /** What cannot be made is kept too: it takes longest, and the next request would get no further. */
  #make(compiled: CompiledApplication, session: Session): Latest {
    try {
      const fields = this.#writerOf(compiled)(session.claims)
      const lines = fields.length > 0 ? `\r\n${formatFields(fields)}` : ''
      return { compiled, lines, error: undefined }
    } catch (error) {
      return { compiled, lines: '', error }
    }
  }

  #writerOf(compiled: CompiledApplication): (claims: Claims) => string[] {
    const known = this.#writers.get(compiled)
    if (known) return known
    const writer = compileHeaders(compiled.headers)
    this.#writers.set(compiled, writer)
    return writer
  }
}
