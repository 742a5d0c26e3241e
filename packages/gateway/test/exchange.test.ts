import assert from 'node:assert/strict'
import test from 'node:test'
import { ResetCode } from '@sallyport/protocol'
import { app, person, request, TestGateway } from './support/gateway.ts'

const open = () => app('open', { preAuthentication: 'passthrough' })
const host = 'open.example.test'

test('a request goes to the connector as the origin shall see it, and the answer comes back', async (t) => {
  const system = new TestGateway(t, {
    applications: [
      app('open', { preAuthentication: 'passthrough', internalUrl: 'https://o.internal/in/' }),
    ],
  })
  const connector = system.addConnector()
  const wire = system.connect()
  wire.send(
    request('/a%2Fb?q=1', host, { Accept: 'text/plain', Cookie: '__Host-sallyport=x; a=b' }),
  )
  const relayed = await connector.stream(0)
  assert.equal(relayed.head.method, 'GET')
  assert.equal(relayed.head.target, '/in/a%2Fb?q=1')
  assert.deepEqual(relayed.all('host'), ['o.internal'])
  assert.deepEqual(relayed.all('cookie'), ['a=b'])
  assert.deepEqual(relayed.all('x-forwarded-for'), ['192.0.2.1'])
  assert.equal(relayed.hasBody, false)
  assert.deepEqual(relayed.instruction, {
    v: 1,
    app: system.snapshot.applications.keys().next().value,
    url: 'https://o.internal:443',
    validate: true,
    timeoutMs: 85_000,
  })
  relayed.answer(
    200,
    ['Content-Type', 'text/plain', 'Location', 'https://o.internal/in/x'],
    'hello',
  )
  const response = await wire.response()
  assert.equal(response.statusCode, 200)
  assert.equal(response.body, 'hello')
  assert.equal(response.one('location'), 'https://open.example.test/x')
  assert.equal(response.one('sallyport-origin-ms'), undefined)
  const record = await system.record()
  assert.equal(record.id, relayed.id)
  assert.deepEqual(
    { ...record, id: '', totalMs: 0, gatewayMs: 0, applicationId: '' },
    {
      at: system.nowAt,
      id: '',
      host,
      method: 'GET',
      path: '/a%2Fb',
      statusCode: 200,
      decision: 'allow',
      reason: undefined,
      application: 'open',
      applicationId: '',
      userId: undefined,
      userName: undefined,
      sessionId: undefined,
      connector: 'c1',
      clientAddress: '192.0.2.1',
      receivedBytes: 0,
      sentBytes: 5,
      totalMs: 0,
      gatewayMs: 0,
      connectorMs: 3,
      originMs: 2,
      detail: undefined,
    },
  )
})

test('requests that come together are answered in their order, each with one record', async (t) => {
  const system = new TestGateway(t, { applications: [open()] })
  const connector = system.addConnector({}, () => undefined)
  const wire = system.connect()
  wire.send([1, 2, 3].map((number) => request(`/${number}`, host)).join(''))
  for (const number of [1, 2, 3]) {
    const relayed = await connector.stream(number - 1)
    assert.equal(relayed.head.target, `/${number}`)
    relayed.answer(200, [], `answer ${number}`)
    assert.equal((await wire.response()).body, `answer ${number}`)
  }
  await system.record(2)
  assert.deepEqual(
    system.records.map(({ path }) => path),
    ['/1', '/2', '/3'],
  )
})

for (const [what, framing, body] of [
  ['of known length', { 'Content-Length': '5' }, 'hello'],
  ['in chunks', { 'Transfer-Encoding': 'chunked' }, '5\r\nhello\r\n0\r\n\r\n'],
] as const)
  test(`a body ${what} waits until the connector has accepted, and then goes out`, async (t) => {
    const system = new TestGateway(t, { applications: [open()] })
    const connector = system.addConnector()
    const wire = system.connect()
    wire.send(request('POST /', host, framing) + body)
    const relayed = await connector.stream(0)
    assert.equal(relayed.body, '')
    assert.deepEqual(relayed.all(Object.keys(framing)[0]!.toLowerCase()), [
      Object.values(framing)[0],
    ])
    relayed.stream.accept()
    await relayed.until(() => relayed.ended)
    assert.equal(relayed.body, 'hello')
    relayed.answer(201)
    assert.equal((await wire.response()).statusCode, 201)
    assert.equal((await system.record()).receivedBytes, 5)
  })

test('attack 16: trailers go to the origin without identity headers, in any spelling', async (t) => {
  const system = new TestGateway(t, {
    applications: [
      open(),
      app('hr', {
        signOn: { method: 'headers', headers: [{ name: 'X-User', claim: 'userName' }] },
      }),
    ],
  })
  const connector = system.addConnector({}, (relayed) => relayed.stream.accept())
  const wire = system.connect()
  wire.send(
    `${request('POST /', host, { 'Transfer-Encoding': 'chunked', Trailer: 'X-User' })}1\r\na\r\n0\r\nX-User: admin\r\nx_user: admin\r\nX-Sum: 1\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n`,
  )
  const relayed = await connector.stream(0)
  await relayed.until(() => relayed.ended)
  assert.equal(relayed.trailers, 'X-Sum: 1')
})

test('trailers that grow too large for a frame end the request, not the service', async (t) => {
  const system = new TestGateway(t, { applications: [open()] })
  const connector = system.addConnector({}, (relayed) => relayed.stream.accept())
  const wire = system.connect()
  // Without the space after the colon; written with it they pass 64 KiB.
  const trailers = Array.from(
    { length: 150 },
    (_, index) => `x${index}:${'a'.repeat(430)}\r\n`,
  ).join('')
  assert.ok(trailers.length < 65_536 && trailers.length + 150 > 65_536, String(trailers.length))
  wire.send(`${request('POST /', host, { 'Transfer-Encoding': 'chunked' })}0\r\n${trailers}\r\n`)
  assert.equal((await wire.response()).statusCode, 400)
  const relayed = await connector.stream(0)
  await relayed.until(() => relayed.error !== undefined)
  assert.equal((await system.record()).reason, 'REQUEST_INVALID')
  assert.deepEqual(system.internalErrors, [])
})

test("Expect: 100-continue is the origin's to answer", async (t) => {
  const system = new TestGateway(t, { applications: [open()] })
  const connector = system.addConnector({}, (relayed) => relayed.stream.accept())
  const wire = system.connect()
  wire.send(request('PUT /', host, { 'Content-Length': '2', Expect: '100-continue' }))
  const relayed = await connector.stream(0)
  assert.deepEqual(relayed.all('expect'), ['100-continue'])
  assert.equal(wire.text, '')
  relayed.stream.sendHead('HTTP/1.1 100 Continue')
  await wire.take('HTTP/1.1 100 Continue\r\n\r\n')
  wire.send('ok')
  await relayed.until(() => relayed.ended)
  relayed.answer(204)
  assert.equal((await wire.response()).statusCode, 204)
})

test('an expectation that nobody can meet is refused', async (t) => {
  const system = new TestGateway(t, { applications: [open()] })
  const connector = system.addConnector()
  const wire = system.connect()
  wire.send(request('/', host, { Expect: 'miracles' }))
  assert.equal((await wire.response()).statusCode, 417)
  assert.equal(connector.streams.length, 0)
  assert.equal((await system.record()).reason, 'EXPECTATION_FAILED')
})

test('informational answers are passed on, without a length, and not without end', async (t) => {
  const system = new TestGateway(t, { applications: [open()] })
  const connector = system.addConnector()
  const wire = system.connect()
  wire.send(request('/', host))
  const relayed = await connector.stream(0)
  relayed.stream.sendHead('HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 5')
  const early = await wire.take('\r\n\r\n')
  assert.equal(early, 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n')
  for (let count = 0; count < 40; count += 1) relayed.stream.sendHead('HTTP/1.1 102 Processing')
  await wire.take('502 Bad Gateway')
  const record = await system.record()
  assert.equal(record.statusCode, 502)
  assert.equal(record.reason, 'ORIGIN_RESPONSE_INVALID')
  await relayed.until(() => relayed.error !== undefined)
})

test('answers to HEAD, and 204 and 304, have a length and no body', async (t) => {
  const system = new TestGateway(t, { applications: [open()] })
  const connector = system.addConnector()
  const wire = system.connect()
  for (const [index, [method, statusCode, length]] of (
    [
      ['HEAD', 200, '100'],
      ['GET', 304, '100'],
      ['GET', 204, undefined],
      ['HEAD', 404, '7'],
    ] as const
  ).entries()) {
    wire.send(request(`${method} /`, host))
    const relayed = await connector.stream(index)
    relayed.stream.sendHead(
      `HTTP/1.1 ${statusCode} X${length ? `\r\nContent-Length: ${length}` : ''}`,
      true,
    )
    const response = await wire.response(method)
    assert.equal(response.statusCode, statusCode)
    assert.equal(response.one('content-length'), length)
    assert.equal((await system.record(index)).sentBytes, 0)
  }
  // The next answer is not read as a body of the last.
  wire.send(request('/', host))
  ;(await connector.stream(4)).answer(200, [], 'x')
  assert.equal((await wire.response()).body, 'x')
})

test('an answer that comes before the whole request ends the request', async (t) => {
  const system = new TestGateway(t, { applications: [open()] })
  const connector = system.addConnector({}, (relayed) => relayed.stream.accept())
  const wire = system.connect()
  wire.send(`${request('POST /', host, { 'Content-Length': '10' })}12345`)
  const relayed = await connector.stream(0)
  await relayed.until(() => relayed.body === '12345')
  relayed.answer(413, [], 'no')
  assert.equal((await wire.response()).statusCode, 413)
  // The stream is over for the connector when it ends its half and gets ours, or a reset.
  await relayed.until(() => relayed.error !== undefined)
  const record = await system.record()
  assert.equal(record.statusCode, 413)
  assert.equal(record.receivedBytes, 5)
  // What is left of the body is not the next request.
  wire.send(`67890${request('/next', host)}`)
  const next = await connector.stream(1)
  assert.equal(next.head.target, '/next')
})

test('the end of a body in chunks keeps trailers that may stand there', async (t) => {
  const system = new TestGateway(t, { applications: [open()] })
  const connector = system.addConnector()
  const wire = system.connect()
  wire.send(request('/', host))
  const relayed = await connector.stream(0)
  relayed.begin(200)
  relayed.write('hello')
  await wire.take('5\r\nhello\r\n')
  relayed.stream.end('X-Sum: 1\r\nSet-Cookie: a=b\r\nContent-Length: 9')
  assert.equal(await wire.take('\r\n\r\n'), '0\r\nX-Sum: 1\r\n\r\n')
})

// What a connector that has fallen, or is broken, may send instead of an answer.
const broken: [
  string,
  (relayed: import('./support/connector.ts').Relayed) => void,
  number,
  string,
][] = [
  ['data before a head', (r) => r.write('x'), 502, 'CONNECTOR_FAILED'],
  ['the end before a head', (r) => r.stream.end(), 502, 'CONNECTOR_FAILED'],
  ['1xx and the end', (r) => r.stream.sendHead('HTTP/1.1 103 X', true), 502, 'CONNECTOR_FAILED'],
  [
    '1xx and then data',
    (r) => {
      r.stream.sendHead('HTTP/1.1 103 X')
      r.write('x')
    },
    502,
    'CONNECTOR_FAILED',
  ],
  ['no HTTP', (r) => r.stream.sendHead('hello'), 502, 'ORIGIN_RESPONSE_INVALID'],
  [
    'a split head',
    (r) => r.stream.sendHead('HTTP/1.1 200 OK\r\nA: b\nC: d'),
    502,
    'ORIGIN_RESPONSE_INVALID',
  ],
  ['an HTTP/2 preface', (r) => r.stream.sendHead('HTTP/2 200 OK'), 502, 'ORIGIN_RESPONSE_INVALID'],
  [
    'two lengths',
    (r) => r.stream.sendHead('HTTP/1.1 200 OK\r\nContent-Length: 1\r\ncontent-length: 2'),
    502,
    'ORIGIN_RESPONSE_INVALID',
  ],
  [
    'a length that is none',
    (r) => r.stream.sendHead('HTTP/1.1 200 OK\r\nContent-Length: +5'),
    502,
    'ORIGIN_RESPONSE_INVALID',
  ],
  [
    'a length and no body',
    (r) => r.stream.sendHead('HTTP/1.1 200 OK\r\nContent-Length: 5', true),
    502,
    'CONNECTOR_FAILED',
  ],
  [
    '101 unasked',
    (r) => r.stream.sendHead('HTTP/1.1 101 X\r\nUpgrade: websocket'),
    502,
    'ORIGIN_RESPONSE_INVALID',
  ],
  [
    'a thousand fields too many',
    (r) => r.stream.sendHead(`HTTP/1.1 200 OK${'\r\na: b'.repeat(1_001)}`),
    502,
    'ORIGIN_RESPONSE_INVALID',
  ],
]
for (const [what, send, statusCode, reason] of broken)
  test(`attack 51: a connector that sends ${what} gets its stream reset and the client a page`, async (t) => {
    const system = new TestGateway(t, { applications: [open()] })
    const connector = system.addConnector()
    const wire = system.connect()
    wire.send(request('/', host))
    const relayed = await connector.stream(0)
    send(relayed)
    await wire.until(() => wire.text.includes(`HTTP/1.1 ${statusCode} `))
    await wire.take(`HTTP/1.1 ${statusCode} Bad Gateway\r\n`)
    await relayed.until(() => relayed.error !== undefined || relayed.ended)
    const record = await system.record()
    assert.equal(record.statusCode, statusCode)
    assert.equal(record.reason, reason)
    // The connection, and the tunnel, go on.
    wire.send(request('/next', host))
    ;(await connector.stream(1)).answer(200, [], 'next')
    await wire.until(() => wire.text.endsWith('next'))
    assert.equal(system.records.length, 2)
    assert.deepEqual(system.internalErrors, [])
  })

const brokenLater: [string, (relayed: import('./support/connector.ts').Relayed) => void, string][] =
  [
    ['a second head', (r) => r.stream.sendHead('HTTP/1.1 200 OK'), 'CONNECTOR_FAILED'],
    ['1xx after the head', (r) => r.stream.sendHead('HTTP/1.1 103 X'), 'CONNECTOR_FAILED'],
    ['more than the length', (r) => r.write('123456'), 'CONNECTOR_FAILED'],
    [
      'less than the length',
      (r) => {
        r.write('123')
        r.stream.end()
      },
      'CONNECTOR_FAILED',
    ],
    ['a reset', (r) => r.reset(ResetCode.CONNECTION_RESET), 'ORIGIN_CONNECTION_RESET'],
  ]
for (const [what, send, reason] of brokenLater)
  test(`an answer that is followed by ${what} ends with its connection, and never as if it were whole`, async (t) => {
    const system = new TestGateway(t, { applications: [open()] })
    const connector = system.addConnector()
    const wire = system.connect()
    wire.send(request('/', host))
    const relayed = await connector.stream(0)
    relayed.begin(200, ['Content-Length', '5'])
    await wire.take('\r\n\r\n')
    send(relayed)
    await wire.until(() => wire.ended)
    assert.ok(wire.text.length < 5, wire.text)
    const record = await system.record()
    assert.equal(record.statusCode, 200)
    assert.equal(record.reason, reason)
    assert.equal(system.records.length, 1)
  })

test('trailers that would be read as framing do not end the answer well', async (t) => {
  const system = new TestGateway(t, { applications: [open()] })
  const connector = system.addConnector()
  const wire = system.connect()
  wire.send(request('/', host))
  const relayed = await connector.stream(0)
  relayed.begin(200)
  relayed.write('x')
  await wire.take('1\r\nx\r\n')
  relayed.stream.end('Bad Name: x')
  await wire.until(() => wire.ended)
  assert.equal(wire.text, '')
  assert.equal((await system.record()).reason, 'ORIGIN_RESPONSE_INVALID')
})

const resets: [keyof typeof ResetCode, number, string][] = [
  ['DESTINATION_FORBIDDEN', 502, 'DESTINATION_FORBIDDEN'],
  ['NAME_NOT_RESOLVED', 502, 'ORIGIN_NAME_NOT_RESOLVED'],
  ['CONNECTION_REFUSED', 502, 'ORIGIN_CONNECTION_REFUSED'],
  ['CONNECTION_RESET', 502, 'ORIGIN_CONNECTION_RESET'],
  ['ORIGIN_UNREACHABLE', 502, 'ORIGIN_UNREACHABLE'],
  ['ORIGIN_TLS_INVALID', 502, 'ORIGIN_TLS_INVALID'],
  ['ORIGIN_TIMEOUT', 504, 'ORIGIN_TIMEOUT'],
  ['ORIGIN_RESPONSE_INVALID', 502, 'ORIGIN_RESPONSE_INVALID'],
  ['SIGN_ON_FAILED', 502, 'SIGN_ON_FAILED'],
  ['OVERLOADED', 503, 'CONNECTOR_OVERLOADED'],
  ['INTERNAL', 502, 'CONNECTOR_FAILED'],
  ['CANCELLED', 502, 'CONNECTOR_FAILED'],
  ['NO_ERROR', 502, 'CONNECTOR_FAILED'],
]
for (const [name, statusCode, code] of resets)
  test(`a stream that is reset with ${name} is answered ${statusCode} ${code}`, async (t) => {
    const system = new TestGateway(t, { applications: [open()] })
    const connector = system.addConnector()
    const wire = system.connect()
    wire.send(request('/', host))
    const relayed = await connector.stream(0)
    relayed.reset(ResetCode[name], 'a detail that nobody outside may read')
    const response = await wire.response()
    assert.equal(response.statusCode, statusCode)
    assert.equal(JSON.parse(response.body).error.code, code)
    assert.ok(!response.body.includes('nobody outside'))
    const record = await system.record()
    assert.equal(record.reason, code)
    assert.equal(record.detail, 'a detail that nobody outside may read')
    assert.equal(JSON.parse(response.body).error.correlationId, record.id)
  })

test('without a connector the answer is 503, and says which group only in the record', async (t) => {
  const system = new TestGateway(t, { applications: [open()] })
  system.addConnector({ group: 'other' })
  const wire = system.connect()
  wire.send(request('/', host))
  const response = await wire.response()
  assert.equal(response.statusCode, 503)
  assert.ok(!response.body.includes('default'))
  assert.equal((await system.record()).reason, 'NO_CONNECTOR')
})

test('a request that a connector refused goes to another one, body and all', async (t) => {
  const system = new TestGateway(t, { applications: [open()] })
  const first = system.addConnector({ id: 'c1' }, (relayed) => relayed.reset(ResetCode.REFUSED))
  const second = system.addConnector({ id: 'c2' }, (relayed) => relayed.stream.accept())
  const wire = system.connect()
  wire.send(`${request('POST /', host, { 'Content-Length': '5' })}hello`)
  const relayed = await second.stream(0)
  await relayed.until(() => relayed.ended)
  assert.equal(relayed.body, 'hello')
  assert.equal(first.streams.length, 1)
  assert.equal(first.streams[0]!.id, relayed.id)
  relayed.answer(200)
  await wire.response()
  const record = await system.record()
  assert.equal(record.connector, 'c2')
  assert.equal(system.records.length, 1)
})

test('a request that every connector refused is answered 503, once', async (t) => {
  const system = new TestGateway(t, { applications: [open()] })
  for (const id of ['c1', 'c2', 'c3'])
    system.addConnector({ id }, (relayed) => relayed.reset(ResetCode.REFUSED))
  const wire = system.connect()
  wire.send(request('/', host))
  assert.equal((await wire.response()).statusCode, 503)
  assert.equal((await system.record()).reason, 'CONNECTOR_OVERLOADED')
  assert.deepEqual(
    system.connectors.map(({ streams }) => streams.length),
    [1, 1, 1],
  )
})

test('a connector that takes no more streams is passed over', async (t) => {
  const system = new TestGateway(t, { applications: [open()] })
  const full = system.addConnector({ id: 'c1', maxStreams: 1 })
  const [a, b, c] = [system.connect(), system.connect(), system.connect()]
  a.send(request('/a', host))
  await full.stream(0)
  const other = system.addConnector({ id: 'c2' })
  b.send(request('/b', host))
  c.send(request('/c', host))
  assert.equal((await other.stream(0)).head.target, '/b')
  assert.equal((await other.stream(1)).head.target, '/c')
  assert.equal(full.streams.length, 1)
})

test('regression: the record of a request that nobody takes names the connector that refused it last', async (t) => {
  const system = new TestGateway(t, { applications: [open()] })
  const full = system.addConnector({ id: 'c1', maxStreams: 1 })
  const first = system.connect()
  first.send(request('/a', host))
  ;(await full.stream(0)).begin(200)
  // By then the gateway knows how many streams the connector takes.
  await first.take('200 X')
  const wire = system.connect()
  wire.send(request('/b', host))
  assert.equal((await wire.response()).statusCode, 503)
  const { reason, connector } = await system.record()
  assert.deepEqual([reason, connector], ['CONNECTOR_OVERLOADED', 'c1'])
  // Another one refuses when it has got the request, and then the full one is asked.
  const willing = system.addConnector({ id: 'c2' }, (relayed) => relayed.reset(ResetCode.REFUSED))
  wire.send(request('/c', host))
  assert.equal((await wire.response()).statusCode, 503)
  assert.equal((await system.record(1)).connector, 'c1')
  assert.equal(willing.streams.length, 1)
  assert.equal(full.streams.length, 1)
})

test('the connector with the least open streams is chosen', async (t) => {
  const system = new TestGateway(t, { applications: [open()] })
  const connectors = ['c1', 'c2', 'c3'].map((id) => system.addConnector({ id }))
  for (let count = 0; count < 9; count += 1) system.connect().send(request('/', host))
  for (const connector of connectors) await connector.stream(2)
  assert.deepEqual(
    connectors.map(({ streams }) => streams.length),
    [3, 3, 3],
  )
})

test('a tunnel that dies costs 502 for each of its open streams, and nothing else', async (t) => {
  const system = new TestGateway(t, { applications: [open()] })
  const dying = system.addConnector({ id: 'c1' }, (relayed) => relayed.stream.accept())
  const early = system.connect()
  early.send(request('/waiting', host))
  await dying.stream(0)
  const answering = system.connect()
  answering.send(request('/answering', host))
  const second = await dying.stream(1)
  second.begin(200)
  second.write('part')
  await answering.take('part\r\n')
  const sending = system.connect()
  sending.send(`${request('POST /sending', host, { 'Content-Length': '100' })}abc`)
  const third = await dying.stream(2)
  await third.until(() => third.body === 'abc')
  dying.ends[1].destroy()
  assert.equal((await early.response()).statusCode, 502)
  assert.equal((await sending.response()).statusCode, 502)
  await answering.until(() => answering.ended)
  assert.equal(answering.text, '')
  await system.record(2)
  assert.deepEqual(
    system.records.map(({ path, statusCode, reason }) => [path, statusCode, reason]).sort(),
    [
      ['/answering', 200, 'CONNECTOR_LOST'],
      ['/sending', 502, 'CONNECTOR_LOST'],
      ['/waiting', 502, 'CONNECTOR_LOST'],
    ],
  )
  early.send(request('/', host))
  assert.equal((await early.response()).statusCode, 503)
})

test('a client that leaves takes its request with it, in every state', async (t) => {
  const system = new TestGateway(t, { applications: [open()] })
  const connector = system.addConnector({}, (relayed) => relayed.stream.accept())
  const waiting = system.connect()
  waiting.send(request('/waiting', host))
  const answering = system.connect()
  answering.send(request('/answering', host))
  const sending = system.connect()
  sending.send(`${request('POST /sending', host, { 'Content-Length': '100' })}abc`)
  const [first, second, third] = [
    await connector.stream(0),
    await connector.stream(1),
    await connector.stream(2),
  ]
  second.begin(200)
  await answering.take('\r\n\r\n')
  await third.until(() => third.body === 'abc')
  for (const wire of [waiting, answering, sending]) wire.socket.destroy()
  for (const relayed of [first, second, third]) {
    await relayed.until(() => relayed.error !== undefined)
    assert.equal(relayed.error!.resetCode, ResetCode.CANCELLED)
  }
  await system.record(2)
  assert.deepEqual(
    system.records.map(({ path, statusCode, reason }) => [path, statusCode, reason]).sort(),
    [
      ['/answering', 200, 'client-left'],
      ['/sending', 499, 'client-left'],
      ['/waiting', 499, 'client-left'],
    ],
  )
  assert.equal(system.gateway.open.size, 0)
})

test('a body that is no chunked body is answered by the codec and recorded as what it was', async (t) => {
  const system = new TestGateway(t, { applications: [open()] })
  const connector = system.addConnector({}, (relayed) => relayed.stream.accept())
  const wire = system.connect()
  wire.send(`${request('POST /', host, { 'Transfer-Encoding': 'chunked' })}zz\r\n`)
  assert.equal((await wire.response()).statusCode, 400)
  const relayed = await connector.stream(0)
  await relayed.until(() => relayed.error !== undefined)
  const record = await system.record()
  assert.equal(record.statusCode, 400)
  assert.equal(record.reason, 'HTTP1_BODY_INVALID')
  assert.equal(system.records.length, 1)
})

test('a head that is no request leaves one record too', async (t) => {
  const system = new TestGateway(t, { applications: [open()] })
  const wire = system.connect()
  wire.send('GET / HTTP/1.1\r\nHost : x\r\n\r\n')
  assert.equal((await wire.response()).statusCode, 400)
  const record = await system.record()
  assert.equal(record.reason, 'HTTP1_HEAD_INVALID')
  assert.equal(record.clientAddress, '192.0.2.1')
})

test('a slow client pauses the stream of its answer, and nothing is lost', async (t) => {
  const system = new TestGateway(t, { applications: [open()] })
  const connector = system.addConnector()
  const { wire, client } = await system.connectSocket()
  wire.send(request('/', host))
  const relayed = await connector.stream(0)
  client.pause()
  relayed.begin(200, ['Content-Length', String(64 * 1024 * 1024)])
  const chunk = 'x'.repeat(65_536)
  let written = 0
  while (written < 1024 && relayed.write(chunk)) written += 1
  // The window of the stream and the buffers of the socket are full: no more than a part went out.
  assert.ok(written < 1024, 'the stream was never full')
  written += 1
  client.resume()
  const writable = async () => {
    let isWritable = false
    relayed.onWritable = () => {
      isWritable = true
    }
    while (!isWritable) await new Promise(setImmediate)
  }
  while (written < 1024) {
    await writable()
    while (written < 1024) {
      written += 1
      if (!relayed.write(chunk)) break
    }
  }
  relayed.stream.end()
  const response = await wire.response()
  assert.equal(response.body.length, 64 * 1024 * 1024)
  assert.equal((await system.record()).sentBytes, 64 * 1024 * 1024)
})

for (const [what, end] of [
  [
    'the configuration',
    ({ gateway }: TestGateway) => gateway.apply({ kind: 'configuration-changed', at: 0 }),
  ],
  ['the service', ({ gateway }: TestGateway) => void gateway.close()],
  ['the tunnel', ({ connectors }: TestGateway) => connectors[0]!.tunnel.session.close()],
] as const)
  test(`regression: what waits for a slow client is not counted as sent when ${what} ends the answer`, async (t) => {
    const system = new TestGateway(t, { applications: [open()] })
    const connector = system.addConnector()
    const { wire, client, server } = await system.connectSocket()
    wire.send(request('/', host))
    const relayed = await connector.stream(0)
    relayed.begin(200, ['Content-Length', String(64 * 1024 * 1024)])
    const head = await wire.take('\r\n\r\n')
    client.pause()
    const chunk = 'x'.repeat(65_536)
    let written = 0
    relayed.onWritable = () => {
      while (written++ < 1_000 && relayed.write(chunk));
    }
    relayed.onWritable()
    while (!server.writableNeedDrain) await new Promise(setImmediate)
    // What the system has taken counts as sent: nobody knows how far it has come.
    const taken = server.bytesWritten - server.writableLength - head.length
    system.snapshot = system.compile([])
    end(system)
    assert.equal((await system.record()).sentBytes, taken)
  })

test('a slow origin pauses the client that sends, and nothing is lost', async (t) => {
  const system = new TestGateway(t, { applications: [open()] })
  const connector = system.addConnector({}, (relayed) => {
    relayed.stream.pause()
    relayed.stream.accept()
  })
  const { wire, client, server } = await system.connectSocket()
  const size = 32 * 1024 * 1024
  wire.send(request('POST /', host, { 'Content-Length': String(size) }))
  const relayed = await connector.stream(0)
  const chunk = Buffer.alloc(65_536, 'y')
  for (let sent = 0; sent < size; sent += chunk.length) client.write(chunk)
  // Full: the gateway has stopped to read.
  while (!server.isPaused()) await new Promise(setImmediate)
  assert.ok(server.bytesRead < size, 'everything was read although nobody takes it')
  relayed.stream.resume()
  await relayed.until(() => relayed.ended)
  assert.equal(relayed.body.length, size)
  relayed.answer(200)
  assert.equal((await wire.response()).statusCode, 200)
  assert.equal((await system.record()).receivedBytes, size)
})

test('an application with sign-on by headers gets the person, and nobody where nobody is', async (t) => {
  const signOn = {
    method: 'headers' as const,
    headers: [
      { name: 'X-User', claim: 'userName' as const },
      { name: 'X-Groups', claim: 'groups' as const },
    ],
  }
  const system = new TestGateway(t, {
    applications: [
      app('hr', { signOn }),
      app('open', { preAuthentication: 'passthrough', signOn }),
    ],
  })
  const connector = system.addConnector()
  const wire = system.connect()
  const fields = { 'X-User': 'admin', x_groups: 'admins', Connection: 'x-user' }
  const cookie = system.cookie(person('ana', ['staff']), 'hr.example.test')
  wire.send(request('/', 'hr.example.test', { ...fields, Cookie: cookie }))
  const relayed = await connector.stream(0)
  assert.deepEqual(relayed.all('x-user'), ['ana@example.test'])
  assert.deepEqual(relayed.all('x-groups'), ['staff'])
  assert.deepEqual(relayed.all('x_groups'), [])
  relayed.answer(200)
  await wire.response()
  const passthrough = system.connect()
  passthrough.send(request('/', host, { ...fields, Cookie: system.cookie(person('ana'), host) }))
  const second = await connector.stream(1)
  for (const name of ['x-user', 'x_groups', 'x-groups', 'cookie'])
    assert.deepEqual(second.all(name), [], name)
})

test('claims that make headers too large fail the request before the origin sees it', async (t) => {
  const system = new TestGateway(t, {
    applications: [
      app('hr', {
        signOn: { method: 'headers', headers: [{ name: 'X-Groups', claim: 'groups' }] },
      }),
    ],
  })
  const connector = system.addConnector()
  const wire = system.connect()
  const groups = Array.from({ length: 2_000 }, (_, index) => `group number ${index}`)
  const cookie = system.cookie(person('ana', groups), 'hr.example.test')
  wire.send(request('/', 'hr.example.test', { Cookie: cookie }))
  assert.equal((await wire.response()).statusCode, 502)
  assert.equal((await system.record()).reason, 'SIGN_ON_FAILED')
  assert.equal(connector.streams.length, 0)
})

test('a connector of one group never gets a request for an application of another', async (t) => {
  const system = new TestGateway(t, {
    applications: [
      app('open', { preAuthentication: 'passthrough', connectorGroup: 'north' }),
      app('south', { preAuthentication: 'passthrough', connectorGroup: 'south' }),
    ],
  })
  const north = system.addConnector({ id: 'n', group: 'north' })
  const south = system.addConnector({ id: 's', group: 'south' })
  const wire = system.connect()
  wire.send(request('/', 'south.example.test'))
  await south.stream(0)
  assert.equal(north.streams.length, 0)
})
