import type { IdentitySession } from '@sallyport/domain'
import { type Store, sessions } from '@sallyport/store'
import type { FastifyInstance } from 'fastify'
import { IdentityError } from './errors.ts'
import { visitOf } from './visit.ts'

export interface RedeemRequest {
  applicationId: string
  redirectUri: string
  code: string
  codeVerifier: string
  /** What the sign-in request carried; the ID token must carry the same. */
  nonce: string
  clientAddress: string
}

export interface RedeemParts {
  server: FastifyInstance
  db: Store['db']
  clock(): number
  tenantId: string
  loginOrigin: string
  clientSecret(applicationId: string): string
}

/**
 * The token request of the code flow (RFC 6749 section 4.1.3), made to our own endpoint without a
 * socket between: every check that a foreign client would meet is met.
 */
export async function redeemCode(
  request: RedeemRequest,
  parts: RedeemParts,
): Promise<IdentitySession> {
  const { applicationId, redirectUri, code, codeVerifier, nonce } = request
  const response = await parts.server.inject({
    method: 'POST',
    url: `/${parts.tenantId}/oauth2/v2.0/token`,
    remoteAddress: request.clientAddress,
    headers: {
      host: new URL(parts.loginOrigin).host,
      'content-type': 'application/x-www-form-urlencoded',
    },
    payload: new URLSearchParams({
      grant_type: 'authorization_code',
      client_id: applicationId,
      client_secret: parts.clientSecret(applicationId),
      redirect_uri: redirectUri,
      code,
      code_verifier: codeVerifier,
    }).toString(),
  })
  const body = response.json<{ id_token?: string; error?: string; error_description?: string }>()
  if (response.statusCode !== 200 || body.id_token === undefined)
    throw new IdentityError(
      response.statusCode >= 500 ? 'UNAVAILABLE' : 'CODE_REJECTED',
      `token endpoint answered ${response.statusCode}: ${body.error_description ?? body.error}`,
    )
  const claims = decodeClaims(body.id_token)
  if (claims.nonce !== nonce || claims.aud !== applicationId)
    throw new IdentityError('NONCE_MISMATCH', 'ID token belongs to another sign-in request')
  const { redeemedSessionId } = visitOf(response.raw.req)
  const session =
    redeemedSessionId === undefined
      ? undefined
      : await sessions.findIdentitySession(parts.db, redeemedSessionId, parts.clock())
  if (!session || session.userId !== claims.sub)
    throw new IdentityError('SESSION_ENDED', 'session ended before its code was redeemed')
  return session
}

/** Without verifying: the token comes straight from our own endpoint. */
function decodeClaims(idToken: string): { nonce?: unknown; aud?: unknown; sub?: unknown } {
  return JSON.parse(Buffer.from(idToken.split('.')[1] ?? '', 'base64url').toString())
}
