import type { Kysely } from 'kysely'
import type { Database } from './schema.ts'

/** A key or secret, sealed by the key file; the store never sees what is inside. */
export interface SealedSecret {
  id: string
  purpose: string
  sealed: string
  createdAt: number
  retiredAt: number | undefined
}

export async function findSecret(
  db: Kysely<Database>,
  id: string,
): Promise<SealedSecret | undefined> {
  const row = await db.selectFrom('secret').selectAll().where('id', '=', id).executeTakeFirst()
  return row && { ...row, retiredAt: row.retiredAt ?? undefined }
}

/** All of one purpose, newest first, retired ones too. */
export async function listSecrets(db: Kysely<Database>, purpose: string): Promise<SealedSecret[]> {
  const rows = await db
    .selectFrom('secret')
    .selectAll()
    .where('purpose', '=', purpose)
    .orderBy('createdAt', 'desc')
    .orderBy('id')
    .execute()
  return rows.map((row) => ({ ...row, retiredAt: row.retiredAt ?? undefined }))
}

/** Stores a secret; one with the same ID is replaced. */
export async function saveSecret(
  db: Kysely<Database>,
  secret: { id: string; purpose: string; sealed: string; createdAt: number },
): Promise<void> {
  const { purpose, sealed, createdAt } = secret
  await db
    .insertInto('secret')
    .values({ ...secret, retiredAt: null })
    .onConflict((conflict) =>
      conflict.column('id').doUpdateSet({ purpose, sealed, createdAt, retiredAt: null }),
    )
    .execute()
}

/** @returns false when there is none, or it was retired before */
export async function retireSecret(
  db: Kysely<Database>,
  id: string,
  nowAt: number,
): Promise<boolean> {
  const row = await db
    .updateTable('secret')
    .set({ retiredAt: nowAt })
    .where('id', '=', id)
    .where('retiredAt', 'is', null)
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

export async function deleteSecret(db: Kysely<Database>, id: string): Promise<void> {
  await db.deleteFrom('secret').where('id', '=', id).execute()
}
