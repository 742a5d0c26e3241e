import type { Kysely } from 'kysely'

/**
 * All tables of the first version. Column types are those that SQLite and PostgreSQL both know.
 * Members and principals are users or groups by their kind, so no foreign key can name them.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  const { schema } = db

  await schema
    .createTable('setting')
    .addColumn('key', 'text', (c) => c.primaryKey().notNull())
    .addColumn('value', 'text', (c) => c.notNull())
    .execute()

  await schema
    .createTable('user')
    .addColumn('id', 'text', (c) => c.primaryKey().notNull())
    .addColumn('user_name', 'text', (c) => c.notNull().unique())
    .addColumn('display_name', 'text', (c) => c.notNull())
    .addColumn('mail', 'text')
    .addColumn('password_hash', 'text')
    .addColumn('enabled', 'integer', (c) => c.notNull())
    .addColumn('sign_in_epoch', 'bigint', (c) => c.notNull().defaultTo(1))
    .addColumn('created_at', 'bigint', (c) => c.notNull())
    .addColumn('updated_at', 'bigint', (c) => c.notNull())
    .execute()

  await schema
    .createTable('group')
    .addColumn('id', 'text', (c) => c.primaryKey().notNull())
    .addColumn('name', 'text', (c) => c.notNull().unique())
    .addColumn('created_at', 'bigint', (c) => c.notNull())
    .execute()

  await schema
    .createTable('group_member')
    .addColumn('group_id', 'text', (c) => c.notNull().references('group.id').onDelete('cascade'))
    .addColumn('member_id', 'text', (c) => c.notNull())
    .addColumn('member_kind', 'text', (c) => c.notNull())
    .addPrimaryKeyConstraint('group_member_pk', ['group_id', 'member_id', 'member_kind'])
    .execute()
  await schema
    .createIndex('group_member_by_member')
    .on('group_member')
    .columns(['member_id', 'member_kind'])
    .execute()

  await schema
    .createTable('connector_group')
    .addColumn('id', 'text', (c) => c.primaryKey().notNull())
    .addColumn('name', 'text', (c) => c.notNull().unique())
    .addColumn('created_at', 'bigint', (c) => c.notNull())
    .execute()

  await schema
    .createTable('application')
    .addColumn('id', 'text', (c) => c.primaryKey().notNull())
    .addColumn('name', 'text', (c) => c.notNull().unique())
    .addColumn('definition', 'text', (c) => c.notNull())
    .addColumn('created_at', 'bigint', (c) => c.notNull())
    .addColumn('updated_at', 'bigint', (c) => c.notNull())
    .execute()

  await schema
    .createTable('assignment')
    .addColumn('application_id', 'text', (c) =>
      c.notNull().references('application.id').onDelete('cascade'),
    )
    .addColumn('principal_id', 'text', (c) => c.notNull())
    .addColumn('principal_kind', 'text', (c) => c.notNull())
    .addPrimaryKeyConstraint('assignment_pk', ['application_id', 'principal_id', 'principal_kind'])
    .execute()
  await schema
    .createIndex('assignment_by_principal')
    .on('assignment')
    .columns(['principal_id', 'principal_kind'])
    .execute()

  await schema
    .createTable('connector')
    .addColumn('id', 'text', (c) => c.primaryKey().notNull())
    .addColumn('name', 'text', (c) => c.notNull())
    .addColumn('group_id', 'text', (c) => c.notNull().references('connector_group.id'))
    .addColumn('public_key_thumbprint', 'text', (c) => c.notNull())
    .addColumn('certificate_serial', 'text', (c) => c.notNull().unique())
    .addColumn('next_certificate_serial', 'text', (c) => c.unique())
    .addColumn('certificate_not_after_at', 'bigint', (c) => c.notNull())
    .addColumn('enrolled_at', 'bigint', (c) => c.notNull())
    .addColumn('last_seen_at', 'bigint')
    .addColumn('revoked_at', 'bigint')
    .execute()

  await schema
    .createTable('enrolment_token')
    .addColumn('id', 'text', (c) => c.primaryKey().notNull())
    .addColumn('token_hash', 'text', (c) => c.notNull().unique())
    .addColumn('group_id', 'text', (c) => c.notNull().references('connector_group.id'))
    .addColumn('created_at', 'bigint', (c) => c.notNull())
    .addColumn('expires_at', 'bigint', (c) => c.notNull())
    .addColumn('used_at', 'bigint')
    .addColumn('connector_id', 'text')
    .execute()

  await schema
    .createTable('secret')
    .addColumn('id', 'text', (c) => c.primaryKey().notNull())
    .addColumn('purpose', 'text', (c) => c.notNull())
    .addColumn('sealed', 'text', (c) => c.notNull())
    .addColumn('created_at', 'bigint', (c) => c.notNull())
    .addColumn('retired_at', 'bigint')
    .execute()
  await schema.createIndex('secret_by_purpose').on('secret').column('purpose').execute()

  await schema
    .createTable('oidc_model')
    .addColumn('model', 'text', (c) => c.notNull())
    .addColumn('id', 'text', (c) => c.notNull())
    .addColumn('payload', 'text', (c) => c.notNull())
    .addColumn('grant_id', 'text')
    .addColumn('uid', 'text')
    .addColumn('user_code', 'text')
    .addColumn('account_id', 'text')
    .addColumn('expires_at', 'bigint')
    .addColumn('consumed_at', 'bigint')
    .addPrimaryKeyConstraint('oidc_model_pk', ['model', 'id'])
    .execute()
  for (const column of ['grant_id', 'uid', 'user_code', 'account_id', 'expires_at'] as const)
    await schema.createIndex(`oidc_model_by_${column}`).on('oidc_model').column(column).execute()

  // No foreign key to the user: lists show the sessions of people who were deleted since.
  await schema
    .createTable('session')
    .addColumn('id', 'text', (c) => c.primaryKey().notNull())
    .addColumn('user_id', 'text', (c) => c.notNull())
    .addColumn('sign_in_epoch', 'bigint', (c) => c.notNull())
    .addColumn('methods', 'text', (c) => c.notNull())
    .addColumn('signed_in_at', 'bigint', (c) => c.notNull())
    .addColumn('absolute_expires_at', 'bigint', (c) => c.notNull())
    .addColumn('ended_at', 'bigint')
    .addColumn('end_reason', 'text')
    .addColumn('client_address', 'text')
    .addColumn('user_agent', 'text')
    .execute()
  await schema.createIndex('session_by_user').on('session').column('user_id').execute()
  await schema
    .createIndex('session_by_expiry')
    .on('session')
    .column('absolute_expires_at')
    .execute()

  await schema
    .createTable('audit_event')
    .addColumn('id', 'text', (c) => c.primaryKey().notNull())
    .addColumn('at', 'bigint', (c) => c.notNull())
    .addColumn('kind', 'text', (c) => c.notNull())
    .addColumn('actor', 'text', (c) => c.notNull())
    .addColumn('subject', 'text', (c) => c.notNull())
    .addColumn('detail', 'text', (c) => c.notNull())
    .execute()
  await schema.createIndex('audit_event_by_time').on('audit_event').columns(['at', 'id']).execute()
}
