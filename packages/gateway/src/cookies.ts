/**
 * Our cookie names on application hosts. `__Host-` makes browsers insist on Secure, Path=/ and no Domain,
 * so that a sibling host cannot set them (RFC 6265bis section 4.1.3.2). Cookies ignore ports: a port that
 * is not the default becomes part of the name.
 */
export interface CookieNames {
  session: string
  signIn: string
}

export function cookieNames(port: number): CookieNames {
  const suffix = port === 443 ? '' : `-${port}`
  return { session: `__Host-sallyport${suffix}`, signIn: `__Host-sallyport-signin${suffix}` }
}

/**
 * Reads one cookie from the values of all Cookie fields. Its name is what stands between `;` and `=`, less
 * spaces and tabs: a cookie whose name or value merely ends in ours, after a space of any kind, is one that
 * a sibling host can set past the rules of the prefix.
 *
 * @returns undefined when there is none; null when there is more than one, which no browser sends for a
 *   `__Host-` name
 */
export function findCookie(values: readonly string[], name: string): string | undefined | null {
  let found: string | undefined
  for (const value of values) {
    // Most requests carry few cookies; searching is cheaper than splitting.
    for (let at = value.indexOf(name); at >= 0; at = value.indexOf(name, at + name.length)) {
      const valueAt = at + name.length + 1
      if (value.charCodeAt(valueAt - 1) !== 0x3d || !beginsPair(value, at)) continue
      if (found !== undefined) return null
      const end = value.indexOf(';', valueAt)
      found = value.slice(valueAt, end < 0 ? undefined : end)
    }
  }
  return found?.trim()
}

function beginsPair(value: string, at: number): boolean {
  let before = at - 1
  while (value.charCodeAt(before) === 0x20 || value.charCodeAt(before) === 0x09) before -= 1
  return before < 0 || value.charCodeAt(before) === 0x3b
}

// Left of `=`, in any spelling that some server reads as ours: other case, white space (also what Unicode
// and legacy parsers strip), quotes, `$Version` legacy syntax.
function isOurs(name: string): boolean {
  return name
    .replace(/[^A-Za-z0-9]/g, '')
    .toLowerCase()
    .includes('hostsallyport')
}

/**
 * Takes our cookies out of a Cookie field. Whatever part of it looks like one goes, also where it stands within another
 * cookie: what is ours can only be lost too much.
 *
 * @returns what is left; the empty string when nothing is
 */
export function withoutOurCookies(value: string): string {
  // The part that no spelling changes; our own cookies are always spelt plainly, because browsers decode nothing.
  if (!hasOurWord.test(value)) return value
  let kept = ''
  for (let start = 0; start <= value.length; ) {
    const semicolon = value.indexOf(';', start)
    const end = semicolon < 0 ? value.length : semicolon
    const text = withoutOurs(value.slice(start, end)).trim()
    if (text !== '') kept += kept === '' ? text : `; ${text}`
    start = end + 1
  }
  return kept
}

const hasOurWord = /sallyport/i

function withoutOurs(pair: string): string {
  if (!hasOurWord.test(pair)) return pair
  // Legacy parsers (RFC 2109) also split at commas.
  if (pair.includes(','))
    return pair
      .split(',')
      .filter((part) => !isOurs(nameOf(part)))
      .join(',')
  return isOurs(nameOf(pair)) ? '' : pair
}

function nameOf(part: string): string {
  const equals = part.indexOf('=')
  return equals < 0 ? part : part.slice(0, equals)
}

/**
 * Rewrites a Set-Cookie field of an origin for the browser: host-only, with the external path; undefined for one that
 * would set a cookie of ours or has no name.
 *
 * @param paths prefix of the internal and the external path, both ending in `/`
 */
export function toClientCookie(
  value: string,
  paths: { internalPath: string; externalPath: string },
): string | undefined {
  const parts = value.split(';')
  const pair = parts[0]!
  const equals = pair.indexOf('=')
  const name = equals < 0 ? '' : pair.slice(0, equals)
  // Browsers take `=name=value` as a cookie without a name, whose value may start with a prefix.
  if (name.trim() === '' || isOurs(name)) return undefined
  if (parts.length === 1) return value
  // Browsers accept this prefix with Path=/ only.
  const keepsPath = /^__host-/i.test(name.trim())
  let changed = false
  const kept = [pair]
  for (let index = 1; index < parts.length; index += 1) {
    const part = parts[index]!
    const equalsAt = part.indexOf('=')
    const attribute = (equalsAt < 0 ? part : part.slice(0, equalsAt)).trim().toLowerCase()
    if (attribute === 'domain') {
      // A parent domain would reach other applications; the host itself is what leaving it out means.
      changed = true
      continue
    }
    if (attribute === 'path' && !keepsPath) {
      const written = equalsAt < 0 ? '' : part.slice(equalsAt + 1).trim()
      const path = toExternalCookiePath(written, paths)
      if (path !== written) {
        changed = true
        kept.push(` Path=${path}`)
        continue
      }
    }
    kept.push(part)
  }
  return changed ? kept.join(';') : value
}

function toExternalCookiePath(
  path: string,
  { internalPath, externalPath }: { internalPath: string; externalPath: string },
): string {
  // Without a path that begins with a slash browsers take the folder of the URL (RFC 6265 section 5.2.4).
  if (internalPath === externalPath || !path.startsWith('/')) return path
  if (`${path}/`.startsWith(internalPath) || path.startsWith(internalPath))
    return externalPath + path.slice(internalPath.length)
  // A path above the published one: `/` of the origin is the published path outside.
  return internalPath.startsWith(path) ? externalPath : path
}
