import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { AccessEvent } from '@sallyport/domain'
import { openStore, type PostgresOptions, type Store, type StoreError } from '@sallyport/store'
import { Postgres } from '@sallyport/testkit/postgres'
import { lastFirst, type Scope } from '@sallyport/testkit/scope'
import { sql } from 'kysely'
import { startPostgres } from './support/databases.ts'
import { startRelay } from './support/relay.ts'

const postgres = startPostgres()

/** A process on the database, and what it hears. */
interface Process {
  store: Store
  heard: string[]
  /** Resolves when it has heard this many. */
  hears(count: number): Promise<void>
}

async function open(scope: Scope, options: PostgresOptions): Promise<Process> {
  const store = await openStore(options)
  scope.after(() => store.close())
  const heard: string[] = []
  const waiting: { count: number; resolve(): void }[] = []
  store.feed.subscribe((event) => {
    heard.push((event as { sessionId?: string }).sessionId ?? event.kind)
    for (const { count, resolve } of waiting) if (heard.length >= count) resolve()
  })
  return {
    store,
    heard,
    hears: (count) =>
      new Promise((resolve) => {
        if (heard.length >= count) resolve()
        else waiting.push({ count, resolve })
      }),
  }
}

const ended = (sessionId: string): AccessEvent => ({ kind: 'session-ended', sessionId, at: 1 })
const names = (count: number, from = 0) => Array.from({ length: count }, (_, i) => `${from + i}`)

function announce({ store }: Process, ...sessionIds: string[]): Promise<void> {
  return store.change(async (_, announce) => announce(sessionIds.map(ended)))
}

/** Cuts the feed of every process, as a restarted firewall does. */
async function cutFeeds(database: string): Promise<void> {
  await postgres().query(
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${database}' AND query LIKE '%feed_event WHERE id >%'`,
  )
}

test('every process hears every event once, in order; the one that caused it at once', async (t) => {
  const scope = lastFirst(t)
  const options = await postgres().createDatabase()
  const [one, two] = [await open(scope, options), await open(scope, options)]
  await announce(one, 'a', 'b')
  assert.deepEqual(one.heard, ['a', 'b'])
  await two.hears(2)
  await announce(two, 'c')
  assert.deepEqual(two.heard, ['a', 'b', 'c'])
  await announce(one, 'd')
  await two.hears(4)
  await one.hears(4)
  // One more of each, so that an echo would have come before it.
  await announce(two, 'e')
  await one.hears(5)
  await announce(one, 'f')
  await two.hears(6)
  assert.deepEqual(two.heard, ['a', 'b', 'c', 'd', 'e', 'f'])
  assert.deepEqual([...one.heard].sort(), two.heard)
})

test('events of many changes at once come in the order of their commits', async (t) => {
  const scope = lastFirst(t)
  const options = await postgres().createDatabase()
  const writers = [await open(scope, options), await open(scope, options)]
  const reader = await open(scope, options)
  const order: string[] = []
  await Promise.all(
    names(60).map((name, index) =>
      writers[index % 2]!.store.change(async (db, announce) => {
        await sql`SELECT 1`.execute(db)
        order.push(name)
        announce([ended(name)])
      }),
    ),
  )
  await reader.hears(60)
  assert.deepEqual(reader.heard, order)
})

test('a change of a large group reaches the others whole', async (t) => {
  const scope = lastFirst(t)
  const options = await postgres().createDatabase()
  const [one, two] = [await open(scope, options), await open(scope, options)]
  await announce(one, ...names(12_345))
  await two.hears(12_345)
  assert.deepEqual(two.heard, names(12_345))
})

test('what is published without a change reaches the others too', async (t) => {
  const scope = lastFirst(t)
  const options = await postgres().createDatabase()
  const [one, two] = [await open(scope, options), await open(scope, options)]
  one.store.feed.publishAll(names(10).map(ended))
  assert.deepEqual(one.heard, names(10))
  await two.hears(10)
  assert.deepEqual(two.heard, names(10))
  // And at the last moment.
  one.store.feed.publish(ended('last'))
  await one.store.close()
  await two.hears(11)
})

test('a feed that was cut misses nothing of what happened meanwhile', async (t) => {
  const scope = lastFirst(t)
  const options = await postgres().createDatabase()
  const [one, two] = [await open(scope, options), await open(scope, options)]
  for (let round = 0; round < 5; round += 1) {
    const cut = cutFeeds(options.database)
    for (const name of names(20, round * 20)) await announce(one, name)
    await cut
    await two.hears((round + 1) * 20)
  }
  assert.deepEqual(two.heard, names(100))
  assert.deepEqual(one.heard, names(100))
})

test('a server that was killed and started again costs no event', async (t) => {
  const scope = lastFirst(t)
  const server = await Postgres.start(scope, { fsync: 'on' })
  const options = await server.createDatabase()
  const states: (string | undefined)[] = []
  const one = await open(scope, options)
  const two = await open(scope, { ...options, onConnection: (error) => states.push(error?.code) })
  const told: string[] = []
  for (let round = 0; round < 2; round += 1) {
    // Some at the moment of the fall: each is told here if and only if it was committed.
    const falling = names(30).map((name) =>
      announce(one, `${round}-${name}`).then(
        () => true,
        () => false,
      ),
    )
    await falling[5]
    await server.stop('SIGKILL')
    await Promise.all(falling)
    await server.run()
    told.push(...one.heard)
  }
  const endsAt = performance.now() + 20_000
  while (
    !(await announce(one, 'last')
      .then(() => true)
      .catch(() => false))
  )
    assert.ok(performance.now() < endsAt, 'the database is used again in 20 s')
  while (!two.heard.includes('last')) await two.hears(two.heard.length + 1)
  for (const name of told) assert.ok(two.heard.includes(name), `${name} was heard`)
  assert.equal(new Set(two.heard).size, two.heard.length)
  assert.deepEqual(states.slice(0, 2), ['STORE_UNREACHABLE', undefined])
})

test('a commit whose answer was lost is told here too if it took place', async (t) => {
  const scope = lastFirst(t)
  const options = await postgres().createDatabase()
  const relay = await startRelay(scope, options.port)
  const one = await open(scope, { ...options, port: relay.port })
  const two = await open(scope, options)
  relay.toServer = (data, cut) => {
    if (data.includes('COMMIT\0')) cut()
    return data
  }
  await assert.rejects(announce(one, 'a'), { code: 'STORE_UNREACHABLE' })
  relay.toServer = (data) => data
  await two.hears(1)
  await one.hears(1)
  await announce(two, 'b')
  await one.hears(2)
  assert.deepEqual(one.heard, ['a', 'b'])
})

test('a process that was away for longer than events are kept is told to read anew', async (t) => {
  const scope = lastFirst(t)
  const options = await postgres().createDatabase()
  const relay = await startRelay(scope, options.port)
  const limits = { answerLimitMs: 300, lookIntervalMs: 200 }
  const one = await open(scope, options)
  const two = await open(scope, { ...options, ...limits, port: relay.port })
  await announce(one, 'a')
  await two.hears(1)
  relay.silent = true
  for (const name of names(10)) await announce(one, name)
  // A process that starts removes what need not be kept.
  await open(scope, { ...options, feedRetention: { ms: 86_400_000, rows: 3 } })
  const { rows } = await sql`SELECT id FROM feed_event`.execute(one.store.db)
  assert.equal(rows.length, 3)
  relay.silent = false
  await two.hears(2)
  await announce(one, 'b')
  await two.hears(3)
  assert.deepEqual(two.heard, ['a', 'feed-interrupted', 'b'])
  assert.ok(!one.heard.includes('feed-interrupted'))
})

test('old events are removed, but for the newest', async (t) => {
  const scope = lastFirst(t)
  const options = await postgres().createDatabase()
  const one = await open(scope, options)
  await announce(one, 'a', 'b')
  await announce(one, 'c')
  await open(scope, { ...options, feedRetention: { ms: 0, rows: 1_000 } })
  const { rows } = await sql<{ events: string }>`SELECT events FROM feed_event`.execute(
    one.store.db,
  )
  assert.deepEqual(rows, [{ events: JSON.stringify([ended('c')]) }])
})

test('a proof means that everything before it was heard', async (t) => {
  const scope = lastFirst(t)
  const options = await postgres().createDatabase()
  const [one, two] = [await open(scope, options), await open(scope, options)]
  await announce(one, ...names(3_000))
  await two.store.prove()
  assert.equal(two.heard.length, 3_000)
  for (const name of names(50)) {
    await announce(one, name)
    const proofs = [two.store.prove(), two.store.prove()]
    await Promise.all(proofs)
    assert.equal(two.heard.at(-1), name)
  }
  // More changes than are read at once.
  await Promise.all(names(1_200).map((name) => announce(one, name)))
  await two.store.prove()
  assert.equal(two.heard.length, 3_000 + 50 + 1_200)
})

test('while the feed is lost there is no proof, and then there is one again', async (t) => {
  const scope = lastFirst(t)
  const options = await postgres().createDatabase()
  const relay = await startRelay(scope, options.port)
  const limits = { answerLimitMs: 300, lookIntervalMs: 100 }
  const back = Promise.withResolvers<void>()
  const onConnection = (error?: StoreError) => (error ? undefined : back.resolve())
  const { store } = await open(scope, { ...options, ...limits, port: relay.port, onConnection })
  await store.prove()
  relay.silent = true
  await assert.rejects(store.prove(), { code: 'STORE_UNREACHABLE' })
  await assert.rejects(store.prove(), { code: 'STORE_UNREACHABLE' })
  relay.silent = false
  await back.promise
  await store.prove()
  const late = store.prove().catch((error: StoreError) => error.code)
  await store.close()
  assert.ok([undefined, 'STORE_CLOSED'].includes((await late) as string))
  await assert.rejects(store.prove(), { code: 'STORE_CLOSED' })
})
