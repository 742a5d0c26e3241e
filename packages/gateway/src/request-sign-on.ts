import type { CompiledApplication, Match, Session } from '@sallyport/domain'
import type { AssertionCache } from './assertion-cache.ts'
import { type AssertionLine, type SignOnAssertion, signsOnAtConnector } from './assertions.ts'
import { RequestError } from './failures.ts'
import type { Gateway } from './gateway.ts'
import type { Destination } from './view.ts'

/** What is said of a request's person, and to whom. */
export interface SignOnFacts {
  /** To the application, in header fields, each with a CRLF in front. */
  lines: string
  /** To the application, signed: a field with a CRLF in front, or ''. */
  assertionLine: string
  /** To the connector; null when it need not know. */
  forConnector: SignOnAssertion | null
}

const nothing: SignOnFacts = { lines: '', assertionLine: '', forConnector: null }

/** What one request has asked identity for: used even when nobody else may use it. */
interface Asked<Made> {
  destination: Destination
  made: Made | undefined
}

/** The sign-on of one request. */
export class RequestSignOn {
  readonly #gateway: Gateway
  #line: Asked<AssertionLine> | undefined
  #forConnector: Asked<SignOnAssertion> | undefined

  constructor(gateway: Gateway) {
    this.#gateway = gateway
  }

  /**
   * @param session undefined for an application without sign-in, which is told of nobody
   * @returns undefined when identity has to be asked: `read`, and decide again before this is called again
   * @throws RequestError `SIGN_ON_FAILED`
   */
  find(
    session: Session | undefined,
    match: Match,
    destination: Destination,
  ): SignOnFacts | undefined {
    const { compiled } = match
    const { applicationAssertions, connectorAssertions } = this.#gateway
    const atConnector = signsOnAtConnector(compiled)
    if (!session) {
      if (atConnector) throw new RequestError('SIGN_ON_FAILED', 'there is nobody to sign on')
      return nothing
    }
    const { jwtAssertion } = compiled.application
    if (!atConnector && !jwtAssertion && compiled.headers.length === 0) return nothing
    const forConnector = atConnector
      ? find(connectorAssertions, this.#forConnector, session, match, destination)
      : null
    const line = jwtAssertion
      ? find(applicationAssertions, this.#line, session, match, destination)
      : null
    if (forConnector === undefined || line === undefined) return undefined
    return {
      lines: this.#headerLines(compiled, session),
      assertionLine: line?.line ?? '',
      forConnector,
    }
  }

  /**
   * Asks identity for what `find` has not found.
   *
   * @returns false when the session has ended
   * @throws RequestError `SIGN_IN_UNAVAILABLE`, `CREDENTIAL_MISSING`, `CREDENTIAL_REFUSED`, `SIGN_ON_FAILED`
   */
  async read(session: Session, match: Match, destination: Destination): Promise<boolean> {
    const { applicationAssertions, connectorAssertions } = this.#gateway
    const { compiled } = match
    if (signsOnAtConnector(compiled)) {
      const made = await connectorAssertions.read(session, match, destination)
      if (!made) return false
      this.#forConnector = { destination, made }
    }
    if (compiled.application.jwtAssertion) {
      const made = await applicationAssertions.read(session, match, destination)
      if (!made) return false
      this.#line = { destination, made }
    }
    return true
  }

  #headerLines(compiled: CompiledApplication, session: Session): string {
    if (compiled.headers.length === 0) return ''
    try {
      return this.#gateway.headerSignOn.lines(compiled, session)
    } catch (cause) {
      throw new RequestError('SIGN_ON_FAILED', 'sign-on headers could not be made', { cause })
    }
  }
}

function find<Made extends { readonly expiresAt: number }>(
  cache: AssertionCache<Made>,
  asked: Asked<Made> | undefined,
  session: Session,
  match: Match,
  destination: Destination,
): Made | undefined {
  return asked?.destination === destination ? asked.made : cache.find(session, match, destination)
}
