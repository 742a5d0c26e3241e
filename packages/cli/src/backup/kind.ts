import type { ServiceConfig } from '../config.ts'
import { CommandError } from '../failure.ts'

/** @throws CommandError when everything is kept in PostgreSQL, whose backups are its own */
export function requireSqlite({ database }: ServiceConfig): void {
  if (database.kind === 'sqlite') return
  throw new CommandError(
    'database.kind: the database is PostgreSQL, which this command does not back up or restore',
    'use pg_dump, or pg_restore and then restore --in-place; see docs/postgresql.md, Backups',
  )
}
