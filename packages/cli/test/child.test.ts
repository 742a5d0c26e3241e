import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Child, type ChildOptions, startChild } from '../src/child.ts'
import { CommandError } from '../src/failure.ts'

/** A child that runs this JavaScript. */
const script = (text: string, more: Partial<ChildOptions> = {}) => ({
  name: 'script',
  command: process.execPath,
  args: ['-e', text],
  ...more,
})

test('a child is started when it says so, whatever it prints before', async (t) => {
  const { child, ready } = await startChild(
    script(`
      console.log('hello'); console.log('{"other":1}'); console.log('{no json')
      console.log(JSON.stringify({ url: 'http://x', pid: process.pid }))
      setInterval(() => {}, 1000)`),
    'url',
  )
  t.after(() => child.stop())
  assert.deepEqual(ready, { url: 'http://x', pid: child.pid })
})

test('a child that ends before it is ready says why', async () => {
  await assert.rejects(
    startChild(script(`process.stderr.write('it is\\n' + 'broken\\n'); process.exit(7)`), 'url'),
    (error) => {
      assert.ok(error instanceof CommandError)
      assert.equal(error.message, 'script ended with status 7: it is\nbroken')
      return true
    },
  )
})

test('a child that is killed before it is ready says so', async () => {
  let kept: Child | undefined
  await assert.rejects(
    startChild(script('setInterval(() => {}, 1000)'), 'url', (child) => {
      kept = child
      child.process.kill('SIGKILL')
    }),
    /script was ended by a signal/,
  )
  assert.equal(await kept!.exited, null)
})

test('a program that is not there is an error, not a crash', async () => {
  await assert.rejects(
    startChild({ name: 'nobody', command: '/nonexistent/program', args: [] }, 'url'),
    /nobody .*ENOENT/,
  )
  const child = new Child({ name: 'nobody', command: '/nonexistent/program', args: [] })
  assert.equal(await child.exited, null)
  await child.stop()
})

test('standard input reaches the child, which may leave it unread', async () => {
  let echoed = ''
  const reader = new Child(
    script('process.stdin.pipe(process.stdout)', {
      input: 'token\n',
      onLine: (line) => {
        echoed = line
      },
    }),
  )
  assert.equal(await reader.exited, 0)
  assert.equal(echoed, 'token')
  const other = new Child(script('process.exit(0)', { input: 'x'.repeat(1_000_000) }))
  assert.equal(await other.exited, 0)
})

test('stopping asks first, and lets the child finish', async () => {
  const { child } = await startChild(
    script(`
      process.on('SIGTERM', () => setImmediate(() => process.exit(3)))
      console.log('{"ready":true}'); setInterval(() => {}, 1000)`),
    'ready',
  )
  await child.stop()
  assert.equal(await child.exited, 3)
  await child.stop()
})

test('a child that does not obey is ended after five seconds', async (t) => {
  const { child } = await startChild(
    script(`process.on('SIGTERM', () => console.error('no')); console.log('{"ready":true}')
      setInterval(() => {}, 1000)`),
    'ready',
  )
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const stopped = child.stop()
  await new Promise((resolve) => child.process.stderr!.once('data', resolve))
  t.mock.timers.tick(4_999)
  assert.equal(child.process.signalCode, null)
  t.mock.timers.tick(1)
  await stopped
  assert.equal(child.process.signalCode, 'SIGKILL')
})

test('only the end of what a child complains about is kept', async () => {
  const child = new Child(script(`process.stderr.write('x'.repeat(100000) + 'the end')`))
  await child.explainEnd()
  assert.ok(child.errorText.endsWith('the end'))
  assert.ok(child.errorText.length <= 4_096)
})

test('a grandchild that holds on to standard error delays nobody', async () => {
  const child = new Child(
    script(
      `
      const { spawn } = require('node:child_process')
      const left = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: ['ignore', 'ignore', 'inherit'], detached: true })
      console.log(left.pid); console.error('broken'); process.exit(1)`,
      {
        onLine: (line) => {
          grandchild = Number(line)
        },
      },
    ),
  )
  let grandchild = 0
  try {
    assert.equal((await child.explainEnd()).message, 'script ended with status 1: broken')
  } finally {
    process.kill(grandchild, 'SIGKILL')
  }
})

test('a launcher runs the command elsewhere', async () => {
  let said = ''
  const child = new Child(
    script('', {
      launcher: (command, args) => ({
        command,
        args: ['-e', 'console.log(process.argv[1])', '--', `in there: ${args.length}`],
      }),
      onLine: (line) => {
        said = line
      },
    }),
  )
  assert.equal(await child.exited, 0)
  assert.equal(said, 'in there: 2')
})
