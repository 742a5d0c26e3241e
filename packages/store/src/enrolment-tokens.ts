import type { Kysely, Selectable } from 'kysely'
import type { Database } from './schema.ts'

/** A one-time permission to enrol a connector. Only its hash is kept. */
export interface EnrolmentToken {
  id: string
  groupId: string
  groupName: string
  createdAt: number
  expiresAt: number
  usedAt: number | undefined
  connectorId: string | undefined
}

export async function createEnrolmentToken(
  db: Kysely<Database>,
  token: { id: string; tokenHash: string; groupId: string; expiresAt: number },
  nowAt: number,
): Promise<void> {
  await db
    .insertInto('enrolmentToken')
    .values({ ...token, createdAt: nowAt, usedAt: null, connectorId: null })
    .execute()
}

export async function findEnrolmentToken(
  db: Kysely<Database>,
  tokenHash: string,
): Promise<EnrolmentToken | undefined> {
  const row = await select(db).where('enrolmentToken.tokenHash', '=', tokenHash).executeTakeFirst()
  return row && toToken(row)
}

/** Newest first, used and expired ones too. */
export async function listEnrolmentTokens(db: Kysely<Database>): Promise<EnrolmentToken[]> {
  const rows = await select(db)
    .orderBy('enrolmentToken.createdAt', 'desc')
    .orderBy('enrolmentToken.id')
    .execute()
  return rows.map(toToken)
}

/** @returns false when there is no such token, or it was used */
export async function deleteUnusedEnrolmentToken(
  db: Kysely<Database>,
  id: string,
): Promise<boolean> {
  const row = await db
    .deleteFrom('enrolmentToken')
    .where('id', '=', id)
    .where('usedAt', 'is', null)
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

/**
 * Uses the token up for a connector. One conditional UPDATE, so that of any number of simultaneous
 * calls one returns true.
 */
export async function redeemEnrolmentToken(
  db: Kysely<Database>,
  id: string,
  connectorId: string,
  nowAt: number,
): Promise<boolean> {
  const row = await db
    .updateTable('enrolmentToken')
    .set({ usedAt: nowAt, connectorId })
    .where('id', '=', id)
    .where('usedAt', 'is', null)
    .where('expiresAt', '>', nowAt)
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

/** Removes tokens that expired before the instant; a used one stays as long, so that its replay is noticed. */
export async function deleteEnrolmentTokensBefore(
  db: Kysely<Database>,
  beforeAt: number,
): Promise<void> {
  await db.deleteFrom('enrolmentToken').where('expiresAt', '<', beforeAt).execute()
}

function select(db: Kysely<Database>) {
  return db
    .selectFrom('enrolmentToken')
    .innerJoin('connectorGroup', 'connectorGroup.id', 'enrolmentToken.groupId')
    .select([
      'enrolmentToken.id',
      'enrolmentToken.groupId',
      'enrolmentToken.createdAt',
      'enrolmentToken.expiresAt',
      'enrolmentToken.usedAt',
      'enrolmentToken.connectorId',
      'connectorGroup.name as groupName',
    ])
}

function toToken(
  row: Pick<
    Selectable<Database['enrolmentToken']>,
    'id' | 'groupId' | 'createdAt' | 'expiresAt' | 'usedAt' | 'connectorId'
  > & { groupName: string },
): EnrolmentToken {
  return { ...row, usedAt: row.usedAt ?? undefined, connectorId: row.connectorId ?? undefined }
}
