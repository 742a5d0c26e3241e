import assert from 'node:assert/strict'
import test from 'node:test'
import type { ApplicationInput } from '@sallyport/domain'
import { app, person, request, startAt, TestGateway } from './support/gateway.ts'

const host = 'pay.example.test'
const browser = { Accept: 'text/html,*/*;q=0.8', 'Sec-Fetch-Mode': 'navigate' }
const ana = person('ana')

function payroll(binding = 'redirect') {
  return app('pay', {
    signOn: {
      method: 'saml',
      entityId: 'urn:pay',
      assertionConsumerServices: [{ url: 'https://pay.example.test/acs' }],
      singleLogoutService: { url: 'http://pay.internal:8080/saml/logout', binding },
    } as ApplicationInput['signOn'],
  })
}

function end(system: TestGateway, at = system.nowAt): void {
  system.identity.sessions.clear()
  system.gateway.apply({
    kind: 'session-ended',
    sessionId: ana.sessionId,
    at,
    signedOut: true,
  })
}

test('for a minute after its sign-out a session still carries the message that says so, and nothing else', async (t) => {
  const system = new TestGateway(t, { applications: [payroll(), app('other')] })
  const connector = system.addConnector()
  const wire = system.connect()
  const cookie = system.cookie(ana, host)
  end(system)
  const send = async (target: string, fields: Record<string, string> = { Cookie: cookie }) => {
    wire.send(request(target, host, { ...browser, ...fields }))
    return (await wire.response()).statusCode
  }
  for (const target of [
    '/',
    '/saml/logout',
    '/saml/logout?x=SAMLRequest',
    '/saml/logout/?SAMLRequest=x',
    '/saml/logoutx?SAMLRequest=x',
    '/SAML/logout?SAMLRequest=x',
    '/acs?SAMLRequest=x',
    'HEAD /saml/logout?SAMLRequest=x',
    'GET /.sallyport/saml?SAMLRequest=x',
  ])
    assert.notEqual(await send(target), 200, target)
  assert.equal(await send('/saml/logout?SAMLRequest=x', {}), 302)
  assert.equal(await send('/saml/logout?SAMLRequest=x', { Cookie: `${cookie}x` }), 302)
  assert.equal(
    await send('POST /saml/logout?SAMLRequest=x', { Cookie: cookie, 'Content-Length': '0' }),
    401,
  )
  assert.equal(connector.streams.length, 0)

  wire.send(request('/saml/logout?SAMLRequest=x', host, { ...browser, Cookie: cookie }))
  const relayed = await connector.stream(0)
  assert.equal(relayed.head.target, '/saml/logout?SAMLRequest=x')
  assert.deepEqual(relayed.all('cookie'), [])
})

test('later, or when the person has not signed out, as far as is known, nothing passes', async (t) => {
  for (const ended of [
    (system: TestGateway) => {
      end(system)
      system.nowAt += 60_000
    },
    // Somebody else has ended it.
    (system: TestGateway) =>
      system.gateway.apply({ kind: 'session-ended', sessionId: ana.sessionId, at: startAt }),
    // Its user was disabled, or its end was only found by asking.
    (system: TestGateway) =>
      system.gateway.apply({ kind: 'user-epoch', userId: 'ana', signInEpoch: 2, at: startAt }),
    (system: TestGateway) => system.identity.sessions.clear(),
  ]) {
    const system = new TestGateway(t, { applications: [payroll()] })
    const connector = system.addConnector()
    const wire = system.connect()
    const cookie = system.cookie(ana, host)
    ended(system)
    for (let index = 0; index < 2; index += 1) {
      wire.send(request('/saml/logout?SAMLRequest=x', host, { ...browser, Cookie: cookie }))
      assert.equal((await wire.response()).statusCode, 302)
    }
    assert.equal(connector.streams.length, 0)
  }
})

test('an application that wants its messages by a form gets them by a form', async (t) => {
  const system = new TestGateway(t, { applications: [payroll('post')] })
  const connector = system.addConnector()
  const wire = system.connect()
  const cookie = system.cookie(ana, host)
  end(system)
  wire.send(request('/saml/logout?SAMLRequest=x', host, { ...browser, Cookie: cookie }))
  assert.equal((await wire.response()).statusCode, 302)
  wire.send(
    request('POST /saml/logout', host, { ...browser, Cookie: cookie, 'Content-Length': '0' }),
  )
  assert.equal((await connector.stream(0)).head.method, 'POST')
})

test('who signs out is sent on to the applications that have to be told, with the cookie that lets it pass', async (t) => {
  const system = new TestGateway(t, { applications: [payroll()] })
  const wire = system.connect()
  system.identity.logoutUrl = 'https://login.example.test/t/saml2/logout?state=x'
  const fields = { ...browser, 'Sec-Fetch-Site': 'same-origin', Cookie: system.cookie(ana, host) }
  wire.send(request('/.sallyport/signout', host, fields))
  const asked = await wire.response()
  // The redirect that follows the form leaves the host.
  assert.doesNotMatch(asked.all('content-security-policy')[0]!, /form-action/)
  wire.send(request('POST /.sallyport/signout', host, { ...fields, 'Content-Length': '0' }))
  const answer = await wire.response()
  assert.equal(answer.statusCode, 303)
  assert.equal(answer.all('location')[0], system.identity.logoutUrl)
  assert.equal(answer.all('set-cookie')[0], undefined)
})

test('a sign-on that is begun here has a session on this host first', async (t) => {
  const [pay, other] = [payroll(), app('other')]
  const system = new TestGateway(t, { applications: [pay, other] })
  const wire = system.connect()
  const path = `/.sallyport/saml?app=${pay.application.id}`
  wire.send(request(path, host, browser))
  const first = await wire.response()
  assert.equal(first.statusCode, 302)
  assert.match(first.all('location')[0]!, /^https:\/\/login\.example\.test\/authorize/)
  wire.send(request(path, host, { ...browser, Cookie: system.cookie(ana, host) }))
  assert.equal(
    (await wire.response()).all('location')[0],
    `https://login.example.com/saml2/start/${pay.application.id}`,
  )
  for (const app of ['', 'x', other.application.id]) {
    wire.send(request(`/.sallyport/saml?app=${app}`, host, browser))
    assert.equal((await wire.response()).statusCode, 404)
  }
})
