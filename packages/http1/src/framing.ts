import { Http1Error } from './errors.ts'
import { type FieldList, isNamed } from './fields.ts'
import type { RequestHead, ResponseHead } from './head.ts'

/** How the end of a body is found. `close`, until the connection ends, is for responses only. */
export type BodyFraming =
  | { kind: 'none' }
  | { kind: 'length'; length: number }
  | { kind: 'chunked' }
  | { kind: 'close' }

const NONE: BodyFraming = Object.freeze({ kind: 'none' })
const CHUNKED: BodyFraming = Object.freeze({ kind: 'chunked' })
const CLOSE: BodyFraming = Object.freeze({ kind: 'close' })

const DIGITS = /^[0-9]+$/

/**
 * How the body of a request ends.
 *
 * @throws Http1Error `HTTP1_FRAMING_INVALID`, and `HTTP1_TRANSFER_CODING_UNSUPPORTED` for codings other than `chunked`
 * @see RFC 9112 section 6.3
 */
export function requestFraming(head: RequestHead): BodyFraming {
  return toRequestFraming(declaredFraming(head.fields, head.versionMinor))
}

/** @param declared by the fields of the request */
export function toRequestFraming(declared: BodyFraming | undefined): BodyFraming {
  return declared ?? NONE
}

/**
 * How the body of a response ends. The answer to HEAD, 1xx, 204 and 304 have none, whatever their fields say; their
 * fields are checked all the same, because they may be forwarded.
 *
 * @param requestMethod of the request that it answers
 * @throws Http1Error as `requestFraming`
 * @see RFC 9112 section 6.3
 */
export function responseFraming(head: ResponseHead, requestMethod: string): BodyFraming {
  return toResponseFraming(
    declaredFraming(head.fields, head.versionMinor),
    head.statusCode,
    requestMethod,
  )
}

/** @param declared by the fields of the response */
export function toResponseFraming(
  declared: BodyFraming | undefined,
  statusCode: number,
  requestMethod: string,
): BodyFraming {
  if (requestMethod === 'HEAD' || isBodiless(statusCode)) return NONE
  return declared ?? CLOSE
}

/** True for the status codes whose responses never have a body. */
export function isBodiless(statusCode: number): boolean {
  return statusCode < 200 || statusCode === 204 || statusCode === 304
}

/**
 * Reads a Content-Length value: digits only, at most 2^53 - 1.
 *
 * @throws Http1Error `HTTP1_FRAMING_INVALID`
 * @see RFC 9110 section 8.6
 */
export function parseContentLength(value: string): number {
  const length = DIGITS.test(value) ? Number(value) : Number.NaN
  if (!Number.isSafeInteger(length)) {
    throw new Http1Error('HTTP1_FRAMING_INVALID', 'invalid Content-Length')
  }
  return length
}

// Two readers that disagree about where a message ends is request smuggling. So whatever allows two readings is refused,
// also where RFC 9112 section 6.3 allows to repair it: both fields, repeated fields, and lists.
export function declaredFraming(fields: FieldList, versionMinor: 0 | 1): BodyFraming | undefined {
  let contentLength: string | undefined
  let transferEncoding: string | undefined
  for (let index = 0; index < fields.length; index += 2) {
    const name = fields[index]!
    if (name.length === 14 && isNamed(name, 'content-length')) {
      if (contentLength !== undefined) {
        throw new Http1Error('HTTP1_FRAMING_INVALID', 'repeated Content-Length')
      }
      contentLength = fields[index + 1]!
    } else if (name.length === 17 && isNamed(name, 'transfer-encoding')) {
      if (transferEncoding !== undefined) {
        throw new Http1Error('HTTP1_FRAMING_INVALID', 'repeated Transfer-Encoding')
      }
      transferEncoding = fields[index + 1]!
    }
  }
  if (transferEncoding !== undefined) {
    if (contentLength !== undefined) {
      throw new Http1Error('HTTP1_FRAMING_INVALID', 'both Content-Length and Transfer-Encoding')
    }
    // RFC 9112 section 6.1: a 1.0 sender does not know the field, so an intermediary may have ignored it.
    if (versionMinor === 0) {
      throw new Http1Error('HTTP1_FRAMING_INVALID', 'Transfer-Encoding in HTTP/1.0')
    }
    checkTransferEncoding(transferEncoding)
    return CHUNKED
  }
  return contentLength === undefined
    ? undefined
    : { kind: 'length', length: parseContentLength(contentLength) }
}

const KNOWN_SHAPE = /^(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+[ \t]*,[ \t]*)+chunked$/

function checkTransferEncoding(value: string): void {
  if (isNamed(value, 'chunked')) return
  const lower = value.toLowerCase()
  // RFC 9112 section 6.1: 501 for a coding that is well said but not understood; everything else cannot be framed.
  if (KNOWN_SHAPE.test(lower) && lower.indexOf('chunked') === lower.length - 7) {
    throw new Http1Error('HTTP1_TRANSFER_CODING_UNSUPPORTED', 'transfer codings beside chunked')
  }
  throw new Http1Error('HTTP1_FRAMING_INVALID', 'Transfer-Encoding is not exactly chunked')
}

/**
 * Refuses fields in a trailer section that would have changed how the message was framed or routed, had they stood in
 * its head: whoever merges trailers into heads must not be fooled.
 *
 * @throws Http1Error `HTTP1_FRAMING_INVALID`
 * @see RFC 9110 section 6.5.1
 */
export function refuseFramingTrailers(trailers: FieldList): void {
  for (let index = 0; index < trailers.length; index += 2) {
    const name = trailers[index]
    if (
      isNamed(name, 'content-length') ||
      isNamed(name, 'transfer-encoding') ||
      isNamed(name, 'host')
    ) {
      throw new Http1Error('HTTP1_FRAMING_INVALID', `${name} in trailers`)
    }
  }
}
