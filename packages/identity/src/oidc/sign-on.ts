import { createHmac } from 'node:crypto'
import {
  type IdentitySession,
  isAssigned,
  type OidcApplication,
  parseOidcClientId,
} from '@sallyport/domain'
import { type OidcClaimValue, toOidcClaims } from '@sallyport/sso/oidc'
import { type SignOnRefusal, toSignOnRefusal } from '../sign-on-refusal.ts'

/** Claims that are no scope's: the application's own. No claim of a scope can be found under a symbol. */
export const ownClaims = Symbol('claims of the application')

/** Claims of one person, in front of what scopes let through. */
export interface OwnClaims {
  [ownClaims]?: Record<string, OidcClaimValue>
}

/** What the application is told of the person, whatever scope it asks for; or why it is told nothing. */
export function makeClaims(
  compiled: OidcApplication,
  { userId, claims }: IdentitySession,
): { claims: OwnClaims; refusal?: undefined } | { refusal: SignOnRefusal; claims?: undefined } {
  if (!isAssigned(compiled, [userId, ...claims.groups.map(({ id }) => id)]))
    return { refusal: { reason: 'user-not-assigned' } }
  try {
    return { claims: { [ownClaims]: toOidcClaims(compiled.application.signOn, claims) } }
  } catch (error) {
    return { refusal: toSignOnRefusal(error) }
  }
}

/** A name of the person that no two applications share, and that tells nobody whose it is. */
export function toPairwiseSubject(key: Buffer, clientId: string, userId: string): string {
  return createHmac('sha256', key)
    .update(`oidc\0${parseOidcClientId(clientId)}\0${userId}`)
    .digest('base64url')
}
