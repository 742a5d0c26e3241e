import type { Kysely, Transaction } from 'kysely'
import type { Database } from './schema.ts'

/** Runs `work` in the caller's transaction if there is one, otherwise in one of its own. */
export function atomically<T>(
  db: Kysely<Database>,
  work: (db: Kysely<Database>) => Promise<T>,
): Promise<T> {
  if (db.isTransaction) return work(db)
  return db.transaction().execute((transaction: Transaction<Database>) => work(transaction))
}
