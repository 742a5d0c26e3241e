import type { IdentitySession, Session, SignInReason } from '@sallyport/domain'
import type { ClientFields } from './client-fields.ts'
import type { Exchange } from './exchange.ts'
import { RequestError } from './failures.ts'
import type { SessionFacts } from './session-cookie.ts'

/** Clocks of several gateways may differ by so much. */
const limitSkewMs = 300_000

/**
 * Reads the session cookie of a request, and asks nobody.
 *
 * @param idleLimitMs of the application's host; undefined: no limit
 * @returns what the cookie says, or why there is no session
 */
export function readSessionCookie(
  { gateway, host, at }: Exchange,
  cookie: ClientFields['cookie'],
  idleLimitMs: number | undefined,
): SessionFacts | SignInReason {
  if (cookie === undefined) return 'session-missing'
  const facts = cookie === null ? undefined : gateway.sessionCookies.open(cookie, host)
  if (!facts) return 'session-invalid'
  if (at >= facts.expiresAt || at >= facts.absoluteExpiresAt) return 'session-expired'
  // A cookie from the future was sealed by a clock that nobody can rely on.
  if (facts.sealedAt > at + limitSkewMs) return 'session-invalid'
  if (gateway.sessions.hasEnded(facts)) return 'session-ended'
  return gateway.isIdle(facts, host, at, idleLimitMs) ? 'session-idle' : facts
}

/**
 * Asks identity for a session, and notes one that has ended.
 *
 * @returns undefined when it has ended
 * @throws RequestError `SIGN_IN_UNAVAILABLE`
 */
export async function askIdentity(
  { gateway, at }: Exchange,
  facts: Pick<Session, 'sessionId' | 'userId' | 'signInEpoch'>,
): Promise<IdentitySession | undefined> {
  const { sessions } = gateway
  let found: IdentitySession | undefined
  try {
    found = await sessions.read(facts)
  } catch (cause) {
    throw new RequestError('SIGN_IN_UNAVAILABLE', 'identity could not be asked', { cause })
  }
  if (found?.signInEpoch !== facts.signInEpoch) sessions.noteEnded(facts.sessionId, at)
  return found
}

/**
 * Joins a cookie with what identity has said of it.
 *
 * @returns undefined when the session has ended
 */
export function joinAnswer(
  { gateway }: Exchange,
  facts: SessionFacts,
  found: IdentitySession | undefined,
): Session | undefined {
  const { sessions } = gateway
  if (!found || sessions.hasEnded(facts)) return undefined
  return sessions.find(facts) ?? sessions.join(facts, found)
}

/** @returns the session as it is now; the same when it has ended */
export async function readClaims(exchange: Exchange, session: Session): Promise<Session> {
  const found = await askIdentity(exchange, session)
  return found ? exchange.gateway.sessions.join(session, found) : session
}
