import { createHash, generateKeyPair, type JsonWebKey } from 'node:crypto'
import { promisify } from 'node:util'
import { atomically, type Store, secrets } from '@sallyport/store'
import type { JWK } from 'oidc-provider'

const purpose = 'oidc-signing-key'

/** Seals and opens what is kept in the store; the key is a file outside it. */
export interface Sealing {
  seal(purpose: string, bytes: Buffer): string
  open(purpose: string, sealed: string): Buffer
}

/**
 * The private keys of the OpenID provider, the one that signs first. Makes one when there is none.
 *
 * RS256, as Entra's tokens: it is what every client library accepts without being told.
 */
export async function loadSigningKeys(
  db: Store['db'],
  sealing: Sealing,
  nowAt: number,
): Promise<JWK[]> {
  const known = await readKeys(db, sealing)
  if (known.length > 0) return known
  const made = await createSigningKey()
  const sealed = sealing.seal(purpose, Buffer.from(JSON.stringify(made)))
  return atomically(db, async (db) => {
    // Another process on the same database may have been first: both sign with its key then.
    const meanwhile = await readKeys(db, sealing)
    if (meanwhile.length > 0) return meanwhile
    await secrets.saveSecret(db, { id: made.kid, purpose, sealed, createdAt: nowAt })
    return [made]
  })
}

async function readKeys(db: Store['db'], sealing: Sealing): Promise<JWK[]> {
  return (await secrets.listSecrets(db, purpose))
    .filter(({ retiredAt }) => retiredAt === undefined)
    .map(({ sealed }) => JSON.parse(sealing.open(purpose, sealed).toString()) as JWK)
}

async function createSigningKey(): Promise<JWK & { kid: string }> {
  const { privateKey } = await promisify(generateKeyPair)('rsa', { modulusLength: 2048 })
  const jwk = privateKey.export({ format: 'jwk' })
  return { ...(jwk as JWK), kid: thumbprint(jwk), use: 'sig', alg: 'RS256' }
}

/** RFC 7638. */
function thumbprint({ e, kty, n }: JsonWebKey): string {
  return createHash('sha256').update(JSON.stringify({ e, kty, n })).digest('base64url')
}
