import { createHash } from 'node:crypto'
import { type Kysely, sql } from 'kysely'
import { StoreError } from './errors.ts'
import { toParameter } from './parameters.ts'
import type { Database } from './schema.ts'
import type { Store } from './store.ts'

type Table = keyof Database
type Row = Record<string, unknown>

/** Every table with its primary key, those that others refer to before them. */
const primaryKeys = {
  setting: ['key'],
  user: ['id'],
  group: ['id'],
  groupMember: ['groupId', 'memberId', 'memberKind'],
  connectorGroup: ['id'],
  application: ['id'],
  assignment: ['applicationId', 'principalId', 'principalKind'],
  connector: ['id'],
  credential: ['id'],
  sealedCredential: ['credentialId', 'connectorId'],
  enrolmentToken: ['id'],
  secret: ['id'],
  oidcModel: ['model', 'id'],
  session: ['id'],
  samlCertificate: ['id'],
  samlSession: ['sessionId', 'applicationId'],
  oidcClientSecret: ['id'],
  logoutNotice: ['id'],
  auditEvent: ['id'],
} satisfies { [T in Table]: readonly (keyof Database[T] & string)[] }

const tables = Object.keys(primaryKeys) as Table[]
const pageRows = 500

export interface CopiedTable {
  table: string
  rows: number
}

export interface CopyOptions {
  /** What the target holds is removed; otherwise it must hold nothing. */
  replace?: boolean
  /** After each page that was written. */
  onProgress?: (progress: CopiedTable & { total: number }) => void
}

/**
 * Copies everything from one database to another, as it is at one instant, in one transaction, and compares what
 * arrived before that is committed. The feed is not copied: nobody may be listening there.
 *
 * @throws StoreError `STORE_NOT_EMPTY`; `STORE_COPY_DIFFERS` when something did not arrive as it was. The target is as
 *   it was before
 */
export async function copyStore(
  from: Store,
  to: Store,
  options: CopyOptions = {},
): Promise<CopiedTable[]> {
  await checkTables(from)
  return from.db
    .transaction()
    .setAccessMode('read only')
    .execute((source) =>
      to.db.transaction().execute((target) => copyTables(source, target, options)),
    )
}

async function copyTables(
  source: Kysely<Database>,
  target: Kysely<Database>,
  options: CopyOptions,
): Promise<CopiedTable[]> {
  if (options.replace) await removeAll(target)
  else await checkEmpty(target)
  const copied: CopiedTable[] = []
  for (const table of tables) {
    const total = await countRows(source, table)
    const sent = new Digest()
    for await (const rows of readPages(source, table)) {
      sent.add(rows)
      await target
        .insertInto(table)
        .values(rows as never)
        .execute()
      options.onProgress?.({ table, rows: sent.rows, total })
    }
    const arrived = new Digest()
    for await (const rows of readPages(target, table)) arrived.add(rows)
    if (sent.rows !== total || !arrived.equals(sent))
      throw new StoreError(
        'STORE_COPY_DIFFERS',
        `table ${table}: ${total} rows were to be copied, and what arrived differs; nothing was changed`,
      )
    copied.push({ table, rows: total })
  }
  return copied
}

/** A table that is not in the list would be lost without a word. */
async function checkTables({ db }: Store): Promise<void> {
  const known = new Set(tables.map((name) => name.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`)))
  for (const { name, isView } of await db.introspection.getTables())
    if (!isView && !known.has(name) && name !== 'feed_event')
      throw new StoreError('STORE_COPY_DIFFERS', `table ${name}: is none of Sallyport's; remove it`)
}

async function checkEmpty(db: Kysely<Database>): Promise<void> {
  for (const table of tables) {
    const rows = await countRows(db, table)
    if (rows > 0)
      throw new StoreError(
        'STORE_NOT_EMPTY',
        `the target is not empty: table ${table} has ${rows} rows`,
      )
  }
}

async function removeAll(db: Kysely<Database>): Promise<void> {
  for (const table of tables.toReversed()) await db.deleteFrom(table).execute()
}

async function countRows(db: Kysely<Database>, table: Table): Promise<number> {
  const { count } = await db
    .selectFrom(table)
    .select((eb) => eb.fn.countAll().as('count'))
    .executeTakeFirstOrThrow()
  return Number(count)
}

/** In the order of the primary key, which is the same in both databases. */
async function* readPages(db: Kysely<Database>, table: Table): AsyncGenerator<Row[]> {
  const keys: readonly string[] = primaryKeys[table]
  const key = sql.join(keys.map((name) => sql.ref(name)))
  let after: unknown[] | undefined
  for (;;) {
    const beyond = after ? sql`WHERE (${key}) > (${sql.join(after)})` : sql``
    const { rows } = await sql<Row>`
      SELECT * FROM ${sql.table(table)} ${beyond} ORDER BY ${key} LIMIT ${sql.lit(pageRows)}
    `.execute(db)
    if (rows.length > 0) yield rows
    if (rows.length < pageRows) return
    after = keys.map((name) => rows.at(-1)![name])
  }
}

/** Number and content of rows, in their order. */
class Digest {
  rows = 0
  readonly #hash = createHash('sha256')
  #value: string | undefined

  add(rows: readonly Row[]): void {
    this.rows += rows.length
    for (const row of rows) {
      const fields = Object.entries(row).map(([name, value]) => [name, toParameter(value)] as const)
      this.#hash.update(JSON.stringify(fields.sort(([a], [b]) => (a < b ? -1 : 1))))
    }
  }

  equals(other: Digest): boolean {
    return this.rows === other.rows && this.#end() === other.#end()
  }

  #end(): string {
    this.#value ??= this.#hash.digest('hex')
    return this.#value
  }
}
