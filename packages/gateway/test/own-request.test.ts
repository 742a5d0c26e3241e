import assert from 'node:assert/strict'
import test from 'node:test'
import { ResetCode } from '@sallyport/protocol'
import type { Relayed } from './support/connector.ts'
import { app, TestGateway } from './support/gateway.ts'

const body = 'logout_token=a.b.c'
const url = 'https://pay.example.test/oidc?logout=backchannel'

function payroll(more = {}) {
  return app('pay', more)
}

test('an application is told by a form of ours, with no field of any client', async (t) => {
  const pay = payroll({ internalUrl: 'http://pay.internal:8080/' })
  const system = new TestGateway(t, { applications: [pay, app('other')] })
  const connector = system.addConnector()
  const { id } = pay.application
  const told = system.gateway.tell({ applicationId: id, url, body, timeoutMs: 10_000 })
  const relayed = await connector.stream(0)
  assert.equal(relayed.head.method, 'POST')
  assert.equal(relayed.head.target, '/oidc?logout=backchannel')
  assert.deepEqual(relayed.head.fields, [
    ...['Host', 'pay.internal:8080', 'Content-Type', 'application/x-www-form-urlencoded'],
    ...['Content-Length', String(body.length), 'X-Forwarded-Host', 'pay.example.test'],
    ...['X-Forwarded-Proto', 'https', 'X-Forwarded-Port', '443'],
  ])
  assert.equal(relayed.instruction.url, 'http://pay.internal:8080')
  assert.equal(relayed.instruction.app, id)
  assert.equal(relayed.assertion, undefined)
  relayed.stream.accept()
  await relayed.until(() => relayed.ended)
  assert.equal(relayed.body, body)
  relayed.begin(200)
  assert.equal(await told, 200)
  // Of the answer nothing is waited for.
  await relayed.until(() => relayed.error !== undefined)
  const { decision, application, statusCode, path, connector: by } = await system.record()
  assert.deepEqual(
    [decision, application, statusCode, path, by],
    ['own', 'pay', 200, '/oidc', 'c1'],
  )
})

test('what is told may be something else than a form', async (t) => {
  const pay = payroll()
  const system = new TestGateway(t, { applications: [pay] })
  const connector = system.addConnector()
  const told = system.gateway.tell({
    applicationId: pay.application.id,
    url,
    body: '<soap:Envelope/>',
    contentType: 'text/xml; charset=utf-8',
    timeoutMs: 10_000,
  })
  const relayed = await connector.stream(0)
  assert.deepEqual(relayed.all('content-type'), ['text/xml; charset=utf-8'])
  relayed.begin(200)
  assert.equal(await told, 200)
})

test('paths and hosts are translated as for every request', async (t) => {
  const wild = app('wild', {
    externalUrl: 'https://*.dev.example.test/hr/',
    internalUrl: 'https://*.dev.internal/people/',
    hostHeader: 'external',
  })
  const system = new TestGateway(t, { applications: [wild] })
  const connector = system.addConnector({}, (relayed) => relayed.stream.handler.onWritable())
  const told = system.gateway.tell({
    applicationId: wild.application.id,
    url: 'https://a.dev.example.test/hr/out',
    body,
    timeoutMs: 10_000,
  })
  const relayed = await connector.stream(0)
  assert.equal(relayed.head.target, '/people/out')
  assert.equal(relayed.all('host')[0], 'a.dev.example.test')
  assert.equal(relayed.instruction.url, 'https://a.dev.internal:443')
  relayed.answer(204)
  assert.equal(await told, 204)
})

test('attack 32: nobody but the application is told, whatever answers for the URL now', async (t) => {
  const [pay, other] = [payroll(), app('other')]
  const system = new TestGateway(t, { applications: [pay, other] })
  const connector = system.addConnector()
  for (const [applicationId, to] of [
    [other.application.id, url],
    [pay.application.id, 'https://other.example.test/oidc'],
    [pay.application.id, 'https://login.example.test/oidc'],
    [pay.application.id, 'https://nobody.example.test/oidc'],
    [pay.application.id, 'https://pay.example.test/.sallyport/signout'],
  ] as const)
    await assert.rejects(
      system.gateway.tell({ applicationId, url: to, body, timeoutMs: 10_000 }),
      /is not that application's/,
      to,
    )
  assert.equal(connector.streams.length, 0)
})

test('one that a connector refuses goes to another connector of the group, and to no other group', async (t) => {
  const pay = payroll()
  const system = new TestGateway(t, { applications: [pay] })
  const tell = () =>
    system.gateway.tell({ applicationId: pay.application.id, url, body, timeoutMs: 10_000 })
  await assert.rejects(tell(), /^Error: NO_CONNECTOR: /)
  const foreign = system.addConnector({ id: 'x', group: 'branch' })
  const first = system.addConnector({ id: 'a' }, (relayed) => relayed.reset(ResetCode.REFUSED))
  const told = tell().catch((error: unknown) => String(error))
  await first.until(() => first.streams.length > 0)
  assert.match(String(await told), /CONNECTOR_OVERLOADED/)
  const second = system.addConnector({ id: 'b' }, (relayed) => {
    if (relayed.head) relayed.answer(200)
  })
  const again = tell()
  const relayed = await second.stream(0)
  relayed.answer(200)
  assert.equal(await again, 200)
  assert.equal(foreign.streams.length, 0)
})

for (const [what, act, expected] of [
  [
    'refuses the destination',
    (relayed) => relayed.reset(ResetCode.DESTINATION_FORBIDDEN, 'not in allow'),
    /DESTINATION_FORBIDDEN: not in allow/,
  ],
  ['ends without an answer', (relayed) => relayed.stream.end(), /CONNECTOR_FAILED|CONNECTOR_LOST/],
  ['switches protocols', (relayed) => relayed.begin(101), /ORIGIN_RESPONSE_INVALID/],
] as [string, (relayed: Relayed) => void, RegExp][])
  test(`a connector that ${what} is a failure with a code`, async (t) => {
    const pay = payroll()
    const system = new TestGateway(t, { applications: [pay] })
    const connector = system.addConnector()
    const told = system.gateway.tell({
      applicationId: pay.application.id,
      url,
      body,
      timeoutMs: 10_000,
    })
    act(await connector.stream(0))
    await assert.rejects(told, expected)
    assert.equal((await system.record()).decision, 'own')
  })

test('an application that does not answer is not waited for without end', async (t) => {
  const pay = payroll()
  const system = new TestGateway(t, { applications: [pay] })
  const connector = system.addConnector()
  const told = system.gateway.tell({ applicationId: pay.application.id, url, body, timeoutMs: 1 })
  await assert.rejects(told, /ORIGIN_TIMEOUT/)
  const relayed = await connector.stream(0)
  await relayed.until(() => relayed.error !== undefined)
})
