import type { Kysely } from 'kysely'
import { type AuditInput, recordAudit } from './audit.ts'
import type { Database } from './schema.ts'

export interface AuditNoticesOptions {
  db: Kysely<Database>
  /** Epoch milliseconds. */
  clock(): number
  /** One event of a key in this time; one minute unless given. */
  intervalMs?: number
  /** Keys remembered; beyond that the oldest is forgotten. */
  limitKeys?: number
}

/**
 * Records what strangers do again and again: the first time, and then once in each interval with the number
 * of times in between, so that nobody can fill the audit log.
 */
export class AuditNotices {
  readonly #db: Kysely<Database>
  readonly #clock: () => number
  readonly #intervalMs: number
  readonly #limitKeys: number
  readonly #noticed = new Map<string, { at: number; repeated: number }>()

  constructor({ db, clock, intervalMs = 60_000, limitKeys = 10_000 }: AuditNoticesOptions) {
    this.#db = db
    this.#clock = clock
    this.#intervalMs = intervalMs
    this.#limitKeys = limitKeys
  }

  /**
   * @param key what counts as the same
   * @returns whether it was recorded
   */
  async record(key: string, event: Omit<AuditInput, 'at'>): Promise<boolean> {
    const nowAt = this.#clock()
    const last = this.#noticed.get(key)
    if (last && nowAt - last.at < this.#intervalMs) {
      last.repeated += 1
      return false
    }
    this.#noticed.delete(key)
    this.#noticed.set(key, { at: nowAt, repeated: 0 })
    if (this.#noticed.size > this.#limitKeys)
      this.#noticed.delete(this.#noticed.keys().next().value as string)
    const repeated = last?.repeated ?? 0
    await recordAudit(this.#db, {
      ...event,
      at: nowAt,
      detail: { ...event.detail, ...(repeated > 0 ? { repeated } : {}) },
    })
    return true
  }
}
