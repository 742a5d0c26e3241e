import type { Claims, SamlClaim, SamlSignOn } from '@sallyport/domain'
import { attributeNameFormats } from './names.ts'

/** One attribute of an assertion. */
export interface Attribute {
  name: string
  /** A URI. */
  nameFormat: string
  values: readonly string[]
}

const claimReaders: Record<SamlClaim, (claims: Claims) => readonly (string | undefined)[]> = {
  userName: ({ userName }) => [userName],
  mail: ({ mail }) => [mail],
  displayName: ({ displayName }) => [displayName],
  objectId: ({ objectId }) => [objectId],
  groups: ({ groups }) => groups.map(({ name }) => name),
  groupIds: ({ groups }) => groups.map(({ id }) => id),
}

/** What assertions say of a person. An attribute of which the person has no value is left out. */
export function toAttributes(signOn: Pick<SamlSignOn, 'attributes'>, claims: Claims): Attribute[] {
  return signOn.attributes
    .map((attribute) => ({
      name: attribute.name,
      nameFormat: attributeNameFormats[attribute.nameFormat],
      values:
        'claim' in attribute
          ? claimReaders[attribute.claim](claims).filter(
              (value) => value !== undefined && value !== '',
            )
          : [attribute.value],
    }))
    .filter(({ values }) => values.length > 0) as Attribute[]
}
