import type { AccessEvent } from '@sallyport/domain'
import { CamelCasePlugin, Kysely } from 'kysely'
import pg from 'pg'
import { type StoreError, throwLater } from './errors.ts'
import { migrate } from './migrate.ts'
import { prepareConnection, toClientConfig } from './postgres-client.ts'
import { PostgresPoolDialect } from './postgres-dialect.ts'
import { type Announcement, type FeedRetention, PostgresFeed } from './postgres-feed.ts'
import { PostgresListener } from './postgres-listener.ts'
import { describeServer, type PostgresServer } from './postgres-server.ts'
import type { Database } from './schema.ts'
import type { Store } from './store.ts'
import { atomically } from './transaction.ts'

export interface PostgresOptions extends PostgresServer {
  kind: 'postgresql'
  /** How long a change may wait for the changes before it; 10 s. */
  waitLimitMs?: number
  /** How long the server may take to answer; 20 s more than that. */
  answerLimitMs?: number
  /** Nobody else may have the database open meanwhile; default false. */
  exclusive?: boolean
  /** How often the feed is looked at without having been notified; 5 s. */
  lookIntervalMs?: number
  /** What of the feed is kept; default 24 h and 100,000 rows. */
  feedRetention?: FeedRetention
  /** The connection of the feed broke (with why), or is there again (undefined). */
  onConnection?: (error: StoreError | undefined) => void
  /** Something beside the requests failed, and will be tried again. Default: nobody hears of it. */
  onError?: (error: unknown) => void
  /** The database is being copied meanwhile: the process should end. Default: an uncaught error. */
  onFailure?: (error: StoreError) => void
}

const connections = 10
const listenerAnswerLimitMs = 5_000
const pruneIntervalMs = 600_000

export async function openPostgresStore(options: PostgresOptions): Promise<Store> {
  const { waitLimitMs = 10_000, exclusive = false } = options
  const limits = { waitLimitMs, answerLimitMs: options.answerLimitMs ?? waitLimitMs + 20_000 }
  const { feedRetention = { ms: 86_400_000, rows: 100_000 } } = options
  const onConnection = options.onConnection ?? (() => {})
  const onError = options.onError ?? (() => {})
  const onFailure = options.onFailure ?? throwLater
  // The first to connect: it finds out what is wrong, and says that the database is in use.
  const listener = await PostgresListener.connect({
    server: options,
    // A network that swallows everything is noticed by the feed soon.
    limits: { ...limits, answerLimitMs: Math.min(limits.answerLimitMs, listenerAnswerLimitMs) },
    exclusive,
    lookIntervalMs: options.lookIntervalMs ?? 5_000,
    onRow: (row) => feed.receive(row),
    onInterruption: () => feed.interrupted(Date.now()),
    onConnection,
    onFailure,
  })
  const pool = new pg.Pool({
    ...toClientConfig(options, limits),
    max: connections,
    onConnect: prepareConnection,
  } as pg.PoolConfig)
  // Idle connections break when the server restarts. The pool has dropped them by then, and makes others when asked.
  pool.on('error', () => {})
  // One that is in use tells whoever uses it; without a listener it would end the process.
  pool.on('connect', (client) => client.on('error', () => {}))
  const bare = new Kysely<unknown>({
    dialect: new PostgresPoolDialect(pool, describeServer(options)),
  })
  const db = bare.withPlugin(new CamelCasePlugin()) as Kysely<Database>
  const feed = new PostgresFeed(db, feedRetention, onError)
  try {
    await migrate(bare)
    await listener.begin()
    await feed.prune()
  } catch (error) {
    await listener.close()
    await pool.end()
    throw error
  }
  const pruner = setInterval(() => void feed.prune().catch(onError), pruneIntervalMs)
  pruner.unref()
  return {
    kind: 'postgresql',
    db,
    feed,
    async change(work, onCommit) {
      let announcement: Announcement = { events: [], rowIds: [] }
      const give = async () =>
        atomically(db, async (db) => {
          feed.failed(announcement)
          const events: AccessEvent[] = []
          const result = await work(db, (more) => events.push(...more))
          announcement = await feed.announce(db, events)
          return result
        })
      const result = await give().catch((error: unknown) => {
        feed.failed(announcement)
        throw error
      })
      onCommit?.(announcement.events)
      feed.committed(announcement)
      return result
    },
    prove: () => listener.prove(),
    async close() {
      clearInterval(pruner)
      await feed.close()
      await listener.close()
      await db.destroy()
      // Kysely leaves a driver alone that it never used.
      if (!pool.ending) await pool.end()
    },
  }
}
