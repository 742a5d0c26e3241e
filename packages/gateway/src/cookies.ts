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
 * Reads one cookie from the values of all Cookie fields.
 *
 * @returns undefined when there is none; null when there is more than one, which no browser sends for a
 *   `__Host-` name
 */
export function findCookie(values: readonly string[], name: string): string | undefined | null {
  let found: string | undefined
  for (const value of values) {
    // Most requests carry few cookies; searching is cheaper than splitting.
    for (let at = value.indexOf(name); at >= 0; at = value.indexOf(name, at + 1)) {
      if (value.charCodeAt(at + name.length) !== 0x3d) continue
      if (at > 0 && !/[;\s]$/.test(value.slice(0, at))) continue
      const end = value.indexOf(';', at)
      const text = value.slice(at + name.length + 1, end < 0 ? undefined : end).trim()
      if (found !== undefined) return null
      found = text
    }
  }
  return found
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
 * Takes our cookies out of a Cookie field.
 *
 * @returns what is left; the empty string when nothing is
 */
export function withoutOurCookies(value: string): string {
  if (!/sallyport/i.test(value) && !/%73|%53/.test(value)) return value
  const kept: string[] = []
  // Legacy parsers (RFC 2109) also split at commas.
  for (const pair of value.split(';')) {
    const parts = pair.split(',').filter((part) => !isOurs(nameOf(part)))
    const text = parts.join(',').trim()
    if (text !== '') kept.push(text)
  }
  return kept.join('; ')
}

function nameOf(part: string): string {
  const equals = part.indexOf('=')
  const name = equals < 0 ? part : part.slice(0, equals)
  try {
    return decodeURIComponent(name)
  } catch {
    return name
  }
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
  let changed = false
  const kept = [pair]
  for (let index = 1; index < parts.length; index += 1) {
    const part = parts[index]!
    const attribute = /^\s*(domain|path)\s*=\s*(.*?)\s*$/i.exec(part)
    if (!attribute) {
      kept.push(part)
    } else if (attribute[1]!.toLowerCase() === 'domain') {
      // A parent domain would reach other applications; the host itself is what leaving it out means.
      changed = true
    } else {
      const path = toExternalCookiePath(attribute[2]!, paths)
      changed ||= path !== attribute[2]
      kept.push(path === attribute[2] ? part : ` Path=${path}`)
    }
  }
  return changed ? kept.join(';') : value
}

function toExternalCookiePath(
  path: string,
  { internalPath, externalPath }: { internalPath: string; externalPath: string },
): string {
  if (internalPath === externalPath) return path
  if (`${path}/`.startsWith(internalPath) || path.startsWith(internalPath))
    return externalPath + path.slice(internalPath.length)
  // A path above the published one: `/` of the origin is the published path outside.
  return internalPath.startsWith(path) ? externalPath : path
}
