import type { Target } from './load.ts'

/** One of the two systems that are compared, running. */
export interface Side {
  tls: Target
  plain: Target
  /** Every process between the client and the origin. */
  pids: number[]
  /** Gets one line per request. */
  accessLog: string
  close(): Promise<void>
}
