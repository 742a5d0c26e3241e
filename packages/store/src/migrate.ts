import type { Kysely } from 'kysely'
import { type Migration, Migrator } from 'kysely/migration'
import { StoreError } from './errors.ts'
import * as tables from './migrations/0001-tables.ts'
import * as sessionUse from './migrations/0002-session-use.ts'
import * as feed from './migrations/0003-feed.ts'
import * as onPremises from './migrations/0004-on-premises.ts'
import * as passwords from './migrations/0005-passwords.ts'
import * as saml from './migrations/0006-saml.ts'
import * as oidc from './migrations/0007-oidc.ts'

/** In the order of their names; never edited once released, only added to. */
const migrations: Record<string, Migration> = {
  '0001-tables': tables,
  '0002-session-use': sessionUse,
  '0003-feed': feed,
  '0004-on-premises': onPremises,
  '0005-passwords': passwords,
  '0006-saml': saml,
  '0007-oidc': oidc,
}

/**
 * Brings the tables to this version. Forward only, all or nothing.
 *
 * @param db without plugins: migrations spell names as the database does
 * @throws StoreError `STORE_TOO_NEW` when a newer Sallyport has migrated the database
 */
export async function migrate(db: Kysely<unknown>): Promise<void> {
  const unknown = (await appliedMigrations(db)).filter((name) => !(name in migrations))
  if (unknown.length > 0)
    throw new StoreError(
      'STORE_TOO_NEW',
      `the database was migrated by a newer Sallyport (${unknown.join(', ')}); run that version, or restore a backup`,
    )
  const migrator = new Migrator({ db, provider: { getMigrations: async () => migrations } })
  const { error } = await migrator.migrateToLatest()
  if (error) throw error
}

async function appliedMigrations(db: Kysely<unknown>): Promise<string[]> {
  const existing = await db.introspection.getTables({ withInternalKyselyTables: true })
  if (!existing.some(({ name }) => name === 'kysely_migration')) return []
  const rows = await (db as Kysely<{ kysely_migration: { name: string } }>)
    .selectFrom('kysely_migration')
    .select('name')
    .execute()
  return rows.map(({ name }) => name)
}
