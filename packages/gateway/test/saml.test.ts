import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import test, { type TestContext } from 'node:test'
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

const message = '/saml/logout?SAMLRequest=x&Signature=y'
const applied = `sallyport-logout=pass`

function end(system: TestGateway): void {
  system.identity.sessions.clear()
  system.gateway.apply({ kind: 'session-ended', sessionId: ana.sessionId, at: system.nowAt })
}

function setUp(t: TestContext, binding?: string) {
  const pay = payroll(binding)
  const system = new TestGateway(t, { applications: [pay, app('other')] })
  const issue = (method: string, target: string, body = '', pass = 'pass') =>
    system.identity.logoutPasses.set(pass, [
      `${pay.application.id} ${method} https://${host}${target}`,
      createHash('sha256').update(body).digest('base64url'),
    ])
  return { system, connector: system.addConnector(), wire: system.connect(), issue }
}

test('a message of sign-out passes without a session by its pass, which the application does not see, and nobody goes along', async (t) => {
  const { system, connector, wire, issue } = setUp(t)
  // Neither a session that has ended nor a live one: the person may be signed in again already.
  for (const [index, cookie] of ['', system.cookie(ana, host)].entries()) {
    issue('GET', message)
    const fields = { ...browser, 'X-User': 'eve', ...(cookie && { Cookie: cookie }) }
    wire.send(request(`${message}&${applied}`, host, fields))
    const relayed = await connector.stream(index)
    assert.equal(relayed.head.target, message)
    assert.deepEqual(relayed.all('cookie'), [])
    relayed.answer(303, ['Location', 'https://login.example.test/x'])
    assert.equal((await wire.response()).statusCode, 303)
    const record = system.records.at(-1)!
    assert.deepEqual(
      [record.decision, record.userId, record.path],
      ['allow', undefined, '/saml/logout'],
    )
  }
})

test('attack: a pass is for one message, to one address, by one method, and once', async (t) => {
  const { system, connector, issue } = setUp(t)
  const cookie = system.cookie(ana, host)
  end(system)
  const send = async (target: string, fields: Record<string, string> = {}) => {
    issue('GET', message)
    // Some of them end their connection.
    const wire = system.connect()
    wire.send(request(target, host, { ...browser, Cookie: cookie, ...fields }))
    return (await wire.response()).statusCode
  }
  for (const target of [
    message,
    `/?SAMLRequest=x&Signature=y&${applied}`,
    `/saml/logout/?SAMLRequest=x&Signature=y&${applied}`,
    `/SAML/logout?SAMLRequest=x&Signature=y&${applied}`,
    `/saml/%6cogout?SAMLRequest=x&Signature=y&${applied}`,
    `/saml/./logout?SAMLRequest=x&Signature=y&${applied}`,
    `/saml//logout?SAMLRequest=x&Signature=y&${applied}`,
    `/saml/logout;x?SAMLRequest=x&Signature=y&${applied}`,
    `/x/..%2fsaml/logout?SAMLRequest=x&Signature=y&${applied}`,
    `${message}&more=1&${applied}`,
    `${message}&${applied}&more=1`,
    `${message}&${applied}&${applied}`,
    `${message}&sallyport-logout=other`,
    `${message}&sallyport-logout=`,
    `${message}?${applied}`,
    `/saml/logout?${applied}&SAMLRequest=x&Signature=y`,
    `HEAD ${message}&${applied}`,
  ])
    assert.ok([302, 400].includes(await send(target)), target)
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS'])
    assert.equal(await send(`${method} ${message}&${applied}`, { 'Content-Length': '0' }), 401)
  const socket = { Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13' }
  const key = { 'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==' }
  assert.equal(await send(`${message}&${applied}`, { ...socket, ...key }), 302)
  // A body that nobody has signed.
  issue('GET', message)
  let wire = system.connect()
  const form = { ...browser, 'Content-Length': '3' }
  wire.send(`${request(`${message}&${applied}`, host, form)}a=b`)
  assert.equal((await wire.response()).statusCode, 302)
  wire = system.connect()
  // Another application, whose host knows no such messages.
  wire.send(request(`${message}&${applied}`, 'other.example.test', browser))
  assert.equal((await wire.response()).statusCode, 302)
  assert.equal(connector.streams.length, 0)

  issue('GET', message)
  for (const _ of ['first', 'again']) wire.send(request(`${message}&${applied}`, host, browser))
  ;(await connector.stream(0)).answer(200)
  assert.equal((await wire.response()).statusCode, 200)
  assert.equal((await wire.response()).statusCode, 302)
  assert.equal(connector.streams.length, 1)
})

test('attack: the cookie of a session that has ended, however it ended, lets nothing pass', async (t) => {
  for (const ended of [
    end,
    // Its user was disabled, or its end was only found by asking.
    (system: TestGateway) =>
      system.gateway.apply({ kind: 'user-epoch', userId: 'ana', signInEpoch: 2, at: startAt }),
    (system: TestGateway) => system.identity.sessions.clear(),
  ]) {
    const { system, connector, wire } = setUp(t)
    const cookie = system.cookie(ana, host)
    ended(system)
    for (const target of [message, '/saml/logout?SAMLResponse=x', `${message}&${applied}`]) {
      wire.send(request(target, host, { ...browser, Cookie: cookie }))
      assert.equal((await wire.response()).statusCode, 302)
    }
    assert.equal(connector.streams.length, 0)
  }
})

test('an application that wants its messages by a form gets the one that was written, and no other', async (t) => {
  const { system, connector, issue } = setUp(t, 'post')
  const body = 'SAMLRequest=eA%3D%3D&RelayState=r'
  const post = (text: string, isChunked = false) => {
    const wire = system.connect()
    wire.send(
      request(`POST /saml/logout?${applied}`, host, {
        ...browser,
        'Content-Type': 'application/x-www-form-urlencoded',
        ...(isChunked
          ? { 'Transfer-Encoding': 'chunked' }
          : { 'Content-Length': `${text.length}` }),
      }) + (isChunked ? `${text.length.toString(16)}\r\n${text}\r\n0\r\n\r\n` : text),
    )
    return wire
  }
  for (const send of [
    () => post(`${body}&a=b`),
    () => post('SAMLRequest=eQ%3D%3D&RelayState=r'),
    // Larger than any message, or without a length: nobody waits for that.
    () => post(`${body}${'&'.repeat(131_072)}`),
    () => post(body, true),
  ]) {
    issue('POST', '/saml/logout', body)
    const wire = send()
    assert.equal((await wire.response()).statusCode, 401)
  }
  assert.equal(connector.streams.length, 0)

  issue('POST', '/saml/logout', body)
  post(body)
  const relayed = await connector.stream(0)
  assert.equal(relayed.head.method, 'POST')
  assert.equal(relayed.head.target, '/saml/logout')
  relayed.stream.accept()
  await relayed.until(() => relayed.ended)
  assert.equal(relayed.body, body)
})

test('attack: a message of sign-out does not reach what was published in its place while it came', async (t) => {
  const { system, connector, wire, issue } = setUp(t, 'post')
  const body = 'SAMLRequest=eA%3D%3D'
  issue('POST', '/saml/logout', body)
  const form = { ...browser, 'Content-Length': `${body.length}` }
  const { identity } = system
  const taken = new Promise<void>((resolve) => {
    const take = identity.takeLogoutPass.bind(identity)
    identity.takeLogoutPass = (...message) => {
      resolve()
      return take(...message)
    }
  })
  wire.send(request(`POST /saml/logout?${applied}`, host, form) + body.slice(0, 5))
  await taken
  system.snapshot = system.compile([app('other', { externalUrl: `https://${host}/` })])
  void connector.stream(0).then((relayed) => relayed.answer(200))
  wire.send(body.slice(5))
  assert.equal((await wire.response()).statusCode, 401)
  assert.equal(connector.streams.length, 0)
})

test('who signs out is sent on to the applications that have to be told', async (t) => {
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
  assert.match(answer.all('set-cookie')[0]!, /^__Host-sallyport=; Path=\/; Max-Age=0;/)
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

const formId = 'i'.repeat(43)
const formPath = `/.sallyport/form?id=${formId}`

function keepForm(system: TestGateway, sessionId = ana.sessionId): void {
  const actionUrl = `https://${host}/acs`
  system.identity.forms.set(formId, { origin: `https://${host}`, sessionId, actionUrl })
}

test('a form that identity hands over is a page of the application’s own host, once', async (t) => {
  const { system, connector, wire } = setUp(t)
  keepForm(system)
  const fields = { ...browser, 'Sec-Fetch-Site': 'cross-site', Cookie: system.cookie(ana, host) }
  wire.send(request(formPath, host, fields))
  const page = await wire.response()
  assert.equal(page.statusCode, 200)
  assert.match(page.body, /<form[^>]* method="post" action="https:\/\/pay\.example\.test\/acs"/)
  assert.match(page.body, /name="SAMLResponse" value="x"/)
  assert.match(page.body, /name="RelayState" value="r&amp;d"/)
  // Works without script, too.
  assert.match(page.body, /<button class="button" type="submit">Continue/)
  assert.deepEqual(page.all('cache-control'), ['no-store'])
  // The address with the ID goes nowhere.
  assert.deepEqual(page.all('referrer-policy'), ['strict-origin'])
  assert.deepEqual(page.all('x-frame-options'), ['DENY'])
  assert.deepEqual(page.all('cross-origin-opener-policy'), ['same-origin'])
  const [policy] = page.all('content-security-policy')
  assert.match(policy!, /default-src 'none'/)
  // What the application answers may lead anywhere.
  assert.doesNotMatch(policy!, /form-action/)
  wire.send(request(formPath, host, fields))
  const again = await wire.response()
  assert.equal(again.statusCode, 200)
  assert.match(again.body, /signed in already/)
  assert.doesNotMatch(again.body, /SAMLResponse/)
  assert.equal(connector.streams.length, 0)
  // Neither path nor record has the ID.
  assert.doesNotMatch(JSON.stringify(system.records), new RegExp(formId))
})

test('who has no session on the host gets one first, and comes back for the form', async (t) => {
  const { system, wire } = setUp(t)
  keepForm(system)
  wire.send(request(formPath, host, browser))
  const first = await wire.response()
  assert.equal(first.statusCode, 302)
  const nonce = /^([^;]+);/.exec(first.all('set-cookie')[0]!)![1]!
  const asked = system.identity.requests.at(-1)!
  const code = system.identity.issueCode(asked, ana)
  const callback = `/.sallyport/callback?code=${code}&state=${encodeURIComponent(asked.state!)}`
  wire.send(request(callback, host, { ...browser, Cookie: nonce }))
  const back = await wire.response()
  assert.equal(back.all('location')[0], `https://${host}${formPath}&again=`)
  const [session] = back.all('set-cookie')[0]!.split(';')
  wire.send(request(`${formPath}&again=`, host, { ...browser, Cookie: session! }))
  assert.match((await wire.response()).body, /SAMLResponse/)
})

test('attack 37: a form of another session is not shown; the cookie is renewed once, and no more', async (t) => {
  const { system, connector, wire } = setUp(t)
  keepForm(system, 'session of eve')
  const fields = { ...browser, Cookie: system.cookie(ana, host) }
  wire.send(request(formPath, host, fields))
  const first = await wire.response()
  assert.equal(first.statusCode, 302)
  assert.match(first.all('location')[0]!, /^https:\/\/login\.example\.test\/authorize/)
  wire.send(request(`${formPath}&again=`, host, fields))
  const second = await wire.response()
  assert.equal(second.statusCode, 400)
  assert.doesNotMatch(second.body, /SAMLResponse/)
  assert.equal(system.records.at(-1)!.reason, 'sign-in-invalid')
  assert.ok(system.identity.forms.has(formId))
  assert.equal(connector.streams.length, 0)
})

test('attack 40: a form is shown to a page that is opened, and to nothing else', async (t) => {
  const { system, wire } = setUp(t)
  const Cookie = system.cookie(ana, host)
  for (const [target, status, fields] of [
    [formPath, 404, { Accept: '*/*', 'Sec-Fetch-Mode': 'cors' }],
    [formPath, 404, { Accept: 'text/html', 'Sec-Fetch-Mode': 'same-origin' }],
    [formPath, 404, { Accept: '*/*' }],
    [formPath, 404, { Accept: 'text/html', 'X-Requested-With': 'XMLHttpRequest' }],
    [formPath, 404, { ...browser, 'Service-Worker': 'script' }],
    [`HEAD ${formPath}`, 404, browser],
    [`POST ${formPath}`, 404, { ...browser, 'Content-Length': '0' }],
    [`/.sallyport/form/?id=${formId}`, 404, browser],
    [`/.sallyport/form?id=${formId}x`, 404, browser],
    ['/.sallyport/form?id=', 404, browser],
    ['/.sallyport/form', 404, browser],
  ] as [string, number, Record<string, string>][]) {
    keepForm(system)
    wire.send(request(target, host, { ...fields, Cookie }))
    const answer = await wire.response(target.startsWith('HEAD') ? 'HEAD' : undefined)
    assert.equal(answer.statusCode, status, target)
    assert.doesNotMatch(answer.body, /SAMLResponse/)
    assert.ok(system.identity.forms.has(formId), target)
  }
  // The host beside it has another cookie, and is another host to identity.
  const other = 'other.example.test'
  wire.send(request(formPath, other, { ...browser, Cookie: system.cookie(ana, other) }))
  assert.doesNotMatch((await wire.response()).body, /SAMLResponse/)
})

test('a session that has ended, is idle or cannot be asked for gets no form', async (t) => {
  const { system, wire } = setUp(t)
  keepForm(system)
  const fields = { ...browser, Cookie: system.cookie(ana, host) }
  system.identity.isDown = true
  wire.send(request(formPath, host, fields))
  assert.equal((await wire.response()).statusCode, 503)
  system.identity.isDown = false
  const pay = payroll()
  system.snapshot = system.compile([
    { ...pay, application: { ...pay.application, idleLimitMs: 60_000 } },
  ])
  system.nowAt += 61_000
  const tile = `/.sallyport/saml?app=${pay.application.id}`
  for (const target of [formPath, tile]) {
    wire.send(request(target, host, fields))
    assert.match((await wire.response()).all('location')[0]!, /\/authorize\?.*maxAgeSeconds=60/)
  }
  system.nowAt -= 61_000
  end(system)
  wire.send(request(formPath, host, fields))
  assert.match((await wire.response()).all('location')[0]!, /\/authorize\?/)
  assert.ok(system.identity.forms.has(formId))
})
