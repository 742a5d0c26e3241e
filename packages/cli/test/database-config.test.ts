import assert from 'node:assert/strict'
import { chmodSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { type Child, startServiceProcess } from '@sallyport/cli'
import { ConfigurationError } from '@sallyport/domain'
import { Postgres, toDatabaseYaml } from '@sallyport/testkit/postgres'
import { lastFirst } from '@sallyport/testkit/scope'
import { parseServiceConfig } from '../src/config.ts'
import { type DatabaseConfig, usesTls } from '../src/database-config.ts'
import { install, scratch } from './support/programs.ts'

function parse(database: unknown): DatabaseConfig {
  return parseServiceConfig(
    `baseDomain: a.example\ndataDir: data\ndatabase: ${JSON.stringify(database)}\n`,
  ).database
}

function problemsOf(database: unknown): string[] {
  try {
    parse(database)
  } catch (error) {
    assert.ok(error instanceof ConfigurationError)
    return error.problems.map(({ path, message }) => `${path}: ${message}`)
  }
  return []
}

const server = (url: string, more = {}) => ({ kind: 'postgresql', url, ...more })

test('a server is named by its URL, on the network or by its socket', () => {
  const table: [url: string, host: string, port: number, database: string, user: string][] = [
    ['postgresql://sp@db.example.com/sallyport', 'db.example.com', 5432, 'sallyport', 'sp'],
    ['postgres://sp@db:6543/s%20p', 'db', 6543, 's p', 'sp'],
    ['postgresql://s%40p@10.0.0.1/x', '10.0.0.1', 5432, 'x', 's@p'],
    ['postgresql://sp@[2001:db8::1]:5433/x', '2001:db8::1', 5433, 'x', 'sp'],
    ['postgresql:///x?host=/run/postgresql&user=sp', '/run/postgresql', 5432, 'x', 'sp'],
  ]
  for (const [url, host, port, database, user] of table)
    assert.deepEqual(parse(server(url)), server({ host, port, database, user } as never), url)
})

test('what is wrong with it is said by field and remedy, and never quotes a password', () => {
  const table: [database: unknown, problem: RegExp][] = [
    [{}, /^database\.kind: must be one of: sqlite, postgresql$/],
    [{ kind: 'mysql' }, /^database\.kind: must be one of/],
    ['sqlite', /^database: must be an object$/],
    [{ kind: 'sqlite', url: 'x' }, /^database\.url: is not a known field/],
    [{ kind: 'postgresql' }, /^database\.url: is required$/],
    [server('db.example.com'), /^database\.url: must be of the form/],
    [server('https://sp@db/x'), /^database\.url: must be of the form/],
    [server('postgresql://sp:hunter2@db/x'), /^database\.url: must not hold a password;/],
    [server('postgresql://sp@db/x?password=hunter2'), /^database\.url: must not hold a password/],
    [server('postgresql://sp@db/x?sslmode=disable'), /^database\.url: must have no parameters/],
    [server('postgresql://db/x'), /^database\.url: must name the user/],
    [server('postgresql://sp@db/'), /^database\.url: must end with the name/],
    [server('postgresql://sp@db/a/b'), /^database\.url: must end with the name/],
    [server('postgresql:///x?host=run&user=sp'), /^database\.url: must name a host/],
    [server('postgresql://sp@db/x', { tls: 'maybe' }), /^database\.tls: must be one of/],
    [
      server('postgresql://sp@db/x', { tls: 'off', caFile: 'a' }),
      /^database\.caFile: has no effect/,
    ],
    [server('postgresql:///x?host=/s&user=sp', { tls: 'verify' }), /^database\.tls: is not for/],
    [
      server('postgresql://sp@db/x', { password: 'hunter2' }),
      /^database\.password: is not a known/,
    ],
  ]
  for (const [database, problem] of table) {
    const problems = problemsOf(database)
    assert.equal(problems.length, 1, problems.join('\n'))
    assert.match(problems[0]!, problem)
    assert.ok(!problems[0]!.includes('hunter2'))
  }
})

test('a connection that leaves the machine is encrypted unless somebody says otherwise', () => {
  const table: [url: string, more: object, expected: boolean][] = [
    ['postgresql://sp@db.example.com/x', {}, true],
    ['postgresql://sp@10.0.0.1/x', {}, true],
    ['postgresql://sp@db.example.com/x', { tls: 'off' }, false],
    ['postgresql://sp@localhost/x', {}, false],
    ['postgresql://sp@127.0.0.1/x', {}, false],
    ['postgresql://sp@[::1]/x', {}, false],
    ['postgresql://sp@127.example.com/x', {}, true],
    ['postgresql://sp@localhost/x', { caFile: 'ca.pem' }, true],
    ['postgresql:///x?host=/run/postgresql&user=sp', {}, false],
  ]
  for (const [url, more, expected] of table) {
    const config = parse(server(url, more))
    assert.ok(config.kind === 'postgresql')
    assert.equal(usesTls(config), expected, url)
  }
})

test('a database that cannot be had ends every command with one line, and makes no key', async (t) => {
  const more = (fields: string) =>
    `database: { kind: postgresql, url: "postgresql://sp@127.0.0.1:1/x"${fields} }\n`
  const away = await install(t, more(''))
  const { status, stdout, stderr } = await away.sallyport(['user', 'list'])
  assert.deepEqual([status, stdout], [1, ''])
  assert.match(stderr, /^sallyport: database x on 127\.0\.0\.1:1: nothing listens there\n$/)
  assert.deepEqual(readdirSync(away.dataDir), [])
  const guarded = await install(t, more(', passwordFile: secret, caFile: ca.pem'))
  const expect = async (problem: RegExp) => {
    const { status, stderr } = await guarded.sallyport(['user', 'list'])
    assert.equal(status, 1)
    assert.match(stderr, problem)
    assert.ok(!stderr.includes('hunter2'))
  }
  await expect(/database\.caFile: .*ca\.pem cannot be read \(ENOENT\)/)
  writeFileSync(join(guarded.dir, 'ca.pem'), '')
  await expect(/database\.passwordFile: .*secret cannot be read \(ENOENT\)/)
  writeFileSync(join(guarded.dir, 'secret'), 'hunter2', { mode: 0o644 })
  await expect(/can be read by everybody; run: chmod o= /)
  chmodSync(join(guarded.dir, 'secret'), 0o640)
  await expect(/nothing listens there/)
  writeFileSync(join(guarded.dir, 'secret'), 'hunter2\nhunter3\n')
  await expect(/must hold the password in its only line/)
})

test('a service that is started before its database waits for it', async (t) => {
  const scope = lastFirst(t)
  const postgres = await Postgres.start(scope)
  const dir = scratch(scope)
  const database = await toDatabaseYaml(await postgres.createDatabase(), dir)
  const installed = await install(scope, database)
  await postgres.stop('SIGINT')
  const waits = Promise.withResolvers<void>()
  let child: Child | undefined
  scope.after(() => child?.stop())
  const ready = startServiceProcess(
    installed.configFile,
    { onErrorText: (text) => text.includes('waiting for it') && waits.resolve() },
    (started) => {
      child = started
    },
  )
  await Promise.race([waits.promise, ready])
  assert.ok(child!.process.exitCode === null)
  await postgres.run()
  await ready
})
