import { ResetCode } from '@sallyport/protocol'
import { findErrorCode, toError } from './errors.ts'

/**
 * Why a stream cannot be served, in the words of the tunnel. `message` goes to both logs, never to
 * a page.
 */
export class OriginFailure extends Error {
  override readonly name = 'OriginFailure'
  readonly resetCode: ResetCode
  constructor(resetCode: ResetCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.resetCode = resetCode
  }
}

const systemErrors: Record<string, ResetCode> = {
  ENOTFOUND: ResetCode.NAME_NOT_RESOLVED,
  EAI_AGAIN: ResetCode.NAME_NOT_RESOLVED,
  EAI_FAIL: ResetCode.NAME_NOT_RESOLVED,
  EAI_NODATA: ResetCode.NAME_NOT_RESOLVED,
  EAI_NONAME: ResetCode.NAME_NOT_RESOLVED,
  ENODATA: ResetCode.NAME_NOT_RESOLVED,
  ECONNREFUSED: ResetCode.CONNECTION_REFUSED,
  ECONNRESET: ResetCode.CONNECTION_RESET,
  ECONNABORTED: ResetCode.CONNECTION_RESET,
  EPIPE: ResetCode.CONNECTION_RESET,
  ETIMEDOUT: ResetCode.ORIGIN_TIMEOUT,
  EMFILE: ResetCode.OVERLOADED,
  ENFILE: ResetCode.OVERLOADED,
  EHOSTUNREACH: ResetCode.ORIGIN_UNREACHABLE,
  ENETUNREACH: ResetCode.ORIGIN_UNREACHABLE,
  EADDRNOTAVAIL: ResetCode.ORIGIN_UNREACHABLE,
  EACCES: ResetCode.ORIGIN_UNREACHABLE,
  HTTP1_CONNECTION_CLOSED: ResetCode.CONNECTION_RESET,
  // The gateway announced another length than it sent.
  HTTP1_LENGTH_MISMATCH: ResetCode.PROTOCOL_ERROR,
  HTTP1_WRITE_TIMEOUT: ResetCode.ORIGIN_TIMEOUT,
  HTTP1_HEAD_TIMEOUT: ResetCode.ORIGIN_TIMEOUT,
  HTTP1_BODY_TIMEOUT: ResetCode.ORIGIN_TIMEOUT,
}

/**
 * What went wrong in a TLS handshake: whatever is not the network's fault is the certificate's or
 * the protocol's.
 */
export function toTlsFailure(error: Error): Error {
  if (systemErrors[findErrorCode(error) ?? ''] !== undefined) return error
  return new OriginFailure(ResetCode.ORIGIN_TLS_INVALID, error.message, { cause: error })
}

/** Any error on the way to, or from, an origin, as the failure of a stream. */
export function toOriginFailure(error: unknown): OriginFailure {
  if (error instanceof OriginFailure) return error
  const { message: text, cause } = toError(error)
  const message = cause instanceof Error ? `${text}: ${cause.message}` : text
  // An error without a code is none of the network's: it is ours.
  const unknown = findErrorCode(error) ? ResetCode.ORIGIN_UNREACHABLE : ResetCode.INTERNAL
  return new OriginFailure(findResetCode(error) ?? unknown, message, {
    cause: error,
  })
}

function findResetCode(error: unknown): ResetCode | undefined {
  const code = findErrorCode(error)
  if (code !== undefined) {
    // A codec's error has the socket's as its cause, which says more: a reset, a TLS alert.
    const cause = code === 'HTTP1_CONNECTION_CLOSED' ? findCause(error) : undefined
    if (cause !== undefined) return cause
    const known = systemErrors[code]
    if (known !== undefined) return known
    // An alert after the handshake, such as for a client certificate that is missing.
    if (/^(?:ERR_SSL_|EPROTO$)/.test(code)) return ResetCode.ORIGIN_TLS_INVALID
    if (code.startsWith('HTTP1_')) return ResetCode.ORIGIN_RESPONSE_INVALID
  }
  return undefined
}

function findCause(error: unknown): ResetCode | undefined {
  const cause = (error as Error).cause
  return cause === undefined ? undefined : findResetCode(cause)
}
