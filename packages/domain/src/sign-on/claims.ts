import { z } from 'zod'
import { compilePattern, PatternError, parseReplacement } from './pattern.ts'

/** Claims that sign-on can tell an application. */
export const headerClaims = [
  'userName',
  'mail',
  'displayName',
  'objectId',
  'groups',
  'groupIds',
] as const

/** Those that a person has one of. */
const singleClaims = ['userName', 'mail', 'displayName', 'objectId'] as const

const limitText = 256

/** What goes into a header: no control characters, no half of a surrogate pair. */
const text = z
  .string()
  .max(limitText)
  .regex(/^[^\p{Cc}\p{Cs}\u2028\u2029]*$/u, 'must be text without control characters')

const sought = text.min(1)

const source = z.union([
  z.strictObject({ claim: z.enum(singleClaims).describe('Another claim of the person.') }),
  z.strictObject({ value: text.describe('A constant.') }),
])

const bare = <T extends string>(transform: T) => z.strictObject({ transform: z.literal(transform) })

const comparison = <T extends string>(transform: T) =>
  z.strictObject({
    transform: z.literal(transform),
    text: sought.describe('Compared with regard to case.'),
    output: source.optional().describe('Left out: the value itself.'),
    otherwise: source.optional().describe('Left out: nothing.'),
  })

const regexReplace = z
  .strictObject({
    transform: z.literal('regexReplace'),
    pattern: sought.describe("A regular expression of RE2's syntax."),
    replacement: text.describe('$1 to $9 and $<name> are groups, $0 the match, $$ a dollar sign.'),
  })
  .superRefine(({ pattern, replacement }, context) => {
    let field = 'pattern'
    try {
      const compiled = compilePattern(pattern)
      field = 'replacement'
      parseReplacement(replacement, compiled)
    } catch (error) {
      if (!(error instanceof PatternError)) throw error
      context.addIssue({ code: 'custom', path: [field], message: error.message })
    }
  })

/** What may be done to the value of a claim; Entra's list, under Entra's names. */
export const transformSchema = z.discriminatedUnion('transform', [
  bare('toLowercase'),
  bare('toUppercase'),
  bare('extractMailPrefix'),
  bare('extractAlphaPrefix'),
  bare('extractAlphaSuffix'),
  bare('extractNumericPrefix'),
  bare('extractNumericSuffix'),
  z
    .strictObject({
      transform: z.literal('join'),
      before: source.optional(),
      after: source.optional(),
      separator: text.optional().describe('Between two that are not empty. Left out: none.'),
    })
    .refine(({ before, after }) => before || after, { error: 'must have before or after' }),
  comparison('contains'),
  comparison('startWith'),
  comparison('endWith'),
  z.strictObject({ transform: z.literal('extractAfter'), text: sought }),
  z.strictObject({ transform: z.literal('extractBefore'), text: sought }),
  z.strictObject({ transform: z.literal('extractBetween'), after: sought, before: sought }),
  z.strictObject({ transform: z.literal('ifEmpty'), output: source }),
  z.strictObject({
    transform: z.literal('ifNotEmpty'),
    output: source,
    otherwise: source.optional().describe('Left out: nothing.'),
  }),
  z.strictObject({
    transform: z.literal('substring'),
    start: z.int().min(0).max(4_096).describe('Characters to leave out at the beginning.'),
    length: z.int().min(1).max(4_096).optional().describe('Left out: to the end.'),
  }),
  regexReplace,
])

/** A claim and what becomes of it on its way. */
export const claimFields = {
  claim: z.enum(headerClaims).describe('What is said of the person.'),
  transforms: z
    .array(transformSchema)
    .min(1)
    .max(20)
    .optional()
    .describe('What is done to each value, one after another.'),
  multivalued: z
    .boolean()
    .optional()
    .describe('false: only the first group. Left out: all of them.'),
  separator: z
    .string()
    .regex(
      /^[ -$&-/:-@[-`{-~]{1,8}$/,
      'must be 1-8 of the punctuation marks of ASCII and spaces, without %',
    )
    .refine((separator) => separator.trim() !== '' || separator.length < 2, {
      error: 'must be one space, or hold a punctuation mark',
    })
    .optional()
    .describe('Between groups. Left out: a semicolon.'),
}

const claimSchema = z.strictObject(claimFields)

export type ClaimSource = z.output<typeof claimSchema>
export type Transform = z.output<typeof transformSchema>
export type TransformSource = z.output<typeof source>
export type HeaderClaim = (typeof headerClaims)[number]
