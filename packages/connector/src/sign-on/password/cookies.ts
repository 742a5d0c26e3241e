/** A cookie as far as sending it back goes. */
interface Cookie {
  name: string
  value: string
  path: string
  /** The `Set-Cookie` that it came by, its path written out: it may go to a browser with another page. */
  line: string
  isExpired: boolean
}

const maxCookies = 100
const maxLineBytes = 8_192

/**
 * The cookies of one host that a sign-in gathers. `Domain` is disregarded: what the host sets goes back to that host
 * only (RFC 6265bis section 5.7, as a host-only cookie).
 */
export class Cookies {
  /** By name and path, in the order in which they came. */
  readonly #kept = new Map<string, Cookie>()

  /**
   * @param line a `Set-Cookie` value
   * @param pagePath path of the URL that set it
   * @param nowAt epoch milliseconds
   */
  set(line: string, pagePath: string, nowAt: number): void {
    const [pair = '', ...attributes] = line.split(';')
    const equals = pair.indexOf('=')
    const name = pair.slice(0, Math.max(equals, 0)).trim()
    if (name === '' || line.length > maxLineBytes || this.#kept.size >= maxCookies) return
    const written = findAttribute(attributes, 'path')
    const isWritten = written?.startsWith('/') === true
    const path = isWritten ? written : defaultPath(pagePath)
    const key = `${name}\0${path}`
    // The later one counts, and in its place.
    this.#kept.delete(key)
    this.#kept.set(key, {
      name,
      value: pair.slice(equals + 1).trim(),
      path,
      line: isWritten ? line : `${line}; Path=${path}`,
      isExpired: isExpired(attributes, nowAt),
    })
  }

  /** There is one that counts. */
  get isEmpty(): boolean {
    return ![...this.#kept.values()].some(({ isExpired }) => !isExpired)
  }

  /** @returns the value of `Cookie` for a path; the empty string for none */
  toHeader(path: string, sent = ''): string {
    const own = [...this.#kept.values()].filter((cookie) => matchesPath(path, cookie.path))
    const replaced = new Set(own.map(({ name }) => name))
    const kept = sent
      .split(';')
      .map((pair) => pair.trim())
      .filter((pair) => pair !== '' && !replaced.has(pair.split('=', 1)[0]!.trim()))
    // Longer paths first (RFC 6265bis section 5.8.3).
    const ours = own
      .filter(({ isExpired }) => !isExpired)
      .sort((a, b) => b.path.length - a.path.length)
      .map(({ name, value }) => `${name}=${value}`)
    return [...kept, ...ours].join('; ')
  }

  /** As the host wrote them but for their paths, for a browser. */
  get lines(): string[] {
    return [...this.#kept.values()].map(({ line }) => line)
  }
}

function findAttribute(attributes: readonly string[], name: string): string | undefined {
  const found = attributes.findLast(
    (attribute) => attribute.split('=', 1)[0]!.trim().toLowerCase() === name,
  )
  return found === undefined ? undefined : found.slice(found.indexOf('=') + 1).trim()
}

function isExpired(attributes: readonly string[], nowAt: number): boolean {
  const maxAge = findAttribute(attributes, 'max-age')
  if (maxAge !== undefined && /^-?\d+$/.test(maxAge)) return Number(maxAge) <= 0
  const expires = findAttribute(attributes, 'expires')
  const at = expires === undefined ? Number.NaN : Date.parse(expires.replaceAll('-', ' '))
  return at <= nowAt
}

/** RFC 6265bis section 5.1.4. */
function defaultPath(pagePath: string): string {
  const end = pagePath.lastIndexOf('/')
  return end <= 0 ? '/' : pagePath.slice(0, end)
}

function matchesPath(path: string, cookiePath: string): boolean {
  return (
    path === cookiePath ||
    (path.startsWith(cookiePath) &&
      (cookiePath.endsWith('/') || path.charAt(cookiePath.length) === '/'))
  )
}
