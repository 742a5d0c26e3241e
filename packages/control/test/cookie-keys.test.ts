import assert from 'node:assert/strict'
import test from 'node:test'
import { startTestControl } from './service.ts'

const hour = 3_600_000
const day = 24 * hour

interface KeyRow {
  id: string
  createdAt: number
  supersededAt: number | null
}

test('a first start makes one key, and every start after it finds the same', async (t) => {
  const first = await startTestControl(t)
  const [key, ...more] = first.control.cookieKeys(hour)
  assert.equal(more.length, 0)
  assert.match(key!.id, /^[\w-]{8}$/)
  assert.equal(key!.secret.length, 32)
  const second = await first.restart()
  assert.deepEqual(second.control.cookieKeys(hour), [key])
})

test('a new key seals at once; the old one opens as long as something that it sealed can live', async (t) => {
  const system = await startTestControl(t)
  const [old] = system.control.cookieKeys(hour)
  const before = system.control.cookieKeys(hour)
  assert.equal(system.control.cookieKeys(hour), before, 'the same array until it changes')
  const { id } = await system.execute<{ id: string }>('key.rotate')
  const ids = (lifetimeMs: number) => system.control.cookieKeys(lifetimeMs).map((key) => key.id)
  assert.notEqual(system.control.cookieKeys(hour), before)
  assert.deepEqual(ids(hour), [id, old!.id])
  assert.deepEqual(ids(12 * hour), [id, old!.id])
  system.advance(hour)
  assert.deepEqual(ids(hour), [id])
  assert.deepEqual(ids(12 * hour), [id, old!.id])
  system.advance(11 * hour)
  assert.deepEqual(ids(12 * hour), [id])
  assert.deepEqual(ids(90 * day), [id, old!.id])
})

test('keys are listed without what they are, survive a restart, and are in the audit log', async (t) => {
  const system = await startTestControl(t)
  await system.execute('key.rotate')
  system.advance(1_000)
  const { id } = await system.execute<{ id: string }>('key.rotate', {})
  const rows = await system.execute<KeyRow[]>('key.list')
  assert.deepEqual(
    rows.map(({ supersededAt }) => supersededAt !== null),
    [false, true, true],
  )
  assert.equal(rows[0]!.id, id)
  assert.deepEqual(Object.keys(rows[0]!).sort(), ['createdAt', 'id', 'supersededAt'])
  const ring = system.control.cookieKeys(hour)
  const again = await system.restart()
  assert.deepEqual(again.control.cookieKeys(hour), ring)
  assert.ok((await again.auditKinds()).includes('cookie-key-rotated'))
  const stored = JSON.stringify(await again.store.db.selectFrom('secret').selectAll().execute())
  for (const { secret } of ring)
    for (const encoding of ['base64', 'base64url', 'hex'] as const)
      assert.ok(!stored.includes(secret.toString(encoding)))
})

test('older keys can be forgotten at once', async (t) => {
  const system = await startTestControl(t)
  await system.execute('key.rotate')
  const { id } = await system.execute<{ id: string }>('key.rotate', { forgetOlder: true })
  for (const lifetimeMs of [hour, 90 * day])
    assert.deepEqual(
      system.control.cookieKeys(lifetimeMs).map((key) => key.id),
      [id],
    )
  assert.equal((await system.execute<KeyRow[]>('key.list')).length, 1)
  await assert.rejects(system.execute('key.rotate', { forgetOlder: 'yes' }), {
    code: 'INPUT_INVALID',
  })
})

test('a key that another process has made is in force when the feed says so', async (t) => {
  const system = await startTestControl(t)
  const { rotateCookieKeys } = await import('../src/cookie-keys.ts')
  const { openKeyFile } = await import('@sallyport/control')
  const { id, events } = await rotateCookieKeys(
    system.store.db,
    openKeyFile(`${system.dataDir}/key`),
    system.now(),
    false,
  )
  system.store.feed.publishAll(events)
  while (system.control.cookieKeys(hour)[0]!.id !== id) await new Promise(setImmediate)
})

test('a key is removed when nothing that it sealed can be alive', async (t) => {
  const system = await startTestControl(t)
  const { deleteLapsedKeys } = await import('../src/cookie-keys.ts')
  await system.execute('key.rotate')
  const count = async () =>
    (
      await system.store.db
        .selectFrom('secret')
        .select('id')
        .where('purpose', '=', 'cookie-key')
        .execute()
    ).length
  await deleteLapsedKeys(system.store.db, system.now() + 90 * day - 1_000)
  assert.equal(await count(), 2)
  await deleteLapsedKeys(system.store.db, system.now() + 90 * day + 1_000)
  assert.equal(await count(), 1)
})
