import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { ApplicationInput } from '@sallyport/domain'
import { app, person, request, TestGateway } from './support/gateway.ts'

const field = 'sallyport-jwt-assertion'
const halfMs = 150_000

/** An application that takes assertions, and a person who uses it. */
function start(t: TestContext, more: Partial<ApplicationInput> = {}) {
  const hr = app('hr', { jwtAssertion: true, ...more })
  const wiki = app('wiki', { jwtAssertion: true })
  const system = new TestGateway(t, { applications: [hr, wiki] })
  const { id } = hr.application
  const connector = system.addConnector({}, (relayed) => {
    void relayed.until(() => relayed.ended).then(() => relayed.answer(200))
  })
  const ana = person('ana')
  const wire = system.connect()
  const send = (name = 'hr', fields: Record<string, string> = {}) => {
    const host = `${name}.example.test`
    wire.send(request('/', host, { Cookie: system.cookie(ana, host), ...fields }))
  }
  /** What the origin is told; undefined when the answer came from the gateway. */
  const ask = async (name = 'hr', fields: Record<string, string> = {}) => {
    const before = connector.streams.length
    send(name, fields)
    const answer = await wire.response()
    const told = connector.streams[before]?.all(field)
    return { statusCode: answer.statusCode, told }
  }
  return { system, connector, ana, wire, send, ask, id }
}

test('the origin gets an assertion, asked for once for each session and application', async (t) => {
  const { system, ask, id } = start(t)
  assert.deepEqual(await ask(), { statusCode: 200, told: ['ana.1.1'] })
  assert.deepEqual(await ask(), { statusCode: 200, told: ['ana.1.1'] })
  assert.deepEqual((await ask('wiki')).told, ['ana.1.2'])
  assert.deepEqual((await ask()).told, ['ana.1.1'])
  assert.equal(system.identity.assertions[0], `session of ana ${id}`)
  assert.equal(system.identity.assertions.length, 2)
})

test('a new one is asked for at half of its life', async (t) => {
  const { system, ask } = start(t)
  await ask()
  system.nowAt += halfMs - 1
  assert.deepEqual((await ask()).told, ['ana.1.1'])
  system.nowAt += 1
  assert.deepEqual((await ask()).told, ['ana.1.2'])
})

test('many requests that need one at once make one question', async (t) => {
  const { system, ana, connector } = start(t)
  let open = () => {}
  const cookie = system.cookie(ana, 'hr.example.test')
  // Its claims are kept before the assertion is asked for.
  await system.started
  await system.gateway.sessions.read(ana)
  system.identity.gate = new Promise((resolve) => {
    open = resolve
  })
  const wires = Array.from({ length: 10 }, () => system.connect())
  for (const wire of wires) wire.send(request('/', 'hr.example.test', { Cookie: cookie }))
  while (system.identity.assertions.length === 0) await new Promise(setImmediate)
  open()
  for (const wire of wires) assert.equal((await wire.response()).statusCode, 200)
  assert.deepEqual(
    new Set(connector.streams.flatMap((relayed) => relayed.all(field))),
    new Set(['ana.1.1']),
  )
  assert.equal(system.identity.assertions.length, 1)
})

test('what a person is told to be now is asserted as soon as it changed', async (t) => {
  const { system, ana, ask } = start(t)
  await ask()
  ana.claims = { ...ana.claims, displayName: 'anna' }
  system.gateway.apply({ kind: 'claims-changed', userId: 'ana', at: system.nowAt })
  assert.deepEqual((await ask()).told, ['anna.1.2'])
})

test('what a key has signed that signs no more is not sent', async (t) => {
  const { system, ask } = start(t)
  await ask()
  system.identity.keyId = '2'
  assert.deepEqual((await ask()).told, ['ana.2.2'])
})

test('attack 43: after its session has ended nobody is asserted, not even from what is kept', async (t) => {
  const { system, ask, connector } = start(t)
  await ask()
  system.gateway.apply({ kind: 'session-ended', sessionId: 'session of ana', at: system.nowAt })
  assert.deepEqual(await ask(), { statusCode: 401, told: undefined })
  assert.equal(connector.streams.length, 1)
  assert.equal(system.identity.assertions.length, 1)
})

test('attack 43: a session that ends while its assertion is made sends nothing to the origin', async (t) => {
  for (const end of ['event', 'identity'] as const) {
    const { system, send, wire, connector } = start(t)
    let open = () => {}
    send()
    await wire.response()
    system.nowAt += halfMs
    system.identity.gate = new Promise((resolve) => {
      open = resolve
    })
    if (end === 'identity') system.identity.sessions.clear()
    const asked = system.identity.assertions.length
    wire.send(
      request('/', 'hr.example.test', {
        Cookie: system.gateway
          .sessionCookie(person('ana'), 'hr.example.test')
          .setCookie.split(';')[0]!,
      }),
    )
    while (system.identity.assertions.length === asked) await new Promise(setImmediate)
    if (end === 'event')
      system.gateway.apply({ kind: 'user-epoch', userId: 'ana', signInEpoch: 2, at: system.nowAt })
    open()
    assert.equal((await wire.response()).statusCode, 401, end)
    assert.equal((await system.record(1)).reason, 'session-ended')
    assert.equal(connector.streams.length, 1)
  }
})

test('while identity is away the old one is used as long as an origin can take it', async (t) => {
  const { system, ask } = start(t)
  await ask()
  system.identity.isDown = true
  system.nowAt += halfMs
  assert.deepEqual((await ask()).told, ['ana.1.1'])
  const asked = system.identity.assertions.length
  await ask()
  assert.equal(system.identity.assertions.length, asked, 'it is not asked with every request')
  system.nowAt += 5_000
  system.identity.isDown = false
  assert.deepEqual((await ask()).told, [`ana.1.${asked + 1}`])
  system.identity.isDown = true
  system.nowAt += 271_000
  assert.deepEqual(await ask(), { statusCode: 503, told: undefined })
  assert.equal((await system.record(4)).reason, 'SIGN_IN_UNAVAILABLE')
})

test('attack 16: no spelling of the assertion comes from a client, where there is one and where there is none', async (t) => {
  const spellings = [
    'Sallyport-Jwt-Assertion',
    'SALLYPORT-JWT-ASSERTION',
    'sallyport_jwt_assertion',
    'Sallyport_Jwt-Assertion',
    'Sallyport.Jwt.Assertion',
  ]
  const { system, ask, connector } = start(t)
  for (const name of spellings) {
    assert.deepEqual((await ask('hr', { [name]: 'evil', Connection: name })).told, ['ana.1.1'])
    assert.doesNotMatch(connector.streams.at(-1)!.head.fields.join(), /evil/)
  }
  system.snapshot = system.compile([
    app('hr'),
    app('open', { preAuthentication: 'passthrough', jwtAssertion: true }),
  ])
  for (const name of ['hr', 'open'])
    for (const spelling of spellings) {
      assert.deepEqual((await ask(name, { [spelling]: 'evil' })).told, [])
      assert.doesNotMatch(connector.streams.at(-1)!.head.fields.join(), /evil/)
    }
})

test('a WebSocket is opened with sign-on headers and assertion', async (t) => {
  const signOn = {
    method: 'headers' as const,
    headers: [{ name: 'X-User', claim: 'userName' as const }],
  }
  const { send, connector } = start(t, { signOn })
  send('hr', {
    Connection: 'Upgrade',
    Upgrade: 'websocket',
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
  })
  const relayed = await connector.stream(0)
  assert.equal(relayed.instruction.upgrade, true)
  assert.deepEqual(relayed.all(field), ['ana.1.1'])
  assert.deepEqual(relayed.all('x-user'), ['ana@example.test'])
})

test('a body waits until the assertion is there, and goes out whole', async (t) => {
  const { system, ana, wire, connector } = start(t)
  let open = () => {}
  const cookie = system.cookie(ana, 'hr.example.test')
  await system.started
  await system.gateway.sessions.read(ana)
  system.identity.gate = new Promise((resolve) => {
    open = resolve
  })
  wire.send(
    `${request('POST /', 'hr.example.test', { Cookie: cookie, 'Content-Length': '5' })}hello`,
  )
  while (system.identity.assertions.length === 0) await new Promise(setImmediate)
  assert.equal(connector.streams.length, 0)
  open()
  const relayed = await connector.stream(0)
  relayed.stream.accept()
  assert.equal((await wire.response()).statusCode, 200)
  assert.equal(relayed.body, 'hello')
})

test('a person who leaves while the assertion is made leaves nothing behind', async (t) => {
  const { system, ana, wire, connector } = start(t)
  let open = () => {}
  const cookie = system.cookie(ana, 'hr.example.test')
  await system.started
  await system.gateway.sessions.read(ana)
  system.identity.gate = new Promise((resolve) => {
    open = resolve
  })
  wire.send(request('/', 'hr.example.test', { Cookie: cookie }))
  while (system.identity.assertions.length === 0) await new Promise(setImmediate)
  wire.socket.destroy()
  assert.equal((await system.record()).reason, 'client-left')
  open()
  await new Promise(setImmediate)
  assert.equal(connector.streams.length, 0)
  assert.equal(system.gateway.open.size, 0)
})

test('expired assertions are forgotten', async (t) => {
  const { system, ana, ask } = start(t)
  await ask()
  const kept = () => system.gateway.applicationAssertions.size(ana.claims)
  assert.equal(kept(), 1)
  system.nowAt += 299_999
  system.gateway.sweep()
  assert.equal(kept(), 1)
  system.nowAt += 1
  system.gateway.sweep()
  assert.equal(kept(), 0)
})

const names = ['X-User', 'X-Reader'] as const
const paths = (t: TestContext, more: Partial<ApplicationInput> = {}) =>
  start(t, {
    jwtAssertion: false,
    signOn: {
      method: 'headers',
      headers: [{ name: names[0], claim: 'userName' }],
      paths: [
        {
          path: '/reports/',
          headers: [
            {
              name: names[1],
              claim: 'userName',
              transforms: [{ transform: 'extractMailPrefix' }],
            },
          ],
        },
      ],
    },
    ...more,
  })

test('a path with headers of its own gets those and none of the others', async (t) => {
  const { system, ana, wire, connector } = paths(t)
  const cookie = system.cookie(ana, 'hr.example.test')
  for (const [path, user, reader] of [
    ['/', ['ana@example.test'], []],
    ['/reports', [], ['ana']],
    ['/reports/a?b', [], ['ana']],
    ['/reportsx/', ['ana@example.test'], []],
  ] as const) {
    wire.send(
      request(path, 'hr.example.test', { Cookie: cookie, 'X-User': 'evil', X_Reader: 'evil' }),
    )
    assert.equal((await wire.response()).statusCode, 200)
    const relayed = connector.streams.at(-1)!
    assert.equal(relayed.head.target, path)
    assert.deepEqual(relayed.all('x-user'), user, path)
    assert.deepEqual(relayed.all('x-reader'), reader, path)
    assert.doesNotMatch(relayed.head.fields.join(), /evil/)
  }
})

test('attacks 1 and 2: a path that could be read as one with other headers is refused', async (t) => {
  const { system, ana, connector } = paths(t)
  const cookie = system.cookie(ana, 'hr.example.test')
  for (const path of [
    '/reports/../x',
    '/x/../reports/',
    '/x/%2e%2e/reports/',
    '/%72eports/',
    '//reports/',
    '/REPORTS/',
    '/reports;x/y',
  ]) {
    const wire = system.connect()
    wire.send(request(path, 'hr.example.test', { Cookie: cookie }))
    assert.equal((await wire.response()).statusCode, 400, path)
  }
  assert.equal(connector.streams.length, 0)
})

test('headers to strip are removed in every spelling, also from trailers, and for their application only', async (t) => {
  const stripHeaders = ['Remote-User', 'Authorization']
  const { system, ana, connector } = start(t, { stripHeaders, jwtAssertion: false })
  for (const [name, isKept] of [
    ['hr', false],
    ['wiki', true],
  ] as const) {
    const host = `${name}.example.test`
    const wire = system.connect()
    const index = connector.streams.length
    wire.send(
      `${request('POST /', host, {
        Cookie: system.cookie(ana, host),
        'Remote-User': 'x1',
        remote_user: 'x2',
        Authorization: 'x3',
        Connection: 'authorization',
        'Transfer-Encoding': 'chunked',
      })}0\r\nRemote-User: x4\r\nX-Sum: 1\r\n\r\n`,
    )
    const relayed = await connector.stream(index)
    relayed.stream.accept()
    assert.equal((await wire.response()).statusCode, 200)
    const text = `${relayed.head.fields.join()} ${relayed.trailers}`
    for (const value of ['x1', 'x2', 'x3', 'x4']) assert.equal(text.includes(value), isKept, value)
    assert.match(text, /X-Sum: 1/)
  }
})
