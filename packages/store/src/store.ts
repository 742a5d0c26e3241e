import type { AccessEvent } from '@sallyport/domain'
import type { Kysely } from 'kysely'
import type { EventFeed } from './feed.ts'
import type { PostgresOptions } from './postgres-store.ts'
import type { Database } from './schema.ts'
import { openSqliteStore, type SqliteOptions } from './sqlite-store.ts'

export type StoreOptions = SqliteOptions | PostgresOptions

/** What a change announces is told when it is committed, and never if it is not. */
export type Announce = (events: Iterable<AccessEvent>) => void

/** The database and what goes with it. Whoever opened it closes it. */
export interface Store {
  readonly kind: 'sqlite' | 'postgresql'
  readonly db: Kysely<Database>
  readonly feed: EventFeed
  /**
   * Runs `work` in a transaction. The events that it announces are committed with it: every process on the database
   * hears them, even if this one dies now. Listeners of this process have run when this resolves.
   *
   * @param work may run more than once, so it changes nothing but the database
   * @param onCommit runs between the commit and the telling
   */
  change<T>(
    work: (db: Kysely<Database>, announce: Announce) => Promise<T>,
    onCommit?: (events: readonly AccessEvent[]) => void,
  ): Promise<T>
  /**
   * Resolves when the database has answered, and every event that anybody published before the call has been given to
   * the listeners of this process. A feed over a connection reads on over that, and rejects while it is lost. What was
   * missed meanwhile comes when it is there again; if it cannot all be had, `feed-interrupted` comes before the rest.
   *
   * @throws StoreError
   */
  prove(): Promise<void>
  /** Waits for what was asked before. */
  close(): Promise<void>
}

/**
 * Opens the database and brings its tables to this version.
 *
 * @throws StoreError `STORE_IN_USE`, `STORE_UNREADABLE`, `STORE_TOO_NEW`; of PostgreSQL `STORE_UNREACHABLE`,
 *   `STORE_ACCESS_DENIED`, `STORE_MISSING`, `STORE_UNTRUSTED`, `STORE_TOO_OLD`
 */
export async function openStore(options: StoreOptions): Promise<Store> {
  if (options.kind === 'sqlite') return openSqliteStore(options)
  // Who has one machine need not load what speaks to another.
  const { openPostgresStore } = await import('./postgres-store.ts')
  return openPostgresStore(options)
}
