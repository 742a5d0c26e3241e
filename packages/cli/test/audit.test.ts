import assert from 'node:assert/strict'
import { once } from 'node:events'
import { join } from 'node:path'
import { test } from 'node:test'
import { Child } from '@sallyport/cli'
import { toInstant } from '../src/arguments.ts'
import { install, source } from './support/programs.ts'

test('a time is so long ago, or a date in UTC unless it says otherwise', () => {
  const nowAt = Date.UTC(2026, 5, 15, 12)
  const at = (text: string) => new Date(toInstant(text, nowAt)).toISOString()
  assert.equal(at('30m'), '2026-06-15T11:30:00.000Z')
  assert.equal(at('2h'), '2026-06-15T10:00:00.000Z')
  assert.equal(at('7d'), '2026-06-08T12:00:00.000Z')
  assert.equal(at('2026-01-31'), '2026-01-31T00:00:00.000Z')
  assert.equal(at('2026-01-31 08:00'), '2026-01-31T08:00:00.000Z')
  assert.equal(at('2026-01-31T08:00:30.5+02:00'), '2026-01-31T06:00:30.500Z')
  for (const text of [
    '',
    'now',
    '1.5h',
    '2026',
    '2026-02-30',
    '2026-13-01',
    '2026-01-31T25:00',
    '-1d',
  ])
    assert.throws(() => toInstant(text), text)
})

test('--follow shows what was, then what happens, over a restart of the service', async (t) => {
  const installation = await install(t)
  let service = await installation.serve()
  await installation.sallyport(['group', 'create', 'first'])
  await installation.sallyport(['group', 'create', 'second'])
  const lines: string[] = []
  const waiting: (() => void)[] = []
  const follower = installation.keep(
    new Child({
      name: 'audit',
      command: process.execPath,
      args: [
        join(source, 'sallyport.ts'),
        ...['--config', installation.configFile, '--json'],
        ...['audit', 'list', '--follow', '--limit', '1', '--action', 'group-created'],
      ],
      onLine: (line) => {
        lines.push(line)
        for (const resolve of waiting.splice(0)) resolve()
      },
    }),
  )
  const shown = async (count: number) => {
    while (lines.length < count) await new Promise<void>((resolve) => waiting.push(resolve))
    return lines.map((line) => (JSON.parse(line) as { detail: { name: string } }).detail.name)
  }
  assert.deepEqual(await shown(1), ['second'])
  await installation.sallyport(['group', 'create', 'third'])
  assert.deepEqual(await shown(2), ['second', 'third'])
  await service.stop()
  service = await installation.serve()
  await installation.sallyport(['group', 'create', 'fourth'])
  assert.deepEqual(await shown(3), ['second', 'third', 'fourth'])
  follower.process.kill()
  await once(follower.process, 'close')
})

test('--follow without a service says so, and leaves the store alone', async (t) => {
  const { sallyport } = await install(t)
  const { status, stderr } = await sallyport(['audit', 'list', '--follow'])
  assert.equal(status, 1)
  assert.equal(stderr, 'sallyport: the service does not run\nsallyport: leave out --follow\n')
})

test('a page of the audit log is a table for people', async (t) => {
  const { sallyport } = await install(t)
  await sallyport(['user', 'create', 'ana', '--display-name', 'Ana'])
  const { stdout } = await sallyport(['audit', 'list', '--user', 'ana', '--since', '1h'])
  assert.match(
    stdout,
    /^AT +KIND +ACTOR +SUBJECT +DETAIL\n\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ +user-created +cli:\S+ +\S+ +\{"userName":"ana"\}\n$/,
  )
  assert.equal(
    (await sallyport(['audit', 'list', '--until', '1h'])).stdout,
    'Nothing was recorded.\n',
  )
})
