import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Child } from '@sallyport/cli'
import type { AccessRecord } from '@sallyport/gateway'
import { AccessLog } from '../src/access-log.ts'
import { scratch } from './support/programs.ts'

const hear = (error: unknown) => assert.fail(String(error))

function record(id: string, more: Partial<AccessRecord> = {}): AccessRecord {
  return {
    at: 1_795_469_067_449,
    id,
    host: 'hr.example.com',
    method: 'GET',
    path: '/',
    statusCode: 200,
    decision: 'allow',
    reason: undefined,
    application: 'hr',
    applicationId: undefined,
    userId: undefined,
    userName: 'ana',
    sessionId: undefined,
    connector: 'one',
    clientAddress: '192.0.2.1',
    receivedBytes: 0,
    sentBytes: 120,
    totalMs: 1.234_567_89,
    gatewayMs: 0.1,
    connectorMs: 0.000_4,
    originMs: undefined,
    detail: undefined,
    ...more,
  }
}

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

const linesOf = (file: string) =>
  readFileSync(file, 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as AccessRecord)

test('records become lines of JSON in order, and closing writes the last of them', (t) => {
  const file = join(scratch(t), 'access.log')
  const log = new AccessLog(file, hear)
  for (const id of ['a', 'b', 'c']) log.write(record(id))
  assert.equal(readFileSync(file, 'utf8'), '', 'lines wait for others')
  log.close()
  assert.deepEqual(
    linesOf(file).map(({ id }) => id),
    ['a', 'b', 'c'],
  )
  assert.ok(readFileSync(file, 'utf8').endsWith('}\n'))
})

test('lines are written soon, without anybody asking', async (t) => {
  const file = join(scratch(t), 'access.log')
  const log = new AccessLog(file, hear)
  t.mock.timers.enable({ apis: ['setTimeout'] })
  log.write(record('a'))
  t.mock.timers.tick(100)
  assert.equal(linesOf(file).length, 1)
  t.mock.timers.tick(1_000)
  assert.equal(linesOf(file).length, 1, 'once')
  log.close()
})

test('many lines are written as soon as they are worth a write', (t) => {
  const file = join(scratch(t), 'access.log')
  const log = new AccessLog(file, hear)
  for (let index = 0; index < 1_000; index += 1) log.write(record(String(index)))
  assert.ok(statSync(file).size > 65_536)
  log.close()
  assert.deepEqual(
    linesOf(file).map(({ id }) => id),
    Array.from({ length: 1_000 }, (_, index) => String(index)),
  )
})

test('durations are rounded to microseconds; one that is not there is not written', (t) => {
  const file = join(scratch(t), 'access.log')
  const log = new AccessLog(file, hear)
  log.write(record('a'))
  log.close()
  const [line] = linesOf(file)
  assert.equal(line!.totalMs, 1.235)
  assert.equal(line!.connectorMs, 0)
  assert.ok(!('originMs' in line!))
})

test('a record is one line to every reader, whatever a connector said', (t) => {
  const file = join(scratch(t), 'access.log')
  const log = new AccessLog(file, hear)
  const detail = 'refused\r\n{"id":"forged"}\u2028\u0085\u001b[2J'
  log.write(record('a', { detail }))
  log.close()
  assert.equal(readFileSync(file, 'utf8').split(/[\r\n\u2028\u0085]/).length, 2)
  assert.deepEqual(
    linesOf(file).map((line) => line.detail),
    [detail],
  )
})

test('the file is the owner’s, and what an earlier service wrote stays', (t) => {
  const file = join(scratch(t), 'access.log')
  for (const id of ['a', 'b']) {
    const log = new AccessLog(file, hear)
    log.write(record(id))
    log.close()
  }
  assert.equal(statSync(file).mode & 0o777, 0o600)
  assert.equal(linesOf(file).length, 2)
})

test('a full disk is heard of once and stops nobody', () => {
  const heard: unknown[] = []
  const log = new AccessLog('/dev/full', (error) => heard.push(error))
  for (let round = 0; round < 3; round += 1) {
    for (let index = 0; index < 1_000; index += 1) log.write(record(String(index)))
    log.flush()
  }
  assert.deepEqual(
    heard.map((error) => (error as NodeJS.ErrnoException).code),
    ['ENOSPC'],
  )
  log.close()
  assert.equal(heard.length, 1)
})

test('a full disk costs a bounded amount of memory', async (t) => {
  let errors = 0
  const log = new AccessLog('/dev/full', () => {
    errors += 1
  })
  t.after(() => log.close())
  collectGarbage()
  const before = process.memoryUsage().arrayBuffers
  const long = record('x', { path: `/${'p'.repeat(10_000)}` })
  for (let index = 0; index < 2_000; index += 1) log.write(long)
  // What a collection found is freed by another thread, in its own time.
  const isHeld = () => process.memoryUsage().arrayBuffers - before >= 8 * 1_048_576
  for (let collections = 0; isHeld() && collections < 100; collections += 1) {
    collectGarbage()
    await turn()
  }
  assert.ok(!isHeld())
  assert.equal(errors, 1)
})

test('a reader of standard output that is slow gets every line in the end', async () => {
  const child = new Child({
    name: 'log',
    command: process.execPath,
    args: [join(import.meta.dirname, 'support/log-to-stdout.ts')],
    onLine: (line) => {
      if (line.startsWith('{"')) lines.push((JSON.parse(line) as AccessRecord).id)
    },
  })
  const lines: string[] = []
  // Nobody reads before the child says that the pipe is full.
  child.process.stdout!.pause()
  const [text] = (await once(child.process.stderr!, 'data')) as [Buffer]
  assert.equal(text.toString(), 'written\n')
  child.process.stdout!.resume()
  await once(child.process, 'close')
  assert.equal(await child.exited, 0, child.errorText)
  assert.deepEqual(
    lines,
    Array.from({ length: 4_000 }, (_, index) => String(index)),
  )
})

test('a file that cannot be opened is an error with a code', () => {
  assert.throws(() => new AccessLog('/proc/none/access.log', hear), { code: 'ENOENT' })
})
