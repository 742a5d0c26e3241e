import assert from 'node:assert/strict'
import test from 'node:test'
import type { AssignedApplication } from '@sallyport/domain'
import { ResetCode } from '@sallyport/protocol'
import type { Relayed } from './support/connector.ts'
import { app, hourMs, person, request, TestGateway } from './support/gateway.ts'
import { openPipe as pipeTo, upgrade } from './support/pipe.ts'

const host = 'ws.example.test'
const open = () => app('ws', { preAuthentication: 'passthrough' })
const openPipe = (system: TestGateway, fields: Record<string, string> = {}) =>
  pipeTo(system, system.connectors[0]!, host, fields)

test('a WebSocket goes through with its cookies and fields, and then bytes both ways', async (t) => {
  const system = new TestGateway(t, { applications: [open()] })
  const connector = system.addConnector()
  const wire = system.connect()
  wire.send(
    request('/socket?x=1', host, { ...upgrade, Cookie: 'a=b', Origin: 'https://ws.example.test' }),
  )
  const relayed = await connector.stream(0)
  assert.equal(relayed.instruction.upgrade, true)
  assert.equal(relayed.head.target, '/socket?x=1')
  assert.deepEqual(relayed.all('connection'), ['Upgrade'])
  assert.deepEqual(relayed.all('upgrade'), ['websocket'])
  assert.deepEqual(relayed.all('sec-websocket-key'), [upgrade['Sec-WebSocket-Key']])
  assert.deepEqual(relayed.all('cookie'), ['a=b'])
  relayed.stream.sendHead(
    'HTTP/1.1 101 Switching Protocols\r\nsallyport-origin-ms: 1;2;3\r\nSec-WebSocket-Accept: x\r\nSet-Cookie: c=d\r\nConnection: Upgrade\r\nUpgrade: websocket',
  )
  const response = await wire.response()
  assert.equal(response.statusCode, 101)
  assert.equal(response.one('connection'), 'Upgrade')
  assert.equal(response.one('upgrade'), 'websocket')
  assert.equal(response.one('sec-websocket-accept'), 'x')
  assert.equal(response.one('set-cookie'), 'c=d')
  wire.send('up')
  await relayed.until(() => relayed.body === 'up')
  relayed.write('down')
  assert.equal(await wire.take('down'), 'down')
  wire.socket.end()
  await relayed.until(() => relayed.ended)
  relayed.stream.end()
  const record = await system.record()
  assert.deepEqual(
    [
      record.statusCode,
      record.method,
      record.path,
      record.host,
      record.receivedBytes,
      record.sentBytes,
    ],
    [101, 'GET', '/socket', host, 2, 4],
  )
})

test('what the client sends before it has the 101 waits for it', async (t) => {
  const system = new TestGateway(t, { applications: [open()] })
  const connector = system.addConnector()
  const wire = system.connect()
  wire.send(`${request('/', host, upgrade)}early`)
  const relayed = await connector.stream(0)
  assert.equal(relayed.body, '')
  relayed.stream.sendHead('HTTP/1.1 101 X\r\nUpgrade: websocket')
  await relayed.until(() => relayed.body === 'early')
})

for (const [statusCode, field] of [
  [200, 'X: y'],
  [426, 'Sec-WebSocket-Version: 13'],
  [500, 'X: y'],
] as const)
  test(`attack 27: an origin that answers ${statusCode} to an upgrade gives an answer and no pipe`, async (t) => {
    const system = new TestGateway(t, { applications: [open()] })
    const connector = system.addConnector()
    const wire = system.connect()
    wire.send(`${request('/', host, upgrade)}GET /smuggled HTTP/1.1\r\nHost: ${host}\r\n\r\n`)
    const relayed = await connector.stream(0)
    relayed.stream.sendHead(`HTTP/1.1 ${statusCode} X\r\n${field}\r\nContent-Length: 2`)
    relayed.write('no')
    relayed.stream.end()
    const response = await wire.response()
    assert.equal(response.statusCode, statusCode)
    assert.equal(response.body, 'no')
    assert.equal((await system.record()).statusCode, statusCode)
    // What followed is a request of its own, and went nowhere near the origin's pipe.
    assert.equal(relayed.body, '')
    await relayed.until(() => relayed.ended)
    assert.equal((await connector.stream(1)).head.target, '/smuggled')
  })

test('attack 27: a handshake that an origin would have to refuse never reaches it', async (t) => {
  const system = new TestGateway(t, { applications: [open()] })
  const connector = system.addConnector()
  for (const [fields, statusCode] of [
    [{ 'Sec-WebSocket-Version': '8' }, 426],
    [{ 'Sec-WebSocket-Version': '' }, 426],
    [{ 'Sec-WebSocket-Key': '' }, 400],
    [{ 'Sec-WebSocket-Key': 'x' }, 400],
    [{ 'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ=' }, 400],
  ] as const) {
    const wire = system.connect()
    wire.send(request('/', host, { ...upgrade, ...fields }))
    const response = await wire.response()
    assert.equal(response.statusCode, statusCode, JSON.stringify(fields))
    if (statusCode === 426) assert.equal(response.one('sec-websocket-version'), '13')
  }
  const wire = system.connect()
  wire.send(request('DELETE /', host, upgrade))
  assert.equal((await wire.response()).statusCode, 400)
  assert.equal(connector.streams.length, 0)
})

test('attack 26: other upgrades are not offered to the origin', async (t) => {
  const system = new TestGateway(t, { applications: [open()] })
  const connector = system.addConnector()
  for (const [index, fields] of [
    { Connection: 'Upgrade, HTTP2-Settings', Upgrade: 'h2c', 'HTTP2-Settings': 'AAMAAABk' },
    { Connection: 'Upgrade', Upgrade: 'TLS/1.2' },
    { Connection: 'Upgrade', Upgrade: 'websocket, h2c' },
    { Upgrade: 'websocket' },
    { ...upgrade, 'Content-Length': '1' },
  ].entries()) {
    const wire = system.connect()
    wire.send(request('/', host, fields))
    const relayed = await connector.stream(index)
    for (const name of ['upgrade', 'connection', 'http2-settings'])
      assert.deepEqual(relayed.all(name), [])
    assert.equal(relayed.instruction.upgrade, undefined)
  }
})

test('a client that closes its half can still read, and the record comes when both are closed', async (t) => {
  const system = new TestGateway(t, { applications: [open()] })
  system.addConnector()
  const { wire, relayed } = await openPipe(system)
  wire.send('bye')
  wire.socket.end()
  await relayed.until(() => relayed.ended)
  assert.equal(relayed.body, 'bye')
  assert.equal(system.records.length, 0)
  relayed.write('still here')
  assert.equal(await wire.take('still here'), 'still here')
  relayed.stream.end()
  await wire.until(() => wire.ended)
  assert.equal((await system.record()).reason, undefined)
  assert.equal(system.gateway.open.size, 0)
})

test('an origin that closes its half can still read', async (t) => {
  const system = new TestGateway(t, { applications: [open()] })
  system.addConnector()
  const { wire, relayed } = await openPipe(system)
  relayed.write('last words')
  relayed.stream.end()
  await wire.until(() => wire.ended)
  assert.equal(wire.text, 'last words')
  wire.send('answer')
  wire.socket.end()
  await relayed.until(() => relayed.ended)
  assert.equal(relayed.body, 'answer')
  await system.record()
})

test('an origin that has gone after its last words leaves a client that has them', async (t) => {
  const system = new TestGateway(t, { applications: [open()] })
  system.addConnector()
  const { wire, relayed } = await openPipe(system)
  relayed.write('x'.repeat(200_000))
  relayed.stream.end()
  relayed.reset(ResetCode.NO_ERROR, 'the connector is stopping')
  await wire.until(() => wire.ended)
  assert.equal(wire.text.length, 200_000)
  const record = await system.record()
  assert.equal(record.statusCode, 101)
  assert.equal(record.reason, undefined)
  assert.equal(record.sentBytes, 200_000)
})

for (const [what, end, reason] of [
  [
    'the stream is reset',
    (r: Relayed) => r.reset(ResetCode.CONNECTION_RESET),
    'ORIGIN_CONNECTION_RESET',
  ],
  [
    'the stream is reset before its end',
    (r: Relayed) => r.reset(ResetCode.NO_ERROR),
    'CONNECTOR_FAILED',
  ],
  ['a head comes', (r: Relayed) => r.stream.sendHead('HTTP/1.1 200 OK'), 'CONNECTOR_FAILED'],
] as const)
  test(`a pipe ends at once when ${what}`, async (t) => {
    const system = new TestGateway(t, { applications: [open()] })
    system.addConnector()
    const { wire, relayed } = await openPipe(system)
    end(relayed)
    await wire.until(() => wire.ended)
    const record = await system.record()
    assert.equal(record.statusCode, 101)
    assert.equal(record.reason, reason)
    assert.equal(system.records.length, 1)
  })

test('a pipe ends when its tunnel dies', async (t) => {
  const system = new TestGateway(t, { applications: [open()] })
  const connector = system.addConnector()
  const { wire } = await openPipe(system)
  connector.ends[1].destroy()
  await wire.until(() => wire.ended)
  assert.equal((await system.record()).reason, 'CONNECTOR_LOST')
})

test('an upgrade answered 101 with the end of the stream is no answer', async (t) => {
  const system = new TestGateway(t, { applications: [open()] })
  const connector = system.addConnector()
  const wire = system.connect()
  wire.send(request('/', host, upgrade))
  ;(await connector.stream(0)).stream.sendHead('HTTP/1.1 101 X\r\nUpgrade: websocket', true)
  assert.equal((await wire.response()).statusCode, 502)
})

test('an open pipe keeps nothing of the request that made it', async (t) => {
  const system = new TestGateway(t, { applications: [open()] })
  system.addConnector()
  await openPipe(system, { 'X-Large': 'x'.repeat(10_000) })
  const [exchange] = system.gateway.open
  assert.deepEqual(exchange!.server.request.fields, [])
  assert.deepEqual(exchange!.target, { path: '/socket', query: '', readings: [] })
})

// Whatever ends access, ends the streams that are open (attack 27, and the table of sessions).
type System = TestGateway & { hr: AssignedApplication }
const endings: [string, (system: System) => void, string][] = [
  [
    'the session ends',
    ({ gateway }) => gateway.apply({ kind: 'session-ended', sessionId: 'session of ana', at: 0 }),
    'session-ended',
  ],
  [
    'the epoch is raised',
    ({ gateway }) => gateway.apply({ kind: 'user-epoch', userId: 'ana', signInEpoch: 2, at: 0 }),
    'session-ended',
  ],
  [
    'the group is lost',
    (system) => {
      system.identity.sessions.set('session of ana', person('ana'))
      system.gateway.apply({ kind: 'claims-changed', userId: 'ana', at: 0 })
    },
    'user-not-assigned',
  ],
  [
    'the session is gone when claims change',
    (system) => {
      system.identity.sessions.clear()
      system.gateway.apply({ kind: 'claims-changed', userId: 'ana', at: 0 })
    },
    'session-ended',
  ],
  [
    'the assignment is removed',
    (system) => {
      system.snapshot = system.compile([{ ...system.hr, principalIds: ['nobody'] }])
      system.gateway.apply({ kind: 'configuration-changed', at: 0 })
    },
    'user-not-assigned',
  ],
  [
    'the assignment is removed and the event came first',
    (system) => {
      system.gateway.apply({ kind: 'configuration-changed', at: 0 })
      system.snapshot = system.compile([{ ...system.hr, principalIds: ['nobody'] }])
    },
    'user-not-assigned',
  ],
  [
    'the application is deleted',
    (system) => {
      system.snapshot = system.compile([])
      system.gateway.apply({ kind: 'configuration-changed', at: 0 })
    },
    'application-not-found',
  ],
  [
    'another application takes the address',
    (system) => {
      system.snapshot = system.compile([app('ws')])
      system.gateway.apply({ kind: 'configuration-changed', at: 0 })
    },
    'application-not-found',
  ],
  [
    'the session comes to its absolute limit',
    (system) => {
      system.nowAt += 12 * hourMs
      system.gateway.sweep()
    },
    'session-expired',
  ],
  [
    'identity knows the session no more when it is read again',
    (system) => {
      system.identity.sessions.clear()
      system.nowAt += hourMs / 2
      system.gateway.sweep()
    },
    'session-ended',
  ],
]
for (const [what, change, reason] of endings)
  test(`attack 27: an open WebSocket is closed when ${what}`, async (t) => {
    const hr = app('ws', {}, ['staff'])
    const system = Object.assign(new TestGateway(t, { applications: [hr] }), { hr })
    system.addConnector()
    const cookie = system.cookie(person('ana', ['staff']), host)
    const { wire, relayed } = await openPipe(system, { Cookie: cookie })
    // Somebody else's stays.
    const bob = await openPipe(system, { Cookie: system.cookie(person('bob', ['staff']), host) })
    change(system)
    await wire.until(() => wire.ended)
    await relayed.until(() => relayed.error !== undefined)
    const record = system.records.find(({ userId }) => userId === 'ana')!
    assert.equal(record.reason, reason)
    assert.equal(record.statusCode, 101)
    if (/session|epoch|group|identity/.test(what) && !/limit|identity/.test(what)) {
      bob.relayed.write('still here')
      await bob.wire.take('still here')
    }
  })

test('an open WebSocket stays when nothing concerns it, longer than its cookie', async (t) => {
  const hr = app('ws', {}, ['staff'])
  const system = new TestGateway(t, { applications: [hr] })
  system.addConnector()
  const ana = person('ana', ['staff'])
  const { wire, relayed } = await openPipe(system, { Cookie: system.cookie(ana, host) })
  system.gateway.apply({ kind: 'session-ended', sessionId: 'another', at: 0 })
  system.gateway.apply({ kind: 'user-epoch', userId: 'ana', signInEpoch: 1, at: 0 })
  system.gateway.apply({ kind: 'claims-changed', userId: 'bob', at: 0 })
  // Another group that is assigned too: what counts later is what the person is now.
  system.identity.sessions.set(ana.sessionId, person('ana', ['managers']))
  system.snapshot = system.compile([{ ...hr, principalIds: ['staff', 'managers'] }])
  system.gateway.apply({ kind: 'configuration-changed', at: 0 })
  system.gateway.apply({ kind: 'claims-changed', userId: 'ana', at: 0 })
  await new Promise(setImmediate)
  await new Promise(setImmediate)
  system.snapshot = system.compile([{ ...hr, principalIds: ['managers'] }])
  system.gateway.apply({ kind: 'configuration-changed', at: 0 })
  system.nowAt += 3 * hourMs
  system.gateway.sweep()
  await new Promise(setImmediate)
  relayed.write('still here')
  await wire.take('still here')
  assert.equal(system.records.length, 0)
})

test('while identity cannot be asked an open stream stays, and is asked about until it can', async (t) => {
  const system = new TestGateway(t, { applications: [app('ws')] })
  system.addConnector()
  const { wire, relayed } = await openPipe(system, { Cookie: system.cookie(person('ana'), host) })
  system.identity.isDown = true
  system.nowAt += hourMs / 2
  for (let count = 0; count < 3; count += 1) {
    system.gateway.sweep()
    await new Promise(setImmediate)
  }
  assert.equal(system.internalErrors.length, 3)
  relayed.write('still here')
  await wire.take('still here')
  system.identity.isDown = false
  system.identity.sessions.clear()
  system.gateway.sweep()
  await wire.until(() => wire.ended)
  assert.equal((await system.record()).reason, 'session-ended')
})

test('a request that waits for its answer gets one when access ends', async (t) => {
  const system = new TestGateway(t, { applications: [app('ws')] })
  const connector = system.addConnector()
  const wire = system.connect()
  wire.send(request('/', host, { Cookie: system.cookie(person('ana'), host) }))
  const relayed = await connector.stream(0)
  system.gateway.apply({ kind: 'session-ended', sessionId: 'session of ana', at: 0 })
  assert.equal((await wire.response()).statusCode, 401)
  await relayed.until(() => relayed.error !== undefined)
  const record = await system.record()
  assert.deepEqual(
    [record.statusCode, record.decision, record.reason],
    [401, 'sign-in', 'session-ended'],
  )
})

test('a revoked connector loses its tunnels, and may open none', async (t) => {
  const system = new TestGateway(t, { applications: [open()] })
  const revoked = system.addConnector({ id: 'c1' })
  const other = system.addConnector({ id: 'c2' })
  const { wire } = await openPipe(system)
  system.gateway.apply({ kind: 'connector-revoked', connectorId: 'c1', at: 0 })
  await wire.until(() => wire.ended)
  assert.equal(revoked.closed, true)
  assert.equal(other.closed, false)
  // Its certificate was being checked when the event came.
  const late = system.addConnector({ id: 'c1' })
  assert.equal(late.closed, true)
  assert.deepEqual(
    system.gateway.tunnels.all().map(({ connectorId }) => connectorId),
    ['c2'],
  )
})

test('a connector that moves keeps its tunnels and streams, and serves the other group', async (t) => {
  const system = new TestGateway(t, {
    applications: [
      open(),
      app('south', { preAuthentication: 'passthrough', connectorGroup: 'south' }),
    ],
  })
  const moving = system.addConnector({ id: 'c1' })
  const { wire } = await openPipe(system)
  system.gateway.apply({
    kind: 'connector-moved',
    connectorId: 'c1',
    connectorGroup: 'south',
    at: 0,
  })
  assert.equal(moving.closed, false)
  assert.equal(wire.ended, false)
  const { tunnels } = system.gateway
  assert.equal(tunnels.pick('default'), undefined)
  assert.equal(tunnels.pick('south')?.connectorId, 'c1')
  // Its certificate was being checked when the event came.
  system.addConnector({ id: 'c1' })
  assert.equal(tunnels.pick('default'), undefined)
  moving.session.close()
  await moving.until(() => moving.closed)
  assert.equal(tunnels.all().length, 1)
})

test('a gateway that stops waits for answers and not for WebSockets, then records all', async (t) => {
  const system = new TestGateway(t, { applications: [open()] })
  const connector = system.addConnector()
  const { wire: pipe } = await openPipe(system)
  const wire = system.connect()
  wire.send(request('/slow', host))
  const relayed = await connector.stream(1)
  const idle = system.connect()
  let drained = false
  const draining = Promise.all([system.gateway.drain(60_000), system.gateway.drain(60_000)]).then(
    () => {
      drained = true
    },
  )
  await idle.until(() => idle.ended)
  assert.equal(drained, false)
  relayed.answer(200, [], 'done')
  assert.equal((await wire.response()).body, 'done')
  await draining
  assert.equal(pipe.ended, false)
  await system.gateway.close()
  await pipe.until(() => pipe.ended)
  assert.deepEqual(
    system.records.map(({ path, reason }) => [path, reason]),
    [
      ['/slow', undefined],
      ['/socket', 'service-stopped'],
    ],
  )
})

test('a gateway that is closed at once records every request that was open', async (t) => {
  const system = new TestGateway(t, { applications: [open(), app('hr')] })
  const connector = system.addConnector()
  const wire = system.connect()
  wire.send(request('/open', host))
  await connector.stream(0)
  const gate = Promise.withResolvers<void>()
  system.identity.gate = gate.promise
  const reading = system.connect()
  reading.send(
    request('/reading', 'hr.example.test', {
      Cookie: system.cookie(person('ana'), 'hr.example.test'),
    }),
  )
  while (system.identity.reads === 0) await new Promise(setImmediate)
  await system.gateway.close()
  assert.deepEqual(
    system.records.map(({ path, statusCode }) => [path, statusCode]),
    [
      ['/open', 503],
      ['/reading', 499],
    ],
  )
  gate.resolve()
})
