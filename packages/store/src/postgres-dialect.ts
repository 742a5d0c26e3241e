import {
  CompiledQuery,
  type DatabaseConnection,
  type DatabaseIntrospector,
  type DataTypeNode,
  type Dialect,
  type DialectAdapter,
  type Driver,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
  type QueryCompiler,
  type QueryResult,
  type TransactionSettings,
} from 'kysely'
import type pg from 'pg'
import { StoreError } from './errors.ts'
import { toParameter } from './parameters.ts'
import { advisoryLocks } from './postgres-client.ts'
import { isConnectionLost, toStoreError } from './postgres-errors.ts'

type IntrospectedDatabase = ConstructorParameters<typeof PostgresIntrospector>[0]

/** A statement beside transactions that a deadlock undid is asked again so often. */
const limitAttempts = 5

/** Kysely over a pool of connections to PostgreSQL, with the order of things that SQLite has. */
export class PostgresPoolDialect implements Dialect {
  readonly #pool: pg.Pool
  readonly #place: string

  /**
   * @param pool ended by `Kysely.destroy()`
   * @param place what errors call the database
   */
  constructor(pool: pg.Pool, place: string) {
    this.#pool = pool
    this.#place = place
  }

  createDriver(): Driver {
    return new PostgresPoolDriver(this.#pool, this.#place)
  }

  createQueryCompiler(): QueryCompiler {
    return new ByteOrderCompiler()
  }

  createAdapter(): DialectAdapter {
    return new PostgresAdapter()
  }

  createIntrospector(db: IntrospectedDatabase): DatabaseIntrospector {
    return new PostgresIntrospector(db)
  }
}

/** Text is compared by its bytes, as SQLite does, and not by the rules of a language. */
class ByteOrderCompiler extends PostgresQueryCompiler {
  protected override visitDataType(node: DataTypeNode): void {
    super.visitDataType(node)
    if (node.dataType === 'text' && this.parentNode?.kind === 'ColumnDefinitionNode')
      this.append(' collate "C"')
  }
}

class PostgresPoolDriver implements Driver {
  readonly #pool: pg.Pool
  readonly #place: string

  constructor(pool: pg.Pool, place: string) {
    this.#pool = pool
    this.#place = place
  }

  async init(): Promise<void> {}

  async acquireConnection(): Promise<DatabaseConnection> {
    if (this.#pool.ending) throw new StoreError('STORE_CLOSED', `${this.#place}: closed`)
    try {
      return new PostgresConnection(await this.#pool.connect(), this.#place)
    } catch (error) {
      throw toStoreError(error, this.#place)
    }
  }

  async releaseConnection(connection: DatabaseConnection): Promise<void> {
    ;(connection as PostgresConnection).release()
  }

  /**
   * Transactions run one after the other, over all processes. Each sees what those before it left, as on SQLite, so
   * a check and the change that rests on it need no more thought; and the ids of feed events are in the order of commits.
   * One that only reads waits for nobody, and sees everything as it is at one instant.
   */
  async beginTransaction(
    connection: DatabaseConnection,
    { accessMode }: TransactionSettings,
  ): Promise<void> {
    const own = connection as PostgresConnection
    own.inTransaction = true
    try {
      if (accessMode === 'read only') {
        await connection.executeQuery(
          CompiledQuery.raw('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY'),
        )
        return
      }
      await connection.executeQuery(CompiledQuery.raw('BEGIN ISOLATION LEVEL READ COMMITTED'))
      await connection.executeQuery(
        CompiledQuery.raw(`SELECT pg_advisory_xact_lock(${advisoryLocks.changes})`),
      )
    } catch (error) {
      await this.rollbackTransaction(connection)
      throw error
    }
  }

  async commitTransaction(connection: DatabaseConnection): Promise<void> {
    const own = connection as PostgresConnection
    await connection.executeQuery(CompiledQuery.raw('COMMIT'))
    own.inTransaction = false
  }

  async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    const own = connection as PostgresConnection
    // The server undoes what a lost connection had begun; an error about that would hide the first one.
    if (!own.isLost) await connection.executeQuery(CompiledQuery.raw('ROLLBACK'))
    own.inTransaction = false
  }

  async destroy(): Promise<void> {
    if (!this.#pool.ending) await this.#pool.end()
  }
}

class PostgresConnection implements DatabaseConnection {
  readonly #client: pg.PoolClient
  readonly #place: string
  inTransaction = false
  /** Nothing more can be asked over it. */
  isLost = false

  constructor(client: pg.PoolClient, place: string) {
    this.#client = client
    this.#place = place
  }

  async executeQuery<R>({ sql, parameters }: CompiledQuery): Promise<QueryResult<R>> {
    // Kysely itself asks for tables with a boolean, which SQLite could not take.
    const values = parameters.map((value) =>
      typeof value === 'boolean' ? value : toParameter(value),
    )
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#query(sql, values)
      } catch (error) {
        // A statement by itself is undone whole; of a transaction only its owner knows the beginning.
        const conflict = error instanceof StoreError && error.code === 'STORE_CONFLICT'
        if (this.inTransaction || !conflict || attempt === limitAttempts) throw error
      }
    }
  }

  /** All rows at once: nothing that is read here is larger than memory. */
  async *streamQuery<R>(query: CompiledQuery): AsyncIterableIterator<QueryResult<R>> {
    yield await this.executeQuery<R>(query)
  }

  release(): void {
    // Neither a broken connection nor one inside a transaction is for anybody else.
    this.#client.release(this.isLost || this.inTransaction)
  }

  async #query<R>(sql: string, values: unknown[]): Promise<QueryResult<R>> {
    try {
      const { rows, rowCount, command } = await this.#client.query(sql, values)
      const result: QueryResult<R> = { rows: rows as R[] }
      return changing.has(command) ? { ...result, numAffectedRows: BigInt(rowCount ?? 0) } : result
    } catch (error) {
      const known = toStoreError(error, this.#place)
      this.isLost ||= isConnectionLost(known)
      throw known
    }
  }
}

const changing: ReadonlySet<string> = new Set(['INSERT', 'UPDATE', 'DELETE', 'MERGE'])
