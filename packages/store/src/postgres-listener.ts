import { setTimeout as delay } from 'node:timers/promises'
import type pg from 'pg'
import { StoreError } from './errors.ts'
import {
  advisoryLocks,
  connectClient,
  describeServer,
  endClient,
  type PostgresLimits,
  type PostgresServer,
} from './postgres-client.ts'
import { toStoreError } from './postgres-errors.ts'

export interface FeedRow {
  id: number
  at: number
  origin: string
  /** JSON of AccessEvent[]. */
  events: string
}

export interface ListenerOptions {
  server: PostgresServer
  limits: PostgresLimits
  /** Nobody else may have the database open; otherwise nobody may have it open like that. */
  exclusive: boolean
  /** Without a notification rows are looked for so often; it also shows that the connection still lives. */
  lookIntervalMs: number
  /** Rows in the order of commits, each once. */
  onRow(row: FeedRow): void
  /** The connection broke, or is there again. */
  onConnection(error: StoreError | undefined): void
  /** It cannot go on, and somebody has to begin anew. */
  onFailure(error: StoreError): void
}

const pageRows = 500
const firstPauseMs = 100
const longestPauseMs = 2_000

/**
 * The connection that hears what other processes changed. When it breaks it is made again, and what was missed is
 * read from the table, in order.
 */
export class PostgresListener {
  readonly #options: ListenerOptions
  readonly #closing = new AbortController()
  #client: pg.Client | undefined
  #lost: unknown
  #wake: () => void = () => {}
  #isWoken = false
  #last: Pick<FeedRow, 'id' | 'at'> | undefined
  #certainAt = performance.now()
  #running: Promise<void> = Promise.resolve()

  private constructor(options: ListenerOptions) {
    this.#options = options
  }

  /**
   * Connects, and says that the database is in use.
   *
   * @throws StoreError as `connectClient`; `STORE_IN_USE`
   */
  static async connect(options: ListenerOptions): Promise<PostgresListener> {
    const listener = new PostgresListener(options)
    await listener.#connect()
    return listener
  }

  /** Hears everything from now on; the tables are there. */
  async begin(): Promise<void> {
    await this.#listen()
    this.#running = this.#run()
  }

  /** How long ago it was certain that nothing was missed, milliseconds. */
  silentMs(): number {
    return performance.now() - this.#certainAt
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.#wake()
    if (this.#client) await endClient(this.#client)
    await this.#running
  }

  async #connect(): Promise<void> {
    const { server, limits, exclusive } = this.#options
    this.#lost = undefined
    const client = await connectClient(server, limits, (error) => {
      this.#lost = error
      this.#wake()
    })
    client.on('notification', () => {
      this.#isWoken = true
      this.#wake()
    })
    this.#client = client
    const lock = exclusive ? 'pg_try_advisory_lock' : 'pg_try_advisory_lock_shared'
    const [answer] = await this.#ask<{ granted: boolean }>(
      `SELECT ${lock}(${advisoryLocks.services}) AS granted`,
    )
    if (answer?.granted) return
    await this.#drop()
    throw new StoreError(
      'STORE_IN_USE',
      exclusive
        ? `${describeServer(server)}: a service uses it; stop that first`
        : `${describeServer(server)}: it is being copied; wait until that is done`,
    )
  }

  /** Before the table is read, so that nothing is missed between the two. */
  async #listen(): Promise<void> {
    await this.#ask('LISTEN sallyport_feed')
    if (this.#last) return
    const [newest] = await this.#ask<FeedRow>(
      'SELECT id, at FROM feed_event ORDER BY id DESC LIMIT 1',
    )
    this.#last = newest
    this.#certainAt = performance.now()
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing
    while (!signal.aborted) {
      try {
        await this.#follow()
      } catch (error) {
        if (signal.aborted) return
        await this.#drop()
        if (isFinal(error)) {
          this.#options.onFailure(error)
          return
        }
        this.#options.onConnection(error as StoreError)
        if (!(await this.#reconnect())) return
      }
    }
  }

  /** Reads rows as they come; ends by an error when the connection does. */
  async #follow(): Promise<never> {
    for (;;) {
      this.#isWoken = false
      const rows = await this.#readOn()
      for (const row of rows) {
        this.#last = row
        this.#options.onRow(row)
      }
      this.#certainAt = performance.now()
      if (rows.length === 0) await this.#untilWoken()
      this.#closing.signal.throwIfAborted()
      if (this.#lost !== undefined) throw this.#lost
    }
  }

  /**
   * The row that was read last has to be there still: if not, others behind it may have gone too.
   *
   * @throws StoreError `STORE_FEED_LOST`
   */
  async #readOn(): Promise<FeedRow[]> {
    const { id = 0, at } = this.#last ?? {}
    const [last, ...rows] = await this.#ask<FeedRow>(
      `SELECT id, at, origin, events FROM feed_event WHERE id >= ${id} ORDER BY id LIMIT ${pageRows}`,
    )
    if (last?.id === id && last.at === at) return rows
    throw new StoreError(
      'STORE_FEED_LOST',
      `${describeServer(this.#options.server)}: events were missed that are no longer kept, or the database was replaced by another`,
    )
  }

  #untilWoken(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#isWoken || this.#lost !== undefined || this.#closing.signal.aborted) {
        resolve()
        return
      }
      const timer = setTimeout(resolve, this.#options.lookIntervalMs)
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  /** @returns false when it is not to go on */
  async #reconnect(): Promise<boolean> {
    const { signal } = this.#closing
    for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(2 * pauseMs, longestPauseMs)) {
      await delay(pauseMs * (0.5 + Math.random()), undefined, { signal }).catch(() => {})
      if (signal.aborted) return false
      try {
        await this.#connect()
        await this.#listen()
        this.#options.onConnection(undefined)
        return true
      } catch (error) {
        await this.#drop()
        if (!isFinal(error)) continue
        this.#options.onFailure(error)
        return false
      }
    }
  }

  async #drop(): Promise<void> {
    const client = this.#client
    this.#client = undefined
    if (client) await endClient(client)
  }

  async #ask<Row extends object>(text: string): Promise<Row[]> {
    const place = describeServer(this.#options.server)
    if (!this.#client) throw new StoreError('STORE_CLOSED', `${place}: closed`)
    try {
      return (await this.#client.query<Row>(text)).rows
    } catch (error) {
      throw toStoreError(error, place)
    }
  }
}

/** Trying again would not help. */
function isFinal(error: unknown): error is StoreError {
  const { code } = error as StoreError
  return code === 'STORE_FEED_LOST' || code === 'STORE_IN_USE'
}
