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

/** What the gateway sent is no request. */
export function protocolError(message: string, cause?: unknown): OriginFailure {
  return new OriginFailure(
    ResetCode.PROTOCOL_ERROR,
    message,
    cause === undefined ? undefined : { cause },
  )
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
 * Alerts by which a server says that it does not take what it got as a client certificate. Before TLS 1.3 one that got
 * none says `handshake_failure` (RFC 5246 section 7.4.6), as it does where there is no cipher in common.
 */
const certificateAlerts =
  /_ALERT_(HANDSHAKE_FAILURE|BAD_CERTIFICATE|UNSUPPORTED_CERTIFICATE|CERTIFICATE_REVOKED|CERTIFICATE_EXPIRED|CERTIFICATE_UNKNOWN|UNKNOWN_CA|ACCESS_DENIED|CERTIFICATE_REQUIRED)$/

/** @param shown subject of the certificate that the origin was shown; undefined: none */
function toCertificateFailure(error: Error, shown: string | undefined): OriginFailure | undefined {
  const [, alert] = certificateAlerts.exec(findErrorCode(error) ?? '') ?? []
  if (alert === undefined) return undefined
  const said = alert.toLowerCase().replaceAll('_', ' ')
  return new OriginFailure(
    ResetCode.ORIGIN_CLIENT_CERTIFICATE,
    shown === undefined
      ? `ORIGIN_CLIENT_CERTIFICATE_REQUIRED: the origin asks for a client certificate (alert "${said}"), and none is configured for this application and origin; add it to originClientCertificates in connector.json`
      : `ORIGIN_CLIENT_CERTIFICATE_REFUSED: the origin does not take the client certificate ${shown} (alert "${said}"); check what authority it asks for, and whether the file holds all intermediates`,
    { cause: error },
  )
}

/**
 * What went wrong in a TLS handshake: whatever is not the network's fault is the certificate's or
 * the protocol's.
 *
 * @param shown subject of the certificate that the origin was to be shown; undefined: none
 * @param hasSeenOrigin the origin's own certificate has come: what fails then fails because of ours
 */
export function toTlsFailure(
  error: Error,
  shown: string | undefined,
  hasSeenOrigin: boolean,
): Error {
  if (systemErrors[findErrorCode(error) ?? ''] !== undefined) return error
  const refusal = hasSeenOrigin ? toCertificateFailure(error, shown) : undefined
  if (refusal) return refusal
  return new OriginFailure(ResetCode.ORIGIN_TLS_INVALID, error.message, { cause: error })
}

/**
 * Any error on the way to, or from, an origin, as the failure of a stream.
 *
 * @param shown subject of the certificate that the origin was shown; undefined: none
 */
export function toOriginFailure(error: unknown, shown?: string): OriginFailure {
  if (error instanceof OriginFailure) return error
  // TLS 1.3 servers look at a client's certificate when its side of the handshake is over, others ask in between.
  const refusal =
    error instanceof Error && error.cause instanceof Error
      ? toCertificateFailure(error.cause, shown)
      : undefined
  if (refusal) return refusal
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
    // An alert after the handshake.
    if (/^(?:ERR_SSL_|EPROTO$)/.test(code)) return ResetCode.ORIGIN_TLS_INVALID
    if (code.startsWith('HTTP1_')) return ResetCode.ORIGIN_RESPONSE_INVALID
  }
  return undefined
}

function findCause(error: unknown): ResetCode | undefined {
  const cause = (error as Error).cause
  return cause === undefined ? undefined : findResetCode(cause)
}
