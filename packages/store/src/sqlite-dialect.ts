import {
  CompiledQuery,
  type DatabaseConnection,
  type DatabaseIntrospector,
  type Dialect,
  type DialectAdapter,
  type Driver,
  type QueryCompiler,
  type QueryResult,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
} from 'kysely'
import { StoreError } from './errors.ts'
import { toParameter } from './parameters.ts'
import type { SqliteClient } from './sqlite-client.ts'

type IntrospectedDatabase = ConstructorParameters<typeof SqliteIntrospector>[0]

/** Kysely over one SQLite connection in a worker thread. */
export class SqliteWorkerDialect implements Dialect {
  readonly #client: SqliteClient
  readonly #waitLimitMs: number

  /**
   * @param client closed by `Kysely.destroy()`
   * @param waitLimitMs how long a query may wait for the transactions before it
   */
  constructor(client: SqliteClient, waitLimitMs: number) {
    this.#client = client
    this.#waitLimitMs = waitLimitMs
  }

  createDriver(): Driver {
    return new SqliteWorkerDriver(this.#client, this.#waitLimitMs)
  }

  createQueryCompiler(): QueryCompiler {
    return new SqliteQueryCompiler()
  }

  createAdapter(): DialectAdapter {
    return new WorkerSqliteAdapter()
  }

  createIntrospector(db: IntrospectedDatabase): DatabaseIntrospector {
    return new SqliteIntrospector(db)
  }
}

class WorkerSqliteAdapter extends SqliteAdapter {
  /** Kysely's own lock around a single connection waits for ever; the driver below has one that ends. */
  override get supportsMultipleConnections(): boolean {
    return true
  }

  /** SQLite rolls schema changes back like any other: a killed migration leaves nothing half done. */
  override get supportsTransactionalDdl(): boolean {
    return true
  }
}

class SqliteWorkerDriver implements Driver {
  readonly #client: SqliteClient
  readonly #connection: DatabaseConnection
  readonly #turn: Turn

  constructor(client: SqliteClient, waitLimitMs: number) {
    this.#client = client
    this.#connection = new SqliteWorkerConnection(client)
    this.#turn = new Turn(waitLimitMs)
  }

  async init(): Promise<void> {}

  // One connection: whoever holds it may be in a transaction, and a query of somebody else would
  // become part of that.
  async acquireConnection(): Promise<DatabaseConnection> {
    await this.#turn.take()
    return this.#connection
  }

  async releaseConnection(): Promise<void> {
    this.#turn.pass()
  }

  async beginTransaction(connection: DatabaseConnection): Promise<void> {
    await connection.executeQuery(CompiledQuery.raw('BEGIN IMMEDIATE'))
  }

  async commitTransaction(connection: DatabaseConnection): Promise<void> {
    await connection.executeQuery(CompiledQuery.raw('COMMIT'))
  }

  async rollbackTransaction(): Promise<void> {
    await this.#client.rollback()
  }

  async destroy(): Promise<void> {
    await this.#client.close()
  }
}

class SqliteWorkerConnection implements DatabaseConnection {
  readonly #client: SqliteClient

  constructor(client: SqliteClient) {
    this.#client = client
  }

  async executeQuery<R>({ sql, parameters }: CompiledQuery): Promise<QueryResult<R>> {
    const { rows, changes } = await this.#client.query(sql, parameters.map(toParameter))
    const result: QueryResult<R> = { rows: rows as R[] }
    return changes === undefined ? result : { ...result, numAffectedRows: BigInt(changes) }
  }

  /** All rows at once: the thread that reads them cannot be paused in the middle of a statement. */
  async *streamQuery<R>(query: CompiledQuery): AsyncIterableIterator<QueryResult<R>> {
    yield await this.executeQuery<R>(query)
  }
}

/** Lets one caller at a time through, in the order they came. */
class Turn {
  readonly #limitMs: number
  readonly #queue: (() => void)[] = []
  #taken = false

  constructor(limitMs: number) {
    this.#limitMs = limitMs
  }

  /** @throws StoreError `STORE_BUSY` after the limit: a transaction that waits for itself would hang forever */
  take(): Promise<void> {
    if (!this.#taken) {
      this.#taken = true
      return Promise.resolve()
    }
    return new Promise((resolve, reject) => {
      const go = () => {
        clearTimeout(timer)
        resolve()
      }
      const timer = setTimeout(() => {
        this.#queue.splice(this.#queue.indexOf(go), 1)
        reject(
          new StoreError(
            'STORE_BUSY',
            `waited ${this.#limitMs} ms for another transaction; inside a transaction use its own db`,
          ),
        )
      }, this.#limitMs)
      this.#queue.push(go)
    })
  }

  pass(): void {
    const next = this.#queue.shift()
    if (next) next()
    else this.#taken = false
  }
}
