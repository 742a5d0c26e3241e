import type { Kysely } from 'kysely'

/** When a session was last used, for lists; sessions from before have no such instant. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema.alterTable('session').addColumn('last_used_at', 'bigint').execute()
}
