import { findErrorCode } from './errors.ts'

// RFC 9110 section 9.2.2.
const idempotent = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'TRACE'])
// Unsolicited bytes found when the connection was taken: then nothing was sent at all.
const retryableErrors = new Set<string | undefined>([
  'HTTP1_CONNECTION_CLOSED',
  'HTTP1_UNSOLICITED',
])

/** Whether sending a request twice does no more than sending it once. */
export function isIdempotent(method: string): boolean {
  return idempotent.has(method)
}

/**
 * Whether a kept connection has failed because it was closed. Before any byte of the response that most likely happened while
 * the request was on its way (RFC 9110 section 9.2.2).
 */
export function isClosedConnection(error: Error): boolean {
  return retryableErrors.has(findErrorCode(error))
}
