import assert from 'node:assert/strict'
import { chmod, mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { AccessEvent } from '@sallyport/domain'
import {
  EventFeed,
  openStore,
  type Store,
  type StoreOptions,
  settings,
  users,
} from '@sallyport/store'
import { sql } from 'kysely'

async function makeFile(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'sallyport-store-'))
  t.after(() => rm(directory, { recursive: true }))
  return join(directory, 'data', 'sallyport.db')
}

/** Closes when the test ends, however it ends: closing twice does nothing. */
async function open(t: TestContext, options: Partial<StoreOptions> = {}): Promise<Store> {
  const store = await openStore({ kind: 'sqlite', file: await makeFile(t), ...options })
  t.after(() => store.close())
  return store
}

async function modeOf(file: string): Promise<number> {
  return (await stat(file)).mode & 0o777
}

test('what was written is there after closing and opening again', async (t) => {
  const file = await makeFile(t)
  const first = await open(t, { file })
  await settings.saveSetting(first.db, 'tenantId', 'one')
  await settings.saveSetting(first.db, 'tenantId', 'two')
  await first.close()
  const second = await open(t, { file })
  assert.equal(await settings.findSetting(second.db, 'tenantId'), 'two')
  assert.equal(await settings.findSetting(second.db, 'other'), undefined)
  await second.close()
})

test('the database and its journal are for their owner only', async (t) => {
  const file = await makeFile(t)
  const store = await open(t, { file })
  await settings.saveSetting(store.db, 'a', 'b')
  assert.equal(await modeOf(file), 0o600)
  assert.equal(await modeOf(`${file}-wal`), 0o600)
})

test('a database that others could read is closed to them when it is opened', async (t) => {
  const file = await makeFile(t)
  await (await openStore({ kind: 'sqlite', file })).close()
  await chmod(file, 0o644)
  await open(t, { file })
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
  const store = await open(t, { file })
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

test('a database of a newer version is refused', async (t) => {
  const file = await makeFile(t)
  const store = await open(t, { file })
  await sql`INSERT INTO kysely_migration (name, timestamp) VALUES ('9999-future', '2030-01-01T00:00:00Z')`.execute(
    store.db,
  )
  await store.close()
  await assert.rejects(openStore({ kind: 'sqlite', file }), { code: 'STORE_TOO_NEW' })
})

test('a transaction that fails leaves nothing behind', async (t) => {
  const store = await open(t)
  const failure = new Error('changed my mind')
  await assert.rejects(
    store.db.transaction().execute(async (db) => {
      await settings.saveSetting(db, 'a', 'b')
      throw failure
    }),
    failure,
  )
  assert.equal(await settings.findSetting(store.db, 'a'), undefined)
})

test('simultaneous transactions run one after the other', async (t) => {
  const store = await open(t)
  await settings.saveSetting(store.db, 'count', '0')
  await Promise.all(
    Array.from({ length: 40 }, () =>
      store.db.transaction().execute(async (db) => {
        const count = Number(await settings.findSetting(db, 'count'))
        await settings.saveSetting(db, 'count', String(count + 1))
      }),
    ),
  )
  assert.equal(await settings.findSetting(store.db, 'count'), '40')
})

test('a query beside a transaction is no part of it', async (t) => {
  const store = await open(t)
  let beside: Promise<void> | undefined
  await assert.rejects(
    store.db.transaction().execute(async (db) => {
      await settings.saveSetting(db, 'inside', '1')
      beside = settings.saveSetting(store.db, 'beside', '1')
      await settings.saveSetting(db, 'inside', '2')
      throw new Error('roll back')
    }),
  )
  await beside
  assert.equal(await settings.findSetting(store.db, 'beside'), '1')
  assert.equal(await settings.findSetting(store.db, 'inside'), undefined)
})

test('a transaction that waits for itself fails instead of hanging', async (t) => {
  const store = await open(t, { waitLimitMs: 50 })
  await assert.rejects(
    store.db.transaction().execute(async () => {
      await settings.saveSetting(store.db, 'a', 'b')
    }),
    { code: 'STORE_BUSY' },
  )
  await settings.saveSetting(store.db, 'a', 'c')
  assert.equal(await settings.findSetting(store.db, 'a'), 'c')
})

test('a violated constraint is told from other failures', async (t) => {
  const store = await open(t)
  const insert = () => store.db.insertInto('setting').values({ key: 'a', value: 'b' }).execute()
  await insert()
  await assert.rejects(insert(), { code: 'STORE_QUERY_FAILED', constraint: true })
  await assert.rejects(sql`SELECT * FROM nowhere`.execute(store.db), {
    code: 'STORE_QUERY_FAILED',
    constraint: false,
  })
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

test('what cannot be stored is refused, and the connection goes on', async (t) => {
  const store = await open(t)
  for (const value of [undefined, true, {}, { name: 1 }, [1], Number.NaN, Symbol('s')])
    await assert.rejects(sql`SELECT ${sql.val(value)}`.execute(store.db), TypeError)
  await settings.saveSetting(store.db, 'a', 'b')
  assert.equal(await settings.findSetting(store.db, 'a'), 'b')
})

test('rows are plain objects with the names of the schema', async (t) => {
  const store = await open(t)
  const user = await users.createUser(store.db, { userName: 'Ana', displayName: 'Ana' }, 1000)
  assert.ok(user)
  const row = await store.db
    .selectFrom('user')
    .selectAll()
    .where('id', '=', user.id)
    .executeTakeFirstOrThrow()
  assert.equal(Object.getPrototypeOf(row), Object.prototype)
  assert.deepEqual(row, {
    id: user.id,
    userName: 'ana',
    displayName: 'Ana',
    mail: null,
    passwordHash: null,
    enabled: 1,
    signInEpoch: 1,
    createdAt: 1000,
    updatedAt: 1000,
  })
})

test('after closing every query is refused, and closing again does nothing', async (t) => {
  const store = await open(t)
  const before = settings.saveSetting(store.db, 'a', 'b')
  await before
  await store.close()
  await assert.rejects(settings.findSetting(store.db, 'a'))
  await store.close()
})

test('every listener hears every event until it leaves', () => {
  const feed = new EventFeed()
  const heard: AccessEvent[][] = [[], []]
  const listener = (event: AccessEvent) => heard[0]!.push(event)
  const leave = feed.subscribe(listener)
  feed.subscribe((event) => heard[1]!.push(event))
  const event: AccessEvent = { kind: 'session-ended', sessionId: 's', at: 1 }
  feed.publish(event)
  leave()
  feed.publish(event)
  assert.deepEqual(heard, [[event], [event, event]])
})

test('a listener that throws keeps nothing from the others, and does not go unnoticed', async () => {
  const feed = new EventFeed()
  const failure = new Error('broken listener')
  const heard: string[] = []
  feed.subscribe(() => {
    throw failure
  })
  feed.subscribe(({ kind }) => heard.push(kind))
  // The test runner listens for uncaught exceptions too, so its listeners step aside.
  const others = process.listeners('uncaughtException')
  process.removeAllListeners('uncaughtException')
  const uncaught = new Promise((resolve) => process.once('uncaughtException', resolve))
  feed.publish({ kind: 'configuration-changed', at: 1 })
  assert.deepEqual(heard, ['configuration-changed'])
  assert.equal(await uncaught, failure)
  for (const other of others) process.on('uncaughtException', other)
})
