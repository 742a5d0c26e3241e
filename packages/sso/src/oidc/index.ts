/**
 * Sign-on by OpenID Connect: what an application is told of a person beside the claims of the standard scopes. The protocol
 * itself is in identity.
 */
import type { Claims, OidcClaim, OidcSignOn } from '@sallyport/domain'
import { compileList, readClaim } from '../claims/index.ts'

export type OidcClaimValue = string | boolean | readonly string[]

/**
 * Claims of one person for one application. One of which the person has no value is left out.
 *
 * @throws ClaimError `SIGN_ON_CLAIM_TOO_LONG`
 */
export function toOidcClaims(
  { claims }: Pick<OidcSignOn, 'claims'>,
  person: Claims,
): Record<string, OidcClaimValue> {
  return Object.fromEntries(
    claims.flatMap((claim) => {
      const value = toValue(claim, person)
      const isEmpty = typeof value !== 'boolean' && value.length === 0
      return isEmpty ? [] : [[claim.name, value]]
    }),
  )
}

function toValue(claim: OidcClaim, person: Claims): OidcClaimValue {
  if ('value' in claim) return claim.value
  const values = readClaim(claim, person, claim.name)
  const isGroup = claim.claim === 'groups' || claim.claim === 'groupIds'
  if (!isGroup || claim.multivalued === false) return values[0] ?? ''
  // Readers expect a list of groups, however many there are.
  return claim.separator === undefined ? values : compileList(claim.separator)(values)
}
