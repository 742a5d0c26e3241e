import {
  type Claims,
  compilePattern,
  parseReplacement,
  type Transform,
  type TransformSource,
  toLowercase,
  toUppercase,
} from '@sallyport/domain'

/** Characters that a value may have at each step. Without a bound, replacements in a chain would grow it without end. */
export const limitCharacters = 4_096

/** What a transform makes of one value; empty when nothing is left. */
export type Step = (value: string, claims: Claims) => string

/** The person's claims cannot be made into what was configured. */
export class ClaimError extends Error {
  override readonly name = 'ClaimError'
  readonly code = 'SIGN_ON_CLAIM_TOO_LONG'
  /** What the application calls it. */
  readonly claim: string

  constructor(claim: string, message: string) {
    super(message)
    this.claim = claim
  }
}

type Compilers = {
  [Name in Transform['transform']]: (transform: Extract<Transform, { transform: Name }>) => Step
}

const compilers: Compilers = {
  toLowercase: () => toLowercase,
  toUppercase: () => toUppercase,
  // The last @ is the one in front of the domain: of `admin@x@corp.example` no part may read as `admin`.
  extractMailPrefix: () => (value) => (value.includes('@') ? before(value, '@', true) : value),
  extractAlphaPrefix: () => (value) => /^\p{L}+/u.exec(value)?.[0] ?? '',
  extractAlphaSuffix: () => (value) => suffix(value, /\p{L}/u),
  extractNumericPrefix: () => (value) => /^[0-9]+/.exec(value)?.[0] ?? '',
  extractNumericSuffix: () => (value) => suffix(value, /[0-9]/),
  join: ({ before, after, separator = '' }) => {
    const first = before && compileSource(before)
    const last = after && compileSource(after)
    return (value, claims) =>
      [first?.(claims) ?? '', value, last?.(claims) ?? '']
        .filter((part) => part !== '')
        .join(separator)
  },
  contains: (transform) => choose(transform, (value) => value.includes(transform.text)),
  startWith: (transform) => choose(transform, (value) => value.startsWith(transform.text)),
  endWith: (transform) => choose(transform, (value) => value.endsWith(transform.text)),
  extractAfter:
    ({ text }) =>
    (value) =>
      after(value, text),
  extractBefore:
    ({ text }) =>
    (value) =>
      before(value, text),
  extractBetween: (transform) => (value) => before(after(value, transform.after), transform.before),
  ifEmpty: (transform) => {
    const output = compileSource(transform.output)
    return (value, claims) => (value === '' ? output(claims) : value)
  },
  ifNotEmpty: (transform) => choose(transform, (value) => value !== ''),
  substring: ({ start, length = Number.POSITIVE_INFINITY }) => {
    // By characters: half of a surrogate pair is none.
    return (value) => [...value].slice(start, start + length).join('')
  },
  regexReplace: ({ pattern, replacement }) => {
    const compiled = compilePattern(pattern)
    const parts = parseReplacement(replacement, compiled)
    return (value) => {
      const matcher = compiled.matcher(value)
      let text = ''
      let end = 0
      while (matcher.find()) {
        text += value.slice(end, matcher.start())
        for (const part of parts)
          text += 'text' in part ? part.text : (matcher.group(part.group) ?? '')
        end = matcher.end()
      }
      return text + value.slice(end)
    }
  },
}

/**
 * @param claim name of what it is a part of
 * @returns what makes one value of another; compiled once, used for every person
 */
export function compileTransform(transform: Transform, claim: string): Step {
  const compile = compilers[transform.transform] as (transform: Transform) => Step
  const step = compile(transform)
  return (value, claims) => {
    const made = step(value, claims)
    if (made.length > limitCharacters)
      throw new ClaimError(
        claim,
        `${transform.transform} makes more than ${limitCharacters} characters`,
      )
    return made
  }
}

function compileSource(source: TransformSource): (claims: Claims) => string {
  if ('value' in source) return () => source.value
  const { claim } = source
  return (claims) => claims[claim] ?? ''
}

function choose(
  transform: { output?: TransformSource | undefined; otherwise?: TransformSource | undefined },
  fits: (value: string) => boolean,
): Step {
  const output = transform.output && compileSource(transform.output)
  const otherwise = transform.otherwise && compileSource(transform.otherwise)
  return (value, claims) => {
    if (!fits(value)) return otherwise?.(claims) ?? ''
    return output ? output(claims) : value
  }
}

/** What lies in front of the text; nothing when it is not there. */
function before(value: string, text: string, last = false): string {
  const at = last ? value.lastIndexOf(text) : value.indexOf(text)
  return at < 0 ? '' : value.slice(0, at)
}

function after(value: string, text: string): string {
  const at = value.indexOf(text)
  return at < 0 ? '' : value.slice(at + text.length)
}

function suffix(value: string, belongs: RegExp): string {
  const characters = [...value]
  let start = characters.length
  while (start > 0 && belongs.test(characters[start - 1]!)) start -= 1
  return characters.slice(start).join('')
}
