import type { CompiledApplication, Match, Session } from '@sallyport/domain'
import { AssertionCache } from './assertion-cache.ts'
import { RequestError, toUnavailable } from './failures.ts'

/** A signed token by which one application knows a person. Instants are epoch milliseconds. */
export interface Assertion {
  token: string
  /** The key that it was signed with. */
  keyId: string
  issuedAt: number
  expiresAt: number
}

/** What identity says of a person to a connector, signed; the gateway carries it and cannot make it. */
export interface SignOnAssertion {
  /** Visible ASCII. */
  token: string
  /** Epoch milliseconds. */
  expiresAt: number
  /** The only connectors that can use it, the one to prefer first; undefined: any of the group. */
  connectorIds?: readonly string[] | undefined
  /** The credential that it carries, for saying that the application turned it down. */
  credential?: { id: string; version: number } | undefined
}

/** Where assertions come from; identity implements it, from what it knows and not from what the gateway says. */
export interface AssertionSource {
  /**
   * For the application.
   *
   * @returns undefined when the session has ended, for whatever reason
   * @throws when the session's person may not have one for the application
   */
  assertion(request: { sessionId: string; applicationId: string }): Promise<Assertion | undefined>
  /** The key that signs now: what another one has signed is not sent any more. */
  assertionKeyId(): string
  /**
   * For connectors that sign on.
   *
   * @throws `SESSION_ENDED`, `CREDENTIAL_MISSING`, `CREDENTIAL_REFUSED`, and when the person may not have one
   */
  signOnAssertion(request: {
    sessionId: string
    applicationId: string
    /** What fills the wildcard of the internal URL. */
    label: string | undefined
  }): Promise<SignOnAssertion>
  /** An application has turned a credential down; it is in no assertion any more. */
  credentialRefused(credential: { id: string; version: number }): Promise<void>
}

/** An assertion as requests to the application need it. */
export interface AssertionLine {
  /** The field, with a CRLF in front. */
  readonly line: string
  readonly keyId: string
  readonly expiresAt: number
}

/** Whether the connector tells the origin who the person is. */
export function signsOnAtConnector({ application }: CompiledApplication): boolean {
  return application.signOn.method === 'kerberos' || application.signOn.method === 'password'
}

/** Assertions to applications, one for each session and application. `read` throws RequestError `SIGN_IN_UNAVAILABLE`, `SIGN_ON_FAILED`. */
export function applicationAssertions(source: AssertionSource, clock: () => number) {
  return new AssertionCache<AssertionLine>({
    keyOf: ({ compiled }) => compiled.application.id,
    ask: async ({ sessionId }, { compiled }) => {
      const assertion = await source
        .assertion({ sessionId, applicationId: compiled.application.id })
        .catch((cause: unknown) => {
          throw failure(cause, 'SIGN_ON_FAILED', 'assertion could not be made')
        })
      return assertion && { ...assertion, line: `\r\nSallyport-Jwt-Assertion: ${assertion.token}` }
    },
    isCurrent: ({ keyId }) => keyId === source.assertionKeyId(),
    clock,
  })
}

/**
 * Assertions to connectors, one for each session and destination. `read` throws RequestError `SIGN_IN_UNAVAILABLE`,
 * `CREDENTIAL_MISSING`, `CREDENTIAL_REFUSED`, `SIGN_ON_FAILED`.
 */
export function connectorAssertions(source: AssertionSource, clock: () => number) {
  return new AssertionCache<SignOnAssertion>({
    keyOf: (_match, destination) => destination,
    ask: (session, match) => askForConnector(source, session, match),
    clock,
  })
}

async function askForConnector(
  source: AssertionSource,
  { sessionId }: Session,
  { compiled, label }: Match,
): Promise<SignOnAssertion | undefined> {
  try {
    return await source.signOnAssertion({
      sessionId,
      applicationId: compiled.application.id,
      label,
    })
  } catch (cause) {
    const { code } = cause as { code?: unknown }
    if (code === 'SESSION_ENDED') return undefined
    const refused = code === 'CREDENTIAL_MISSING' || code === 'CREDENTIAL_REFUSED'
    const message = 'identity does not say who the person is'
    throw failure(cause, refused ? code : 'SIGN_ON_FAILED', message)
  }
}

function failure(cause: unknown, code: RequestError['code'], message: string): RequestError {
  return toUnavailable(cause) ?? new RequestError(code, message, { cause })
}
