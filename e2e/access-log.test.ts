import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { lastFirst, Origin, type ProcessSystem, startProcesses } from '@sallyport/testkit'

const clients = 16
const requestsEach = 250

/** Asks from many connections at once, each request under a path of its own. */
async function load({ target }: ProcessSystem, onAnswer: (count: number) => void): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: clients })
  let answered = 0
  const ask = (path: string) =>
    new Promise<void>((resolve, reject) => {
      request({ ...target, agent, path }, (response) => {
        response.on('error', reject).on('end', resolve).resume()
        assert.equal(response.statusCode, 200)
      })
        .on('error', reject)
        .end()
    })
  await Promise.all(
    Array.from({ length: clients }, async (_, client) => {
      for (let index = 0; index < requestsEach; index++) {
        await ask(`/${client}-${index}`)
        answered += 1
        onAnswer(answered)
      }
    }),
  )
  agent.destroy()
}

async function start(t: TestContext, config: (logs: string) => string) {
  const scope = lastFirst(t)
  const origin = await Origin.start()
  scope.after(() => origin.close())
  const system = await startProcesses(scope, {
    originPort: origin.port,
    connectors: ['one'],
    config: config('logs/access.log'),
    prepare: (dir) => mkdirSync(join(dir, 'logs')),
  })
  return { system, logs: join(system.dir, 'logs') }
}

/** Each request stands in one line of one file. */
async function checkLines({ service }: ProcessSystem, logs: string): Promise<void> {
  // What it has not written yet, it writes now.
  await service.stop()
  const paths = readdirSync(logs).flatMap((name) => {
    const text = readFileSync(join(logs, name), 'utf8')
    assert.ok(text === '' || text.endsWith('\n'), `${name} ends with a whole line`)
    return text
      .split('\n')
      .slice(0, -1)
      .map((line) => (JSON.parse(line) as { path: string }).path)
  })
  const expected = Array.from({ length: clients }, (_, client) =>
    Array.from({ length: requestsEach }, (_, index) => `/${client}-${index}`),
  )
  assert.deepEqual(paths.sort(), expected.flat().sort())
}

test('logrotate moves the file under load, SIGHUP opens a new one, and no line is lost', async (t) => {
  const { system, logs } = await start(
    t,
    (file) => `accessLog: ${file}\naccessLogRotation: { maxSizeMiB: 0 }\n`,
  )
  const example = readFileSync(
    join(import.meta.dirname, '../packaging/logrotate.d/sallyport'),
    'utf8',
  )
  // The example as it is, but for the user, compression, and how the service is told.
  const config = join(system.dir, 'logrotate.conf')
  writeFileSync(
    config,
    example
      .replace('/var/log/sallyport/', `${logs}/`)
      .replace(/^ *su .*$/m, `    su ${process.getuid!()} ${process.getgid!()}`)
      .replace(/^ *(delay)?compress$/gm, '')
      .replace(/^.*systemctl.*$/m, `kill -HUP ${system.service.pid}`),
    { mode: 0o644 },
  )
  const rotateAt = new Set([500, 1_500, 2_500])
  await load(system, (count) => {
    if (rotateAt.has(count))
      execFileSync('/usr/sbin/logrotate', ['--force', '--state', join(system.dir, 'state'), config])
  })
  assert.deepEqual(readdirSync(logs).sort(), [
    'access.log',
    'access.log.1',
    'access.log.2',
    'access.log.3',
  ])
  await checkLines(system, logs)
})

test('the service rotates by itself under load, and no line is lost', async (t) => {
  const { system, logs } = await start(
    t,
    (file) => `accessLog: ${file}\naccessLogRotation: { maxSizeMiB: 1, keep: 5 }\n`,
  )
  await load(system, () => {})
  assert.equal(readdirSync(logs).length, 2)
  await checkLines(system, logs)
})
