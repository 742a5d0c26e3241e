import { createPublicKey, verify } from 'node:crypto'
import { sessions } from '@sallyport/store'
import type { FastifyInstance } from 'fastify'
import { type AssertionParts, groupsPath, mayHaveAssertion } from './assertion.ts'

/** Where origins fetch the keys of assertions. */
export const keysPath = '/.well-known/jwks.json'
const keysMaxAgeSeconds = 300

const limitTokenBytes = 16_384

/** What origins ask the sign-in host about assertions: the keys, and groups that were too many to say. */
export function addAssertionRoutes(app: FastifyInstance, parts: AssertionParts): void {
  app.get(keysPath, (_, reply) =>
    reply
      .header('cache-control', `public, max-age=${keysMaxAgeSeconds}`)
      .type('application/jwk-set+json')
      .send(JSON.stringify({ keys: parts.ring().published })),
  )
  app.get(groupsPath, async (request, reply) => {
    const [, token] = /^Bearer ([\w.-]+)$/i.exec(request.headers.authorization ?? '') ?? []
    const groups = token === undefined ? undefined : await findGroups(token, parts)
    reply.type('application/json')
    if (groups) return reply.send(JSON.stringify({ groups }))
    // RFC 6750 section 3.1; without a token it says nothing about one.
    const error = token === undefined ? '' : ' error="invalid_token"'
    return reply
      .code(401)
      .header('www-authenticate', `Bearer${error}`)
      .send(JSON.stringify({ error: 'invalid_token' }))
  })
}

/** @returns names of all groups of whom the assertion is about, if it is good and that person still uses the application */
async function findGroups(token: string, parts: AssertionParts): Promise<string[] | undefined> {
  const claims = readToken(token, parts)
  if (!claims) return undefined
  const nowAt = parts.clock()
  if (claims.iss !== parts.loginOrigin || !(claims.exp * 1000 > nowAt)) return undefined
  const session = await sessions.findIdentitySession(parts.db, claims.sid, nowAt)
  if (!session || session.userId !== claims.sub) return undefined
  if (!mayHaveAssertion(session, claims.aud, parts.snapshot())) return undefined
  return session.claims.groups.map(({ name }) => name)
}

interface TokenClaims {
  iss: string
  aud: string
  sub: string
  sid: string
  exp: number
}

/** @returns the claims, as we have written them, of a token that a key of ours has signed */
function readToken(token: string, { ring }: AssertionParts): TokenClaims | undefined {
  const [head, body, signature, ...more] = token.split('.')
  if (token.length > limitTokenBytes || !head || !body || !signature || more.length > 0)
    return undefined
  // The whole head is ours, so nothing in it is a choice of whoever sends it.
  const jwk = ring().published.find(
    ({ kid }) =>
      head === Buffer.from(JSON.stringify({ alg: 'ES256', typ: 'JWT', kid })).toString('base64url'),
  )
  if (!jwk) return undefined
  const { kty, crv, x, y } = jwk
  const isGood = verify(
    'sha256',
    Buffer.from(`${head}.${body}`),
    { key: createPublicKey({ key: { kty, crv, x, y }, format: 'jwk' }), dsaEncoding: 'ieee-p1363' },
    Buffer.from(signature, 'base64url'),
  )
  return isGood ? (JSON.parse(Buffer.from(body, 'base64url').toString()) as TokenClaims) : undefined
}
