import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { app, request, TestGateway } from './support/gateway.ts'

const host = 'wiki.example.test'

/** A gateway with two tunnels of one connector. For them time stands still, but for the ticks that a test asks for. */
function start(t: TestContext, ids: [string, string] = ['c1', 'c1']) {
  const system = new TestGateway(t, {
    applications: [app('wiki', { preAuthentication: 'passthrough' })],
  })
  let timers: (() => void)[] = []
  const clock = {
    now: () => 0,
    startTimer: (callback: () => void) => timers.push(callback),
    stopTimer: () => undefined,
  }
  /** What that makes the ends say has arrived when it resolves. */
  const tick = async () => {
    const due = timers
    timers = []
    for (const callback of due) callback()
    for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve))
  }
  const [first, second] = ids.map((id) => system.addConnector({ id, clock }))
  const ask = () => {
    const wire = system.connect()
    wire.send(request('/', host))
    return wire
  }
  return { first: first!, second: second!, ask, tick }
}

test('requests take the first tunnel of a connector, so that they travel together', async (t) => {
  const { first, second, ask } = start(t)
  for (let count = 0; count < 20; count += 1) ask()
  await first.stream(19)
  assert.equal(second.streams.length, 0)
})

test('requests are shared out among connectors', async (t) => {
  const { first, second, ask } = start(t, ['c1', 'c2'])
  for (let count = 0; count < 20; count += 1) ask()
  await first.stream(9)
  await second.stream(9)
  assert.equal(first.streams.length + second.streams.length, 20)
})

test('a request does not stand behind a long answer', async (t) => {
  const { first, second, ask } = start(t)
  const download = ask()
  const long = await first.stream(0)
  long.begin(200, ['Content-Length', '1000000'])
  long.write('x'.repeat(200_000))
  await download.until(() => download.text.length > 200_000)
  ask()
  await second.stream(0)
  assert.equal(first.streams.length, 1)
})

test('a request does not join others that wait on a tunnel where nothing is heard', async (t) => {
  const { first, second, ask, tick } = start(t)
  ask()
  await first.stream(0)
  // The connector says that it has taken the request, and nothing more.
  await tick()
  ask()
  await first.stream(1)
  for (let count = 0; count < 3; count += 1) await tick()
  ask()
  await second.stream(0)
  assert.equal(first.streams.length, 2)
})

test('a tunnel with very many streams shares them with the one beside it', async (t) => {
  const { first, second, ask } = start(t)
  for (let count = 0; count < 110; count += 1) ask()
  await first.stream(100)
  await second.stream(0)
  assert.equal(first.streams.length + second.streams.length, 110)
})
