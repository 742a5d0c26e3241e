import type { Session } from './session.ts'
import type { CompiledApplication, CompiledLink } from './snapshot.ts'

/** Why a request was refused. Page, log, audit and tests all use these words. */
export type Reason =
  | 'application-not-found'
  | 'user-not-assigned'
  | 'target-invalid'
  | 'target-ambiguous'
  | 'host-mismatch'
  | 'reserved-path'
  | 'cross-site'
  | 'sign-in-invalid'
  | 'feed-silent'

/** Why there is no usable session. */
export type SignInReason =
  | 'session-missing'
  | 'session-invalid'
  | 'session-expired'
  | 'session-idle'
  | 'session-ended'

/** What becomes of a request. */
export type Decision =
  | { kind: 'allow'; compiled: CompiledApplication }
  | { kind: 'sign-in'; compiled: CompiledApplication; reason: SignInReason }
  | { kind: 'deny'; reason: Reason }

export interface Signals {
  /** Epoch milliseconds. */
  nowAt: number
  /** Why `session` is undefined, if it is. */
  sessionReason: SignInReason
  /**
   * It is a message of sign-out that this service has just written for the application, and nothing else: applications with sessions
   * of their own could not hear of it otherwise, because the session is over by then.
   */
  deliversLogout: boolean
  /** Nobody has said for too long whether access has ended: then nobody has any. */
  feedIsSilent: boolean
}

/**
 * Decides whether one request may go to the connector. Pure: no clock, no store, no network.
 *
 * @param compiled the application found for this host and path; undefined when there is none
 * @param session proof of sign-in; undefined when absent, invalid or revoked
 * @returns exactly one outcome; a denial always names its reason
 */
export function decide(
  compiled: CompiledApplication | undefined,
  session: Session | undefined,
  signals: Signals,
): Decision {
  if (!compiled) return { kind: 'deny', reason: 'application-not-found' }
  const { application } = compiled
  if (application.preAuthentication === 'passthrough') return { kind: 'allow', compiled }
  if (signals.feedIsSilent) return { kind: 'deny', reason: 'feed-silent' }
  if (!session && signals.deliversLogout) return { kind: 'allow', compiled }
  if (!session) return { kind: 'sign-in', compiled, reason: signals.sessionReason }
  if (signals.nowAt >= session.expiresAt || signals.nowAt >= session.absoluteExpiresAt)
    return { kind: 'sign-in', compiled, reason: 'session-expired' }
  if (!isAssigned(compiled, session.principalIds))
    return { kind: 'deny', reason: 'user-not-assigned' }
  return { kind: 'allow', compiled }
}

/** @param principalIds of the user and of all groups the user is in */
export function isAssigned(
  { application, assigned }: CompiledApplication | CompiledLink,
  principalIds: readonly string[],
): boolean {
  return !application.assignmentRequired || principalIds.some((id) => assigned.has(id))
}
