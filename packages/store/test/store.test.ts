import assert from 'node:assert/strict'
import { groups, openStore, settings, users } from '@sallyport/store'
import { sql } from 'kysely'
import { prepare, type Slots } from '../src/prepare.ts'
import { forBoth } from './support/databases.ts'

const testBoth = forBoth()

testBoth('what was written is there after closing and opening again', async (_, database) => {
  const first = await database.open()
  await settings.saveSetting(first.db, 'tenantId', 'one')
  await settings.saveSetting(first.db, 'tenantId', 'two')
  await first.close()
  const second = await database.open()
  assert.equal(await settings.findSetting(second.db, 'tenantId'), 'two')
  assert.equal(await settings.findSetting(second.db, 'other'), undefined)
  await second.close()
})

testBoth('a database of a newer version is refused', async (_, database) => {
  const store = await database.open()
  await sql`INSERT INTO kysely_migration (name, timestamp) VALUES ('9999-future', '2030-01-01T00:00:00Z')`.execute(
    store.db,
  )
  await store.close()
  await assert.rejects(openStore(database.options), { code: 'STORE_TOO_NEW' })
})

testBoth('a transaction that fails leaves nothing behind', async (_, database) => {
  const store = await database.open()
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

testBoth('simultaneous transactions run one after the other', async (_, database) => {
  const store = await database.open()
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

testBoth('a query beside a transaction is no part of it', async (_, database) => {
  const store = await database.open()
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

testBoth('a transaction that waits for itself fails instead of hanging', async (_, database) => {
  const store = await database.open({ waitLimitMs: 50 })
  await assert.rejects(
    store.db.transaction().execute(async () => {
      await store.db.transaction().execute((db) => settings.saveSetting(db, 'a', 'b'))
    }),
    { code: 'STORE_BUSY' },
  )
  await settings.saveSetting(store.db, 'a', 'c')
  assert.equal(await settings.findSetting(store.db, 'a'), 'c')
})

testBoth('a violated constraint is told from other failures', async (_, database) => {
  const store = await database.open()
  const insert = () => store.db.insertInto('setting').values({ key: 'a', value: 'b' }).execute()
  await insert()
  await assert.rejects(insert(), { code: 'STORE_QUERY_FAILED', constraint: true })
  await assert.rejects(sql`SELECT * FROM nowhere`.execute(store.db), {
    code: 'STORE_QUERY_FAILED',
    constraint: false,
  })
})

testBoth('what cannot be stored is refused, and the connection goes on', async (_, database) => {
  const store = await database.open()
  const values = [undefined, {}, { name: 1 }, [1], Number.NaN, Symbol('s')]
  for (const value of database.kind === 'sqlite' ? [...values, true] : values)
    await assert.rejects(sql`SELECT ${sql.val(value)}`.execute(store.db), TypeError)
  await settings.saveSetting(store.db, 'a', 'b')
  assert.equal(await settings.findSetting(store.db, 'a'), 'b')
})

testBoth('rows are plain objects with the names of the schema', async (_, database) => {
  const store = await database.open()
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
    onPremisesUserPrincipalName: null,
    onPremisesSamAccountName: null,
    onPremisesDomainName: null,
    passwordHash: null,
    enabled: 1,
    signInEpoch: 1,
    createdAt: 1000,
    updatedAt: 1000,
  })
})

testBoth(
  'after closing every query is refused, and closing again does nothing',
  async (_, database) => {
    const store = await database.open()
    const before = settings.saveSetting(store.db, 'a', 'b')
    await before
    await store.close()
    await assert.rejects(settings.findSetting(store.db, 'a'))
    await store.close()
  },
)

testBoth('text with U+0000 is kept as text that shows the place', async (_, database) => {
  const { db } = await database.open()
  await settings.saveSetting(db, 'a', 'b\0c')
  assert.equal(await settings.findSetting(db, 'a'), 'b\ufffdc')
  assert.equal(await users.findCredentials(db, 'ana\0'), undefined)
})

testBoth('names are in the order of their bytes', async (_, database) => {
  const { db } = await database.open()
  for (const name of ['b', 'B', 'a-b', 'ab', 'a', 'é', 'Z'])
    await groups.createGroup(db, { name }, 1)
  assert.deepEqual(
    (await groups.listGroups(db)).map(({ name }) => name),
    ['B', 'Z', 'a', 'a-b', 'ab', 'b', 'é'],
  )
})

testBoth(
  'what a change announces is told once it is committed, else never',
  async (_, database) => {
    const store = await database.open()
    const told: string[] = []
    store.feed.subscribe(({ kind }) => told.push(kind))
    const result = await store.change(
      async (db, announce) => {
        await settings.saveSetting(db, 'a', 'b')
        announce([{ kind: 'configuration-changed', at: 1 }])
        assert.deepEqual(told, [])
        return 7
      },
      (events) => told.push(`committed ${events.length}`),
    )
    assert.deepEqual([result, told], [7, ['committed 1', 'configuration-changed']])
    await assert.rejects(
      store.change(async (_, announce) => {
        announce([{ kind: 'configuration-changed', at: 2 }])
        throw new Error('changed my mind')
      }),
      { message: 'changed my mind' },
    )
    assert.equal(told.length, 2)
  },
)

// One for both databases, whose SQL differs.
const findValue = prepare((db, value: Slots<{ key: string }>) =>
  db.selectFrom('setting').select('value').where('key', '=', value('key')),
)

testBoth('a query that was put together once has the values of each run', async (_, database) => {
  const { db } = await database.open()
  await settings.saveSetting(db, 'a', '1')
  await settings.saveSetting(db, 'b', '2')
  const keys = ['a', 'b', 'none', 'a']
  assert.deepEqual(await Promise.all(keys.map((key) => findValue(db, { key }))), [
    [{ value: '1' }],
    [{ value: '2' }],
    [],
    [{ value: '1' }],
  ])
})

testBoth(
  'a query that was put together once belongs to the transaction it runs in',
  async (_, database) => {
    const { db } = await database.open()
    await settings.saveSetting(db, 'a', '1')
    await assert.rejects(
      db.transaction().execute(async (transaction) => {
        await settings.saveSetting(transaction, 'a', '2')
        assert.deepEqual(await findValue(transaction, { key: 'a' }), [{ value: '2' }])
        throw new Error('roll back')
      }),
      /roll back/,
    )
    assert.deepEqual(await findValue(db, { key: 'a' }), [{ value: '1' }])
  },
)
