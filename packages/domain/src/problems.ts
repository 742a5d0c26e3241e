import { z } from 'zod'
import type { Problem } from './snapshot.ts'

type Issue = z.core.$ZodIssue

/**
 * Turns what a schema found into problems that say the field and what would be right. Never quotes
 * what was sent: it may be a password.
 *
 * @param whole what to call that which holds all fields
 */
export function toProblems(error: z.core.$ZodError, schema: z.ZodType, whole = 'input'): Problem[] {
  return error.issues
    .flatMap((issue) => problemsOf(issue, schema, []))
    .map(({ path, message }) => ({ path: path || whole, message }))
}

function problemsOf(issue: Issue, schema: z.ZodType, above: readonly PropertyKey[]): Problem[] {
  const at = [...above, ...issue.path]
  const path = at.map(String).join('.')
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => ({
        path: [...at, key].map(String).join('.'),
        message: `is not a known field${knownFields(schema, at)}`,
      }))
    case 'invalid_union': {
      // The branch that fits best says what is meant.
      const branches = issue.errors.toSorted((a, b) => a.length - b.length)
      const best = branches[0]
      return best && best.length > 0
        ? best.flatMap((inner) => problemsOf(inner, schema, at))
        : [{ path, message: issue.message }]
    }
    default:
      return [{ path, message: messageOf(issue) }]
  }
}

function messageOf(issue: Issue): string {
  switch (issue.code) {
    case 'invalid_type':
      return /received undefined$/.test(issue.message)
        ? 'is required'
        : `must be ${article(issue.expected)}`
    case 'invalid_value':
      return `must be one of: ${issue.values.map(String).join(', ')}`
    case 'too_small':
      if (issue.minimum === 1 && unit(issue.origin) !== '') return 'must not be empty'
      return `must ${measure(issue.origin)} at least ${issue.minimum}${unit(issue.origin)}`
    case 'too_big':
      return `must ${measure(issue.origin)} at most ${issue.maximum}${unit(issue.origin)}`
    case 'invalid_format':
      // Schemas of ours say in words what fits; zod would quote its pattern.
      return /pattern/.test(issue.message) ? `must be a valid ${issue.format}` : issue.message
    default:
      return issue.message
  }
}

function article(expected: string): string {
  if (expected === 'int') return 'a whole number'
  return /^[aeiou]/.test(expected) ? `an ${expected}` : `a ${expected}`
}

function measure(origin: string): string {
  return origin === 'string' || origin === 'array' ? 'have' : 'be'
}

function unit(origin: string): string {
  return origin === 'string' ? ' characters' : origin === 'array' ? ' entries' : ''
}

function knownFields(schema: z.ZodType, at: readonly PropertyKey[]): string {
  if (at.length > 0 || !(schema instanceof z.ZodObject)) return '; check the spelling'
  const names = Object.keys(schema.shape)
  return names.length === 0 ? '; there are none' : `; there are: ${names.join(', ')}`
}
