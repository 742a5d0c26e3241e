import type { Kysely } from 'kysely'

/**
 * Passwords for applications, sealed to connectors. Nobody who reads these tables can open them. Whose they are is a
 * user or a group by its kind, so no foreign key can name it.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  const { schema } = db
  await schema.alterTable('connector').addColumn('sealing_key', 'text').execute()
  await schema.alterTable('connector').addColumn('sealing_key_approval', 'text').execute()

  await schema
    .createTable('credential')
    .addColumn('id', 'text', (c) => c.primaryKey().notNull())
    .addColumn('application_id', 'text', (c) =>
      c.notNull().references('application.id').onDelete('cascade'),
    )
    .addColumn('subject_id', 'text', (c) => c.notNull())
    .addColumn('subject_kind', 'text', (c) => c.notNull())
    .addColumn('origin', 'text', (c) => c.notNull())
    .addColumn('action', 'text', (c) => c.notNull())
    .addColumn('version', 'bigint', (c) => c.notNull())
    .addColumn('set_by', 'text', (c) => c.notNull())
    .addColumn('updated_at', 'bigint', (c) => c.notNull())
    .addColumn('refused_at', 'bigint')
    .addUniqueConstraint('credential_of_subject', ['application_id', 'subject_id', 'subject_kind'])
    .execute()
  await schema
    .createIndex('credential_by_subject')
    .on('credential')
    .columns(['subject_id', 'subject_kind'])
    .execute()

  await schema
    .createTable('sealed_credential')
    .addColumn('credential_id', 'text', (c) =>
      c.notNull().references('credential.id').onDelete('cascade'),
    )
    .addColumn('connector_id', 'text', (c) =>
      c.notNull().references('connector.id').onDelete('cascade'),
    )
    .addColumn('sealed', 'text', (c) => c.notNull())
    .addPrimaryKeyConstraint('sealed_credential_pk', ['credential_id', 'connector_id'])
    .execute()
  await schema
    .createIndex('sealed_credential_by_connector')
    .on('sealed_credential')
    .column('connector_id')
    .execute()
}
