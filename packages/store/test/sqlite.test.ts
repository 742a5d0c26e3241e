import assert from 'node:assert/strict'
import { chmod, mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { openStore, type Store, settings } from '@sallyport/store'
import { sql } from 'kysely'
import { makeFile } from './support/databases.ts'

async function open(t: TestContext, file?: string): Promise<Store> {
  const store = await openStore({ kind: 'sqlite', file: file ?? (await makeFile(t)) })
  t.after(() => store.close())
  return store
}

async function modeOf(file: string): Promise<number> {
  return (await stat(file)).mode & 0o777
}

test('the database and its journal are for their owner only', async (t) => {
  const file = await makeFile(t)
  const store = await open(t, file)
  await settings.saveSetting(store.db, 'a', 'b')
  assert.equal(await modeOf(file), 0o600)
  assert.equal(await modeOf(`${file}-wal`), 0o600)
})

test('a database that others could read is closed to them when it is opened', async (t) => {
  const file = await makeFile(t)
  await (await openStore({ kind: 'sqlite', file })).close()
  await chmod(file, 0o644)
  await open(t, file)
  assert.equal(await modeOf(file), 0o600)
})

test('every commit is synchronised to the disk', async (t) => {
  const store = await open(t)
  const { rows: synchronous } = await sql<{ synchronous: number }>`PRAGMA synchronous`.execute(
    store.db,
  )
  assert.equal(synchronous[0]?.synchronous, 2)
  const { rows: journal } = await sql<{ journalMode: string }>`PRAGMA journal_mode`.execute(
    store.db,
  )
  assert.equal(journal[0]?.journalMode, 'wal')
})

test('a second opener of the same file is told that it is in use', async (t) => {
  const file = await makeFile(t)
  const store = await open(t, file)
  await assert.rejects(openStore({ kind: 'sqlite', file }), { code: 'STORE_IN_USE' })
  await settings.saveSetting(store.db, 'still', 'working')
  await store.close()
  await (await openStore({ kind: 'sqlite', file })).close()
})

test('a file that is no database is refused and left as it was', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'sallyport-store-'))
  t.after(() => rm(directory, { recursive: true }))
  const file = join(directory, 'sallyport.db')
  await writeFile(file, 'x'.repeat(8192))
  await assert.rejects(openStore({ kind: 'sqlite', file }), { code: 'STORE_UNREADABLE' })
  assert.equal((await stat(file)).size, 8192)
})

test('an error that ended the transaction itself is the one that is told', async (t) => {
  const store = await open(t)
  await settings.saveSetting(store.db, 'a', 'b')
  // A conflict with ON CONFLICT ROLLBACK ends the transaction, as a full disk does.
  await assert.rejects(
    store.db
      .transaction()
      .execute((db) =>
        sql`INSERT OR ROLLBACK INTO setting (key, value) VALUES ('a', 'c')`.execute(db),
      ),
    { code: 'STORE_QUERY_FAILED', constraint: true },
  )
  await store.db.transaction().execute((db) => settings.saveSetting(db, 'a', 'd'))
  assert.equal(await settings.findSetting(store.db, 'a'), 'd')
})
