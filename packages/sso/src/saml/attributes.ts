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

/** What assertions say of a person. An attribute of which the person has no value is left out. */
export function toAttributes(signOn: Pick<SamlSignOn, 'attributes'>, claims: Claims): Attribute[] {
  return signOn.attributes
    .map((attribute) => ({
      name: attribute.name,
      nameFormat: attributeNameFormats[attribute.nameFormat],
      values:
        'claim' in attribute ? compileClaim({ claim: attribute.claim })(claims) : [attribute.value],
    }))
    .filter(({ values }) => values.length > 0)
}
