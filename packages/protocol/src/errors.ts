/**
 * Why one stream was given up, as it travels in a RESET frame (u16).
 *
 * REFUSED promises that nothing of the stream was acted upon: it may be sent again over another
 * tunnel. NO_ERROR after the sender's own end means "nothing more is needed from you"; what was
 * sent before it counts.
 */
export const ResetCode = {
  NO_ERROR: 0,
  CANCELLED: 1,
  REFUSED: 2,
  DESTINATION_FORBIDDEN: 3,
  NAME_NOT_RESOLVED: 4,
  CONNECTION_REFUSED: 5,
  CONNECTION_RESET: 6,
  ORIGIN_UNREACHABLE: 7,
  ORIGIN_TLS_INVALID: 8,
  ORIGIN_TIMEOUT: 9,
  ORIGIN_RESPONSE_INVALID: 10,
  SIGN_ON_FAILED: 11,
  OVERLOADED: 12,
  INTERNAL: 13,
  PROTOCOL_ERROR: 14,
  FLOW_VIOLATION: 15,
  ORIGIN_CLIENT_CERTIFICATE: 16,
} as const
export type ResetCode = (typeof ResetCode)[keyof typeof ResetCode]

/** Why a whole tunnel ends, as it travels in a GOAWAY frame (u16). */
export const GoAwayCode = {
  NO_ERROR: 0,
  PROTOCOL_ERROR: 1,
  FRAME_INVALID: 2,
  VERSION_UNSUPPORTED: 3,
  TIMEOUT: 4,
  OVERLOADED: 5,
  INTERNAL: 6,
} as const
export type GoAwayCode = (typeof GoAwayCode)[keyof typeof GoAwayCode]

/**
 * - `TUNNEL_RESET` the peer gave up one stream; `resetCode` says why
 * - `TUNNEL_CLOSED` the tunnel ended, or is draining and takes no new streams
 * - `TUNNEL_FLOW_VIOLATION` the peer sent more than it was granted, or granted more than can be
 *   counted
 * - `TUNNEL_PROTOCOL_VIOLATION` the peer sent a well-formed frame where it is not allowed
 * - `TUNNEL_FRAME_INVALID` the peer sent bytes that are no frame; the tunnel ends
 * - `TUNNEL_VERSION_UNSUPPORTED` no protocol version in common; the tunnel ends
 * - `TUNNEL_TIMEOUT` nothing was heard from the peer for too long; the tunnel ends
 * - `TUNNEL_FULL` as many streams are open as the peer takes, or too much waits to be sent; nothing
 *   was sent
 * - `TUNNEL_QUEUE_FULL` the caller kept writing long after `write()` said false; the stream was
 *   reset
 * - `TUNNEL_OVERLOADED` the peer made us queue more than we hold for it
 */
export type TunnelErrorCode =
  | 'TUNNEL_RESET'
  | 'TUNNEL_CLOSED'
  | 'TUNNEL_FLOW_VIOLATION'
  | 'TUNNEL_PROTOCOL_VIOLATION'
  | 'TUNNEL_FRAME_INVALID'
  | 'TUNNEL_VERSION_UNSUPPORTED'
  | 'TUNNEL_TIMEOUT'
  | 'TUNNEL_FULL'
  | 'TUNNEL_QUEUE_FULL'
  | 'TUNNEL_OVERLOADED'

export interface TunnelErrorFacts {
  resetCode?: ResetCode | undefined
  goAwayCode?: GoAwayCode | undefined
  /** What the peer said, for the log only: it was written by the other side. */
  detail?: string | undefined
  cause?: unknown
}

export class TunnelError extends Error {
  override readonly name = 'TunnelError'
  readonly code: TunnelErrorCode
  readonly resetCode: ResetCode | undefined
  readonly goAwayCode: GoAwayCode | undefined
  readonly detail: string | undefined

  constructor(code: TunnelErrorCode, message: string, facts: TunnelErrorFacts = {}) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause })
    this.code = code
    this.resetCode = facts.resetCode
    this.goAwayCode = facts.goAwayCode
    this.detail = facts.detail
  }

  /** True when nothing of the stream was acted upon, so that another tunnel may carry it. */
  get retryable(): boolean {
    return this.resetCode === ResetCode.REFUSED || this.code === 'TUNNEL_FULL'
  }
}

const resetNames = new Map<number, string>(
  Object.entries(ResetCode).map(([name, code]) => [code, name]),
)

/** The word for a code, for logs; undefined for a number this version does not know. */
export function findResetName(code: number): string | undefined {
  return resetNames.get(code)
}

export function isResetCode(code: number): code is ResetCode {
  return resetNames.has(code)
}
