import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import {
  oidcModel,
  openStore,
  type PostgresOptions,
  type Store,
  type StoreError,
  settings,
} from '@sallyport/store'
import { findFreePort } from '@sallyport/testkit/ports'
import { Postgres } from '@sallyport/testkit/postgres'
import { lastFirst, type Scope } from '@sallyport/testkit/scope'
import { sql } from 'kysely'
import { startPostgres } from './support/databases.ts'
import { startRelay } from './support/relay.ts'

const postgres = startPostgres()

async function open(scope: Scope, options: PostgresOptions): Promise<Store> {
  const store = await openStore(options)
  scope.after(() => store.close())
  return store
}

/** Asks until there is an answer again; every failure before that has this code. */
async function untilAnswered<T>(ask: () => Promise<T>, code: string): Promise<T> {
  const endsAt = performance.now() + 20_000
  for (;;) {
    try {
      return await ask()
    } catch (error) {
      assert.equal((error as StoreError).code, code)
      assert.ok(performance.now() < endsAt, 'there is an answer in 20 s')
    }
  }
}

test('a database that cannot be used says why and what to do', async (t) => {
  const scope = lastFirst(t)
  const options = await postgres().createDatabase()
  const nowhere = await findFreePort()
  const owned = await postgres().createDatabase()
  await postgres().query(`ALTER DATABASE ${owned.database} OWNER TO postgres`)
  const relay = await startRelay(scope, options.port)
  // As an older server would say it.
  relay.toClient = (data) =>
    Buffer.from(data.toString('latin1').replace(/15\d{4}|1[6-9]\d{4}/, '140012'), 'latin1')
  const cases: [Partial<PostgresOptions>, code: string, message: RegExp][] = [
    [{ port: nowhere }, 'STORE_UNREACHABLE', /nothing listens there/],
    [{ host: 'db.invalid' }, 'STORE_UNREACHABLE', /host name/],
    [{ host: tmpdir() }, 'STORE_UNREACHABLE', /no such socket/],
    [{ password: async () => 'wrong' }, 'STORE_ACCESS_DENIED', /password authentication failed/],
    [{ password: undefined }, 'STORE_ACCESS_DENIED', /set database\.passwordFile/],
    [{ user: 'nobody_here' }, 'STORE_ACCESS_DENIED', /check the user/],
    [{ database: 'nothing_here' }, 'STORE_MISSING', /create it/],
    [owned, 'STORE_ACCESS_DENIED', /must own the database/],
    [{ tls: {} }, 'STORE_UNREACHABLE', /does not support SSL/],
    [{ port: relay.port }, 'STORE_TOO_OLD', /version 15 or later/],
  ]
  for (const [changes, code, message] of cases)
    await assert.rejects(
      openStore({ ...options, ...changes }),
      (error: StoreError) => {
        assert.equal(error.code, code, error.message)
        assert.match(error.message, message)
        assert.ok(!JSON.stringify([error, error.message]).includes(postgres().password))
        return true
      },
      code,
    )
})

test('a connection over TLS is to the server that the certificate names, or there is none', async (t) => {
  const scope = lastFirst(t)
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-postgres-tls-'))
  scope.after(() => rmSync(dir, { recursive: true }))
  const openssl = (...args: string[]) =>
    execFileSync('openssl', args, { cwd: dir, stdio: ['ignore', 'ignore', 'pipe'] })
  const request = ['req', '-x509', '-nodes', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256']
  const subject = ['-days', '2', '-subj', '/CN=db', '-addext', 'subjectAltName=IP:127.0.0.1']
  openssl(...request, '-keyout', 'key.pem', '-out', 'cert.pem', ...subject)
  const server = await Postgres.start(
    scope,
    { ssl: 'on', ssl_cert_file: join(dir, 'cert.pem'), ssl_key_file: join(dir, 'key.pem') },
    (data) => {
      const { uid, gid } = statSync(data)
      for (const file of [dir, join(dir, 'key.pem'), join(dir, 'cert.pem')])
        chownSync(file, uid, gid)
      chmodSync(join(dir, 'key.pem'), 0o600)
    },
  )
  const ca = readFileSync(join(dir, 'cert.pem'), 'utf8')
  const options = await server.createDatabase()
  const store = await open(scope, { ...options, tls: { ca } })
  const { rows } = await sql<{ ssl: boolean }>`
    SELECT bool_and(ssl) AS ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = current_user
  `.execute(store.db)
  assert.equal(rows[0]?.ssl, true)
  await assert.rejects(openStore({ ...options, tls: {} }), { code: 'STORE_UNTRUSTED' })
  await assert.rejects(openStore({ ...options, host: 'localhost', tls: { ca } }), {
    code: 'STORE_UNTRUSTED',
  })
})

test('while the server restarts requests fail with a code, and afterwards they succeed again', async (t) => {
  const scope = lastFirst(t)
  const server = await Postgres.start(scope)
  const store = await open(scope, await server.createDatabase())
  await settings.saveSetting(store.db, 'a', 'b')
  for (const signal of ['SIGINT', 'SIGKILL'] as const) {
    await server.stop(signal)
    await assert.rejects(settings.findSetting(store.db, 'a'), {
      code: 'STORE_UNREACHABLE',
      retryable: true,
    })
    await assert.rejects(
      store.change(async (db) => settings.saveSetting(db, 'a', 'lost')),
      { code: 'STORE_UNREACHABLE' },
    )
    await server.run()
    const ask = () => settings.findSetting(store.db, 'a')
    assert.equal(await untilAnswered(ask, 'STORE_UNREACHABLE'), 'b')
  }
})

test('a server that says nothing is given up, and so is its connection', async (t) => {
  const scope = lastFirst(t)
  const options = await postgres().createDatabase()
  const relay = await startRelay(scope, options.port)
  const store = await open(scope, { ...options, port: relay.port, answerLimitMs: 300 })
  await settings.saveSetting(store.db, 'a', 'b')
  relay.silent = true
  await assert.rejects(settings.findSetting(store.db, 'a'), { code: 'STORE_UNREACHABLE' })
  relay.silent = false
  const ask = () => settings.findSetting(store.db, 'a')
  assert.equal(await untilAnswered(ask, 'STORE_UNREACHABLE'), 'b')
})

test('an error that ended the transaction itself is the one that is told', async (t) => {
  const store = await open(lastFirst(t), await postgres().createDatabase())
  await assert.rejects(
    store.db
      .transaction()
      .execute((db) => sql`SELECT pg_terminate_backend(pg_backend_pid())`.execute(db)),
    { code: 'STORE_UNREACHABLE' },
  )
  await store.db.transaction().execute((db) => settings.saveSetting(db, 'a', 'd'))
  assert.equal(await settings.findSetting(store.db, 'a'), 'd')
})

for (const [victim, waitEvent] of [
  ['statement', 'transactionid'],
  ['change', 'PgSleep'],
] as const)
  test(`a ${victim} that a deadlock undid is made again`, async (t) => {
    const { db, change } = await open(lastFirst(t), await postgres().createDatabase())
    const activity = sql`SELECT FROM pg_stat_activity WHERE wait_event = ${waitEvent}`
    const collide = async () => {
      await settings.saveSetting(db, 'one', '0')
      await settings.saveSetting(db, 'two', '0')
      let attempts = 0
      let beside: Promise<unknown> | undefined
      await change(async (transaction) => {
        attempts += 1
        await settings.saveSetting(transaction, 'one', '1')
        if (attempts === 1) {
          // Takes the same rows the other way round. Whoever waits first is undone by the server.
          beside = sql`
            WITH two AS (UPDATE setting SET value = 'beside' WHERE key = 'two' RETURNING pg_sleep(0.2)),
              waited AS (SELECT count(*) FROM two)
            UPDATE setting SET value = 'beside' FROM waited WHERE key = 'one'
          `.execute(db)
          while ((await activity.execute(db)).rows.length === 0) await new Promise(setImmediate)
        }
        await settings.saveSetting(transaction, 'two', '1')
      })
      await beside
      const undone = attempts === 2 ? 'change' : 'statement'
      const values = [await settings.findSetting(db, 'one'), await settings.findSetting(db, 'two')]
      assert.deepEqual(values, undone === 'change' ? ['1', '1'] : ['beside', 'beside'])
      return undone
    }
    // The server looks once, a second after the wait began: on a busy machine that may be too early, and then the other one is undone.
    while ((await collide()) !== victim);
  })

test('of simultaneous redemptions over several processes one succeeds', async (t) => {
  const scope = lastFirst(t)
  const options = await postgres().createDatabase()
  const stores = [
    await open(scope, options),
    await open(scope, options),
    await open(scope, options),
  ]
  const key = { model: 'AuthorizationCode', id: 'c' }
  await oidcModel.saveOidcModel(stores[0]!.db, key, {}, 100)
  const results = await Promise.all(
    Array.from({ length: 60 }, (_, index) =>
      oidcModel.consumeOidcModel(stores[index % 3]!.db, key, 5_000),
    ),
  )
  assert.equal(results.filter(Boolean).length, 1)
  const deleted = await Promise.all(
    Array.from({ length: 60 }, (_, index) => oidcModel.deleteOidcModel(stores[index % 3]!.db, key)),
  )
  assert.equal(deleted.filter(Boolean).length, 1)
})

test('changes of several processes run one after the other', async (t) => {
  const scope = lastFirst(t)
  const options = await postgres().createDatabase()
  const stores = [await open(scope, options), await open(scope, options)]
  await settings.saveSetting(stores[0]!.db, 'count', '0')
  await Promise.all(
    Array.from({ length: 60 }, (_, index) =>
      stores[index % 2]!.change(async (db) => {
        const count = Number(await settings.findSetting(db, 'count'))
        await settings.saveSetting(db, 'count', String(count + 1))
      }),
    ),
  )
  assert.equal(await settings.findSetting(stores[0]!.db, 'count'), '60')
})

test('processes that start at once on an empty database do not disturb each other', async (t) => {
  const scope = lastFirst(t)
  const options = await postgres().createDatabase()
  const stores = await Promise.all(Array.from({ length: 4 }, () => open(scope, options)))
  await settings.saveSetting(stores[0]!.db, 'a', 'b')
  assert.equal(await settings.findSetting(stores[3]!.db, 'a'), 'b')
})

test('whoever wants the database alone waits for nobody and is told', async (t) => {
  const scope = lastFirst(t)
  const options = await postgres().createDatabase()
  const service = await open(scope, options)
  await assert.rejects(openStore({ ...options, exclusive: true }), { code: 'STORE_IN_USE' })
  await service.close()
  const alone = await open(scope, { ...options, exclusive: true })
  await assert.rejects(openStore(options), { code: 'STORE_IN_USE' })
  await alone.close()
  await open(scope, options)
})

test('what is acknowledged is on the disk of the server although its default is otherwise', async (t) => {
  const options = await postgres().createDatabase()
  await postgres().query(`ALTER DATABASE ${options.database} SET synchronous_commit = off`)
  const { db } = await open(lastFirst(t), options)
  const { rows } = await sql<{ synchronousCommit: string }>`SHOW synchronous_commit`.execute(db)
  assert.deepEqual(rows, [{ synchronousCommit: 'on' }])
})
