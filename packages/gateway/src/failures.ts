import { type Reason, TargetError } from '@sallyport/domain'
import { ResetCode, type TunnelError } from '@sallyport/protocol'

/** Everything but an origin's answer that a request can end with. Stable: pages, logs and tests use these codes. */
export type FailureCode =
  | 'REQUEST_INVALID'
  | 'METHOD_NOT_IMPLEMENTED'
  | 'EXPECTATION_FAILED'
  | 'WEBSOCKET_VERSION'
  | 'HOST_INVALID'
  | 'HOST_MISMATCH'
  | 'APPLICATION_NOT_FOUND'
  | 'USER_NOT_ASSIGNED'
  | 'CROSS_SITE'
  | 'RESERVED_PATH'
  | 'SIGN_IN_INVALID'
  | 'SIGN_IN_UNAVAILABLE'
  | 'FEED_SILENT'
  | 'SIGN_ON_FAILED'
  | 'CREDENTIAL_MISSING'
  | 'CREDENTIAL_REFUSED'
  | 'NO_CONNECTOR'
  | 'CONNECTOR_LOST'
  | 'CONNECTOR_OVERLOADED'
  | 'CONNECTOR_FAILED'
  | 'DESTINATION_FORBIDDEN'
  | 'ORIGIN_NAME_NOT_RESOLVED'
  | 'ORIGIN_CONNECTION_REFUSED'
  | 'ORIGIN_CONNECTION_RESET'
  | 'ORIGIN_UNREACHABLE'
  | 'ORIGIN_TLS_INVALID'
  | 'ORIGIN_CLIENT_CERTIFICATE'
  | 'ORIGIN_TIMEOUT'
  | 'ORIGIN_RESPONSE_INVALID'
  | 'INTERNAL'

export interface Failure {
  statusCode: number
  title: string
  /** For the person: fixed text, nothing of the request or of the network inside. */
  explanation: string
  remedy?: string
}

const askAdministrator =
  'Try again in a moment. If it stays like this, give your administrator the correlation ID below.'

export const failures: Record<FailureCode, Failure> = {
  REQUEST_INVALID: {
    statusCode: 400,
    title: 'This request cannot be understood',
    explanation:
      'The address holds something that could be read in more than one way, so it was not passed on.',
    remedy: 'Open the application from its start page.',
  },
  METHOD_NOT_IMPLEMENTED: {
    statusCode: 501,
    title: 'This request is not passed on',
    explanation: 'Requests of this kind do not reach any application.',
  },
  EXPECTATION_FAILED: {
    statusCode: 417,
    title: 'Expectation failed',
    explanation: 'The only expectation that can be met is 100-continue.',
  },
  WEBSOCKET_VERSION: {
    statusCode: 426,
    title: 'Upgrade required',
    explanation: 'WebSocket connections need version 13.',
  },
  HOST_INVALID: {
    statusCode: 400,
    title: 'This request cannot be understood',
    explanation: 'The address is not written as addresses are.',
    remedy: 'Check the address for typing mistakes.',
  },
  HOST_MISMATCH: {
    statusCode: 421,
    title: 'This request came to the wrong place',
    explanation: 'It names another address than the connection that it came by.',
    remedy: 'Open the address again in a new window.',
  },
  APPLICATION_NOT_FOUND: {
    statusCode: 404,
    title: 'There is nothing here',
    explanation: 'No page is published at this address.',
    remedy: 'Check the address for typing mistakes, or ask whoever gave it to you.',
  },
  USER_NOT_ASSIGNED: {
    statusCode: 403,
    title: 'You do not have access to this application',
    explanation: 'You are signed in, but this application has not been assigned to you.',
    remedy: 'Ask your administrator to assign it to you, and give them the correlation ID below.',
  },
  CROSS_SITE: {
    statusCode: 403,
    title: 'This request came from another site',
    explanation: 'For your safety, only pages of this site itself may do that.',
  },
  RESERVED_PATH: {
    statusCode: 404,
    title: 'There is nothing here',
    explanation: 'No page is published at this address.',
  },
  SIGN_IN_INVALID: {
    statusCode: 400,
    title: 'Sign-in could not be completed',
    explanation:
      'It took too long, was begun in another browser, or this browser does not keep cookies.',
    remedy: 'Open the application again. If that does not help, allow cookies for this site.',
  },
  SIGN_IN_UNAVAILABLE: {
    statusCode: 503,
    title: 'Sign-in is not available right now',
    explanation: 'Your session could not be checked.',
    remedy: askAdministrator,
  },
  FEED_SILENT: {
    statusCode: 503,
    title: 'Access cannot be checked right now',
    explanation:
      'For too long nobody could say whose access has ended, so nothing is passed on to anybody. Your session is not lost.',
    remedy: askAdministrator,
  },
  SIGN_ON_FAILED: {
    statusCode: 502,
    title: 'You could not be signed on to the application',
    explanation: 'You are signed in, but the application could not be told who you are.',
    remedy: askAdministrator,
  },
  CREDENTIAL_MISSING: {
    statusCode: 403,
    title: 'This application needs a password of yours',
    explanation: 'It has a sign-in of its own, and no password is kept for you that could be used.',
    remedy: 'Enter it under "Your passwords".',
  },
  CREDENTIAL_REFUSED: {
    statusCode: 403,
    title: 'The application did not take your password',
    explanation: 'The password that is kept for it was turned down, and is not sent again.',
    remedy: 'Correct it under "Your passwords".',
  },
  NO_CONNECTOR: {
    statusCode: 503,
    title: 'The application cannot be reached right now',
    explanation: 'The connection to the place where it runs is down.',
    remedy: askAdministrator,
  },
  CONNECTOR_LOST: {
    statusCode: 502,
    title: 'The connection was lost',
    explanation: 'The connection to the application broke before it had answered.',
    remedy: askAdministrator,
  },
  CONNECTOR_OVERLOADED: {
    statusCode: 503,
    title: 'The application is too busy',
    explanation: 'There are more requests for it than can be passed on right now.',
    remedy: askAdministrator,
  },
  CONNECTOR_FAILED: {
    statusCode: 502,
    title: 'The application could not be reached',
    explanation: 'Your request could not be passed on to it.',
    remedy: askAdministrator,
  },
  DESTINATION_FORBIDDEN: {
    statusCode: 502,
    title: 'The application could not be reached',
    explanation: 'It is published, but the way to it has not been opened yet.',
    remedy: 'Your administrator can open it: give them the code and the correlation ID below.',
  },
  ORIGIN_NAME_NOT_RESOLVED: {
    statusCode: 502,
    title: 'The application could not be found',
    explanation: 'The server that it should run on does not exist, or has another name.',
    remedy: askAdministrator,
  },
  ORIGIN_CONNECTION_REFUSED: {
    statusCode: 502,
    title: 'The application is not running',
    explanation: 'The server that it runs on turned the connection down.',
    remedy: askAdministrator,
  },
  ORIGIN_CONNECTION_RESET: {
    statusCode: 502,
    title: 'The application broke off',
    explanation: 'It closed the connection before it had answered.',
    remedy: askAdministrator,
  },
  ORIGIN_UNREACHABLE: {
    statusCode: 502,
    title: 'The application could not be reached',
    explanation: 'The server that it runs on does not answer.',
    remedy: askAdministrator,
  },
  ORIGIN_TLS_INVALID: {
    statusCode: 502,
    title: 'The application could not be trusted',
    explanation:
      'The server that it runs on could not prove that it is the right one, so nothing was sent to it.',
    remedy: askAdministrator,
  },
  ORIGIN_CLIENT_CERTIFICATE: {
    statusCode: 502,
    title: 'The application turned the connection down',
    explanation:
      'The server that it runs on asks who connects to it, and did not accept the answer. It is not about you.',
    remedy:
      'Your administrator can put this right: give them the code and the correlation ID below.',
  },
  ORIGIN_TIMEOUT: {
    statusCode: 504,
    title: 'The application takes too long',
    explanation: 'It did not answer in time.',
    remedy: askAdministrator,
  },
  ORIGIN_RESPONSE_INVALID: {
    statusCode: 502,
    title: 'The answer of the application cannot be shown',
    explanation: 'The application answered with something that is not valid.',
    remedy: askAdministrator,
  },
  INTERNAL: {
    statusCode: 500,
    title: 'Something went wrong here',
    explanation: 'The fault is ours, not yours.',
    remedy: askAdministrator,
  },
}

/** What a stream that the connector reset means. */
export const resetFailures: Partial<Record<ResetCode, FailureCode>> = {
  [ResetCode.DESTINATION_FORBIDDEN]: 'DESTINATION_FORBIDDEN',
  [ResetCode.NAME_NOT_RESOLVED]: 'ORIGIN_NAME_NOT_RESOLVED',
  [ResetCode.CONNECTION_REFUSED]: 'ORIGIN_CONNECTION_REFUSED',
  [ResetCode.CONNECTION_RESET]: 'ORIGIN_CONNECTION_RESET',
  [ResetCode.ORIGIN_UNREACHABLE]: 'ORIGIN_UNREACHABLE',
  [ResetCode.ORIGIN_TLS_INVALID]: 'ORIGIN_TLS_INVALID',
  [ResetCode.ORIGIN_CLIENT_CERTIFICATE]: 'ORIGIN_CLIENT_CERTIFICATE',
  [ResetCode.ORIGIN_TIMEOUT]: 'ORIGIN_TIMEOUT',
  [ResetCode.ORIGIN_RESPONSE_INVALID]: 'ORIGIN_RESPONSE_INVALID',
  [ResetCode.SIGN_ON_FAILED]: 'SIGN_ON_FAILED',
  [ResetCode.OVERLOADED]: 'CONNECTOR_OVERLOADED',
}

const reasonFailures: Record<Reason, FailureCode> = {
  'application-not-found': 'APPLICATION_NOT_FOUND',
  'user-not-assigned': 'USER_NOT_ASSIGNED',
  'target-invalid': 'REQUEST_INVALID',
  'target-ambiguous': 'REQUEST_INVALID',
  'host-mismatch': 'HOST_MISMATCH',
  'reserved-path': 'RESERVED_PATH',
  'cross-site': 'CROSS_SITE',
  'sign-in-invalid': 'SIGN_IN_INVALID',
  'feed-silent': 'FEED_SILENT',
}

/** A request that ends with one of our own pages; `cause` is for the log only. */
export class RequestError extends Error {
  override readonly name = 'RequestError'
  readonly code: FailureCode
  readonly reason: Reason | undefined
  constructor(code: FailureCode, message: string, options?: { cause?: unknown; reason?: Reason }) {
    super(message, options)
    this.code = code
    this.reason = options?.reason
  }
}

/** What identity threw; undefined when trying again would not help. */
export function toUnavailable(cause: unknown): RequestError | undefined {
  if ((cause as { retryable?: unknown } | undefined)?.retryable !== true) return undefined
  return new RequestError('SIGN_IN_UNAVAILABLE', 'identity could not be asked', { cause })
}

/** Whatever was thrown while a request was worked on, as what the request ends with. */
export function toRequestError(error: unknown): RequestError {
  if (error instanceof RequestError) return error
  if (error instanceof TargetError)
    return new RequestError('REQUEST_INVALID', error.message, {
      reason: error.code === 'TARGET_AMBIGUOUS' ? 'target-ambiguous' : 'target-invalid',
    })
  const code = (error as { code?: unknown } | undefined)?.code
  if (typeof code === 'string' && code.startsWith('HTTP1_'))
    return new RequestError('ORIGIN_RESPONSE_INVALID', 'response cannot be passed on', {
      cause: error,
    })
  return new RequestError('INTERNAL', 'internal error', { cause: error })
}

/** An error and its causes in one line, for the record. */
export function describeError(error: unknown): string {
  const parts: string[] = []
  for (let at = error; at instanceof Error && parts.length < 4; at = at.cause)
    if (parts.at(-1) !== at.message) parts.push(at.message)
  return parts.join(': ') || String(error)
}

/** What a stream that was reset means for its request. */
export function failureOf(error: TunnelError): FailureCode {
  if (error.code === 'TUNNEL_CLOSED' || error.resetCode === undefined) return 'CONNECTOR_LOST'
  return resetFailures[error.resetCode] ?? 'CONNECTOR_FAILED'
}

export function connectorFailed(message: string): RequestError {
  return new RequestError('CONNECTOR_FAILED', message)
}

/** What ends a request that is denied. */
export function refusal(reason: Reason): RequestError {
  return new RequestError(reasonFailures[reason], reason, { reason })
}

/** @returns how the codec answers by itself; undefined when the client has just gone */
export function answerOfCodec(
  error: Error & { code?: string; statusCode?: number },
): { reason: string; detail: string; statusCode: number | undefined } | undefined {
  const { code, message, statusCode } = error
  return code === undefined || code === 'HTTP1_CONNECTION_CLOSED' || code === 'HTTP1_ABORTED'
    ? undefined
    : { reason: code, detail: message, statusCode }
}
