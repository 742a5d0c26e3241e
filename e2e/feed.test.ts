import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { parseServiceConfig, type Service, startService } from '@sallyport/cli'
import {
  Client,
  domain,
  findFreePort,
  navigation,
  password,
  startSystem,
  submitSignIn,
} from '@sallyport/testkit'
import { pino } from 'pino'

test('while the database does not answer, applications that need a sign-in are closed, and open again by themselves', async (t) => {
  const system = await startSystem(t, {
    applications: [{ name: 'hr' }, { name: 'open', preAuthentication: 'passthrough' }],
  })
  const client = await system.signIn('ana', 'hr')
  const { gateway, store } = system.service
  const held = Promise.withResolvers<void>()
  const holding = Promise.withResolvers<void>()
  // Somebody has the one connection to the database, and does not give it back.
  const transaction = store.db.transaction().execute(async () => {
    holding.resolve()
    await held.promise
  })
  await holding.promise
  assert.equal((await client.get(system.url('hr'))).status, 200, 'at first nobody notices')
  const changes: boolean[] = []
  const recovered = Promise.withResolvers<void>()
  gateway.options.onFeedChange = (isSilent) => {
    changes.push(isSilent)
    if (!isSilent) recovered.resolve()
  }
  gateway.options.monotonicMs = () => performance.now() + 61_000
  const closed = await client.get(system.url('hr'), { headers: navigation })
  assert.equal(closed.status, 503)
  assert.match(closed.body, /Access cannot be checked right now[\s\S]*FEED_SILENT/)
  assert.equal((await client.get(system.url('apps'))).status, 503)
  assert.equal(system.records.at(-1)!.reason, 'feed-silent')
  assert.equal((await client.get(system.url('open'))).status, 200)
  held.resolve()
  await transaction
  await recovered.promise
  assert.equal(changes.at(-1), false)
  assert.equal((await client.get(system.url('hr'))).status, 200, 'with the session of before')
})

test('what ended while the service was down is known before it lets anybody in', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-test-'))
  const port = await findFreePort()
  const config = parseServiceConfig(
    `baseDomain: ${domain}\ndataDir: ${JSON.stringify(dir)}\nlisten: { address: 127.0.0.1, port: ${port} }\n`,
  )
  let service: Service | undefined
  t.after(async () => {
    await service?.close()
    rmSync(dir, { recursive: true, force: true })
  })
  const start = async () => {
    service = await startService(config, pino({ level: 'silent' }))
    return service
  }
  const first = await start()
  const portal = `https://apps.${domain}:${port}/`
  const people = new Map<string, Client>()
  for (const userName of ['ana', 'ben', 'eva']) {
    await first.control.execute('user.create', { userName, password }, 'test')
    const client = new Client(port, first.control.webCa.certificatePem)
    t.after(() => client.close())
    const page = await client.open(portal)
    assert.equal((await submitSignIn(client, page, userName, password)).status, 200)
    people.set(userName, client)
  }
  // As a command does that finds no service running: the store changes, and nobody hears of it.
  const { withStoredControl } = await import('../packages/cli/src/offline.ts')
  await first.close()
  await withStoredControl(config, async (control) => {
    await control.execute('user.disable', { userName: 'ana' }, 'test')
    const sessions = (await control.execute('session.list', { user: 'ben' }, 'test')) as {
      id: string
    }[]
    await control.execute('session.end', { sessionId: sessions[0]!.id }, 'test')
  })
  const { gateway } = await start()
  let reads = 0
  const { identity } = gateway.options
  const readSession = identity.readSession.bind(identity)
  identity.readSession = (sessionId) => {
    reads += 1
    return readSession(sessionId)
  }
  const statusOf = async (userName: string) => (await people.get(userName)!.get(portal)).status
  assert.equal(await statusOf('ana'), 401)
  assert.equal(await statusOf('ben'), 401)
  assert.equal(reads, 0, 'refused out of memory')
  assert.equal(await statusOf('eva'), 200)
})
