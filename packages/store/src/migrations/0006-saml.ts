import type { Kysely } from 'kysely'

/** Sign-on by SAML: with what each application's assertions are signed, and at which applications sessions were begun. */
export async function up(db: Kysely<unknown>): Promise<void> {
  const { schema } = db
  await schema
    .createTable('saml_certificate')
    .addColumn('id', 'text', (c) => c.primaryKey().notNull())
    .addColumn('application_id', 'text', (c) =>
      c.notNull().references('application.id').onDelete('cascade'),
    )
    .addColumn('certificate', 'text', (c) => c.notNull())
    .addColumn('sealed_key', 'text', (c) => c.notNull())
    .addColumn('created_at', 'bigint', (c) => c.notNull())
    .addColumn('not_after_at', 'bigint', (c) => c.notNull())
    .addColumn('active', 'integer', (c) => c.notNull())
    .execute()
  await schema
    .createIndex('saml_certificate_by_application')
    .on('saml_certificate')
    .column('application_id')
    .execute()

  await schema
    .createTable('saml_session')
    .addColumn('session_id', 'text', (c) =>
      c.notNull().references('session.id').onDelete('cascade'),
    )
    .addColumn('application_id', 'text', (c) =>
      c.notNull().references('application.id').onDelete('cascade'),
    )
    .addColumn('session_index', 'text', (c) => c.notNull())
    .addColumn('name_id', 'text', (c) => c.notNull())
    .addColumn('name_id_format', 'text', (c) => c.notNull())
    .addColumn('begun_at', 'bigint', (c) => c.notNull())
    .addPrimaryKeyConstraint('saml_session_pk', ['session_id', 'application_id'])
    .execute()
}
