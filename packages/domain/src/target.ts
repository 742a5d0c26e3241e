export type TargetErrorCode = 'TARGET_INVALID' | 'TARGET_AMBIGUOUS'

/** The request target cannot be matched safely; a server answers 400. */
export class TargetError extends Error {
  override readonly name = 'TargetError'
  readonly code: TargetErrorCode
  constructor(code: TargetErrorCode, message: string) {
    super(message)
    this.code = code
  }
}

/** A request target in origin form (RFC 9112 section 3.2.1), as it was sent: `path` and `query` join to it. */
export interface RequestTarget {
  /** Raw path, beginning with `/`; never decoded. */
  path: string
  /** Raw query with its `?`, or the empty string. */
  query: string
  /**
   * All readings of the path that an origin might make, in lower case; empty for a path that can be read in one way
   * only, and is in lower case already.
   */
  readings: readonly string[]
}

const noReadings: readonly string[] = []
// Whatever some server decodes, strips or resolves: percent, backslash, path parameters, empty and dot
// segments, dots at the end of a segment, streams. A path without them has one reading, but for its case.
const special = /[%\\;]|\/\/|\/\.|\.\/|\.$|:\$/
const malformedPercent = /%(?![0-9A-Fa-f]{2})/
const upperCase = /[A-Z]/
// RFC 3986's path characters, plus what browsers send unencoded. Everything else is refused.
const allowed = /^\/[A-Za-z0-9\-._~!$&'()*+,;=:@%/\\[\]|^`{}"<>]*$/

/**
 * Parses the target of a request.
 *
 * @param target as it stands in the request line, or HTTP/2's `:path`
 * @throws TargetError `TARGET_INVALID` for anything but origin form, for a fragment, a control
 *   character (also percent-encoded) or a malformed percent-encoding in the path; `TARGET_AMBIGUOUS` as `readPath`
 */
export function parseTarget(target: string): RequestTarget {
  if (target.charCodeAt(0) !== 0x2f)
    throw new TargetError('TARGET_INVALID', 'request target is not in origin form')
  const question = target.indexOf('?')
  const path = question < 0 ? target : target.slice(0, question)
  const query = question < 0 ? '' : target.slice(question)
  if (!allowed.test(path) || query.includes('#'))
    throw new TargetError('TARGET_INVALID', 'request target holds a character it must not hold')
  if (special.test(path)) {
    if (malformedPercent.test(path))
      throw new TargetError('TARGET_INVALID', 'request path holds a malformed percent-encoding')
    return { path, query, readings: readPath(path) }
  }
  return { path, query, readings: upperCase.test(path) ? [path.toLowerCase()] : noReadings }
}

/** Paths under this prefix are Sallyport's own on every host and never reach an origin. */
export const reservedPath = '/.sallyport/'

/**
 * Whether the target lies under the reserved path. Only its plain spelling does.
 *
 * @throws TargetError `TARGET_AMBIGUOUS` when another reading of the path lies there
 */
export function isReservedTarget(target: RequestTarget): boolean {
  if (target.path.startsWith(reservedPath)) return true
  for (const reading of target.readings)
    if (`${reading}/`.startsWith(reservedPath))
      throw new TargetError('TARGET_AMBIGUOUS', 'request path can be read as a reserved one')
  return false
}

/** What servers in the field do to a path before they match it; each in any order, and more than once. */
const foldings: readonly ((path: string) => string)[] = [
  decodePercent,
  foldUnicode,
  (path) => path.replaceAll('\\', '/'),
  // Path parameters, cut from each segment (Tomcat) or to the end of the path.
  (path) => path.replace(/;[^/]*/g, ''),
  (path) => path.replace(/;.*/s, ''),
  // An encoded `#` or `?`, once decoded, ends the path for whoever parses it again.
  (path) => path.replace(/[#?].*/s, ''),
  (path) => path.replace(/\/{2,}/g, '/'),
  resolveDots,
  // Windows: dots and spaces at the end of a name, and the stream within a file, mean nothing.
  (path) => path.replace(/(?<=[^/. ]|\/(?!\.{1,2}(?:\/|$)))[. ]+(?=\/|$)/g, ''),
  (path) => path.replace(/::?\$[^/]*/g, ''),
]

/** A path that can be read in more ways is not worth the work; nobody writes one by accident. */
const limitReadings = 64
const limitReadingBytes = 131_072

/**
 * All readings that servers in the field make of one path, however they stand in a row, in lower case.
 *
 * @throws TargetError `TARGET_AMBIGUOUS` for more than 64 of them, `TARGET_INVALID` for one that holds a control character
 */
export function readPath(path: string): readonly string[] {
  const readings = new Set([path])
  const folded = new Set<string>()
  const limit = Math.min(limitReadings, Math.max(8, limitReadingBytes / path.length))
  // A Set may grow while it is walked.
  for (const reading of readings) {
    for (const fold of foldings) readings.add(fold(reading))
    if (readings.size > limit)
      throw new TargetError('TARGET_AMBIGUOUS', 'request path can be read in too many ways')
    // Controls and NUL cut strings short or split lines in origins.
    if (/[\x00-\x1f\x7f]/.test(reading))
      throw new TargetError('TARGET_INVALID', 'request path holds an encoded control character')
    folded.add(reading.toLowerCase())
  }
  return [...folded]
}

/** Percent-decodes once, each byte to one latin1 character. */
function decodePercent(path: string): string {
  if (!path.includes('%')) return path
  return path.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  )
}

const wide = /[\x80-\xff]|%u/i

/** Reads bytes as UTF-8 as leniently as the laxest server would, where that gives ASCII. */
function foldUnicode(path: string): string {
  if (!wide.test(path)) return path
  return (
    path
      // Overlong UTF-8 of ASCII: in two bytes c0-c1, in three e0 80-81, in four f0 80 80-81.
      .replace(/(?:[\xc0\xc1]|\xe0[\x80\x81]|\xf0\x80[\x80\x81])[\x80-\xbf]/g, (bytes) =>
        String.fromCharCode(
          ((bytes.charCodeAt(bytes.length - 2) & 1) << 6) |
            (bytes.charCodeAt(bytes.length - 1) & 0x3f),
        ),
      )
      // Full-width forms (U+FF01-FF5E) and the look-alikes of slash, backslash and dot that best-fit
      // mapping turns into ASCII.
      .replace(/\xef\xbc([\x81-\xbf])/g, (_, low: string) =>
        String.fromCharCode(low.charCodeAt(0) - 0x60),
      )
      .replace(/\xef\xbd([\x80-\x9e])/g, (_, low: string) =>
        String.fromCharCode(low.charCodeAt(0) - 0x20),
      )
      .replace(/\xe2\x81\x84|\xe2\x88\x95|\xe2\x88\x96/g, '/')
      .replace(/\xe2\x80\xa4/g, '.')
      // `%u002e`, which IIS and old script engines decode.
      .replace(/%u([0-9A-Fa-f]{4})/gi, (_, hex: string) =>
        String.fromCharCode(Number.parseInt(hex, 16) & 0xff),
      )
  )
}

/** RFC 3986 section 5.2.4, on a path that begins with a slash. */
function resolveDots(path: string): string {
  const out: string[] = []
  const segments = path.split('/')
  for (let index = 1; index < segments.length; index += 1) {
    const segment = segments[index]!
    const last = index === segments.length - 1
    if (segment === '..') {
      out.pop()
      if (last) out.push('')
    } else if (segment === '.') {
      if (last) out.push('')
    } else out.push(segment)
  }
  return `/${out.join('/')}`
}
