import { chmod, mkdir, open } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { AccessEvent } from '@sallyport/domain'
import { CamelCasePlugin, Kysely } from 'kysely'
import { type StoreError, throwLater } from './errors.ts'
import { EventFeed } from './feed.ts'
import { migrate } from './migrate.ts'
import type { Database } from './schema.ts'
import { SqliteClient } from './sqlite-client.ts'
import { SqliteWorkerDialect } from './sqlite-dialect.ts'
import type { Store } from './store.ts'
import { atomically } from './transaction.ts'

export interface SqliteOptions {
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

export async function openSqliteStore(options: SqliteOptions): Promise<Store> {
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
  const feed = new EventFeed()
  return {
    kind: 'sqlite',
    db,
    feed,
    async change(work, onCommit) {
      let events: AccessEvent[] = []
      const result = await atomically(db, (db) => {
        events = []
        return work(db, (more) => events.push(...more))
      })
      onCommit?.(events)
      // The file belongs to this process: there is nobody else to tell.
      feed.publishAll(events)
      return result
    },
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

/** SQLite gives its journal the mode of the database, so the database must have it first. */
async function makePrivate(file: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 })
  const handle = await open(file, 'a', 0o600)
  await handle.close()
  await chmod(file, 0o600)
}
