import assert from 'node:assert/strict'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { Child, controlOf, startServiceProcess } from '@sallyport/cli'
import {
  Client,
  domain,
  findFreePort,
  lastFirst,
  navigation,
  Postgres,
  type PostgresDatabase,
  password,
  readForm,
  type Scope,
  type System,
  startSystem,
  submitSignIn,
  toDatabaseYaml,
} from '@sallyport/testkit'

const limitMs = 2_000
const program = join(import.meta.dirname, '../packages/cli/src/sallyport.ts')

suite('a service on PostgreSQL', () => {
  const scope = lastFirst({ after })
  let postgres: Postgres
  before(async () => {
    postgres = await Postgres.start(scope)
  })

  async function start(t: Scope): Promise<{ system: System; database: PostgresDatabase }> {
    const database = await postgres.createDatabase()
    const system = await startSystem(t, {
      database,
      applications: [
        { name: 'app' },
        { name: 'grouped', assigned: [] },
        { name: 'crm', onOtherSite: true },
      ],
    })
    await system.execute('group.create', { name: 'staff' })
    await system.execute('group.add-member', { group: 'staff', user: 'ana' })
    await system.execute('app.assign', { name: 'grouped', group: 'staff' })
    return { system, database }
  }

  /** A second machine of the same service: its own folder, the same key, the same database. */
  async function addMachine(t: Scope, system: System, database: PostgresDatabase): Promise<string> {
    const dir = mkdtempSync(join(tmpdir(), 'sallyport-second-'))
    t.after(() => rmSync(dir, { recursive: true }))
    mkdirSync(join(dir, 'data'), { mode: 0o700 })
    cpSync(join(system.dir, 'service/key'), join(dir, 'data/key'))
    const listen = `listen: { address: 127.0.0.1, port: ${await findFreePort()} }`
    writeFileSync(
      join(dir, 'sallyport.yaml'),
      `baseDomain: ${system.domain}\ndataDir: data\n${listen}\npublicPort: ${system.port}\nlogLevel: warn\n${system.certificatesYaml}${await toDatabaseYaml(database, dir)}`,
    )
    return dir
  }

  test('signs people in, and ends their access within 2 s', async (t) => {
    const { system } = await start(lastFirst(t))
    const ana = await system.signIn('ana', 'app')
    assert.equal((await ana.get(system.url('app', '/hello'))).status, 200)
    assert.equal((await ana.open(system.url('apps'))).status, 200)
    await endsWithin(ana, system.url('app'), () =>
      system.execute('user.disable', { userName: 'ana' }),
    )
    const again = system.client()
    const page = await again.open(system.url('app'))
    assert.equal((await submitSignIn(again, page, 'ana', password)).status, 422)
  })

  test('follows what a command on another machine changes', async (t) => {
    const inner = lastFirst(t)
    const { system, database } = await start(inner)
    const dir = await addMachine(inner, system, database)
    await followsChanges(system, (...args) => run('--config', join(dir, 'sallyport.yaml'), ...args))
  })

  test('follows what another service on the same database changes', async (t) => {
    const inner = lastFirst(t)
    const { system, database } = await start(inner)
    const dir = await addMachine(inner, system, database)
    const { child } = await startServiceProcess(join(dir, 'sallyport.yaml'))
    inner.after(() => child.stop())
    const execute = controlOf(join(dir, 'data'))
    const commands: Record<string, (...args: string[]) => Promise<unknown>> = {
      'user disable': (userName) => execute('user.disable', { userName }),
      'group remove': (group, user) => execute('group.remove-member', { group, user }),
      'app unassign': (name, _, user) => execute('app.unassign', { name, user }),
    }
    await followsChanges(system, async (noun, verb, ...args) => {
      await commands[`${noun} ${verb}`]!(...args)
    })
    // And back: what is changed here is known there.
    await system.execute('user.create', { userName: 'cid', displayName: 'Cid' })
    const users = (await execute('user.list', {})) as { userName: string }[]
    assert.ok(users.some(({ userName }) => userName === 'cid'))
  })

  test('a message to an application on another site may be written by one service and shown by another, once', async (t) => {
    const inner = lastFirst(t)
    const { system, database } = await start(inner)
    const crm = system.url('crm')
    await system.execute('app.update', {
      name: 'crm',
      set: {
        signOn: {
          method: 'saml',
          entityId: 'urn:crm',
          assertionConsumerServices: [{ url: `${crm}acs` }],
        },
      },
    })
    const dir = await addMachine(inner, system, database)
    const { child, port } = await startServiceProcess(join(dir, 'sallyport.yaml'))
    inner.after(() => child.stop())
    const ana = await system.signIn('ana', 'crm')
    // The balancer sends her next connection to the other machine.
    const there = new Client(port, system.ca)
    inner.after(() => there.close())
    for (const [host, cookies] of ana.cookies) there.cookies.set(host, cookies)
    const { id } = (await system.execute('app.show', { name: 'crm' })) as { id: string }
    const { headers } = await ana.get(system.url('login', `/common/saml2/start/${id}`))
    const page = await there.get(headers.location!, { headers: navigation })
    assert.equal(readForm(page.body).action, `${crm}acs`)
    assert.ok(readForm(page.body).fields.SAMLResponse)
    for (const client of [there, ana]) {
      const again = await client.get(headers.location!, { headers: navigation })
      assert.doesNotMatch(again.body, /SAMLResponse/)
    }
  })

  test('moves there from SQLite and back, and people stay signed in', async (t) => {
    const inner = lastFirst(t)
    const dir = mkdtempSync(join(tmpdir(), 'sallyport-move-'))
    inner.after(() => rmSync(dir, { recursive: true }))
    const port = await findFreePort()
    const lines = `baseDomain: ${domain}\ndataDir: data\nlisten: { address: 127.0.0.1, port: ${port} }\nlogLevel: warn\n`
    const [sqlite, moved] = [join(dir, 'sallyport.yaml'), join(dir, 'postgresql.yaml')]
    writeFileSync(sqlite, lines)
    writeFileSync(moved, lines + (await toDatabaseYaml(await postgres.createDatabase(), dir)))
    const serve = async (config: string) => {
      const { child } = await startServiceProcess(config)
      inner.after(() => child.stop())
      return child
    }
    let service = await serve(sqlite)
    await controlOf(join(dir, 'data'))('user.create', {
      userName: 'ana',
      displayName: 'Ana',
      password,
    })
    const ana = new Client(port, readFileSync(join(dir, 'data/web-ca.pem'), 'utf8'))
    inner.after(() => ana.close())
    const portal = `https://apps.${domain}:${port}/`
    await submitSignIn(ana, await ana.open(portal), 'ana', password)
    const isSignedIn = async () => {
      const { status, headers } = await ana.get(portal, { headers: navigation })
      return status === 200 && headers.location === undefined
    }
    assert.ok(await isSignedIn())
    for (const [from, to, more] of [
      [sqlite, moved, []],
      [moved, sqlite, ['--replace']],
    ] as const) {
      await service.stop()
      await run('--config', from, 'db', 'copy', '--to-config', to, ...more)
      service = await serve(to)
      assert.ok(await isSignedIn())
    }
  })

  test('lives on while its database restarts, and says so to whoever needs that', async (t) => {
    const inner = lastFirst(t)
    const server = await Postgres.start(inner)
    const system = await startSystem(inner, {
      database: await server.createDatabase(),
      applications: [{ name: 'app' }],
    })
    const ana = await system.signIn('ana', 'app')
    await server.stop('SIGINT')
    // Who is signed in goes on: nothing is asked for a request.
    assert.equal((await ana.get(system.url('app'))).status, 200)
    const ben = system.client()
    const page = await ben.open(system.url('app'))
    assert.equal(page.status, 503)
    assert.match(page.body, /Signing in is not possible right now/)
    await assert.rejects(system.execute('user.disable', { userName: 'ana' }), {
      code: 'STORE_UNREACHABLE',
    })
    const signOut = { method: 'POST', headers: { 'sec-fetch-site': 'same-origin' } }
    const out = await ana.fetch(system.url('app', '/.sallyport/signout'), signOut)
    assert.equal(out.status, 503)
    assert.equal((await ana.get(system.url('app'))).status, 200)
    await server.run()
    await untilStatus(() => ben.open(system.url('app')), 200, 503)
    await system.signInWith(ben, 'ben', 'app')
    await endsWithin(ana, system.url('app'), () =>
      system.execute('user.disable', { userName: 'ana' }),
    )
  })
})

/** Runs a `sallyport` command to its end. */
async function run(...args: string[]): Promise<void> {
  const child = new Child({
    name: 'sallyport',
    command: process.execPath,
    args: [program, ...args],
  })
  if ((await child.exited) !== 0) throw await child.explainEnd()
}

/** What is changed elsewhere, by `sallyport` commands, ends access here in time. */
async function followsChanges(
  system: System,
  sallyport: (...args: string[]) => Promise<unknown>,
): Promise<void> {
  const ana = await system.signIn('ana', 'grouped')
  await endsWithin(ana, system.url('grouped'), () => sallyport('group', 'remove', 'staff', 'ana'))
  assert.equal((await ana.get(system.url('app'), { headers: navigation })).status, 302)
  assert.equal((await ana.open(system.url('app'))).status, 200)
  await endsWithin(ana, system.url('app'), () =>
    sallyport('app', 'unassign', 'app', '--user', 'ana'),
  )
  const ben = await system.signIn('ben', 'app')
  await endsWithin(ben, system.url('app'), () => sallyport('user', 'disable', 'ben'))
}

/** The request succeeds now, and is refused soon after the change is done. */
async function endsWithin(client: Client, url: string, change: () => Promise<unknown>) {
  assert.equal((await client.get(url)).status, 200)
  await change()
  const doneAt = performance.now()
  while ((await client.get(url)).status === 200)
    assert.ok(performance.now() - doneAt < limitMs, 'access ends in 2 s')
}

async function untilStatus(ask: () => Promise<{ status: number }>, wanted: number, before: number) {
  const endsAt = performance.now() + 20_000
  for (;;) {
    const { status } = await ask()
    if (status === wanted) return
    assert.equal(status, before)
    assert.ok(performance.now() < endsAt, 'the database is used again in 20 s')
  }
}
