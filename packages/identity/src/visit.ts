import type { IncomingMessage } from 'node:http'

/** Where mistakes of ours are written; pino's logger is one. */
export interface Log {
  error(facts: object, message: string): void
}

/** What we know of a request beside what it says. */
export interface Visit {
  correlationId: string
  clientAddress: string
  /** The pending sign-in that this request is about, once it is sure that it began in this browser. */
  interactionUid: string | undefined
  /** The session that the code stands for which this request has redeemed. */
  redeemedSessionId?: string | undefined
  /** Whether the request has got a code for an application. */
  isSignedOn?: boolean
  /** What is to be written down of a request that was refused. */
  refusal?: { code: string; explanation: string }
  /** Where the browser has to go because its session has just ended. */
  logoutUrl?: string | undefined
}

const visits = new WeakMap<IncomingMessage, Visit>()

export function beginVisit(request: IncomingMessage, visit: Visit): void {
  visits.set(request, visit)
}

export function visitOf(request: IncomingMessage): Visit {
  const visit = visits.get(request)
  if (!visit) throw new TypeError('request did not come through handle')
  return visit
}
