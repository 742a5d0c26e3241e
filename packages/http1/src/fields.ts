import { Http1Error } from './errors.ts'

/** name, value, name, value ... as latin1 strings; order, case and duplicates are kept. */
export type FieldList = string[]

/** RFC 9110 section 5.6.2: `tchar`, to be put between brackets. */
export const TCHAR = "!#$%&'*+\\-.^_`|~0-9A-Za-z"
/** RFC 9110 section 5.5: what a field value may hold; no CR, LF, NUL or other CTL but HTAB. To be put between brackets. */
export const VALUE_CHAR = '\\t\\x20-\\x7e\\x80-\\xff'

const TOKEN = new RegExp(`^[${TCHAR}]+$`)
// To match all is twice as fast as to search for the opposite.
const VALUE = new RegExp(`^[${VALUE_CHAR}]*$`)
const FIELD_SECTION = new RegExp(
  `^(?:[${TCHAR}]+:[${VALUE_CHAR}]*(?:\\r\\n[${TCHAR}]+:[${VALUE_CHAR}]*)*)?$`,
)

export function isToken(text: string): boolean {
  return TOKEN.test(text)
}

/** True if the text may stand in a field value: no CTL but HTAB, nothing above 0xff (it would be cut to another byte). */
export function isFieldValue(text: string): boolean {
  return VALUE.test(text)
}

/**
 * Cuts field lines whose shape was checked before.
 *
 * @param text the whole head; `start` is where the first field line begins
 * @throws Http1Error `HTTP1_HEAD_TOO_LARGE` when there are more than `maxFields`
 */
export function cutFields(text: string, start: number, maxFields: number): FieldList {
  const fields: FieldList = []
  const end = text.length
  while (start < end) {
    const colon = text.indexOf(':', start)
    let lineEnd = text.indexOf('\r\n', colon)
    if (lineEnd === -1) lineEnd = end
    if (fields.length >= maxFields * 2) {
      throw new Http1Error('HTTP1_HEAD_TOO_LARGE', `more than ${maxFields} fields`)
    }
    let valueStart = colon + 1
    let valueEnd = lineEnd
    // RFC 9112 section 5: optional whitespace around the value is no part of it.
    while (valueStart < valueEnd && isOptionalSpace(text.charCodeAt(valueStart))) valueStart++
    while (valueEnd > valueStart && isOptionalSpace(text.charCodeAt(valueEnd - 1))) valueEnd--
    const name = text.slice(start, colon)
    // One space before the value and none behind it is what everybody sends.
    if (valueEnd !== lineEnd || valueStart !== colon + 2 || text.charCodeAt(colon + 1) !== 0x20) {
      const before = text.slice(colon + 1, valueStart)
      refuseTabs(name, before + text.slice(valueEnd, lineEnd))
    }
    fields.push(name, text.slice(valueStart, valueEnd))
    start = lineEnd + 2
  }
  return fields
}

function isOptionalSpace(code: number): boolean {
  return code === 0x20 || code === 0x09
}

// llhttp and nginx take a tab for a part of the value; so `Transfer-Encoding: chunked<TAB>` frames to one hop and not to
// the next, and `Host:<TAB>a` routes. Nobody sends them in good faith.
function refuseTabs(name: string, space: string): void {
  if (!space.includes('\t')) return
  const lower = name.toLowerCase()
  if (lower === 'transfer-encoding' || lower === 'content-length' || lower === 'host') {
    throw new Http1Error('HTTP1_HEAD_INVALID', `a tab beside the value of ${name}`)
  }
}

/**
 * Parses a field section that stands alone: trailers.
 *
 * @param text latin1; lines separated by CRLF, without the final CRLF; '' is an empty list
 * @throws Http1Error `HTTP1_HEAD_INVALID`, `HTTP1_HEAD_TOO_LARGE`
 * @see RFC 9112 sections 5 and 7.1.2
 */
export function parseFields(text: string, maxFields = 200): FieldList {
  if (!FIELD_SECTION.test(text)) throw new Http1Error('HTTP1_HEAD_INVALID', 'invalid field line')
  return cutFields(text, 0, maxFields)
}

/**
 * The reverse of `parseFields`, for a list that may hold anything.
 *
 * @returns lines separated by CRLF, without a final CRLF
 * @throws Http1Error `HTTP1_HEAD_INVALID` when a name is no token, or a value has CR, LF, NUL, another CTL, or a
 *   character above 0xff
 */
export function formatFields(fields: FieldList): string {
  return formatFieldLines(fields).slice(2)
}

/** As `formatFields`, but every line begins with CRLF, so that it can follow a start line. */
export function formatFieldLines(fields: FieldList): string {
  let text = ''
  for (let index = 0; index < fields.length; index += 2) {
    text += formatFieldLine(fields[index], fields[index + 1])
  }
  return text
}

/** CRLF, name, colon, space, value. Throws as `formatFields`. */
export function formatFieldLine(name: string | undefined, value: string | undefined): string {
  if (name === undefined || !TOKEN.test(name)) {
    throw new Http1Error('HTTP1_HEAD_INVALID', 'a field name is no token')
  }
  if (value === undefined || !VALUE.test(value)) {
    throw new Http1Error('HTTP1_HEAD_INVALID', `the value of ${name} holds a forbidden character`)
  }
  return `\r\n${name}: ${value}`
}

/** True if the names are equal but for case. */
export function isNamed(name: string | undefined, lowerCaseName: string): boolean {
  return (
    name !== undefined &&
    name.length === lowerCaseName.length &&
    (name === lowerCaseName || name.toLowerCase() === lowerCaseName)
  )
}

/** The first value of a field, or undefined when it is absent. */
export function findField(fields: FieldList, lowerCaseName: string): string | undefined {
  for (let index = 0; index < fields.length; index += 2) {
    if (isNamed(fields[index], lowerCaseName)) return fields[index + 1]
  }
  return undefined
}

/** All values of a field in their order. */
export function fieldValues(fields: FieldList, lowerCaseName: string): string[] {
  const values: string[] = []
  for (let index = 0; index < fields.length; index += 2) {
    if (isNamed(fields[index], lowerCaseName)) values.push(fields[index + 1]!)
  }
  return values
}

/**
 * True if one of the comma-separated lists under this name holds the token, in any case. For `Connection`.
 *
 * @see RFC 9110 section 5.6.1
 */
export function listsToken(
  fields: FieldList,
  lowerCaseName: string,
  lowerCaseToken: string,
): boolean {
  for (let index = 0; index < fields.length; index += 2) {
    if (!isNamed(fields[index], lowerCaseName)) continue
    const value = fields[index + 1]!
    if (isNamed(value, lowerCaseToken)) return true
    if (!value.includes(',')) continue
    for (const item of value.split(',')) {
      if (isNamed(item.trim(), lowerCaseToken)) return true
    }
  }
  return false
}

/**
 * Adds what a `Connection` field lists, in lower case.
 *
 * @see RFC 9110 section 5.6.1
 */
export function addOptions(options: Set<string>, value: string): void {
  const lower = value.toLowerCase()
  if (!lower.includes(',')) options.add(lower)
  else for (const item of lower.split(',')) options.add(item.trim())
}
