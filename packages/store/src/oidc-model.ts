import type { Kysely, Selectable } from 'kysely'
import { type Authorizations, keepLogoutNotices } from './logout-notices.ts'
import { prepare, type Slots } from './prepare.ts'
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
  await save(db, {
    ...key,
    payload: JSON.stringify(payload),
    grantId: payload.grantId ?? null,
    uid: payload.uid ?? null,
    userCode: payload.userCode ?? null,
    accountId: payload.accountId ?? null,
    expiresAt: expiresAt ?? null,
  })
}

const save = prepare((db, value: Slots<Omit<Selectable<Database['oidcModel']>, 'consumedAt'>>) => {
  const row = {
    payload: value('payload'),
    grantId: value('grantId'),
    uid: value('uid'),
    userCode: value('userCode'),
    accountId: value('accountId'),
    expiresAt: value('expiresAt'),
  }
  // consumedAt is left out of the update: saving again must not make a used code fresh.
  return db
    .insertInto('oidcModel')
    .values({ model: value('model'), id: value('id'), ...row, consumedAt: null })
    .onConflict((conflict) => conflict.columns(['model', 'id']).doUpdateSet(row))
})

/**
 * Saves the provider's session. What requests beside this one have written down of other applications stays: whoever read the
 * session before that would lose who is to be told of its end.
 *
 * @param isKnown whether it was read from here: then it has ended if it is not here any more, and is not saved
 */
export function saveOidcSession(
  db: Kysely<Database>,
  id: string,
  payload: OidcPayload,
  expiresAt: number | undefined,
  isKnown: boolean,
): Promise<void> {
  const key = { model: 'Session', id }
  return atomically(db, async (db) => {
    const kept = await findOidcModel(db, key)
    if (!kept && isKnown) return
    const merged =
      kept?.authorizations !== undefined && kept.uid === payload.uid
        ? { ...kept.authorizations, ...(payload.authorizations as Authorizations | undefined) }
        : payload.authorizations
    await saveOidcModel(db, key, { ...payload, authorizations: merged }, expiresAt)
  })
}

export function findOidcModel(
  db: Kysely<Database>,
  { model, id }: OidcKey,
): Promise<OidcPayload | undefined> {
  return findBy.id(db, { model, value: id })
}

export function findOidcModelByUid(
  db: Kysely<Database>,
  model: string,
  uid: string,
): Promise<OidcPayload | undefined> {
  return findBy.uid(db, { model, value: uid })
}

export function findOidcModelByUserCode(
  db: Kysely<Database>,
  model: string,
  userCode: string,
): Promise<OidcPayload | undefined> {
  return findBy.userCode(db, { model, value: userCode })
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
  return (await consume(db, { model, id, nowAt })).length > 0
}

const consume = prepare((db, value: Slots<{ model: string; id: string; nowAt: number }>) =>
  db
    .updateTable('oidcModel')
    .set({ consumedAt: value('nowAt') })
    .where('model', '=', value('model'))
    .where('id', '=', value('id'))
    .where('consumedAt', 'is', null)
    .returning('id'),
)

/** @returns whether it was there: of any number of simultaneous calls one returns true */
export async function deleteOidcModel(
  db: Kysely<Database>,
  { model, id }: OidcKey,
): Promise<boolean> {
  const deleted = await db
    .deleteFrom('oidcModel')
    .where('model', '=', model)
    .where('id', '=', id)
    .returning('id')
    .execute()
  return deleted.length > 0
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

/** Removes everything that the provider holds for a user: sessions, grants, tokens. */
export async function deleteOidcModelsOfUser(
  db: Kysely<Database>,
  userId: string,
  nowAt: number,
): Promise<void> {
  const sessions = await db
    .selectFrom('oidcModel')
    .select('payload')
    .where('accountId', '=', userId)
    .where('model', '=', 'Session')
    .execute()
  await keepLogoutNotices(
    db,
    sessions.map(({ payload }) => JSON.parse(payload) as OidcPayload),
    nowAt,
  )
  await db.deleteFrom('oidcModel').where('accountId', '=', userId).execute()
}

/**
 * Removes the provider's session with all grants given under it, their codes and tokens.
 *
 * @param byBrowser as `keepLogoutNotices`
 */
export function deleteOidcSession(
  db: Kysely<Database>,
  uid: string,
  nowAt: number,
  byBrowser = false,
): Promise<void> {
  return atomically(db, async (db) => {
    const session = await findOidcModelByUid(db, 'Session', uid)
    if (!session) return
    await keepLogoutNotices(db, [session], nowAt, byBrowser)
    const authorizations = (session.authorizations ?? {}) as Authorizations
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

/** Sessions that nobody has ended and whose time is over: applications are told of these too. */
export async function endExpiredOidcSessions(db: Kysely<Database>, nowAt: number): Promise<void> {
  const rows = await db
    .selectFrom('oidcModel')
    .select('uid')
    .where('model', '=', 'Session')
    .where('accountId', 'is not', null)
    .where('expiresAt', '<', nowAt)
    .execute()
  for (const { uid } of rows) if (uid !== null) await deleteOidcSession(db, uid, nowAt)
}

export async function deleteOidcModelsBefore(
  db: Kysely<Database>,
  beforeAt: number,
): Promise<void> {
  await db.deleteFrom('oidcModel').where('expiresAt', '<', beforeAt).execute()
}

const findBy = {
  id: findByColumn('id'),
  uid: findByColumn('uid'),
  userCode: findByColumn('userCode'),
}

function findByColumn(column: 'id' | 'uid' | 'userCode') {
  const find = prepare((db, value: Slots<{ model: string; value: string }>) =>
    db
      .selectFrom('oidcModel')
      .select(['payload', 'consumedAt'])
      .where('model', '=', value('model'))
      .where(column, '=', value('value')),
  )
  return async (
    db: Kysely<Database>,
    key: { model: string; value: string },
  ): Promise<OidcPayload | undefined> => {
    const [row] = await find(db, key)
    if (!row) return undefined
    const payload = JSON.parse(row.payload) as OidcPayload
    // The provider counts in seconds.
    if (row.consumedAt !== null) payload.consumed = Math.floor(row.consumedAt / 1000)
    return payload
  }
}
