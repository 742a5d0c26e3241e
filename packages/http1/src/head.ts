import { Http1Error } from './errors.ts'
import { checkHost, FieldSection, startOfSection } from './field-section.ts'
import {
  type FieldList,
  formatFieldLines,
  isFieldValue,
  isToken,
  TCHAR,
  VALUE_CHAR,
} from './fields.ts'
import { type BodyFraming, toRequestFraming } from './framing.ts'

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
const REQUEST_LINE = new RegExp(`^[${TCHAR}]+ [\\x21-\\x7e]+ HTTP/1\\.[01]$`)
const STATUS_LINE = new RegExp(`^HTTP/1\\.[01] [1-5][0-9][0-9](?: [${VALUE_CHAR}]*)?$`)
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
  return new HeadReader(limits).readRequest(text)
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
  return new HeadReader(limits).readResponse(text)
}

/** A section that is larger is not kept beside others. */
const MAX_KEPT_SECTION_BYTES = 4096

/**
 * Parses the heads that come one after another from one peer. Most repeat the field lines of an earlier one, to the last
 * byte: those are compared, which costs a tenth of parsing them, and their `fields` are the same list again.
 */
export class HeadReader {
  readonly #limits: Partial<HeadLimits>
  /** Of the head that was read last. */
  #section: FieldSection | undefined
  readonly #kept: Map<string, FieldSection> | undefined
  readonly #maxKept: number

  /** @param maxKept how many sections are remembered: 1 for one sender, more where the heads of many come in turn */
  constructor(limits: Partial<HeadLimits> = defaultHeadLimits, maxKept = 1) {
    this.#limits = limits
    this.#maxKept = maxKept
    this.#kept = maxKept > 1 ? new Map() : undefined
  }

  /** Of the head that was read last; only after that. */
  get section(): FieldSection {
    return this.#section!
  }

  /**
   * How the body ends of the request that was read last.
   *
   * @throws Http1Error as the function `requestFraming`
   */
  get requestFraming(): BodyFraming {
    return toRequestFraming(this.section.framing)
  }

  /** As `parseRequestHead`. */
  readRequest(text: string): RequestHead {
    const limits = this.#limits
    checkHeadSize(text, limits)
    const lineEnd = startOfSection(text)
    const versionMinor = text.charCodeAt(lineEnd - 1) === 0x31 ? 1 : 0
    const known = this.#find(text, lineEnd, versionMinor)
    if (!(known ? REQUEST_LINE.test(text.slice(0, lineEnd)) : REQUEST.test(text)))
      throw requestHeadError(text, limits)
    const methodEnd = text.indexOf(' ')
    const target = text.slice(methodEnd + 1, lineEnd - 9)
    checkLineSize(lineEnd, target.length, limits)
    if (!known) {
      const section = this.#parseSection(text, lineEnd, versionMinor)
      checkHost(section)
      this.#keep(section)
    }
    return { method: text.slice(0, methodEnd), target, versionMinor, fields: this.section.fields }
  }

  /**
   * As `parseResponseHead`.
   *
   * @param sectionAt where the fields begin that count, at a CRLF; the lines in front of them are left out, and are the
   *   caller's to check
   */
  readResponse(text: string, sectionAt?: number): ResponseHead {
    checkHeadSize(text, this.#limits)
    const lineEnd = startOfSection(text)
    const versionMinor = text.charCodeAt(7) === 0x31 ? 1 : 0
    const known = this.#find(text, sectionAt ?? lineEnd, versionMinor)
    if (!(known ? STATUS_LINE.test(text.slice(0, lineEnd)) : RESPONSE.test(text)))
      throw responseHeadError(text)
    if (!known) this.#keep(this.#parseSection(text, sectionAt ?? lineEnd, versionMinor))
    return {
      statusCode: Number(text.slice(9, 12)),
      reason: text.slice(13, Math.max(13, lineEnd)),
      versionMinor,
      fields: this.section.fields,
    }
  }

  #find(text: string, sectionAt: number, versionMinor: 0 | 1): boolean {
    const last = this.#section
    if (last === undefined) return false
    const section = text.slice(sectionAt)
    if (last.text === section && last.versionMinor === versionMinor) return true
    const kept = this.#kept?.get(section)
    if (kept?.versionMinor !== versionMinor) return false
    this.#section = kept
    return true
  }

  #keep(section: FieldSection): void {
    this.#section = section
    const kept = this.#kept
    if (kept === undefined || section.text.length > MAX_KEPT_SECTION_BYTES) return
    // Oldest first: a Map keeps the order of insertion.
    if (kept.size >= this.#maxKept) kept.delete(kept.keys().next().value as string)
    kept.set(section.text, section)
  }

  #parseSection(text: string, lineEnd: number, versionMinor: 0 | 1): FieldSection {
    const maxFields = this.#limits.maxFields ?? defaultHeadLimits.maxFields
    return new FieldSection(text.slice(lineEnd), versionMinor, maxFields)
  }
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

function responseHeadError(text: string): Http1Error {
  if (STATUS_LINE_OF_OTHER_VERSION.test(text) && !/^HTTP\/1\.[01] /.test(text)) {
    return new Http1Error('HTTP1_VERSION_UNSUPPORTED', 'a response of another HTTP version')
  }
  return new Http1Error('HTTP1_HEAD_INVALID', 'invalid status line or field line')
}

function requestHeadError(text: string, limits: Partial<HeadLimits>): Http1Error {
  const line = text.slice(0, startOfSection(text))
  // First, as it is when the head comes in pieces and is refused before it is complete.
  if (BARE_LF.test(text)) return new Http1Error('HTTP1_HEAD_INVALID', 'a line ends in LF alone')
  if (REQUEST_LINE_OF_OTHER_VERSION.test(line) && !/ HTTP\/1\.[01]$/.test(line)) {
    return new Http1Error('HTTP1_VERSION_UNSUPPORTED', 'a request of another HTTP version')
  }
  checkLineSize(line.length, 0, limits)
  return new Http1Error('HTTP1_HEAD_INVALID', 'invalid request line or field line')
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

export function formatRequestLine(head: Omit<RequestHead, 'fields'>): string {
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
