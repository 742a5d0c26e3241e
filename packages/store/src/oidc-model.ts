import type { Kysely } from 'kysely'
import type { Database } from './schema.ts'
import { atomically } from './transaction.ts'

/** What the OpenID provider keeps: a JSON object. We read the members named here, nothing else. */
export interface OidcPayload {
  [member: string]: unknown
  accountId?: string | undefined
  grantId?: string | undefined
  uid?: string | undefined
  userCode?: string | undefined
  consumed?: unknown
}

export interface OidcKey {
  /** The provider's name of the kind: `Session`, `AuthorizationCode`, `Grant`... */
  model: string
  id: string
}

export async function saveOidcModel(
  db: Kysely<Database>,
  key: OidcKey,
  payload: OidcPayload,
  expiresAt: number | undefined,
): Promise<void> {
  const row = {
    payload: JSON.stringify(payload),
    grantId: payload.grantId ?? null,
    uid: payload.uid ?? null,
    userCode: payload.userCode ?? null,
    accountId: payload.accountId ?? null,
    expiresAt: expiresAt ?? null,
  }
  // consumedAt is left out of the update: saving again must not make a used code fresh.
  await db
    .insertInto('oidcModel')
    .values({ ...key, ...row, consumedAt: null })
    .onConflict((conflict) => conflict.columns(['model', 'id']).doUpdateSet(row))
    .execute()
}

export function findOidcModel(
  db: Kysely<Database>,
  { model, id }: OidcKey,
): Promise<OidcPayload | undefined> {
  return findBy(db, model, 'id', id)
}

export function findOidcModelByUid(
  db: Kysely<Database>,
  model: string,
  uid: string,
): Promise<OidcPayload | undefined> {
  return findBy(db, model, 'uid', uid)
}

export function findOidcModelByUserCode(
  db: Kysely<Database>,
  model: string,
  userCode: string,
): Promise<OidcPayload | undefined> {
  return findBy(db, model, 'userCode', userCode)
}

/**
 * Uses a code or token up. One conditional UPDATE, so that of any number of simultaneous calls one
 * returns true.
 */
export async function consumeOidcModel(
  db: Kysely<Database>,
  { model, id }: OidcKey,
  nowAt: number,
): Promise<boolean> {
  const row = await db
    .updateTable('oidcModel')
    .set({ consumedAt: nowAt })
    .where('model', '=', model)
    .where('id', '=', id)
    .where('consumedAt', 'is', null)
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

export async function deleteOidcModel(db: Kysely<Database>, { model, id }: OidcKey): Promise<void> {
  await db.deleteFrom('oidcModel').where('model', '=', model).where('id', '=', id).execute()
}

/** Removes a grant's codes and tokens of one kind. */
export async function deleteOidcModelsOfGrant(
  db: Kysely<Database>,
  model: string,
  grantId: string,
): Promise<void> {
  await db
    .deleteFrom('oidcModel')
    .where('model', '=', model)
    .where('grantId', '=', grantId)
    .execute()
}

/** Removes the provider's session with all grants given under it, their codes and tokens. */
export function deleteOidcSession(db: Kysely<Database>, uid: string): Promise<void> {
  return atomically(db, async (db) => {
    const session = await findOidcModelByUid(db, 'Session', uid)
    if (!session) return
    const authorizations = (session.authorizations ?? {}) as Record<string, { grantId?: string }>
    const grantIds = Object.values(authorizations).flatMap(({ grantId }) => grantId ?? [])
    if (grantIds.length > 0) {
      await db.deleteFrom('oidcModel').where('grantId', 'in', grantIds).execute()
      await db
        .deleteFrom('oidcModel')
        .where('model', '=', 'Grant')
        .where('id', 'in', grantIds)
        .execute()
    }
    await db.deleteFrom('oidcModel').where('model', '=', 'Session').where('uid', '=', uid).execute()
  })
}

export async function deleteOidcModelsBefore(
  db: Kysely<Database>,
  beforeAt: number,
): Promise<void> {
  await db.deleteFrom('oidcModel').where('expiresAt', '<', beforeAt).execute()
}

async function findBy(
  db: Kysely<Database>,
  model: string,
  column: 'id' | 'uid' | 'userCode',
  value: string,
): Promise<OidcPayload | undefined> {
  const row = await db
    .selectFrom('oidcModel')
    .select(['payload', 'consumedAt'])
    .where('model', '=', model)
    .where(column, '=', value)
    .executeTakeFirst()
  if (!row) return undefined
  const payload = JSON.parse(row.payload) as OidcPayload
  // The provider counts in seconds.
  if (row.consumedAt !== null) payload.consumed = Math.floor(row.consumedAt / 1000)
  return payload
}
