import { type Kysely, PostgresAdapter, sql } from 'kysely'

/**
 * What processes on one PostgreSQL tell each other. SQLite belongs to one process, whose feed is in its memory.
 *
 * There is always a row: a process that comes back knows by the last one that it read whether it missed any.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  if (!(db.getExecutor().adapter instanceof PostgresAdapter)) return
  await db.schema
    .createTable('feed_event')
    .addColumn('id', 'bigint', (c) => c.primaryKey().generatedAlwaysAsIdentity())
    .addColumn('at', 'bigint', (c) => c.notNull())
    .addColumn('origin', 'text', (c) => c.notNull())
    .addColumn('events', 'text', (c) => c.notNull())
    .execute()
  await sql`INSERT INTO feed_event (at, origin, events) VALUES (0, '', '[]')`.execute(db)
}
