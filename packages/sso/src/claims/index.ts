/**
 * Claims of a person as applications want them: taken from the directory, transformed by what an administrator has configured.
 * Everything is compiled once; what comes of it is called for each person.
 */
import type { ClaimSource, Claims, HeaderClaim } from '@sallyport/domain'
import { compileTransform } from './transforms.ts'

export { ClaimError, limitCharacters } from './transforms.ts'

const readers: Record<HeaderClaim, (claims: Claims) => readonly string[]> = {
  userName: ({ userName }) => [userName],
  mail: ({ mail }) => [mail ?? ''],
  displayName: ({ displayName }) => [displayName],
  objectId: ({ objectId }) => [objectId],
  groups: ({ groups }) => groups.map(({ name }) => name),
  groupIds: ({ groups }) => groups.map(({ id }) => id),
}

/**
 * Compiles one claim with its transforms, which apply to each value.
 *
 * @param name what the application calls it
 * @returns gives the values of a person, none of them empty
 */
export function compileClaim(
  source: ClaimSource,
  name: string = source.claim,
): (claims: Claims) => string[] {
  const read = readers[source.claim]
  const steps = (source.transforms ?? []).map((transform) => compileTransform(transform, name))
  const limit = source.multivalued === false ? 1 : Number.POSITIVE_INFINITY
  return (claims) => {
    const values = read(claims).slice(0, limit)
    // Who is in no group has one value that is empty, for transforms that say something of it.
    if (values.length === 0) values.push('')
    return values
      .map((value) => steps.reduce((made, step) => step(made, claims), value))
      .filter((value) => value !== '')
  }
}

const compiled = new WeakMap<ClaimSource, (claims: Claims) => string[]>()

/**
 * The values of a person by a claim that is configured, which is compiled once.
 *
 * @param name what the application calls it
 * @throws ClaimError `SIGN_ON_CLAIM_TOO_LONG`
 */
export function readClaim(source: ClaimSource, claims: Claims, name: string): string[] {
  let read = compiled.get(source)
  if (!read) {
    read = compileClaim(source, name)
    compiled.set(source, read)
  }
  return read(claims)
}

/**
 * One text of several values. A value never reads as two: `%` and the marks of the separator are percent-encoded in it.
 */
export function compileList(separator: string): (values: readonly string[]) => string {
  const marks = new Set(['%', ...(separator === ' ' ? ' ' : separator.replaceAll(' ', ''))])
  const encode = (value: string) => {
    let text = ''
    for (const character of value)
      text += marks.has(character)
        ? `%${character.charCodeAt(0).toString(16).toUpperCase()}`
        : character
    return text
  }
  return (values) => values.map(encode).join(separator)
}
