import assert from 'node:assert/strict'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { Postgres, toDatabaseYaml } from '@sallyport/testkit/postgres'
import { lastFirst } from '@sallyport/testkit/scope'
import { readServiceConfig } from '../src/config.ts'
import { withStoredControl } from '../src/offline.ts'
import { type Installation, install } from './support/programs.ts'

let postgres: Postgres
const shared = lastFirst({ after })
before(async () => {
  postgres = await Postgres.start(shared)
})

const secret = 'a long enough secret'

/** Writes a second configuration: as the first, but for these lines. */
function writeConfig(installed: Installation, name: string, more: string): string {
  const file = join(installed.dir, name)
  writeFileSync(file, readFileSync(installed.configFile, 'utf8') + more)
  return file
}

async function must(
  installed: Installation,
  args: readonly string[],
  input?: string,
): Promise<string> {
  const { status, stdout, stderr } = await installed.sallyport(args, input)
  assert.equal(status, 0, stderr)
  return stdout
}

async function fill(installed: Installation): Promise<void> {
  await must(installed, ['user', 'create', 'ana', '--password-stdin'], secret)
  await must(installed, ['group', 'create', 'staff'])
  await must(installed, ['group', 'add', 'staff', 'ana'])
  const url = `https://hr.sallyport.localhost:${installed.port}/`
  await must(installed, [
    ...['app', 'create', 'hr', '--external-url', url],
    ...['--internal-url', 'http://hr.internal/'],
  ])
  await must(installed, ['app', 'assign', 'hr', '--group', 'staff'])
}

/** What the commands say of everything that an administrator sees. */
async function describe(config: string): Promise<unknown[]> {
  const lists = ['user.list', 'group.list', 'app.list', 'connector-group.list', 'audit.list']
  return withStoredControl(readServiceConfig(config), (control) =>
    Promise.all(lists.map((list) => control.execute(list, {}, 'test'))),
  )
}

test('a service moves to PostgreSQL and back, and nothing is different', async (t) => {
  const installed = await install(t)
  await fill(installed)
  const { configFile } = installed
  const database = await toDatabaseYaml(await postgres.createDatabase(), installed.dir)
  const there = writeConfig(installed, 'postgres.yaml', database)
  const before = await describe(configFile)

  const said = await must(installed, ['db', 'copy', '--to-config', there])
  assert.match(said, /^TABLE +ROWS\n/)
  assert.match(said, /^user +1$/m)
  assert.match(
    said,
    /Everything was copied and compared\. A service that is started with .*postgres\.yaml/,
  )
  assert.deepEqual(await describe(there), before)

  // It lives on there, and comes back to another file.
  await must(installed, ['--config', there, 'user', 'create', 'ben'])
  const after = await describe(there)
  mkdirSync(join(installed.dir, 'other'), { mode: 0o700 })
  const back = writeConfig(installed, 'back.yaml', 'keyFile: other/key\n')
  writeFileSync(back, readFileSync(back, 'utf8').replace('dataDir: data', 'dataDir: other'))
  const copyBack = ['--config', there, '--json', 'db', 'copy', '--to-config', back]
  const refused = await installed.sallyport(copyBack)
  assert.equal(refused.status, 1)
  assert.match(refused.stderr, /^sallyport: keyFile .*other\/key: is not .*data\/key/)
  copyFileSync(join(installed.dataDir, 'key'), join(installed.dir, 'other/key'))
  const rows = JSON.parse(await must(installed, copyBack)) as { table: string; rows: number }[]
  assert.deepEqual(
    rows.find(({ table }) => table === 'user'),
    { table: 'user', rows: 2 },
  )
  assert.deepEqual(await describe(back), after)
})

test('a copy of what is in use, empty, or the same is refused, and leaves nothing behind', async (t) => {
  const installed = await install(t)
  const database = await toDatabaseYaml(await postgres.createDatabase(), installed.dir)
  const there = writeConfig(installed, 'postgres.yaml', database)
  const fails = async (args: readonly string[], message: RegExp) => {
    const { status, stderr } = await installed.sallyport(args)
    assert.equal(status, 1)
    assert.match(stderr, message)
  }
  const copy = ['db', 'copy', '--to-config', there]
  const copyBack = ['--config', there, 'db', 'copy', '--to-config', installed.configFile]
  await fails(copy, /sallyport\.db: does not exist, so there is nothing to copy/)
  await fails(copyBack, /holds nothing; no service has used it yet/)
  await fails(['db', 'copy', '--to-config', installed.configFile], /is where it is already/)
  await fails(['db', 'copy', '--to-config', join(installed.dir, 'none')], /does not exist/)
  assert.deepEqual(
    readdirSync(installed.dir).filter((name) => name === 'data'),
    [],
  )
  await fill(installed)
  const other = writeConfig(installed, 'other.yaml', database)
  writeFileSync(
    other,
    readFileSync(other, 'utf8').replace('sallyport.localhost', 'other.localhost'),
  )
  await fails(
    ['db', 'copy', '--to-config', other],
    /^sallyport: baseDomain: is sallyport\.localhost/,
  )

  const service = await installed.serve()
  await fails(copy, /another process has it open; stop that one first/)
  await service.stop()
  await must(installed, copy)
  await fails(copy, /: the target is not empty: table setting has.*\n.*add --replace/)
  await must(installed, [...copy, '--replace'])

  const moved = await install(t, database)
  copyFileSync(join(installed.dataDir, 'key'), join(moved.dir, 'key'))
  writeFileSync(
    moved.configFile,
    `${readFileSync(moved.configFile, 'utf8')}keyFile: key\npublicPort: ${installed.port}\n`,
  )
  await moved.serve()
  await fails(copyBack, /a service uses it; stop that first/)
  await fails([...copy, '--replace'], /a service uses it; stop that first/)
})

test('a database of another key is not taken over', async (t) => {
  const installed = await install(t)
  await fill(installed)
  const database = await postgres.createDatabase()
  const there = writeConfig(
    installed,
    'postgres.yaml',
    await toDatabaseYaml(database, installed.dir),
  )
  await must(installed, ['db', 'copy', '--to-config', there])
  const stranger = await install(t, await toDatabaseYaml(database, installed.dir))
  const { status, stderr } = await stranger.sallyport(['user', 'list'])
  assert.equal(status, 1)
  assert.match(
    stderr,
    /keyFile .*data\/key: does not exist, and database test_\d+ on .* was made with it/,
  )
  assert.ok(!existsSync(join(stranger.dataDir, 'key')))
})
