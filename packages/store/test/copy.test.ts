import assert from 'node:assert/strict'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import { copyStore, openStore, type SqliteOptions, type Store, settings } from '@sallyport/store'
import { lastFirst, type Scope } from '@sallyport/testkit/scope'
import { sql } from 'kysely'
import { makeFile, startPostgres } from './support/databases.ts'

const postgres = startPostgres()

async function makeSqlite(scope: Scope): Promise<SqliteOptions> {
  return { kind: 'sqlite', file: await makeFile(scope) }
}

async function open(scope: Scope, options: Parameters<typeof openStore>[0]): Promise<Store> {
  const store = await openStore(options)
  scope.after(() => store.close())
  return store
}

const texts = [
  '',
  ' ',
  'a',
  "o'neil; DROP TABLE user",
  'é\u0301\u{1f600}',
  '{"a":["\\u0000",1e3]}',
  '\\x00',
  'NULL',
  'x'.repeat(20_000),
  '\n\r\t\u2028',
]

/** Fills every table, and every column with what is hardest to carry over. */
async function fill({ db }: Store, rowsOf: (table: string) => number): Promise<void> {
  const parents: Record<string, Record<string, string>> = {
    group_member: { group_id: 'group' },
    connector: { group_id: 'connector_group' },
    enrolment_token: { group_id: 'connector_group' },
    assignment: { application_id: 'application' },
    credential: { application_id: 'application' },
    sealed_credential: { credential_id: 'credential', connector_id: 'connector' },
    oidc_client_secret: { application_id: 'application' },
    saml_certificate: { application_id: 'application' },
    saml_session: { application_id: 'application', session_id: 'session' },
  }
  const depthOf = (table: string): number =>
    Math.max(0, ...Object.values(parents[table] ?? {}).map((parent) => 1 + depthOf(parent)))
  const known = (await db.introspection.getTables()).filter(({ name }) => name !== 'feed_event')
  // Those that others refer to come first.
  for (const { name, columns } of known.sort((a, b) => depthOf(a.name) - depthOf(b.name)))
    for (let index = 0; index < rowsOf(name); index += 1) {
      const values = columns.map((column) => {
        const parent = parents[name]?.[column.name]
        if (parent !== undefined) return `id ${index % rowsOf(parent)}`
        if (!/text/i.test(column.dataType))
          return column.isNullable && index % 3 === 0 ? null : Number.MAX_SAFE_INTEGER - index
        if (column.isNullable && index % 3 === 0) return null
        if (column.name === 'id') return `id ${index}`
        // Every other text is unique somewhere.
        return `${texts[index % texts.length]} ${column.name} ${index}`
      })
      await sql`INSERT INTO ${sql.table(name)} (${sql.join(columns.map((c) => sql.ref(c.name)))}) VALUES (${sql.join(
        values.map((value, at) =>
          ['enabled', 'active'].includes(columns[at]!.name) ? index % 2 : value,
        ),
      )})`.execute(db)
    }
}

/** Everything in an SQLite file, read without any of our code. */
function dump({ file }: SqliteOptions): Record<string, unknown[]> {
  const database = new DatabaseSync(file, { readOnly: true })
  const names = database
    .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'kysely%'")
    .all() as { name: string }[]
  const all = names.map(({ name }) => {
    const statement = database.prepare(`SELECT * FROM "${name}"`)
    statement.setReadBigInts(true)
    const rows = statement
      .all()
      .map((row) => JSON.stringify(row, (_, v) => (typeof v === 'bigint' ? `${v}n` : v)))
    return [name, rows.sort()] as const
  })
  database.close()
  return Object.fromEntries(all)
}

test('from SQLite to PostgreSQL and back everything is there, in every table', async (t) => {
  const scope = lastFirst(t)
  const [first, last] = [await makeSqlite(scope), await makeSqlite(scope)]
  const middle = await postgres().createDatabase()
  const source = await open(scope, first)
  await fill(source, (table) => (table === 'audit_event' ? 1_234 : 21))
  const progress: string[] = []
  const there = await open(scope, middle)
  const copied = await copyStore(source, there, {
    onProgress: ({ table, rows, total }) => progress.push(`${table} ${rows} of ${total}`),
  })
  await source.close()
  assert.equal(copied.length, Object.keys(dump(first)).length)
  for (const { table, rows } of copied) assert.equal(rows, table === 'auditEvent' ? 1_234 : 21)
  assert.deepEqual(
    progress.filter((line) => line.startsWith('auditEvent')),
    ['auditEvent 500 of 1234', 'auditEvent 1000 of 1234', 'auditEvent 1234 of 1234'],
  )
  const back = await open(scope, last)
  assert.deepEqual(await copyStore(there, back), copied)
  await back.close()
  assert.deepEqual(dump(last), dump(first))
})

test('a target that is not empty is left as it is, unless it is to be replaced', async (t) => {
  const scope = lastFirst(t)
  const source = await open(scope, await makeSqlite(scope))
  await fill(source, () => 3)
  for (const options of [await postgres().createDatabase(), await makeSqlite(scope)]) {
    const target = await open(scope, options)
    await fill(target, () => 2)
    await settings.saveSetting(target.db, 'mine', 'kept')
    await assert.rejects(copyStore(source, target), { code: 'STORE_NOT_EMPTY' })
    assert.equal(await settings.findSetting(target.db, 'mine'), 'kept')
    const copied = await copyStore(source, target, { replace: true })
    assert.ok(copied.every(({ rows }) => rows === 3))
    assert.equal(await settings.findSetting(target.db, 'mine'), undefined)
  }
})

test('a copy that fails in the middle leaves nothing in the target', async (t) => {
  const scope = lastFirst(t)
  const source = await open(scope, await makeSqlite(scope))
  await fill(source, () => 5)
  for (const options of [await postgres().createDatabase(), await makeSqlite(scope)]) {
    const target = await open(scope, options)
    await settings.saveSetting(target.db, 'mine', 'kept')
    await assert.rejects(
      copyStore(source, target, {
        replace: true,
        onProgress({ table }) {
          if (table === 'session') throw new Error('the network fell apart')
        },
      }),
      { message: 'the network fell apart' },
    )
    const rows = await target.db.selectFrom('setting').selectAll().execute()
    assert.deepEqual(rows, [{ key: 'mine', value: 'kept' }])
    assert.deepEqual(await target.db.selectFrom('user').selectAll().execute(), [])
  }
})

test('what does not arrive as it was undoes the copy', async (t) => {
  const scope = lastFirst(t)
  const source = await open(scope, await makeSqlite(scope))
  await fill(source, () => 5)
  const target = await open(scope, await postgres().createDatabase())
  // As a trigger of an administrator would.
  await sql`CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN NEW.user_agent := upper(NEW.user_agent); RETURN NEW; END $$`.execute(target.db)
  await sql`CREATE TRIGGER spoil BEFORE INSERT ON session FOR EACH ROW EXECUTE FUNCTION spoil()`.execute(
    target.db,
  )
  await assert.rejects(copyStore(source, target), { code: 'STORE_COPY_DIFFERS' })
  assert.deepEqual(await target.db.selectFrom('user').selectAll().execute(), [])
})

test('a table that is not ours is not lost without a word', async (t) => {
  const scope = lastFirst(t)
  const source = await open(scope, await makeSqlite(scope))
  await sql`CREATE TABLE notes (text text)`.execute(source.db)
  const target = await open(scope, await postgres().createDatabase())
  await assert.rejects(copyStore(source, target), { code: 'STORE_COPY_DIFFERS', message: /notes/ })
})

test('an old database with U+0000 in a text is copied, and shows where it was', async (t) => {
  const scope = lastFirst(t)
  const options = await makeSqlite(scope)
  await (await openStore(options)).close()
  const database = new DatabaseSync(options.file)
  database.prepare('INSERT INTO setting (key, value) VALUES (?, ?)').run('a', 'b\0c')
  database.close()
  const target = await open(scope, await postgres().createDatabase())
  await copyStore(await open(scope, options), target)
  assert.equal(await settings.findSetting(target.db, 'a'), 'b\ufffdc')
})
