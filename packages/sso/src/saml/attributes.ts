import type { Claims, SamlAttribute, SamlSignOn } from '@sallyport/domain'
import { compileList, readClaim } from '../claims/index.ts'
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
 * @throws ClaimError `SIGN_ON_CLAIM_TOO_LONG`
 */
export function toAttributes(
  signOn: Pick<SamlSignOn, 'attributes'>,
  claims: Claims,
): Attribute[] | undefined {
  const attributes = signOn.attributes
    .map((attribute) => ({
      name: attribute.name,
      nameFormat: attributeNameFormats[attribute.nameFormat],
      values: toValues(attribute, claims),
    }))
    .filter(({ values }) => values.length > 0)
  const count = attributes.reduce((sum, { values }) => sum + values.length, 0)
  return count > limitValues ? undefined : attributes
}

function toValues(attribute: SamlAttribute, claims: Claims): readonly string[] {
  if ('value' in attribute) return [attribute.value]
  const values = readClaim(attribute, claims, attribute.name)
  // One value of all, for what reads the first only.
  return attribute.separator === undefined || values.length === 0
    ? values
    : [compileList(attribute.separator)(values)]
}
