import type { CompiledApplication, Session } from '@sallyport/domain'
import { formatFields } from '@sallyport/http1'
import { toHeaderFields } from '@sallyport/sso/headers'

/** Header fields of sign-on, made once for each session and the application that it was last used for. */
export class SignOn {
  readonly #latest = new WeakMap<Session, { compiled: CompiledApplication; lines: string }>()

  /**
   * @returns field lines, each with a CRLF in front
   * @throws HeaderSignOnError `SIGN_ON_HEADERS_TOO_LARGE`
   */
  lines(compiled: CompiledApplication, session: Session): string {
    const latest = this.#latest.get(session)
    if (latest?.compiled === compiled) return latest.lines
    const fields = toHeaderFields(compiled.application.signOn, session.claims)
    const lines = fields.length > 0 ? `\r\n${formatFields(fields)}` : ''
    this.#latest.set(session, { compiled, lines })
    return lines
  }
}
