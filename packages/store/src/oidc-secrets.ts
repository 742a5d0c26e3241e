import type { Kysely } from 'kysely'
import type { Database } from './schema.ts'

/** A secret of an application that signs people on by OpenID Connect, without the secret. Instants are epoch milliseconds. */
export interface OidcSecret {
  id: string
  applicationId: string
  /** SHA-256, hex: the secret has 256 bits of chance, so nothing slower is needed. */
  secretHash: string
  createdAt: number
  /** To about an hour. */
  lastUsedAt: number | undefined
}

/** Of one application, the newest first. */
export async function listOidcSecrets(
  db: Kysely<Database>,
  applicationId: string,
): Promise<OidcSecret[]> {
  const rows = await db
    .selectFrom('oidcClientSecret')
    .selectAll()
    .where('applicationId', '=', applicationId)
    .orderBy('createdAt', 'desc')
    .orderBy('id')
    .execute()
  return rows.map((row) => ({ ...row, lastUsedAt: row.lastUsedAt ?? undefined }))
}

export async function addOidcSecret(
  db: Kysely<Database>,
  secret: Omit<OidcSecret, 'lastUsedAt'>,
): Promise<void> {
  await db
    .insertInto('oidcClientSecret')
    .values({ ...secret, lastUsedAt: null })
    .execute()
}

export async function deleteOidcSecret(db: Kysely<Database>, id: string): Promise<void> {
  await db.deleteFrom('oidcClientSecret').where('id', '=', id).execute()
}

export async function noteOidcSecretUse(
  db: Kysely<Database>,
  id: string,
  at: number,
): Promise<void> {
  await db.updateTable('oidcClientSecret').set({ lastUsedAt: at }).where('id', '=', id).execute()
}
