const limitNames = 2_048
const limitNameBytes = 64

/**
 * Remembers what was found out about a field name by how it was spelt: names repeat endlessly. Others choose
 * the names, so neither their number nor their length makes the memory grow.
 */
export class ByFieldName<T extends string> {
  readonly #classify: (name: string) => T
  readonly #known = new Map<string, T>()

  constructor(classify: (name: string) => T) {
    this.#classify = classify
  }

  of(name: string): T {
    const known = this.#known.get(name)
    if (known !== undefined) return known
    const found = this.#classify(name)
    if (name.length > limitNameBytes) return found
    if (this.#known.size >= limitNames) this.#known.clear()
    this.#known.set(copyText(name), found)
    return found
  }
}

/** A text of its own: what was cut out of a head keeps all of the head in memory. */
export function copyText(text: string): string {
  return Buffer.from(text, 'latin1').toString('latin1')
}

// RFC 9110 section 6.5.1: what frames, routes, authenticates or controls a message is not taken from its end,
// lest somebody who merges trailers into heads believes it.
const neverInTrailers: ReadonlySet<string> = new Set([
  'age',
  'authorization',
  'authentication-info',
  'cache-control',
  'content-encoding',
  'content-length',
  'content-range',
  'content-type',
  'cookie',
  'date',
  'expect',
  'expires',
  'host',
  'location',
  'max-forwards',
  'origin',
  'pragma',
  'range',
  'referer',
  'retry-after',
  'set-cookie',
  'strict-transport-security',
  'vary',
  'warning',
  'www-authenticate',
])

/** Whether a field may follow a body. @param canonicalName as `canonicalFieldName` gives it */
export function mayTrail(canonicalName: string): boolean {
  return (
    !neverInTrailers.has(canonicalName) &&
    !canonicalName.startsWith('if-') &&
    !canonicalName.startsWith('sec-') &&
    !canonicalName.startsWith('access-control-')
  )
}
