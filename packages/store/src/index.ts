/**
 * Everything that Sallyport keeps: tables, migrations, and queries as plain functions over `db`,
 * one namespace per noun. The same queries run on SQLite and PostgreSQL. What a query changes for
 * people who are signed in, its caller announces in `Store.change`: it is committed with the change.
 */
export * as accessState from './access-state.ts'
export * as applications from './applications.ts'
export * as audit from './audit.ts'
export { AuditNotices, type AuditNoticesOptions } from './audit-notices.ts'
export {
  copyDatabase,
  readBackupFacts,
  replaceDatabase,
  settleRestored,
  writeBackupFacts,
} from './backup.ts'
export * as connectorGroups from './connector-groups.ts'
export * as connectors from './connectors.ts'
export { type CopiedTable, type CopyOptions, copyStore } from './copy.ts'
export { countRows } from './counts.ts'
export * as credentials from './credentials.ts'
export * as enrolmentTokens from './enrolment-tokens.ts'
export { StoreError, type StoreErrorCode } from './errors.ts'
export { type AccessListener, EventFeed } from './feed.ts'
export * as groups from './groups.ts'
export * as logoutNotices from './logout-notices.ts'
export * as oidcModel from './oidc-model.ts'
export * as oidcSecrets from './oidc-secrets.ts'
export { describeServer } from './postgres-server.ts'
export type { PostgresOptions } from './postgres-store.ts'
export * as saml from './saml.ts'
export type { Database } from './schema.ts'
export * as secrets from './secrets.ts'
export * as sessions from './sessions.ts'
export * as settings from './settings.ts'
export type { SqliteOptions } from './sqlite-store.ts'
export { type Announce, openStore, type Store, type StoreOptions } from './store.ts'
export { atomically } from './transaction.ts'
export * as users from './users.ts'
