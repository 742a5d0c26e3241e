import type { Deadlines } from './deadlines.ts'
import type { Instructions } from './instruction.ts'
import type { Log } from './log.ts'
import type { Origins } from './origin.ts'
import type { OriginRequests } from './origin-request.ts'
import type { Assertions } from './sign-on/assertion.ts'
import type { SignOn } from './sign-on/sign-on.ts'

/** What all exchanges of a connector share. */
export interface ExchangeHost {
  readonly instructions: Instructions
  readonly origins: Origins
  readonly requests: OriginRequests
  readonly assertions: Assertions
  readonly signOn: SignOn
  readonly deadlines: Deadlines
  readonly log: Log
  readonly counters: ExchangeCounters
  /** Connections that became raw pipes and are open: they would outlast any drain. */
  readonly pipes: Set<Pipe>
}

export interface ExchangeCounters {
  /** Streams opened by the gateway. */
  started: number
  active: number
  failed: number
  /** Given up by the gateway, because the client left. */
  cancelled: number
  retried: number
}

export interface Pipe {
  /** Ends it in both directions. */
  endPipe(): void
}
