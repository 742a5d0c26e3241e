import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import type { ApplicationInput } from '@sallyport/domain'
import { app, person, request, TestGateway } from './support/gateway.ts'

const host = 'iwa.example.test'
const signOn: ApplicationInput['signOn'] = {
  method: 'kerberos',
  kerberosServicePrincipalName: 'HTTP/iwa.internal',
}

/** A gateway with one application that the connector signs on to, and somebody who is signed in. */
function start(t: TestContext) {
  const system = new TestGateway(t, { applications: [app('iwa', { signOn }), app('hr')] })
  const connector = system.addConnector()
  const wire = system.connect()
  const ana = person('ana')
  const cookie = system.cookie(ana, host)
  const streams = () => connector.streams.filter(({ instruction }) => !('forget' in instruction))
  const forgotten = () =>
    connector.streams.flatMap(({ instruction }) =>
      'forget' in instruction ? [instruction.forget] : [],
    )
  let count = 0
  const ask = async (fields: Record<string, string> = {}) => {
    wire.send(request('/', host, { Cookie: cookie, ...fields }))
    const index = count
    count += 1
    await connector.until(() => streams().length > index && streams()[index]!.head !== undefined)
    const relayed = streams()[index]!
    relayed.answer(200, [], 'hello')
    assert.equal((await wire.response()).statusCode, 200)
    return relayed
  }
  return { system, connector, wire, ana, cookie, ask, streams, forgotten }
}

test('a connector that signs people on gets what identity says of the person, asked for once', async (t) => {
  const { system, ana, ask } = start(t)
  const first = await ask()
  assert.equal(first.assertion, 'assertion-1')
  assert.equal(first.instruction.url, 'http://iwa.internal:8080')
  assert.equal((await ask()).assertion, 'assertion-1')
  assert.deepEqual(system.identity.asserted, [
    {
      sessionId: ana.sessionId,
      applicationId: system.records[0]!.applicationId,
      label: undefined,
    },
  ])
})

test('what the client calls its authorization never reaches an application that the connector signs on to', async (t) => {
  const { ask } = start(t)
  for (const name of ['Authorization', 'authorization', 'AUTHORIZATION']) {
    const { head } = await ask({ [name]: 'Negotiate YII=' })
    assert.doesNotMatch(head.fields.join('\n'), /YII=/)
  }
})

test('an assertion is made anew when half of its life is over', async (t) => {
  const { system, ask } = start(t)
  await ask()
  system.nowAt += 149_000
  assert.equal((await ask()).assertion, 'assertion-1')
  system.nowAt += 2_000
  assert.equal((await ask()).assertion, 'assertion-2')
  assert.equal((await ask()).assertion, 'assertion-2')
  assert.equal(system.identity.asserted.length, 2)
})

test('an assertion that has expired is not sent, whatever became of the next one', async (t) => {
  const { system, ask, wire, cookie, streams } = start(t)
  await ask()
  system.nowAt += 200_000
  system.identity.assertionFailure = Object.assign(new Error('the store is away'), {
    retryable: true,
  })
  assert.equal((await ask()).assertion, 'assertion-1')
  system.nowAt += 100_000
  wire.send(request('/', host, { Cookie: cookie }))
  assert.equal((await wire.response()).statusCode, 503)
  assert.equal((await system.record(2)).reason, 'SIGN_IN_UNAVAILABLE')
  assert.equal(streams().length, 2)
})

test('a refusal of identity is not answered with an older assertion', async (t) => {
  const { system, ask, wire, cookie, streams } = start(t)
  await ask()
  system.nowAt += 200_000
  system.identity.assertionFailure = Object.assign(new Error('there is none any more'), {
    code: 'CREDENTIAL_MISSING',
  })
  wire.send(request('/', host, { Cookie: cookie }))
  await wire.response()
  assert.equal((await system.record(1)).reason, 'CREDENTIAL_MISSING')
  assert.equal(streams().length, 1)
})

test('what identity has refused is not sent when identity is away a moment later', async (t) => {
  const { system, ask, wire, cookie, streams } = start(t)
  await ask()
  let count = 0
  system.nowAt += 200_000
  for (const [failure, reason] of [
    [{ code: 'CREDENTIAL_REFUSED' }, 'CREDENTIAL_REFUSED'],
    [{ retryable: true }, 'SIGN_IN_UNAVAILABLE'],
  ] as const) {
    system.identity.assertionFailure = Object.assign(new Error('no'), failure)
    wire.send(request('/', host, { Cookie: cookie }))
    await wire.response()
    count += 1
    assert.equal((await system.record(count)).reason, reason)
  }
  assert.equal(streams().length, 1)
})

test('changed claims, and a connector that is new or was moved, need a new assertion', async (t) => {
  const { system, ana, ask } = start(t)
  await ask()
  const claims = { ...ana.claims, displayName: 'Ana Lind' }
  system.identity.sessions.set(ana.sessionId, { ...ana, claims })
  system.gateway.apply({ kind: 'claims-changed', userId: ana.userId, at: system.nowAt })
  assert.equal((await ask()).assertion, 'assertion-2')
  system.gateway.apply({
    kind: 'connector-moved',
    connectorId: 'far',
    connectorGroup: 'default',
    at: system.nowAt,
  })
  assert.equal((await ask()).assertion, 'assertion-3')
  system.addConnector({ id: 'c2', group: 'elsewhere' })
  assert.equal((await ask()).assertion, 'assertion-4')
})

test('access that ends while identity is asked for an assertion is no access', async (t) => {
  const { system, ana, wire, cookie, streams } = start(t)
  let open = () => {}
  system.identity.assertionGate = new Promise<void>((resolve) => {
    open = resolve
  })
  wire.send(request('/', host, { Cookie: cookie }))
  while (system.identity.asserted.length === 0)
    await new Promise((resolve) => setImmediate(resolve))
  system.gateway.apply({ kind: 'session-ended', sessionId: ana.sessionId, at: system.nowAt })
  open()
  assert.equal((await wire.response()).statusCode, 401)
  assert.equal((await system.record()).reason, 'session-ended')
  assert.equal(streams().length, 0)
})

test('a group that a person leaves while identity is asked for an assertion lets nobody in, nor an open stream', async (t) => {
  const system = new TestGateway(t, { applications: [app('iwa', { signOn }, ['staff'])] })
  const connector = system.addConnector()
  const wire = system.connect()
  const ana = person('ana', ['staff'])
  let open = () => {}
  system.identity.assertionGate = new Promise<void>((resolve) => {
    open = resolve
  })
  wire.send(request('/', host, { Cookie: system.cookie(ana, host) }))
  while (system.identity.asserted.length === 0)
    await new Promise((resolve) => setImmediate(resolve))
  system.identity.sessions.set(ana.sessionId, person('ana'))
  system.gateway.apply({ kind: 'claims-changed', userId: ana.userId, at: system.nowAt })
  open()
  assert.equal((await wire.response()).statusCode, 403)
  assert.equal((await system.record()).reason, 'user-not-assigned')
  assert.equal(connector.streams.filter(({ instruction }) => !('forget' in instruction)).length, 0)
})

test('an application that asks nobody to sign in any more is told of nobody', async (t) => {
  const hr = app('hr', { jwtAssertion: true })
  const system = new TestGateway(t, { applications: [hr] })
  const connector = system.addConnector()
  const wire = system.connect()
  const ana = person('ana')
  const cookie = system.cookie(ana, 'hr.example.test')
  await system.started
  await system.gateway.sessions.read(ana)
  let open = () => {}
  system.identity.gate = new Promise<void>((resolve) => {
    open = resolve
  })
  wire.send(request('/', 'hr.example.test', { Cookie: cookie }))
  while (system.identity.assertions.length === 0)
    await new Promise((resolve) => setImmediate(resolve))
  const application = { ...hr.application, preAuthentication: 'passthrough' as const }
  system.snapshot = system.compile([{ ...hr, application }])
  open()
  const relayed = await connector.stream(0)
  assert.deepEqual(relayed.all('sallyport-jwt-assertion'), [])
  relayed.answer(200)
  await wire.response()
  assert.equal((await system.record()).userId, undefined)
})

test('an application that is taken away while identity is asked for an assertion is not reached', async (t) => {
  const { system, wire, cookie, streams } = start(t)
  let open = () => {}
  system.identity.assertionGate = new Promise<void>((resolve) => {
    open = resolve
  })
  wire.send(request('/', host, { Cookie: cookie }))
  while (system.identity.asserted.length === 0)
    await new Promise((resolve) => setImmediate(resolve))
  system.snapshot = system.compile([])
  open()
  assert.equal((await wire.response()).statusCode, 404)
  assert.equal(streams().length, 0)
})

test('a session of which identity says that it has ended leads to sign-in', async (t) => {
  const { system, ana, wire, cookie, ask } = start(t)
  await ask()
  system.identity.sessions.delete(ana.sessionId)
  system.nowAt += 301_000
  wire.send(request('/', host, { Cookie: cookie }))
  assert.equal((await wire.response()).statusCode, 401)
  assert.equal((await system.record(1)).reason, 'session-ended')
})

test('connectors hear whose access has ended, and hear nothing where none of them signs anybody on', async (t) => {
  const { system, ana, ask, connector, forgotten } = start(t)
  await ask()
  const at = system.nowAt
  system.gateway.apply({ kind: 'session-ended', sessionId: ana.sessionId, at })
  system.gateway.apply({ kind: 'user-epoch', userId: 'bob', signInEpoch: 2, at })
  await connector.until(() => forgotten().length > 0)
  assert.deepEqual(forgotten(), [{ users: ['bob'], sessions: [ana.sessionId] }])

  const quiet = new TestGateway(t, { applications: [app('hr')] })
  const other = quiet.addConnector()
  quiet.gateway.apply({ kind: 'user-epoch', userId: 'bob', signInEpoch: 2, at })
  const client = quiet.connect()
  client.send(request('/', 'hr.example.test', { Cookie: quiet.cookie(ana, 'hr.example.test') }))
  const relayed = await other.stream(0)
  assert.equal(relayed.assertion, undefined)
  assert.equal('forget' in relayed.instruction, false)
})
