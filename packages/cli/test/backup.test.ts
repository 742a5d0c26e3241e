import assert from 'node:assert/strict'
import { once } from 'node:events'
import {
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { openKeyFile } from '@sallyport/control'
import { openStore } from '@sallyport/store'
import { openKey, sealKey } from '../src/backup/sealed-key.ts'
import { Child } from '../src/child.ts'
import { type Installation, install, type Scope, source } from './support/programs.ts'
import { seeded } from './support/random.ts'

const passphrase = 'correct horse battery staple'

async function place(t: Scope) {
  const installed = await install(t)
  const ok = async (args: string[], input?: string) => {
    const outcome = await installed.sallyport(args, input)
    assert.equal(outcome.status, 0, `${args.join(' ')}: ${outcome.stderr}`)
    return outcome.stdout
  }
  const no = async (args: string[], input?: string) => {
    const { status, stdout, stderr } = await installed.sallyport(args, input)
    assert.deepEqual([status, stdout], [1, ''], args.join(' '))
    assert.doesNotMatch(stderr, /\n\s+at /)
    return stderr
  }
  const names = async () =>
    (JSON.parse(await ok(['user', 'list', '--json'])) as { userName: string }[]).map(
      ({ userName }) => userName,
    )
  return { ...installed, ok, no, names, file: join(installed.dir, 'backup.db') }
}

/** What a restoration that came to nothing must have left. */
function assertClean({ dataDir }: Installation): void {
  assert.deepEqual(
    readdirSync(dataDir).filter((name) =>
      /^(?:restore|\.copy-for-backup|before-restore)-/.test(name),
    ),
    [],
  )
}

test('a backup of the running service is restored, and what was there before is kept', async (t) => {
  const there = await place(t)
  const { ok, no, names, file, dataDir } = there
  await ok(['user', 'create', 'ana'])
  const service = await there.serve()
  const said = await ok(['backup', file])
  assert.match(said, /^backup written to .*backup\.db \(\d+ bytes, mode 0600\)\n/)
  assert.ok(said.includes(`Not in it: the key file ${join(dataDir, 'key')}`))
  assert.equal(statSync(file).mode & 0o777, 0o600)
  assert.match(await no(['backup', file]), /exists\n.*--replace/)
  await ok(['backup', file, '--replace'])
  assertClean(there)

  await ok(['user', 'delete', 'ana'])
  await ok(['user', 'create', 'eve'])
  assert.match(await no(['restore', file]), /the service runs/)
  assert.match(await ok(['restore', file, '--check']), /a whole backup of .*, without the key file/)
  await service.stop()
  assert.match(await ok(['restore', file]), /^restored what there was .*Z: 0 applications, 1 users/)
  assert.deepEqual(await names(), ['ana'])
  const [kept] = readdirSync(dataDir).filter((name) => name.startsWith('before-restore-'))
  const store = await openStore({ kind: 'sqlite', file: join(dataDir, kept!, 'sallyport.db') })
  const before = await store.db.selectFrom('user').select('userName').execute()
  await store.close()
  assert.deepEqual(
    before.map(({ userName }) => userName),
    ['eve'],
  )
  const again = await there.serve()
  assert.deepEqual(await names(), ['ana'])
  assert.match(await ok(['audit', 'list', '--action', 'database-restored']), /cli:\w+/)
  await again.stop()
})

test('with its key in it, a backup is enough for a machine that has nothing', async (t) => {
  const there = await place(t)
  const { ok, no, names, file, dataDir } = there
  await ok(['user', 'create', 'ana'])
  const key = readFileSync(join(dataDir, 'key'))
  assert.match(await no(['backup', file, '--include-key'], 'short\n'), /passphrase: must have/)
  assert.match(await ok(['backup', file, '--include-key'], `${passphrase}\n`), /holds the key file/)
  assert.ok(!readFileSync(file).includes(key.subarray(20, 50)), 'the key is not in it in the clear')
  rmSync(dataDir, { recursive: true })
  assert.match(
    await no(['restore', file], 'correct horse battery stable\n'),
    /does not open the key/,
  )
  assertClean(there)
  assert.match(await ok(['restore', file], `${passphrase}\n`), /^restored/)
  assert.deepEqual(readFileSync(join(dataDir, 'key')), key)
  assert.equal(statSync(join(dataDir, 'key')).mode & 0o777, 0o600)
  assertClean(there)
  assert.deepEqual(await names(), ['ana'])

  // Another service's data, with another key: both are kept.
  rmSync(dataDir, { recursive: true })
  await ok(['user', 'create', 'eve'])
  const other = readFileSync(join(dataDir, 'key'))
  await ok(['restore', file], `${passphrase}\n`)
  assert.deepEqual(await names(), ['ana'])
  const [kept] = readdirSync(dataDir).filter((name) => name.startsWith('before-restore-'))
  assert.deepEqual(readFileSync(join(dataDir, kept!, 'key')), other)
})

test('what cannot be restored is refused before anything is replaced', async (t) => {
  const there = await place(t)
  const { ok, no, names, file, dataDir, dir } = there
  assert.match(await no(['backup', file]), /does not exist, so that there is nothing to back up/)
  await ok(['user', 'create', 'ana'])
  await ok(['backup', file])
  await ok(['user', 'create', 'eve'])
  const whole = readFileSync(file)
  const bad = join(dir, 'bad.db')
  const database = readFileSync(join(dataDir, 'sallyport.db'))
  const other = await place(t)
  writeFileSync(
    other.configFile,
    readFileSync(other.configFile, 'utf8').replace(/baseDomain: \S+/, 'baseDomain: other.example'),
  )
  await other.ok(['user', 'create', 'x'])
  await other.ok(['backup', other.file])
  const newer = join(dir, 'newer.db')
  writeFileSync(newer, whole)
  const { DatabaseSync } = await import('node:sqlite')
  const open = new DatabaseSync(newer)
  open.exec("INSERT INTO kysely_migration VALUES ('9999-future', '2030-01-01')")
  open.close()
  for (const [bytes, said] of [
    [whole.subarray(0, whole.length / 2), /is no backup, or is damaged/],
    [
      Buffer.concat([whole.subarray(0, 20_000), Buffer.alloc(60_000), whole.subarray(80_000)]),
      /damaged/,
    ],
    [database, /is no backup of Sallyport/],
    [Buffer.from('text'), /is no backup/],
    [readFileSync(other.file), /is a backup of other\.example, and the configuration says/],
    [readFileSync(newer), /was migrated by a newer Sallyport \(9999-future\)/],
  ] as const) {
    writeFileSync(bad, bytes)
    assert.match(await no(['restore', bad]), said)
    assertClean(there)
  }
  assert.match(await no(['restore', join(dir, 'missing.db')]), /does not exist/)
  assert.match(await no(['restore', dir]), /is no backup/)

  const key = join(dataDir, 'key')
  renameSync(key, `${key}.old`)
  assert.match(
    await no(['restore', file]),
    /keyFile .*: does not exist, and the backup does not hold/,
  )
  openKeyFile(key)
  assert.match(await no(['restore', file]), /keyFile .*: is not the key of this backup/)
  renameSync(`${key}.old`, key)
  assertClean(there)
  assert.deepEqual(await names(), ['ana', 'eve'])
})

test('a restoration that is killed at any moment leaves the old service or the restored one', async (t) => {
  const there = await place(t)
  const { ok, names, file, dataDir, configFile } = there
  await ok(['user', 'create', 'ana'])
  await ok(['backup', file])
  await ok(['user', 'create', 'eve'])
  const old = join(there.dir, 'old')
  mkdirSync(old)
  for (const name of ['key', 'sallyport.db'])
    writeFileSync(join(old, name), readFileSync(join(dataDir, name)), { mode: 0o600 })
  const random = seeded(20_261_125)
  // As long as a whole one takes on this machine.
  const startedAt = performance.now()
  await ok(['restore', file])
  const wholeMs = performance.now() - startedAt
  for (let round = 0; round < 4; round += 1) {
    rmSync(dataDir, { recursive: true })
    mkdirSync(dataDir, { mode: 0o700 })
    for (const name of ['key', 'sallyport.db'])
      writeFileSync(join(dataDir, name), readFileSync(join(old, name)), { mode: 0o600 })
    const child = there.keep(
      new Child({
        name: 'the restoration',
        command: process.execPath,
        args: [join(source, 'sallyport.ts'), '--config', configFile, 'restore', file],
      }),
    )
    // Most of it is the start of the program.
    await Promise.race([delay(wholeMs * (0.4 + 0.6 * random())), once(child.process, 'close')])
    child.process.kill('SIGKILL')
    await child.exited
    const after = (await names()).join()
    assert.ok(after === 'ana' || after === 'ana,eve', after)
    await ok(['restore', file])
    assert.deepEqual(await names(), ['ana'])
  }
})

test('the key opens with its passphrase only, however it is typed', () => {
  const sealed = sealKey('sallyport-key-1:abc\n', 'Caf\u00e9 au lait, s.v.p.')
  assert.equal(openKey(sealed, 'Cafe\u0301 au lait, s.v.p.'), 'sallyport-key-1:abc\n')
  assert.throws(() => openKey(sealed, 'cafe au lait, s.v.p.'), { code: 'COMMAND_FAILED' })
  for (const damaged of ['', '.', 'a.b.c', sealed.slice(0, -4), `${sealed}AAAA`])
    assert.throws(() => openKey(damaged, passphrase), { code: 'COMMAND_FAILED' })
})

test('with PostgreSQL neither command does anything, and both say what does', async (t) => {
  const there = await place(t)
  const { no, file, dir, configFile } = there
  const database =
    'database: { kind: postgresql, url: "postgresql://sallyport@127.0.0.1:1/sallyport" }\n'
  writeFileSync(configFile, readFileSync(configFile, 'utf8') + database)
  for (const command of ['backup', 'restore'])
    assert.match(await no([command, file]), /database\.kind: .* use pg_dump/s, command)
  assert.deepEqual(readdirSync(dir), ['sallyport.yaml'])
})

test('in a database that was brought back by other means, what must not come back is ended in place', async (t) => {
  const there = await place(t)
  const { ok, no, names, dir, dataDir } = there
  assert.match(
    await no(['restore', '--in-place']),
    /sallyport\.db: holds nothing\n.*put .* back first/,
  )
  assert.deepEqual(readdirSync(dir), ['sallyport.yaml'], 'and nothing was made')
  assert.match(await no(['restore']), /give either the file of a backup, or --in-place/)
  await ok(['user', 'create', 'ana'])
  await ok(['token', 'create'])
  const [copy, database] = [join(dir, 'copy.db'), join(dataDir, 'sallyport.db')]
  const open = () => openStore({ kind: 'sqlite', file: database })
  const epochOf = async () => {
    const store = await open()
    const { signInEpoch } = await store.db
      .selectFrom('user')
      .select('signInEpoch')
      .executeTakeFirstOrThrow()
    await store.close()
    return signInEpoch
  }
  const epoch = await epochOf()
  copyFileSync(database, copy)
  await ok(['user', 'delete', 'ana'])
  copyFileSync(copy, database)
  const service = await there.serve()
  assert.match(await no(['restore', '--in-place']), /the service runs/)
  await service.stop()
  assert.match(await no(['restore', copy, '--in-place']), /give either/)
  assert.match(
    await ok(['restore', '--in-place']),
    /^settled what there is, .* of .*Z: 0 applications, 1 users/,
  )
  assert.deepEqual(await names(), ['ana'])
  assert.match(await ok(['token', 'list']), /^There are no tokens/)
  assert.ok((await epochOf()) > epoch, 'no cookie of before has the epoch of now')
  assert.match(await ok(['audit', 'list', '--action', 'database-restored']), /cli:\w+/)
  const key = join(dataDir, 'key')
  renameSync(key, join(dir, 'elsewhere'))
  assert.match(await no(['restore', '--in-place']), /keyFile/)
  renameSync(join(dir, 'elsewhere'), key)
  await (await there.serve()).stop()
})
