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
   * Other readings of the path that an origin might make, in lower case; empty for a path that can be read in one way
   * only.
   */
  readings: readonly string[]
}

const noReadings: readonly string[] = []
// Whatever some server decodes, strips or resolves: percent, backslash, path parameters, empty and dot
// segments. A path without them has one reading, but for its case.
const special = /[%\\;]|\/\/|\/\./
const upperCase = /[A-Z]/
// RFC 3986's path characters, plus what browsers send unencoded. Everything else is refused.
const allowed = /^\/[A-Za-z0-9\-._~!$&'()*+,;=:@%/\\[\]|^`{}"<>]*$/

/**
 * Parses the target of a request.
 *
 * @param target as it stands in the request line, or HTTP/2's `:path`
 * @throws TargetError `TARGET_INVALID` for anything but origin form, for a fragment, a control
 *   character (also percent-encoded) or a malformed percent-encoding in the path
 */
export function parseTarget(target: string): RequestTarget {
  if (target.charCodeAt(0) !== 0x2f)
    throw new TargetError('TARGET_INVALID', 'request target is not in origin form')
  const question = target.indexOf('?')
  const path = question < 0 ? target : target.slice(0, question)
  const query = question < 0 ? '' : target.slice(question)
  if (!allowed.test(path) || query.includes('#'))
    throw new TargetError('TARGET_INVALID', 'request target holds a character it must not hold')
  if (special.test(path)) return { path, query, readings: readPath(path) }
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

/**
 * The readings that servers in the field make of one path: decoded once, twice and three times; with
 * and without path parameters; with empty segments kept and folded; dot segments resolved each time.
 */
export function readPath(path: string): readonly string[] {
  const readings = new Set<string>()
  let current = path
  for (let round = 0; round < 4; round += 1) {
    for (const text of [current, current.replace(/;[^/]*/g, '')]) {
      const slashes = text.replace(/\\/g, '/')
      readings.add(resolveDots(text).toLowerCase())
      readings.add(resolveDots(slashes).toLowerCase())
      readings.add(resolveDots(slashes.replace(/\/{2,}/g, '/')).toLowerCase())
      // Dot segments resolved before empty ones are folded, and the other way about, differ.
      readings.add(
        resolveDots(slashes)
          .replace(/\/{2,}/g, '/')
          .toLowerCase(),
      )
    }
    const decoded = decodeOnce(current, round === 0)
    if (decoded === current) break
    if (round === 3)
      throw new TargetError('TARGET_AMBIGUOUS', 'request path is percent-encoded over and over')
    current = decoded
  }
  return [...readings]
}

/** Percent-decodes to bytes and reads those as UTF-8 as leniently as the laxest server would. */
function decodeOnce(path: string, strict: boolean): string {
  if (!path.includes('%')) return path
  if (strict && /%(?![0-9A-Fa-f]{2})/.test(path))
    throw new TargetError('TARGET_INVALID', 'request path holds a malformed percent-encoding')
  const bytes = path.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  )
  // Controls and NUL cut strings short or split lines in origins.
  if (/[\x00-\x1f\x7f]/.test(bytes))
    throw new TargetError('TARGET_INVALID', 'request path holds an encoded control character')
  return (
    bytes
      // Overlong UTF-8 of ASCII: two bytes c0/c1, three bytes e0 80-81.
      .replace(/[\xc0\xc1]([\x80-\xbf])/g, (both, low: string) =>
        String.fromCharCode(((both.charCodeAt(0) & 1) << 6) | (low.charCodeAt(0) & 0x3f)),
      )
      .replace(/\xe0([\x80\x81])([\x80-\xbf])/g, (_, mid: string, low: string) =>
        String.fromCharCode(((mid.charCodeAt(0) & 1) << 6) | (low.charCodeAt(0) & 0x3f)),
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
      .replace(/%(?:u|U)([0-9A-Fa-f]{4})/g, (_, hex: string) =>
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
