import type { Target } from './load.ts'

/** One of the systems that are compared, running. */
export interface Side {
  tls: Target
  plain: Target
  /** Every process between the client and the origin. */
  pids: number[]
  /** Gets one line per request. */
  accessLog: string
  readRecord(line: string): LoggedRequest
  close(): Promise<void>
}

/** What a line of an access log says about its request. */
export interface LoggedRequest {
  /** Unique to the request; undefined where the log has no such thing. */
  id: string | undefined
  /** Whether the origin's answer went out, and not a refusal or a redirect to sign in. */
  isServed: boolean
}
