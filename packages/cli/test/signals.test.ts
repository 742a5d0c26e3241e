import assert from 'node:assert/strict'
import { once } from 'node:events'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { type Child, startChild } from '../src/child.ts'

async function program(t: TestContext, mode: string): Promise<Child> {
  const { child } = await startChild(
    {
      name: 'program',
      command: process.execPath,
      args: [join(import.meta.dirname, 'support/closes-on-signal.ts'), mode],
    },
    'ready',
  )
  t.after(() => child.process.kill('SIGKILL'))
  return child
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  test(`${signal} closes, and ends with status 0`, async (t) => {
    const child = await program(t, 'ends')
    child.process.kill(signal)
    assert.equal(await child.exited, 0)
  })

test('SIGHUP asks for a reload where there is one and no terminal; what fails then is said', async (t) => {
  const child = await program(t, 'reloads')
  for (const said of ['reloading 1\n', 'reloading 2\n']) {
    const line = once(child.process.stdout!, 'data') as Promise<[Buffer]>
    child.process.kill('SIGHUP')
    assert.equal(String((await line)[0]), said)
  }
  child.process.kill('SIGTERM')
  assert.equal(await child.exited, 0)
  assert.equal(child.errorText, 'program: certificates.0: cannot be read')
})

test('what goes wrong while closing is one line and status 1', async (t) => {
  const child = await program(t, 'fails')
  child.process.kill('SIGTERM')
  await child.explainEnd()
  assert.equal(await child.exited, 1)
  assert.equal(child.errorText, 'program: the store is gone')
})

test('a key that arrives several times at once closes once; pressed again later, it ends at once', async (t) => {
  const child = await program(t, 'never')
  const said = once(child.process.stdout!, 'data') as Promise<[Buffer]>
  const askedAt = performance.now()
  child.process.kill('SIGINT')
  child.process.kill('SIGTERM')
  child.process.kill('SIGINT')
  assert.equal(String((await said)[0]), 'closing\n')
  child.process.kill('SIGINT')
  // As a person does who loses patience: again and again, until it has ended.
  const timer = setInterval(() => child.process.kill('SIGINT'), 50)
  assert.equal(await child.exited, 130)
  clearInterval(timer)
  assert.ok(performance.now() - askedAt >= 1_000, 'not for the repetitions of the first second')
})
