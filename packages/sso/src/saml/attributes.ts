import type { Claims, SamlSignOn } from '@sallyport/domain'
import { compileClaim } from '../claims/index.ts'
import { attributeNameFormats } from './names.ts'

/** One attribute of an assertion. */
export interface Attribute {
  name: string
  /** A URI. */
  nameFormat: string
  values: readonly string[]
}

/** Signing takes time with each of them, and the browser carries them in a form. */
const limitValues = 1_000

/**
 * What assertions say of a person. An attribute of which the person has no value is left out.
 *
 * @returns undefined when there are more than 1,000 values: not all of somebody's groups would be worse than no sign-on
 */
export function toAttributes(
  signOn: Pick<SamlSignOn, 'attributes'>,
  claims: Claims,
): Attribute[] | undefined {
  const attributes = signOn.attributes
    .map((attribute) => ({
      name: attribute.name,
      nameFormat: attributeNameFormats[attribute.nameFormat],
      values:
        'claim' in attribute ? compileClaim({ claim: attribute.claim })(claims) : [attribute.value],
    }))
    .filter(({ values }) => values.length > 0)
  const count = attributes.reduce((sum, { values }) => sum + values.length, 0)
  return count > limitValues ? undefined : attributes
}
