import { RE2JS } from 're2js'

/** Instructions of a compiled pattern; `[a-z]{1,64}` has some 130. */
export const limitPatternSize = 300

/** A pattern that cannot be used, and why. */
export class PatternError extends Error {
  override readonly name = 'PatternError'
  readonly code = 'PATTERN_INVALID'
}

/**
 * Compiles a regular expression of RE2's syntax. Its time grows with the length of what it is matched against, and never with
 * more than that: there are no back-references and no look-around, for which backtracking would be needed.
 *
 * @throws PatternError when it cannot be compiled, or is too large
 * @see https://github.com/google/re2/wiki/Syntax
 */
export function compilePattern(pattern: string): RE2JS {
  let compiled: RE2JS
  try {
    compiled = RE2JS.compile(pattern)
  } catch (cause) {
    throw new PatternError(
      "must be a regular expression of RE2's syntax (no back-references, no look-around)",
      { cause },
    )
  }
  if (compiled.programSize() > limitPatternSize)
    throw new PatternError('must be a simpler regular expression: its repetitions are too large')
  return compiled
}

/** A piece of a replacement: a text, or what a group matched (`0` for the whole match). */
export type ReplacementPart = { text: string } | { group: number | string }

/**
 * Reads a replacement: `$1` to `$9` and `$<name>` are groups of the pattern, `$0` the whole match, `$$` a dollar sign.
 *
 * @throws PatternError when it names a group that the pattern does not have
 */
export function parseReplacement(replacement: string, pattern: RE2JS): ReplacementPart[] {
  const parts: ReplacementPart[] = []
  const names = new Set(Object.keys(pattern.namedGroups()))
  for (const [piece] of replacement.matchAll(/[^$]+|\$\$|\$[0-9]|\$<\w+>|\$/gs)) {
    if (piece === '$')
      throw new PatternError('must have $0 to $9, $<name> or $$ where there is a dollar sign')
    if (piece === '$$') parts.push({ text: '$' })
    else if (!piece.startsWith('$')) parts.push({ text: piece })
    else {
      const name = piece.replace(/[$<>]/g, '')
      const group = piece[1] === '<' ? name : Number(name)
      if (typeof group === 'string' ? !names.has(group) : group > pattern.groupCount())
        throw new PatternError(`must name groups that the pattern has; ${piece} is none`)
      parts.push({ group })
    }
  }
  return parts
}
