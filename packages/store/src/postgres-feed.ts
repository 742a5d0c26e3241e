import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { AccessEvent } from '@sallyport/domain'
import { type Kysely, sql } from 'kysely'
import { EventFeed } from './feed.ts'
import type { FeedRow } from './postgres-listener.ts'
import type { Database } from './schema.ts'
import { atomically } from './transaction.ts'

export interface FeedRetention {
  /** So long a process may be cut off and still learn everything that it missed. */
  ms: number
  rows: number
}

const eventsPerRow = 1_000
const outboxPauseMs = 1_000
/** Of the server: the clocks of several machines differ. */
const nowMs = sql<number>`(extract(epoch from clock_timestamp()) * 1000)::bigint`

/** Events that were written in a transaction whose end is not known yet. */
export interface Announcement {
  events: readonly AccessEvent[]
  rowIds: readonly number[]
}

/**
 * The feed of all processes on one database. Each event is a row that is committed with the change that it tells of;
 * listeners of this process hear it at once, those of others when they have read the row.
 */
export class PostgresFeed extends EventFeed {
  readonly #db: Kysely<Database>
  readonly #retention: FeedRetention
  readonly #origin = randomUUID()
  readonly #closing = new AbortController()
  /**
   * Rows of this process that have not come back yet. `open`: the transaction has not ended for us. `seen`: it has
   * come back before that. `told`: its events were told.
   */
  readonly #own = new Map<number, 'open' | 'seen' | 'told'>()
  #outbox: AccessEvent[] = []
  #sending: Promise<void> | undefined

  readonly #onError: (error: unknown) => void

  /** @param onError what was published could not be written, and will be again */
  constructor(db: Kysely<Database>, retention: FeedRetention, onError: (error: unknown) => void) {
    super()
    this.#db = db
    this.#retention = retention
    this.#onError = onError
  }

  /** Other processes hear it as soon as the database takes it. */
  override publish(event: AccessEvent): void {
    this.tell(event)
    this.#outbox.push(event)
    this.#sending ??= this.#send().finally(() => {
      this.#sending = undefined
    })
  }

  /** Writes events as a part of the transaction `db`. */
  async announce(db: Kysely<Database>, events: readonly AccessEvent[]): Promise<Announcement> {
    const rowIds: number[] = []
    for (let index = 0; index < events.length; index += eventsPerRow) {
      const json = JSON.stringify(events.slice(index, index + eventsPerRow))
      const { rows } = await sql<{ id: number }>`
        INSERT INTO feed_event (at, origin, events) VALUES (${nowMs}, ${this.#origin}, ${json}) RETURNING id
      `.execute(db)
      rowIds.push(rows[0]!.id)
      this.#own.set(rows[0]!.id, 'open')
    }
    if (rowIds.length > 0) await sql`SELECT pg_notify('sallyport_feed', '')`.execute(db)
    return { events, rowIds }
  }

  /** The transaction is committed: tells the listeners of this process. */
  committed({ events, rowIds }: Announcement): void {
    for (const id of rowIds)
      if (this.#own.get(id) === 'seen') this.#own.delete(id)
      else this.#own.set(id, 'told')
    for (const event of events) this.tell(event)
  }

  /** The transaction failed, as far as is known: its rows are told if they come back all the same. */
  failed({ events, rowIds }: Announcement): void {
    const cameBack = rowIds.some((id) => this.#own.get(id) === 'seen')
    for (const id of rowIds) this.#own.delete(id)
    if (cameBack) for (const event of events) this.tell(event)
  }

  /** A row of the table, in order. */
  receive({ id, origin, events }: Pick<FeedRow, 'id' | 'origin' | 'events'>): void {
    if (origin === this.#origin) {
      const state = this.#own.get(id)
      if (state === 'told') this.#own.delete(id)
      if (state === 'open') this.#own.set(id, 'seen')
      if (state !== undefined) return
    }
    for (const event of JSON.parse(events) as AccessEvent[]) this.tell(event)
  }

  /** Rows were lost before they were read: whoever relies on them must read anew. */
  interrupted(at: number): void {
    // Their own changes were told by whoever made them.
    this.#own.clear()
    this.tell({ kind: 'feed-interrupted', at })
  }

  /** Removes what is older, or more, than is kept; the newest row stays. */
  async prune(): Promise<void> {
    const { ms, rows } = this.#retention
    await sql`
      DELETE FROM feed_event WHERE id < (SELECT max(id) FROM feed_event)
      AND (at < ${nowMs} - ${sql.lit(ms)} OR id <= (SELECT max(id) FROM feed_event) - ${sql.lit(rows)})
    `.execute(this.#db)
  }

  /** Waits for what was published, unless the database is away. */
  async close(): Promise<void> {
    this.#closing.abort()
    await this.#sending
  }

  async #send(): Promise<void> {
    while (this.#outbox.length > 0) {
      const events = this.#outbox
      this.#outbox = []
      let announcement: Announcement | undefined
      try {
        await atomically(this.#db, async (db) => {
          announcement = await this.announce(db, events)
        })
        // They were told when they were published.
        this.committed({ events: [], rowIds: announcement!.rowIds })
      } catch (error) {
        this.#onError(error)
        // Told twice is harmless, not told is not: it goes out once more even if it did already.
        if (announcement) this.failed({ events: [], rowIds: announcement.rowIds })
        this.#outbox = [...events, ...this.#outbox]
        if (this.#closing.signal.aborted) return
        await delay(outboxPauseMs, undefined, { signal: this.#closing.signal }).catch(() => {})
      }
    }
  }
}
