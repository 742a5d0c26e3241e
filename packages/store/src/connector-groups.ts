import { randomUUID } from 'node:crypto'
import type { Kysely } from 'kysely'
import type { Database } from './schema.ts'

/** Interchangeable connectors that serve the same applications. */
export interface ConnectorGroup {
  id: string
  name: string
  createdAt: number
}

/** @returns undefined when the name is taken */
export async function createConnectorGroup(
  db: Kysely<Database>,
  input: { id?: string; name: string },
  nowAt: number,
): Promise<ConnectorGroup | undefined> {
  return await db
    .insertInto('connectorGroup')
    .values({ id: input.id ?? randomUUID(), name: input.name, createdAt: nowAt })
    .onConflict((conflict) => conflict.column('name').doNothing())
    .returningAll()
    .executeTakeFirst()
}

export async function findConnectorGroupByName(
  db: Kysely<Database>,
  name: string,
): Promise<ConnectorGroup | undefined> {
  return await db
    .selectFrom('connectorGroup')
    .selectAll()
    .where('name', '=', name)
    .executeTakeFirst()
}

export async function listConnectorGroups(db: Kysely<Database>): Promise<ConnectorGroup[]> {
  return await db.selectFrom('connectorGroup').selectAll().orderBy('name').execute()
}

/**
 * Removes the group with its unused tokens and revoked connectors.
 *
 * @throws StoreError `STORE_QUERY_FAILED` with `constraint` while a connector in force belongs to it
 */
export async function deleteConnectorGroup(db: Kysely<Database>, id: string): Promise<boolean> {
  await db.deleteFrom('enrolmentToken').where('groupId', '=', id).execute()
  await db
    .deleteFrom('connector')
    .where('groupId', '=', id)
    .where('revokedAt', 'is not', null)
    .execute()
  const row = await db
    .deleteFrom('connectorGroup')
    .where('id', '=', id)
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}
