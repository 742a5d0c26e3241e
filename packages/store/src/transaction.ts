import type { Kysely, Transaction } from 'kysely'
import { StoreError } from './errors.ts'
import type { Database } from './schema.ts'

/** How often a transaction is tried that PostgreSQL undoes because it and a statement beside it waited for each other. */
const limitAttempts = 5

/**
 * Runs `work` in the caller's transaction if there is one, otherwise in one of its own.
 *
 * @param work may run more than once, so it changes nothing but the database
 */
export async function atomically<T>(
  db: Kysely<Database>,
  work: (db: Kysely<Database>) => Promise<T>,
): Promise<T> {
  if (db.isTransaction) return work(db)
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await db
        .transaction()
        .execute((transaction: Transaction<Database>) => work(transaction))
    } catch (error) {
      const conflict = error instanceof StoreError && error.code === 'STORE_CONFLICT'
      if (!conflict || attempt === limitAttempts) throw error
    }
  }
}
