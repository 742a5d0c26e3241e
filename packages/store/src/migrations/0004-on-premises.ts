import type { Kysely } from 'kysely'

/** What the directory on premises calls a user. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const column of [
    'on_premises_user_principal_name',
    'on_premises_sam_account_name',
    'on_premises_domain_name',
  ])
    await db.schema.alterTable('user').addColumn(column, 'text').execute()
}
