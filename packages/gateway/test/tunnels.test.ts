import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { app, request, TestGateway } from './support/gateway.ts'

const host = 'wiki.example.test'

/** A gateway with tunnels of these connectors. For them time stands still, but for the ticks that a test asks for. */
function start(t: TestContext, ids: readonly string[] = ['c1', 'c1']) {
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
  const tunnels = ids.map((id) => system.addConnector({ id, clock }))
  const [first, second] = tunnels
  const ask = () => {
    const wire = system.connect()
    wire.send(request('/', host))
    return wire
  }
  return { tunnels, first: first!, second: second!, ask, tick }
}

test('requests take the first tunnel of a connector, so that they travel together', async (t) => {
  const { first, second, ask } = start(t)
  for (let count = 0; count < 20; count += 1) ask()
  await first.stream(19)
  assert.equal(second.streams.length, 0)
})

for (const ids of [
  ['c1', 'c1', 'c2', 'c2'],
  ['c1', 'c2', 'c1', 'c2'],
  ['c1', 'c2', 'c2', 'c2'],
])
  test(`requests are shared out among connectors, whose tunnels are ${ids.join(', ')}`, async (t) => {
    const { tunnels, ask } = start(t, ids)
    const firstOf = (id: string) => tunnels[ids.indexOf(id)]!
    for (let count = 0; count < 20; count += 1) ask()
    await firstOf('c1').stream(9)
    await firstOf('c2').stream(9)
    assert.equal(
      tunnels.reduce((sum, { streams }) => sum + streams.length, 0),
      20,
    )
  })

test('no request stands behind a long answer', async (t) => {
  const { first, second, ask } = start(t)
  const download = ask()
  const long = await first.stream(0)
  long.begin(200, ['Content-Length', '1000000'])
  long.write('x'.repeat(200_000))
  await download.until(() => download.text.length > 200_000)
  for (let count = 0; count < 5; count += 1) ask()
  await second.stream(4)
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
  await first.stream(104)
  await second.stream(4)
  assert.equal(first.streams.length + second.streams.length, 110)
})
