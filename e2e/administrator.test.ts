import assert from 'node:assert/strict'
import { once } from 'node:events'
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { Child, connectorOnline, spawnConnector, startServiceProcess } from '@sallyport/cli'
import { startIntranet } from '@sallyport/example-intranet'
import {
  type Answer,
  Client,
  findFreePort,
  lastFirst,
  Postgres,
  type Scope,
  submitSignIn,
  toDatabaseYaml,
} from '@sallyport/testkit'
import { WebSocket } from 'ws'

const programs = join(import.meta.dirname, '../packages/cli/src')
const domain = 'sallyport.localhost'
const limitMs = 2_000
const first = { ana: 'first password of ana', ben: 'first password of ben' }

/** One machine with the programs, and nothing but them and what the guides let an administrator write. */
class Machine {
  readonly dir = mkdtempSync(join(tmpdir(), 'sallyport-administrator-'))
  readonly config = join(this.dir, 'sallyport.yaml')
  readonly port: number
  readonly wiki: string
  readonly #scope: Scope
  #service: Child | undefined

  constructor(scope: Scope, port: number) {
    this.#scope = scope
    this.port = port
    this.wiki = `https://wiki.${domain}:${port}/`
    scope.after(() => rmSync(this.dir, { recursive: true, force: true }))
    writeFileSync(
      this.config,
      `baseDomain: ${domain}\ndataDir: data\nlisten: { address: 127.0.0.1, port: ${port} }\nlogLevel: warn\n`,
    )
  }

  /** @returns standard output of a command that must succeed */
  async sallyport(args: readonly string[], input = ''): Promise<string> {
    return this.run('sallyport', ['--config', this.config, ...args], input)
  }

  async run(
    program: 'sallyport' | 'sallyport-connector',
    args: readonly string[],
    input = '',
  ): Promise<string> {
    let text = ''
    const child = new Child({
      name: program,
      command: process.execPath,
      args: [join(programs, `${program}.ts`), ...args],
      input,
      onLine: (line) => {
        text += `${line}\n`
      },
    })
    await once(child.process, 'close')
    if ((await child.exited) !== 0) throw await child.explainEnd()
    return text
  }

  async start(): Promise<void> {
    const { child } = await startServiceProcess(this.config)
    this.#scope.after(() => child.stop())
    this.#service = child
  }

  async stop(): Promise<void> {
    await this.#service!.stop()
  }

  async enrol(allow: string): Promise<{ isOnline(): Promise<void> }> {
    const stateDir = join(this.dir, 'edge-1')
    const token = await this.sallyport(['token', 'create'])
    const service = `https://connect.${domain}:${this.port}`
    const enrolment = ['enroll', '--service', service, '--token-file', '-', '--allow', allow]
    await this.run('sallyport-connector', ['--state-dir', stateDir, ...enrolment], token)
    const connector = spawnConnector(stateDir)
    this.#scope.after(() => connector.stop())
    const isOnline = () => connectorOnline(stateDir, connector)
    await isOnline()
    return { isOnline }
  }

  /** A browser that has opened the wiki, and what became of the sign-in. */
  async signIn(userName: string, secret: string): Promise<{ client: Client; answer: Answer }> {
    const client = new Client(this.port, readFileSync(join(this.dir, 'data/web-ca.pem'), 'utf8'))
    this.#scope.after(() => client.close())
    const answer = await submitSignIn(client, await client.open(this.wiki), userName, secret)
    return { client, answer }
  }
}

async function isIn(machine: Machine, client: Client): Promise<boolean> {
  const { status } = await client.get(machine.wiki, { headers: { accept: 'application/json' } })
  assert.ok(status === 200 || status === 401, String(status))
  return status === 200
}

/** The clock of the wiki, once it ticks. */
async function openClock(machine: Machine, client: Client) {
  const socket = new WebSocket(`wss://127.0.0.1:${machine.port}/clock`, [], {
    ca: client.ca,
    ...({ servername: new URL(machine.wiki).hostname } as object),
    headers: {
      host: new URL(machine.wiki).host,
      origin: new URL(machine.wiki).origin,
      cookie: client.cookieHeader(new URL(machine.wiki).hostname),
    },
  })
  const closed = once(socket, 'close').then(() => performance.now())
  await once(socket, 'message')
  return { closed }
}

test('an administrator gets from an empty machine to an application for one of two groups, ends access, restores a backup, and moves to PostgreSQL and its backups', async (t) => {
  const scope = lastFirst(t)
  const intranet = await startIntranet()
  scope.after(() => intranet.close())
  const machine = new Machine(scope, await findFreePort())
  const { dir, config } = machine
  const sallyport = (line: string, input?: string) => machine.sallyport(line.split(' '), input)

  await machine.start()
  for (const [group, user] of [
    ['staff', 'ana'],
    ['guests', 'ben'],
  ] as const) {
    await sallyport(`group create ${group}`)
    await sallyport(`user create ${user} --password-stdin`, `${first[user]}\n`)
    await sallyport(`group add ${group} ${user}`)
  }
  await sallyport(
    `app create wiki --external-url ${machine.wiki} --internal-url ${intranet.url}/ --header X-User=userName`,
  )
  await sallyport('app assign wiki --group staff')
  const connector = await machine.enrol(new URL(intranet.url).host)
  const ana = await machine.signIn('ana', first.ana)
  assert.equal(ana.answer.status, 200)
  assert.equal(ana.answer.url, machine.wiki)
  assert.match(ana.answer.body, /X-User[\s\S]{0,100}\bana\b/i, 'the application knows who is there')
  assert.equal((await machine.signIn('ben', first.ben)).answer.status, 403)

  // Disabled in the middle of a WebSocket.
  const { closed } = await openClock(machine, ana.client)
  await sallyport('user disable ana')
  const disabledAt = performance.now()
  assert.ok((await closed) - disabledAt < limitMs)
  assert.equal(await isIn(machine, ana.client), false)
  assert.equal((await machine.signIn('ana', first.ana)).answer.status, 422)
  await sallyport('user enable ana')
  assert.equal(await isIn(machine, ana.client), false, 'what has ended does not come back')

  // A password reset.
  const forgetful = await machine.signIn('ana', first.ana)
  assert.equal(forgetful.answer.status, 200)
  await sallyport('user set-password ana', 'second password of ana\n')
  assert.equal(await isIn(machine, forgetful.client), false)
  assert.equal((await machine.signIn('ana', first.ana)).answer.status, 422)
  const before = await machine.signIn('ana', 'second password of ana')
  assert.equal(before.answer.status, 200)

  // A restore from backup: what was deleted is back, and nobody is signed in.
  const backup = join(dir, 'backup.db')
  await sallyport(`backup ${backup}`)
  await sallyport('app delete wiki')
  await sallyport('user delete ana')
  await machine.stop()
  assert.match(await sallyport(`restore ${backup}`), /1 applications, 2 users, 2 groups/)
  await machine.start()
  await connector.isOnline()
  assert.equal(await isIn(machine, before.client), false)
  const restored = await machine.signIn('ana', 'second password of ana')
  assert.equal(restored.answer.status, 200)
  assert.equal((await machine.signIn('ben', first.ben)).answer.status, 403)

  // A move to PostgreSQL: people stay signed in.
  const postgres = await Postgres.start(scope)
  const database = await postgres.createDatabase()
  const moved = join(dir, 'postgresql.yaml')
  writeFileSync(moved, readFileSync(config, 'utf8') + (await toDatabaseYaml(database, dir)))
  await machine.stop()
  await sallyport(`db copy --to-config ${moved}`)
  copyFileSync(moved, config)
  await machine.start()
  await connector.isOnline()
  assert.equal(await isIn(machine, restored.client), true)

  // A dump of it that is put back: what was changed since is undone, and what was ended stays so.
  const dump = join(dir, 'now.dump')
  postgres.tool('pg_dump', '--format=custom', `--file=${dump}`, database.database)
  await sallyport('user delete ben')
  await machine.stop()
  postgres.tool('dropdb', database.database)
  postgres.tool('createdb', `--owner=${database.user}`, database.database)
  postgres.tool('pg_restore', '--exit-on-error', `--dbname=${database.database}`, dump)
  assert.match(await sallyport('restore --in-place'), /1 applications, 2 users, 2 groups/)
  await machine.start()
  await connector.isOnline()
  assert.equal(await isIn(machine, restored.client), false)
  assert.equal((await machine.signIn('ben', first.ben)).answer.status, 403)
  const last = await machine.signIn('ana', 'second password of ana')
  assert.equal(last.answer.status, 200)
  assert.match(await sallyport('status'), /^Service +running[\s\S]*^Connectors +1 of 1 online$/m)
})
