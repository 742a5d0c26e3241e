import assert from 'node:assert/strict'
import test from 'node:test'
import { app, hourMs, person, request, startAt, TestGateway } from './support/gateway.ts'
import { openPipe } from './support/pipe.ts'

const host = 'till.example.test'
const browser = { Accept: 'text/html', 'Sec-Fetch-Mode': 'navigate' }
const minuteMs = 60_000
const idleLimitMs = 10 * minuteMs

function start(t: test.TestContext, more: { isByHand?: boolean } = {}) {
  const system = new TestGateway(t, {
    applications: [
      app('till', { idleLimitMs }),
      app('log', { externalUrl: `https://${host}/log/`, internalUrl: 'http://log.internal/log/' }),
      app('hr'),
    ],
  })
  const connector = system.addConnector(
    {},
    more.isByHand ? undefined : (relayed) => relayed.answer(200),
  )
  const wire = system.connect()
  const ask = async (Cookie: string, target = '/', name = host, more = {}) => {
    wire.send(request(target, name, { Cookie, ...more }))
    return wire.response()
  }
  return { system, connector, wire, ask }
}

test('who asks for nothing for the idle limit has to prove again who they are; who works has not', async (t) => {
  const { system, ask } = start(t)
  const ana = { ...person('ana'), absoluteExpiresAt: startAt + 12 * hourMs }
  let cookie = system.cookie(ana, host)
  let renewals = 0
  // A request every two minutes for an hour: far more than the limit.
  for (let minute = 0; minute < 60; minute += 2) {
    system.nowAt += 2 * minuteMs
    const response = await ask(cookie)
    assert.equal(response.statusCode, 200)
    const renewed = response.one('set-cookie')?.split(';')[0]
    if (renewed) renewals += 1
    cookie = renewed ?? cookie
  }
  assert.equal(renewals, 30)
  system.nowAt += idleLimitMs
  assert.equal((await ask(cookie)).statusCode, 200)
  system.nowAt += 1
  assert.equal((await ask(cookie)).statusCode, 401)
  assert.equal(system.records.at(-1)!.reason, 'session-idle')
  // A fresh password is asked for, also of somebody who has thrown the cookie away.
  for (const Cookie of [cookie, 'a=b'])
    assert.equal((await ask(Cookie, '/', host, browser)).statusCode, 302)
  for (const asked of system.identity.requests.slice(-2))
    assert.equal(String(asked.maxAgeSeconds), '600')
})

test('an application on the same host shares the limit, one on another host has none', async (t) => {
  const { system, ask } = start(t)
  const ana = person('ana')
  const [here, there] = [system.cookie(ana, host), system.cookie(ana, 'hr.example.test')]
  system.nowAt += idleLimitMs + 1
  assert.equal((await ask(here, '/log/')).statusCode, 401)
  const other = await ask(there, '/', 'hr.example.test')
  assert.equal(other.statusCode, 200)
  assert.equal(other.one('set-cookie'), undefined)
  await ask('a=b', '/', 'hr.example.test', browser)
  assert.equal(system.identity.requests.at(-1)!.maxAgeSeconds, undefined)
})

test('a sign-in that the browser did not ask to be fresh is refused at the callback', async (t) => {
  const { system, ask } = start(t)
  for (const [ageMs, statusCode] of [
    [idleLimitMs + 10_000, 400],
    [idleLimitMs - 1_000, 302],
  ] as const) {
    const begun = await ask('a=b', '/', host, browser)
    const asked = system.identity.requests.at(-1)!
    const session = { ...person('ana'), signedInAt: system.nowAt - ageMs }
    const code = system.identity.issueCode(asked, session)
    const query = new URLSearchParams({ code, state: asked.state! })
    const done = await ask(
      begun.one('set-cookie')!.split(';')[0]!,
      `/.sallyport/callback?${query}`,
      host,
      browser,
    )
    assert.equal(done.statusCode, statusCode)
    assert.equal(
      done.fields.some(([name, value]) => name === 'set-cookie' && /=v1\./.test(value)),
      statusCode === 302,
    )
  }
})

/** The time between two sweeps, and a moment. */
const sweepMs = 15_000

/** Time goes on, and the gateway looks at limits of time as often as it does. */
function pass(system: TestGateway, ms: number): void {
  for (const endsAt = system.nowAt + ms; system.nowAt < endsAt; ) {
    system.nowAt = Math.min(endsAt, system.nowAt + sweepMs)
    system.gateway.sweep()
  }
}

test('an open WebSocket into which nobody sends for the idle limit is closed, one in use is not', async (t) => {
  const { system, connector } = start(t, { isByHand: true })
  const open = (name: string, at = host) =>
    openPipe(system, connector, at, { Cookie: system.cookie(person(name), at) })
  const [idle, busy, elsewhere] = [
    await open('ana'),
    await open('bob'),
    await open('eva', 'hr.example.test'),
  ]
  for (let minute = 0; minute < 9; minute += 1) {
    pass(system, minuteMs)
    busy.wire.send('typed')
    await busy.relayed.until(() => busy.relayed.body.length === 5 * (minute + 1))
    // What the application sends is no sign of a person.
    idle.relayed.write('news')
    await idle.wire.take('news')
  }
  assert.equal(system.records.length, 0)
  pass(system, minuteMs + sweepMs)
  await idle.wire.until(() => idle.wire.ended)
  await idle.relayed.until(() => idle.relayed.error !== undefined)
  const record = await system.record()
  assert.deepEqual([record.userId, record.reason, record.statusCode], ['ana', 'session-idle', 101])
  for (const { wire, relayed } of [busy, elsewhere]) {
    relayed.write('still here')
    await wire.take('still here')
  }
  assert.equal(system.records.length, 1)
})

test('who works in a WebSocket is not idle: a request beside it is answered, and the cookie sealed again', async (t) => {
  const { system, connector, ask } = start(t, { isByHand: true })
  const cookies = ['ana', 'bob'].map((name) => system.cookie(person(name), host))
  const [Cookie, other] = cookies as [string, string]
  const { wire, relayed } = await openPipe(system, connector, host, { Cookie })
  pass(system, idleLimitMs - minuteMs)
  wire.send('typed')
  await relayed.until(() => relayed.body === 'typed')
  pass(system, 2 * minuteMs)
  const answer = ask(Cookie)
  const asked = await connector.stream(1)
  asked.answer(200)
  const { statusCode, fields } = await answer
  assert.equal(statusCode, 200)
  assert.ok(fields.some(([name, value]) => name === 'set-cookie' && /=v1\./.test(value)))
  assert.equal((await ask(other)).statusCode, 401, 'somebody else is')
  assert.equal(system.records.at(-1)!.reason, 'session-idle')
  pass(system, idleLimitMs)
  assert.equal((await ask(Cookie)).statusCode, 401, 'and nobody is for ever')
})
