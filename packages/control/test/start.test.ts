import assert from 'node:assert/strict'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { openKeyFile, startControl } from '@sallyport/control'
import { openStore } from '@sallyport/store'
import { makeDirectory, startTestControl } from './service.ts'

const silent = { debug() {}, info() {}, warn() {}, error() {} }

test('tenant, authorities and configuration stay over a restart', async (t) => {
  const first = await startTestControl(t)
  await first.execute('app.create', {
    name: 'hr',
    externalUrl: 'https://hr.sallyport.localhost:8443/',
    internalUrl: 'http://hr.internal/',
  })
  const second = await first.restart()
  assert.equal(second.control.tenantId, first.control.tenantId)
  assert.match(second.control.tenantId, /^[0-9a-f-]{36}$/)
  assert.deepEqual(second.control.webCa, first.control.webCa)
  assert.deepEqual(second.control.connectorCa, first.control.connectorCa)
  assert.equal(second.control.snapshot().version, first.control.snapshot().version)
  assert.equal(second.control.snapshot().applications.size, 1)
})

test('everything in the data folder is for its owner only', async (t) => {
  const { dataDir } = await startTestControl(t)
  const names = await readdir(dataDir)
  assert.deepEqual(names.toSorted(), ['key', 'sallyport.db', 'sallyport.db-wal'])
  for (const name of names)
    assert.equal((await stat(join(dataDir, name))).mode & 0o777, 0o600, name)
})

test('another key file is told from the right one, and nothing is lost by trying it', async (t) => {
  const first = await startTestControl(t)
  await first.close()
  const foreign = openKeyFile(join(await makeDirectory(t), 'key'))
  await assert.rejects(startTestControl(t, { dataDir: first.dataDir, keyFile: foreign }), {
    code: 'KEY_FILE_MISMATCH',
  })
  const again = await startTestControl(t, { dataDir: first.dataDir })
  assert.deepEqual(again.control.connectorCa, first.control.connectorCa)
})

test('whoever can write the database cannot put one authority in the place of the other', async (t) => {
  const first = await startTestControl(t)
  const { sealed } = await first.store.db
    .selectFrom('secret')
    .select('sealed')
    .where('id', '=', 'web-ca')
    .executeTakeFirstOrThrow()
  await first.store.db
    .updateTable('secret')
    .set({ sealed })
    .where('id', '=', 'connector-ca')
    .execute()
  await assert.rejects(first.restart(), { code: 'KEY_FILE_MISMATCH' })
})

test('another base domain is refused: certificates and addresses of connectors hold the old one', async (t) => {
  const first = await startTestControl(t)
  await first.close()
  await assert.rejects(startTestControl(t, { dataDir: first.dataDir, baseDomain: 'example.com' }), {
    code: 'BASE_DOMAIN_CHANGED',
  })
})

test('a configuration that does not fit another port is refused at the start, and can be mended', async (t) => {
  const first = await startTestControl(t)
  const app = (name: string, port: number) => ({
    name,
    externalUrl: `https://${name}.sallyport.localhost:${port}/`,
    internalUrl: 'http://origin.internal/',
  })
  for (const name of ['a', 'b']) await first.execute('app.create', app(name, 8443))
  await first.close()
  const store = await openStore({ kind: 'sqlite', file: join(first.dataDir, 'sallyport.db') })
  t.after(() => store.close())
  const options = {
    store,
    dataDir: first.dataDir,
    keyFile: openKeyFile(join(first.dataDir, 'key')),
    baseDomain: 'sallyport.localhost',
    port: 9443,
    hashPassword: async () => '',
    log: silent,
  }
  await assert.rejects(startControl(options), (error: { code: string; problems: unknown[] }) => {
    assert.equal(error.code, 'CONFIGURATION_INVALID')
    assert.equal(error.problems.length, 2)
    return true
  })
  const control = await startControl({ ...options, acceptInvalidConfiguration: true })
  assert.equal(control.snapshot().applications.size, 0)
  // What is wrong already may be mended piece by piece; nothing wrong may be added.
  await assert.rejects(control.execute('app.create', app('c', 8443), 'test'), {
    code: 'CONFIGURATION_INVALID',
  })
  await control.execute('app.update', { name: 'a', set: app('a', 9443) }, 'test')
  assert.equal(control.snapshot().applications.size, 0)
  await control.execute('app.update', { name: 'b', set: app('b', 9443) }, 'test')
  assert.equal(control.snapshot().applications.size, 2)
  await control.close()
  await (await startControl(options)).close()
})
