import { type KeyObject, randomBytes } from 'node:crypto'
import type { IdentitySession, Snapshot } from '@sallyport/domain'
import { type Store, sessions } from '@sallyport/store'
import { IdentityError } from './errors.ts'
import { signJws } from './jws.ts'
import { mayUse } from './may-use.ts'

/** Public half of a key, and its thumbprint (RFC 7517). */
export interface AssertionJwk {
  kty: 'EC'
  crv: 'P-256'
  x: string
  y: string
  kid: string
}

/** The key that signs assertions now, and those that have signed what is still good. */
export interface AssertionRing {
  readonly signing: { readonly kid: string; readonly privateKey: KeyObject }
  readonly published: readonly AssertionJwk[]
}

export interface AssertionParts {
  db: Store['db']
  loginOrigin: string
  snapshot(): Snapshot
  ring(): AssertionRing
  clock(): number
}

/** A signed token by which one application knows a person. Instants are epoch milliseconds. */
export interface Assertion {
  /** Compact JWS, ES256. */
  token: string
  keyId: string
  issuedAt: number
  expiresAt: number
}

const lifetimeSeconds = 300
/** More groups, or more bytes of their names, are told by reference: origins bound what a head may hold, many at 8 KiB. */
const limitGroups = 100
const limitGroupBytes = 3_072

/** Where an assertion's groups are when it has too many to say. */
export const groupsPath = '/assertion/groups'

/**
 * Makes the assertion of a session for one application, from the store and not from what the gateway knows.
 *
 * @returns undefined when the session has ended
 * @throws IdentityError `ASSERTION_REFUSED` when the application gets none, or not for this person
 */
export async function makeAssertion(
  request: { sessionId: string; applicationId: string },
  parts: AssertionParts,
): Promise<Assertion | undefined> {
  const { applicationId } = request
  const issuedAt = parts.clock()
  const session = await sessions.findIdentitySession(parts.db, request.sessionId, issuedAt)
  if (!session) return undefined
  if (!mayHaveAssertion(session, applicationId, parts.snapshot()))
    throw new IdentityError(
      'ASSERTION_REFUSED',
      `application ${applicationId} gets no assertion of user ${session.userId}`,
    )
  const { signing } = parts.ring()
  const issued = Math.floor(issuedAt / 1000)
  const claims = toClaims(session, applicationId, issued, parts.loginOrigin)
  return {
    token: await signJws({ typ: 'JWT', kid: signing.kid }, claims, signing.privateKey),
    keyId: signing.kid,
    issuedAt: issued * 1000,
    expiresAt: (issued + lifetimeSeconds) * 1000,
  }
}

/** Whether the person uses the application now, and it takes assertions. */
export function mayHaveAssertion(
  session: IdentitySession,
  applicationId: string,
  snapshot: Snapshot,
): boolean {
  const compiled = snapshot.findApplicationById(applicationId)
  return compiled?.application.jwtAssertion === true && mayUse(session, compiled)
}

/** RFC 7519; names of what describes the person as in OpenID Connect Core section 5.1. */
function toClaims(
  { sessionId, userId, methods, signedInAt, claims }: IdentitySession,
  applicationId: string,
  issued: number,
  loginOrigin: string,
): Record<string, unknown> {
  return {
    iss: loginOrigin,
    aud: applicationId,
    sub: userId,
    sid: sessionId,
    jti: randomBytes(16).toString('base64url'),
    iat: issued,
    exp: issued + lifetimeSeconds,
    auth_time: Math.floor(signedInAt / 1000),
    amr: methods,
    preferred_username: claims.userName,
    name: claims.displayName,
    ...(claims.mail === undefined ? {} : { email: claims.mail }),
    ...toGroups(
      claims.groups.map(({ name }) => name),
      loginOrigin,
    ),
  }
}

/** Groups, or where they are (OpenID Connect Core section 5.6.2). */
function toGroups(groups: readonly string[], loginOrigin: string): Record<string, unknown> {
  if (groups.length <= limitGroups && Buffer.byteLength(JSON.stringify(groups)) <= limitGroupBytes)
    return { groups }
  return {
    _claim_names: { groups: 'directory' },
    _claim_sources: { directory: { endpoint: loginOrigin + groupsPath } },
  }
}
