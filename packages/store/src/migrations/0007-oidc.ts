import type { Kysely } from 'kysely'

/**
 * Sign-on by OpenID Connect: secrets of applications; and who is still to be told of a session that has ended, which was kept
 * among the provider's things before, where nobody could take one of them for himself.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  const { schema } = db
  await schema
    .createTable('oidc_client_secret')
    .addColumn('id', 'text', (c) => c.primaryKey().notNull())
    .addColumn('application_id', 'text', (c) =>
      c.notNull().references('application.id').onDelete('cascade'),
    )
    .addColumn('secret_hash', 'text', (c) => c.notNull())
    .addColumn('created_at', 'bigint', (c) => c.notNull())
    .addColumn('last_used_at', 'bigint')
    .execute()
  await schema
    .createIndex('oidc_client_secret_by_application')
    .on('oidc_client_secret')
    .column('application_id')
    .execute()

  await schema
    .createTable('logout_notice')
    .addColumn('id', 'text', (c) => c.primaryKey().notNull())
    .addColumn('client_id', 'text', (c) => c.notNull())
    .addColumn('user_id', 'text', (c) => c.notNull())
    .addColumn('sid', 'text', (c) => c.notNull())
    .addColumn('ended_at', 'bigint', (c) => c.notNull())
    .addColumn('attempts', 'bigint', (c) => c.notNull())
    .addColumn('next_at', 'bigint', (c) => c.notNull())
    .execute()
  await schema.createIndex('logout_notice_by_time').on('logout_notice').column('next_at').execute()
  await moveNotices(db as Kysely<Moved>)
}

interface Moved {
  oidc_model: { model: string; id: string; payload: string }
  logout_notice: {
    id: string
    client_id: string
    user_id: string
    sid: string
    ended_at: number
    attempts: number
    next_at: number
  }
}

async function moveNotices(db: Kysely<Moved>): Promise<void> {
  const rows = await db
    .selectFrom('oidc_model')
    .select(['id', 'payload'])
    .where('model', '=', 'BackChannelLogout')
    .execute()
  for (const { id, payload } of rows) {
    const { clientId, userId, sid, endedAt } = JSON.parse(payload)
    await db
      .insertInto('logout_notice')
      .values({
        id,
        client_id: clientId,
        user_id: userId,
        sid,
        ended_at: endedAt,
        attempts: 0,
        next_at: endedAt,
      })
      .execute()
  }
  await db.deleteFrom('oidc_model').where('model', '=', 'BackChannelLogout').execute()
}
