import { Worker } from 'node:worker_threads'
import { StoreError } from './errors.ts'
import type {
  SqliteAnswer,
  SqliteFailure,
  SqliteQuestion,
  SqliteSettings,
} from './sqlite-messages.ts'

const SQLITE_BUSY = 5
const SQLITE_CONSTRAINT = 19
const SQLITE_NOTADB = 26
const SQLITE_CORRUPT = 11

export interface SqliteResult {
  rows: unknown[]
  /** Undefined for a statement that returns rows. */
  changes: number | undefined
}

interface Waiting {
  resolve(result: SqliteResult): void
  reject(error: Error): void
}

/** A worker thread with one open SQLite file. */
export class SqliteClient {
  readonly #worker: Worker
  readonly #waiting = new Map<number, Waiting>()
  readonly #file: string
  readonly #onFailure: (error: StoreError) => void
  #lastId = 0
  #closing = false
  #failure: StoreError | undefined
  readonly #exited: Promise<void>

  private constructor(settings: SqliteSettings, onFailure: (error: StoreError) => void) {
    this.#file = settings.file
    this.#onFailure = onFailure
    this.#worker = new Worker(new URL('./sqlite-worker.ts', import.meta.url), {
      workerData: settings,
    })
    this.#worker.on('message', (answer: SqliteAnswer) => this.#settle(answer))
    this.#worker.on('error', (error) => this.#fail('the database thread failed', error))
    this.#exited = new Promise((resolve) =>
      this.#worker.once('exit', () => {
        this.#fail('the database is closed')
        resolve()
      }),
    )
  }

  /**
   * @throws StoreError `STORE_IN_USE` when another process has the file open, `STORE_UNREADABLE`
   *   when it is no database or cannot be opened
   */
  static async open(
    settings: SqliteSettings,
    onFailure: (error: StoreError) => void,
  ): Promise<SqliteClient> {
    const client = new SqliteClient(settings, onFailure)
    try {
      await client.#ask({ id: 0, kind: 'open' })
      return client
    } catch (error) {
      client.#closing = true
      await client.#worker.terminate()
      if (error instanceof StoreError && error.code === 'STORE_BUSY')
        throw new StoreError(
          'STORE_IN_USE',
          `open ${settings.file}: another process has it open; stop that one first, or talk to it`,
          { cause: error },
        )
      throw new StoreError('STORE_UNREADABLE', `open ${settings.file}: ${String(error)}`, {
        cause: error,
      })
    }
  }

  /** @throws StoreError `STORE_QUERY_FAILED`, `STORE_CLOSED` */
  query(sql: string, parameters: readonly unknown[]): Promise<SqliteResult> {
    return this.#ask({ id: 0, kind: 'query', sql, parameters })
  }

  /** Ends the transaction if there still is one. */
  async rollback(): Promise<void> {
    await this.#ask({ id: 0, kind: 'rollback' })
  }

  /** Answers what was asked before, then closes the file. */
  async close(): Promise<void> {
    if (!this.#closing) {
      this.#closing = true
      if (!this.#failure) await this.#ask({ id: 0, kind: 'close' })
    }
    await this.#exited
  }

  #ask(question: SqliteQuestion): Promise<SqliteResult> {
    if (this.#failure) return Promise.reject(this.#failure)
    this.#lastId += 1
    const id = this.#lastId
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      try {
        this.#worker.postMessage({ ...question, id })
      } catch (error) {
        // Something that cannot be cloned, such as a function, among the parameters.
        this.#waiting.delete(id)
        reject(error)
      }
    })
  }

  #settle(answer: SqliteAnswer): void {
    const waiting = this.#waiting.get(answer.id)
    this.#waiting.delete(answer.id)
    if (!waiting) return
    if ('failure' in answer) waiting.reject(this.#toError(answer.failure))
    else waiting.resolve(answer)
  }

  #toError({ message, errcode }: SqliteFailure): StoreError {
    const primary = (errcode ?? 0) & 0xff
    if (primary === SQLITE_BUSY) return new StoreError('STORE_BUSY', `${this.#file}: ${message}`)
    if (primary === SQLITE_NOTADB || primary === SQLITE_CORRUPT)
      return new StoreError('STORE_UNREADABLE', `${this.#file}: ${message}`)
    return new StoreError('STORE_QUERY_FAILED', message, {
      constraint: primary === SQLITE_CONSTRAINT,
    })
  }

  #fail(message: string, cause?: unknown): void {
    this.#failure ??= new StoreError('STORE_CLOSED', `${this.#file}: ${message}`, { cause })
    for (const { reject } of this.#waiting.values()) reject(this.#failure)
    this.#waiting.clear()
    if (!this.#closing) {
      this.#closing = true
      this.#onFailure(this.#failure)
    }
  }
}
