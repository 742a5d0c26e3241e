import { chmod, mkdir, open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { CamelCasePlugin, Kysely } from 'kysely'
import type { StoreError } from './errors.ts'
import { EventFeed } from './feed.ts'
import { migrate } from './migrate.ts'
import type { Database } from './schema.ts'
import { SqliteClient } from './sqlite-client.ts'
import { SqliteWorkerDialect } from './sqlite-dialect.ts'

export interface StoreOptions {
  kind: 'sqlite'
  /** Made with mode 0600 if it does not exist, its directory with 0700. */
  file: string
  /** How long a query may wait for transactions before it; 10 s. */
  waitLimitMs?: number
  /**
   * The database thread ended by itself. Nothing can be read or changed any more, revocations included:
   * the process should end. Default: an uncaught error.
   */
  onFailure?: (error: StoreError) => void
}

/** The database and what goes with it. Whoever opened it closes it. */
export interface Store {
  readonly db: Kysely<Database>
  readonly feed: EventFeed
  /**
   * Resolves when the database has answered, and every event that anybody published before the call has been given to
   * the listeners of this process. A feed over a connection sends something through it that comes back, and rejects
   * while it is lost; once it is there again it publishes `feed-interrupted` before anything else.
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
 * @throws StoreError `STORE_IN_USE`, `STORE_UNREADABLE`, `STORE_TOO_NEW`
 */
export async function openStore(options: StoreOptions): Promise<Store> {
  await makePrivate(options.file)
  const client = await SqliteClient.open(
    { file: options.file, busyTimeoutMs: 1000 },
    options.onFailure ?? throwLater,
  )
  const bare = new Kysely<unknown>({
    dialect: new SqliteWorkerDialect(client, options.waitLimitMs ?? 10_000),
  })
  try {
    await migrate(bare)
  } catch (error) {
    await client.close()
    throw error
  }
  const db = bare.withPlugin(new CamelCasePlugin()) as Kysely<Database>
  return {
    db,
    feed: new EventFeed(),
    async prove() {
      // Of this process's own feed nothing gets lost; that the store can be asked is what there is to prove.
      await db.selectFrom('setting').select('key').limit(1).execute()
    },
    async close() {
      await db.destroy()
      // Kysely leaves a driver alone that it never used.
      await client.close()
    },
  }
}

function throwLater(error: StoreError): void {
  queueMicrotask(() => {
    throw error
  })
}

/** SQLite gives its journal the mode of the database, so the database must have it first. */
async function makePrivate(file: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 })
  const handle = await open(file, 'a', 0o600)
  await handle.close()
  await chmod(file, 0o600)
}
