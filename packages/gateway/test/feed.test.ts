import assert from 'node:assert/strict'
import test from 'node:test'
import { proofIntervalMs } from '../src/feed-watch.ts'
import { app, person, request, startAt, TestGateway } from './support/gateway.ts'
import type { Wire } from './support/wire.ts'

const host = 'hr.example.test'
const browser = { Accept: 'text/html', 'Sec-Fetch-Mode': 'navigate' }

function start(t: test.TestContext, more: { isStopped?: boolean } = {}) {
  const system = new TestGateway(t, {
    applications: [app('hr'), app('open', { preAuthentication: 'passthrough' })],
    feedSilenceLimitMs: 60_000,
    ...more,
  })
  const connector = system.addConnector({}, (relayed) => relayed.answer(200))
  return { system, connector }
}

async function statusOf(system: TestGateway, wire: Wire, name = 'hr'): Promise<number> {
  const cookie = system.cookie(person('ana'), host)
  wire.send(request('/', `${name}.example.test`, name === 'hr' ? { Cookie: cookie } : {}))
  return (await wire.response()).statusCode
}

/** The clocks go on, with the gateway looking at them as often as it does. */
async function pass(system: TestGateway, ms: number): Promise<void> {
  for (const endsAt = system.nowAt + ms; system.nowAt < endsAt; ) {
    system.nowAt = Math.min(endsAt, system.nowAt + 1_000)
    system.gateway.feed.tick()
    await new Promise(setImmediate)
  }
}

test('until a gateway has read what has ended, it lets nobody in who needs a session', async (t) => {
  const { system, connector } = start(t, { isStopped: true })
  system.feed.denySet = {
    endedSessions: [{ sessionId: 'session of ben', at: startAt }],
    epochs: [{ userId: 'eva', signInEpoch: 2, at: startAt }],
    revokedConnectorIds: [],
    connectorGroups: [],
  }
  const wire = system.connect()
  assert.equal(await statusOf(system, wire), 503)
  assert.equal(await statusOf(system, wire, 'open'), 200)
  await system.gateway.start()
  assert.equal(await statusOf(system, wire), 200)
  // Identity is not asked about those: a cookie of theirs is refused out of memory.
  const cookies = [person('ben'), person('eva')].map((session) => system.cookie(session, host))
  const { reads } = system.identity
  for (const Cookie of cookies) {
    wire.send(request('/', host, { Cookie }))
    assert.equal((await wire.response()).statusCode, 401)
  }
  assert.equal(system.identity.reads, reads)
  assert.equal(connector.streams.length, 2)
})

test('a gateway that cannot read what has ended does not start', async (t) => {
  const { system } = start(t, { isStopped: true })
  system.feed.isDown = true
  await assert.rejects(system.gateway.start(), /feed is down/)
})

test('a feed that proves nothing for its limit closes every application but passthrough, and recovers by itself', async (t) => {
  const { system } = start(t)
  const wire = system.connect()
  assert.equal(await statusOf(system, wire), 200)
  await pass(system, 3 * proofIntervalMs)
  system.feed.isDown = true
  await pass(system, 60_000)
  assert.equal(await statusOf(system, wire), 200, 'at the limit')
  await pass(system, 1_000)
  wire.send(request('/', host, { ...browser, Cookie: system.cookie(person('ana'), host) }))
  const page = await wire.response()
  assert.equal(page.statusCode, 503)
  assert.match(page.body, /Access cannot be checked right now/)
  assert.match(page.body, /FEED_SILENT/)
  assert.match(page.body, /Try again/)
  assert.equal(system.records.at(-1)!.reason, 'feed-silent')
  wire.send(request('/', host, {}))
  const json = await wire.response()
  assert.equal(json.statusCode, 503)
  assert.equal(JSON.parse(json.body).error.code, 'FEED_SILENT')
  assert.equal(await statusOf(system, wire, 'open'), 200)
  assert.deepEqual(system.feedChanges, [false, true])
  assert.equal(system.feedErrors.length, 1, 'said once for the whole loss')

  system.feed.denySet = { ...system.feed.denySet, revokedConnectorIds: ['someone'] }
  system.feed.isDown = false
  const { readings } = system.feed
  await pass(system, proofIntervalMs)
  assert.equal(await statusOf(system, wire), 200)
  assert.equal(system.feed.readings, readings + 1)
  assert.deepEqual(system.feedChanges, [false, true, false])
})

test('a store that hangs is a feed that is silent, and its late answer proves only what it was asked for', async (t) => {
  const { system } = start(t)
  await system.started
  const gate = Promise.withResolvers<void>()
  const { feed } = system
  const proveNow = feed.prove.bind(feed)
  feed.prove = async () => {
    await gate.promise
    await proveNow()
  }
  await pass(system, 61_000)
  const wire = system.connect()
  assert.equal(await statusOf(system, wire), 503)
  feed.prove = () => new Promise(() => {})
  gate.resolve()
  await new Promise(setImmediate)
  assert.equal(await statusOf(system, wire), 503)
  feed.prove = proveNow
  await pass(system, proofIntervalMs)
  assert.equal(await statusOf(system, wire), 200)
})

test('after an interruption nothing counts that was proved or read before, and what was missed is known', async (t) => {
  const { system, connector } = start(t)
  const wire = system.connect()
  assert.equal(await statusOf(system, wire), 200)
  // A reading that began before the connection was lost knows nothing of what was missed.
  const old = Promise.withResolvers<void>()
  system.feed.gate = old.promise
  system.gateway.apply({ kind: 'feed-interrupted', at: system.nowAt })
  await new Promise(setImmediate)
  system.feed.gate = undefined
  system.feed.denySet = {
    ...system.feed.denySet,
    endedSessions: [{ sessionId: 'session of ana', at: system.nowAt }],
  }
  system.gateway.apply({ kind: 'feed-interrupted', at: system.nowAt })
  assert.equal(system.gateway.feed.isSilent(), false, 'a short loss disturbs nobody')
  await new Promise(setImmediate)
  const { length } = connector.streams
  assert.equal(await statusOf(system, wire), 401)
  old.resolve()
  await new Promise(setImmediate)
  assert.equal(await statusOf(system, wire), 401)
  assert.equal(connector.streams.length, length)
})

test('claims that may have changed unheard are read again, for open streams too', async (t) => {
  const system = new TestGateway(t, {
    applications: [app('hr', {}, ['staff'])],
    feedSilenceLimitMs: 60_000,
  })
  const connector = system.addConnector()
  const wire = system.connect()
  const ana = person('ana', ['staff'])
  const Cookie = system.cookie(ana, host)
  wire.send(request('/', host, { Cookie }))
  const open = await connector.stream(0)
  // She has left the group, and nobody told this gateway.
  system.identity.sessions.set(ana.sessionId, person('ana'))
  system.gateway.apply({ kind: 'feed-interrupted', at: system.nowAt })
  assert.equal((await wire.response()).statusCode, 403)
  assert.ok(open.stream)
  const second = system.connect()
  second.send(request('/', host, { Cookie }))
  assert.equal((await second.response()).statusCode, 403)
  assert.equal(connector.streams.length, 1)
})

test('a connector that was revoked unheard is closed', async (t) => {
  const system = new TestGateway(t, { applications: [app('hr')] })
  system.addConnector({ id: 'stolen' })
  await system.started
  system.feed.denySet = { ...system.feed.denySet, revokedConnectorIds: ['stolen'] }
  system.gateway.apply({ kind: 'feed-interrupted', at: system.nowAt })
  const wire = system.connect()
  while (system.gateway.tunnels.all().length > 0) await new Promise(setImmediate)
  assert.equal(await statusOf(system, wire), 503)
  assert.equal(system.records.at(-1)!.reason, 'NO_CONNECTOR')
})

test('a connector that was moved unheard serves its new group', async (t) => {
  const system = new TestGateway(t, { applications: [app('hr', { connectorGroup: 'branch' })] })
  system.addConnector({ id: 'mover' })
  await system.started
  const before = system.connect()
  assert.equal(await statusOf(system, before), 503)
  system.feed.denySet = {
    ...system.feed.denySet,
    connectorGroups: [{ connectorId: 'mover', connectorGroup: 'branch' }],
  }
  system.gateway.apply({ kind: 'feed-interrupted', at: system.nowAt })
  while (system.gateway.tunnels.all()[0]!.connectorGroup !== 'branch')
    await new Promise(setImmediate)
  assert.deepEqual(
    system.gateway.tunnels.all().map(({ connectorGroup }) => connectorGroup),
    ['branch'],
  )
  assert.equal(system.gateway.tunnels.pick('branch')?.connectorId, 'mover')
})

test('a connector that is moved while is read what was missed stays where it was moved to', async (t) => {
  const system = new TestGateway(t, { applications: [app('hr')] })
  system.addConnector({ id: 'mover' })
  await system.started
  const { feed, gateway } = system
  const groups = () => gateway.tunnels.all().map(({ connectorGroup }) => connectorGroup)
  const inGroup = (connectorGroup: string) => ({
    ...feed.denySet,
    connectorGroups: [{ connectorId: 'mover', connectorGroup }],
  })
  feed.denySet = inGroup('default')
  const readings: PromiseWithResolvers<void>[] = []
  const read = () => {
    const reading = Promise.withResolvers<void>()
    readings.push(reading)
    feed.gate = reading.promise
  }
  read()
  gateway.apply({ kind: 'feed-interrupted', at: system.nowAt })
  await new Promise(setImmediate)
  // It hangs, and is asked again.
  read()
  await pass(system, proofIntervalMs)
  assert.equal(readings.length, 2)
  feed.denySet = inGroup('branch')
  feed.gate = undefined
  gateway.apply({
    kind: 'connector-moved',
    connectorId: 'mover',
    connectorGroup: 'branch',
    at: system.nowAt,
  })
  for (const { resolve } of readings.toReversed()) {
    resolve()
    await new Promise(setImmediate)
    assert.deepEqual(groups(), ['branch'])
  }
  // Of two readings of one loss the later one counts, also if it comes first.
  read()
  gateway.apply({ kind: 'feed-interrupted', at: system.nowAt })
  await new Promise(setImmediate)
  feed.gate = undefined
  await pass(system, proofIntervalMs)
  feed.denySet = inGroup('default')
  gateway.apply({
    kind: 'connector-moved',
    connectorId: 'mover',
    connectorGroup: 'default',
    at: system.nowAt,
  })
  readings.at(-1)!.resolve()
  await new Promise(setImmediate)
  assert.deepEqual(groups(), ['default'])
})

test('a gateway starts with what it has read, whatever happened meanwhile', async (t) => {
  const system = new TestGateway(t, { applications: [app('hr')], isStopped: true })
  system.addConnector({}, (relayed) => relayed.answer(200))
  const gate = Promise.withResolvers<void>()
  system.feed.gate = gate.promise
  const started = system.gateway.start()
  await new Promise(setImmediate)
  system.gateway.apply({
    kind: 'connector-moved',
    connectorId: 'other',
    connectorGroup: 'branch',
    at: system.nowAt,
  })
  gate.resolve()
  await started
  assert.equal(await statusOf(system, system.connect()), 200)
})

test('a silent feed ends the streams of those who need a session, and no others', async (t) => {
  const quiet = new TestGateway(t, {
    applications: [app('hr'), app('open', { preAuthentication: 'passthrough' })],
    feedSilenceLimitMs: 60_000,
  })
  const inside = quiet.addConnector()
  const [ana, anybody] = [quiet.connect(), quiet.connect()]
  ana.send(request('/', host, { Cookie: quiet.cookie(person('ana'), host) }))
  await inside.stream(0)
  anybody.send(request('/', 'open.example.test'))
  const open = await inside.stream(1)
  quiet.feed.isDown = true
  await pass(quiet, 61_000)
  assert.equal((await ana.response()).statusCode, 503)
  assert.equal((await quiet.record()).reason, 'feed-silent')
  open.answer(200, [], 'done')
  assert.equal((await anybody.response()).body, 'done')
})

test('neither a clock that is set back nor a machine that slept hides a silence', async (t) => {
  const { system } = start(t)
  const wire = system.connect()
  assert.equal(await statusOf(system, wire), 200)
  const { options } = system.gateway
  system.feed.isDown = true
  // Asleep: the clock that nobody sets stands still.
  const { nowAt } = system
  options.monotonicMs = () => nowAt - startAt
  system.nowAt += 61_000
  assert.equal(await statusOf(system, wire), 503)
  // Set back: the other one goes on.
  system.nowAt = startAt - 3_600_000
  options.monotonicMs = () => 61_000
  assert.equal(system.gateway.feed.isSilent(), true)
})

test('identity hears which sessions were in use, those of open streams among them', async (t) => {
  const system = new TestGateway(t, { applications: [app('hr')] })
  const connector = system.addConnector()
  const wire = system.connect()
  wire.send(request('/', host, { Cookie: system.cookie(person('ana'), host) }))
  await connector.stream(0)
  system.gateway.reportUse()
  assert.deepEqual(system.identity.used, ['session of ana'])
  system.gateway.reportUse()
  assert.deepEqual(system.identity.used, ['session of ana', 'session of ana'])
  connector.streams[0]!.answer(200)
  await wire.response()
  system.gateway.reportUse()
  assert.equal(system.identity.used.length, 2)
})
