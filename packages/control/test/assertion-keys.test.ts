import assert from 'node:assert/strict'
import test from 'node:test'
import { secrets } from '@sallyport/store'
import { startTestControl, type TestControl } from './service.ts'

const minute = 60_000

interface KeyRow {
  id: string
  createdAt: number
  signsAt: number
  supersededAt: number | null
}

const kids = ({ control }: TestControl) => control.assertionKeys().published.map(({ kid }) => kid)
const rotate = (system: TestControl, more: object = {}) =>
  system.execute<{ id: string }>('key.rotate', { use: 'assertions', ...more })

test('a first start makes one key of assertions, and every start after it finds the same', async (t) => {
  const first = await startTestControl(t)
  const { signing, published } = first.control.assertionKeys()
  assert.equal(signing.privateKey.asymmetricKeyDetails?.namedCurve, 'prime256v1')
  assert.deepEqual(
    published.map(({ kid }) => kid),
    [signing.kid],
  )
  assert.deepEqual(Object.keys(published[0]!).toSorted(), [
    'alg',
    'crv',
    'kid',
    'kty',
    'use',
    'x',
    'y',
  ])
  assert.equal(first.control.assertionKeys(), first.control.assertionKeys(), 'the same object')
  const second = await first.restart()
  assert.deepEqual(second.control.assertionKeys().published, published)
})

test('the private key lies sealed in the database', async (t) => {
  const { store, control } = await startTestControl(t)
  const [row] = await secrets.listSecrets(store.db, 'assertion-key')
  assert.match(row!.sealed, /^s1\./)
  const { privateKey } = control.assertionKeys().signing
  const plain = privateKey.export({ format: 'der', type: 'pkcs8' })
  assert.ok(!Buffer.from(row!.sealed.slice(3), 'base64url').includes(plain.subarray(-32)))
})

test('attack 47: a new key is published before it signs, and the old one after it signed last', async (t) => {
  const system = await startTestControl(t)
  const [old] = kids(system)
  const { id } = await rotate(system)
  assert.deepEqual(kids(system), [id, old])
  assert.equal(system.control.assertionKeys().signing.kid, old)
  system.advance(10 * minute - 1_000)
  assert.equal(system.control.assertionKeys().signing.kid, old)
  system.advance(1_000)
  assert.equal(system.control.assertionKeys().signing.kid, id)
  assert.deepEqual(kids(system), [id, old])
  system.advance(10 * minute)
  assert.deepEqual(kids(system), [id])
  const again = await system.restart({ clock: () => Date.now() + 21 * minute })
  assert.deepEqual(kids(again), [id])
})

test('keys made in haste sign one after another', async (t) => {
  const system = await startTestControl(t)
  const [first] = kids(system)
  const second = await rotate(system)
  const third = await rotate(system)
  assert.deepEqual(kids(system), [third.id, second.id, first])
  const rows = await system.execute<KeyRow[]>('key.list', { use: 'assertions' })
  assert.deepEqual(
    rows.map(({ id }) => id),
    [third.id, second.id, first],
  )
  assert.deepEqual(
    rows.map(({ supersededAt }) => supersededAt),
    [null, rows[0]!.signsAt, rows[1]!.signsAt],
  )
  system.advance(11 * minute)
  assert.equal(system.control.assertionKeys().signing.kid, third.id)
})

test('a key that may be known is forgotten at once, and what it signed with it', async (t) => {
  const system = await startTestControl(t)
  const { id } = await rotate(system, { forgetOlder: true })
  assert.deepEqual(kids(system), [id])
  assert.equal(system.control.assertionKeys().signing.kid, id)
  assert.ok((await system.auditKinds()).includes('assertion-key-rotated'))
  assert.ok(system.events.some(({ kind }) => kind === 'keys-changed'))
  assert.equal(system.control.cookieKeys(1).length, 1, 'those of cookies stay')
  assert.equal((await system.execute<KeyRow[]>('key.list')).length, 1)
})

test('the keys can be had as a JWK set', async (t) => {
  const system = await startTestControl(t)
  assert.deepEqual(await system.execute('key.jwks'), {
    keys: system.control.assertionKeys().published,
  })
})

test('a key of assertions that another process has made is published when the feed says so', async (t) => {
  const system = await startTestControl(t)
  const { rotateAssertionKeys } = await import('../src/assertion-keys.ts')
  const { openKeyFile } = await import('@sallyport/control')
  const { id, events } = await rotateAssertionKeys(
    system.store.db,
    openKeyFile(`${system.dataDir}/key`),
    system.now(),
    false,
  )
  system.store.feed.publishAll(events)
  while (!kids(system).includes(id)) await new Promise(setImmediate)
})

test('a key is removed when nothing that it signed can be good', async (t) => {
  const system = await startTestControl(t)
  const { deleteLapsedAssertionKeys } = await import('../src/assertion-keys.ts')
  await rotate(system)
  const count = async () => (await secrets.listSecrets(system.store.db, 'assertion-key')).length
  await deleteLapsedAssertionKeys(system.store.db, system.now() + 19 * minute)
  assert.equal(await count(), 2)
  await deleteLapsedAssertionKeys(system.store.db, system.now() + 21 * minute)
  assert.equal(await count(), 1)
  await deleteLapsedAssertionKeys(system.store.db, system.now() + 900 * minute)
  assert.equal(await count(), 1, 'the one that signs stays')
})
