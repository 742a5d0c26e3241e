import { setTimeout as delay } from 'node:timers/promises'
import type pg from 'pg'
import { StoreError } from './errors.ts'
import { advisoryLocks, connectClient, endClient, type PostgresLimits } from './postgres-client.ts'
import { toStoreError } from './postgres-errors.ts'
import { describeServer, type PostgresServer } from './postgres-server.ts'

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
  /** Rows are missing that nobody has any more. */
  onInterruption(): void
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
  #proofs: PromiseWithResolvers<void>[] = []
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

  /**
   * Resolves when everything that was committed before the call has been given on.
   *
   * @throws StoreError while the connection is lost
   */
  prove(): Promise<void> {
    const proof = Promise.withResolvers<void>()
    this.#proofs.push(proof)
    if (this.#client) this.#look()
    else this.#disprove(this.#closed())
    return proof.promise
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.#wake()
    await this.#drop()
    await this.#running
    // It may just have been made again.
    await this.#drop()
    this.#disprove(this.#closed())
  }

  async #connect(): Promise<void> {
    const { server, limits, exclusive } = this.#options
    this.#lost = undefined
    const client = await connectClient(server, limits, (error) => {
      this.#lost = error
      this.#wake()
    })
    client.on('notification', () => this.#look())
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
    const [newest] = await this.#read('true ORDER BY id DESC LIMIT 1')
    this.#last = newest
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing
    while (!signal.aborted) {
      try {
        await this.#follow()
      } catch (error) {
        if (signal.aborted) return
        await this.#drop()
        this.#disprove(error)
        this.#options.onConnection(error as StoreError)
        if (!(await this.#reconnect())) return
      }
    }
  }

  /** Reads rows as they come; ends by an error when the connection does. */
  async #follow(): Promise<never> {
    for (;;) {
      this.#isWoken = false
      // Only those who asked before this reading begins.
      const asked = this.#proofs.length
      const rows = await this.#readOn()
      for (const row of rows) {
        this.#last = row
        this.#options.onRow(row)
      }
      if (rows.length < pageRows) for (const { resolve } of this.#proofs.splice(0, asked)) resolve()
      if (rows.length === 0) await this.#untilWoken()
      this.#closing.signal.throwIfAborted()
      if (this.#lost !== undefined) throw this.#lost
    }
  }

  /**
   * The row that was read last has to be there still: if not, others behind it may have gone too, or this is another
   * database now. Then it goes on with what is there.
   */
  async #readOn(): Promise<FeedRow[]> {
    const { id = 0, at } = this.#last ?? {}
    const [last, ...rows] = await this.#read(`id >= ${id} ORDER BY id LIMIT ${pageRows + 1}`)
    if (last?.id === id && last.at === at) return rows
    this.#last = undefined
    // Before anything is read again, so that it knows of every row that is passed over here.
    const [newest] = await this.#read('true ORDER BY id DESC LIMIT 1')
    this.#last = newest
    this.#options.onInterruption()
    return []
  }

  #read(condition: string): Promise<FeedRow[]> {
    return this.#ask(`SELECT id, at, origin, events FROM feed_event WHERE ${condition}`)
  }

  #look(): void {
    this.#isWoken = true
    this.#wake()
  }

  #disprove(error: unknown): void {
    for (const { reject } of this.#proofs.splice(0)) reject(error)
  }

  #closed(): StoreError {
    const place = describeServer(this.#options.server)
    return this.#closing.signal.aborted
      ? new StoreError('STORE_CLOSED', `${place}: closed`)
      : new StoreError('STORE_UNREACHABLE', `${place}: the connection is lost`)
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
        if (signal.aborted) return false
        this.#options.onConnection(undefined)
        return true
      } catch (error) {
        await this.#drop()
        this.#disprove(error)
        if ((error as StoreError).code !== 'STORE_IN_USE') continue
        this.#options.onFailure(error as StoreError)
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
    if (!this.#client) throw this.#closed()
    try {
      return (await this.#client.query<Row>(text)).rows
    } catch (error) {
      throw toStoreError(error, describeServer(this.#options.server))
    }
  }
}
