import { Http1Error } from './errors.ts'
import {
  cutFields,
  type FieldList,
  formatFieldLines,
  isFieldValue,
  isNamed,
  isToken,
  TCHAR,
  VALUE_CHAR,
} from './fields.ts'

export interface RequestHead {
  /** Any RFC 9110 token, case kept. */
  method: string
  /** The request target as it was sent: visible ASCII only, any form of RFC 9112 section 3.2. */
  target: string
  versionMinor: 0 | 1
  fields: FieldList
}

export interface ResponseHead {
  /** 100 to 599. */
  statusCode: number
  /** May be empty. */
  reason: string
  versionMinor: 0 | 1
  fields: FieldList
}

export interface HeadLimits {
  /** Start line and fields together; also each trailer section. Default 65,536, at most 262,144. */
  maxHeadBytes: number
  /** Default 200. */
  maxFields: number
  /** Default 16,384. */
  maxTargetBytes: number
}

export const defaultHeadLimits: HeadLimits = {
  maxHeadBytes: 64 * 1024,
  maxFields: 200,
  maxTargetBytes: 16 * 1024,
}

// One expression sees every character of a head once. It cannot backtrack into anything ambiguous: no character that ends
// a part may occur in it. The parts that it accepted are then cut out with indexOf.
const FIELD_LINES = `(?:\\r\\n[${TCHAR}]+:[${VALUE_CHAR}]*)*$`
const REQUEST = new RegExp(`^[${TCHAR}]+ [\\x21-\\x7e]+ HTTP/1\\.[01]${FIELD_LINES}`)
const RESPONSE = new RegExp(`^HTTP/1\\.[01] [1-5][0-9][0-9](?: [${VALUE_CHAR}]*)?${FIELD_LINES}`)
const REQUEST_LINE_OF_OTHER_VERSION = new RegExp(`^[${TCHAR}]+ [\\x21-\\x7e]+ HTTP/[0-9]\\.[0-9]$`)
const STATUS_LINE_OF_OTHER_VERSION = /^HTTP\/[0-9](?:\.[0-9])? /
const BARE_LF = /(?:^|[^\r])\n/
const TARGET = /^[\x21-\x7e]+$/

/**
 * Parses the head of a request, strictly.
 *
 * @param text latin1: request line and fields, lines separated by CRLF, without the final empty line
 * @throws Http1Error `HTTP1_HEAD_INVALID`, `HTTP1_HEAD_TOO_LARGE`, `HTTP1_TARGET_TOO_LONG`, `HTTP1_VERSION_UNSUPPORTED`
 * @see RFC 9112 sections 2.2, 3 and 5
 */
export function parseRequestHead(
  text: string,
  limits: Partial<HeadLimits> = defaultHeadLimits,
): RequestHead {
  checkHeadSize(text, limits)
  if (!REQUEST.test(text)) throw requestHeadError(text, limits)
  const lineEnd = lineEndOf(text)
  const methodEnd = text.indexOf(' ')
  const target = text.slice(methodEnd + 1, lineEnd - 9)
  checkLineSize(lineEnd, target.length, limits)
  const head: RequestHead = {
    method: text.slice(0, methodEnd),
    target,
    versionMinor: text.charCodeAt(lineEnd - 1) === 0x31 ? 1 : 0,
    fields: cutFields(text, lineEnd + 2, limits.maxFields ?? defaultHeadLimits.maxFields),
  }
  checkHost(head)
  return head
}

/**
 * Parses the head of a response, as strictly as that of a request.
 *
 * @param text latin1: status line and fields, lines separated by CRLF, without the final empty line
 * @throws Http1Error `HTTP1_HEAD_INVALID`, `HTTP1_HEAD_TOO_LARGE`, `HTTP1_VERSION_UNSUPPORTED`
 * @see RFC 9112 section 4
 */
export function parseResponseHead(
  text: string,
  limits: Partial<HeadLimits> = defaultHeadLimits,
): ResponseHead {
  checkHeadSize(text, limits)
  if (!RESPONSE.test(text)) {
    if (STATUS_LINE_OF_OTHER_VERSION.test(text) && !/^HTTP\/1\.[01] /.test(text)) {
      throw new Http1Error('HTTP1_VERSION_UNSUPPORTED', 'a response of another HTTP version')
    }
    throw new Http1Error('HTTP1_HEAD_INVALID', 'invalid status line or field line')
  }
  const lineEnd = lineEndOf(text)
  return {
    statusCode: Number(text.slice(9, 12)),
    reason: text.slice(13, Math.max(13, lineEnd)),
    versionMinor: text.charCodeAt(7) === 0x31 ? 1 : 0,
    fields: cutFields(text, lineEnd + 2, limits.maxFields ?? defaultHeadLimits.maxFields),
  }
}

function lineEndOf(text: string): number {
  const lineEnd = text.indexOf('\r\n')
  return lineEnd === -1 ? text.length : lineEnd
}

function checkHeadSize(text: string, limits: Partial<HeadLimits>): void {
  if (text.length > (limits.maxHeadBytes ?? defaultHeadLimits.maxHeadBytes)) {
    throw new Http1Error('HTTP1_HEAD_TOO_LARGE', `a head of ${text.length} bytes`)
  }
}

// The longest registered method has 17 characters.
export const MAX_LINE_BYTES_BESIDE_TARGET = 64

function checkLineSize(lineBytes: number, targetBytes: number, limits: Partial<HeadLimits>): void {
  const max = limits.maxTargetBytes ?? defaultHeadLimits.maxTargetBytes
  if (targetBytes > max || lineBytes > max + MAX_LINE_BYTES_BESIDE_TARGET) {
    throw new Http1Error('HTTP1_TARGET_TOO_LONG', `a request line of ${lineBytes} bytes`)
  }
}

function requestHeadError(text: string, limits: Partial<HeadLimits>): Http1Error {
  const line = text.slice(0, lineEndOf(text))
  // First, as it is when the head comes in pieces and is refused before it is complete.
  if (BARE_LF.test(text)) return new Http1Error('HTTP1_HEAD_INVALID', 'a line ends in LF alone')
  if (REQUEST_LINE_OF_OTHER_VERSION.test(line) && !/ HTTP\/1\.[01]$/.test(line)) {
    return new Http1Error('HTTP1_VERSION_UNSUPPORTED', 'a request of another HTTP version')
  }
  checkLineSize(line.length, 0, limits)
  return new Http1Error('HTTP1_HEAD_INVALID', 'invalid request line or field line')
}

// RFC 9112 section 3.2: 400 for a 1.1 request without Host, and for any request with more than one.
function checkHost(head: RequestHead): void {
  const { fields } = head
  let count = 0
  for (let index = 0; index < fields.length; index += 2) {
    if (isNamed(fields[index], 'host')) count++
  }
  if (count > 1 || (count === 0 && head.versionMinor === 1)) {
    throw new Http1Error('HTTP1_HEAD_INVALID', `${count} Host fields`)
  }
}

/**
 * The reverse of `parseRequestHead`.
 *
 * @returns request line and fields, without the final CRLF and empty line
 * @throws Http1Error `HTTP1_HEAD_INVALID` when a part could end the line it stands in
 */
export function formatRequestHead(head: RequestHead): string {
  return formatRequestLine(head) + formatFieldLines(head.fields)
}

export function formatRequestLine(head: RequestHead): string {
  if (!isToken(head.method)) throw new Http1Error('HTTP1_HEAD_INVALID', 'the method is no token')
  if (!TARGET.test(head.target)) {
    throw new Http1Error('HTTP1_HEAD_INVALID', 'the target holds a forbidden character')
  }
  return `${head.method} ${head.target} HTTP/1.${head.versionMinor === 0 ? 0 : 1}`
}

/**
 * The reverse of `parseResponseHead`.
 *
 * @returns status line and fields, without the final CRLF and empty line
 * @throws Http1Error `HTTP1_HEAD_INVALID` when a part could end the line it stands in
 */
export function formatResponseHead(head: ResponseHead): string {
  return formatStatusLine(head) + formatFieldLines(head.fields)
}

export function formatStatusLine(head: Omit<ResponseHead, 'fields'>): string {
  const { statusCode } = head
  if (!Number.isInteger(statusCode) || statusCode < 100 || statusCode > 599) {
    throw new Http1Error('HTTP1_HEAD_INVALID', `the status code ${statusCode}`)
  }
  if (!isFieldValue(head.reason)) {
    throw new Http1Error('HTTP1_HEAD_INVALID', 'the reason holds a forbidden character')
  }
  return `HTTP/1.${head.versionMinor === 0 ? 0 : 1} ${statusCode} ${head.reason}`
}
