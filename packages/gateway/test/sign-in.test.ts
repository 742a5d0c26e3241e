import assert from 'node:assert/strict'
import test from 'node:test'
import { limitReturnBytes } from '../src/sign-in.ts'
import { app, hourMs, person, request, TestGateway } from './support/gateway.ts'
import type { Response, Wire } from './support/wire.ts'

const host = 'hr.example.test'
const browser = { Accept: 'text/html', 'Sec-Fetch-Mode': 'navigate' }

interface Begun {
  /** `name=value` of the nonce cookie. */
  nonce: string
  /** What identity was asked for. */
  asked: Record<string, string>
  response: Response
}

/** Opens a page without a session. */
async function begin(
  system: TestGateway,
  wire: Wire,
  target = '/a?b=c',
  fields: Record<string, string> = {},
): Promise<Begun> {
  wire.send(request(target, host, { ...browser, ...fields }))
  const response = await wire.response()
  assert.equal(response.statusCode, 302)
  return {
    nonce: response.one('set-cookie')!.split(';')[0]!,
    asked: system.identity.requests.at(-1)!,
    response,
  }
}

function callback(parameters: Record<string, string>): string {
  return `/.sallyport/callback?${new URLSearchParams(parameters)}`
}

test('a sign-in comes back to the page that was asked for, with a session', async (t) => {
  const system = new TestGateway(t, { applications: [app('hr')] })
  const connector = system.addConnector()
  const wire = system.connect()
  const { nonce, asked, response } = await begin(system, wire, '/a%2Fb?c=d&e')
  assert.deepEqual(Object.keys(asked).sort(), [
    ...['applicationId', 'codeChallenge', 'nonce', 'redirectUri', 'state'],
  ])
  assert.equal(asked.redirectUri, 'https://hr.example.test/.sallyport/callback')
  assert.ok(response.one('location')!.includes(encodeURIComponent(asked.state!)))
  const code = system.identity.issueCode(asked, person('ana'))
  wire.send(request(callback({ code, state: asked.state! }), host, { ...browser, Cookie: nonce }))
  const done = await wire.response()
  assert.equal(done.statusCode, 302)
  assert.equal(done.one('location'), 'https://hr.example.test/a%2Fb?c=d&e')
  const cookie = done.one('set-cookie')!
  assert.match(cookie, /^__Host-sallyport=v1\.[^;]+; Path=\/; Secure; HttpOnly; SameSite=Lax$/)
  assert.equal(system.records.at(-1)!.userId, 'ana')
  wire.send(request('/a', host, { Cookie: cookie.split(';')[0]! }))
  ;(await connector.stream(0)).answer(200)
  assert.equal((await wire.response()).statusCode, 200)
})

test('tabs that sign in at once share one nonce, and each comes back to its own page', async (t) => {
  const system = new TestGateway(t, { applications: [app('hr')] })
  const wire = system.connect()
  const first = await begin(system, wire, '/one')
  const second = await begin(system, wire, '/two', { Cookie: first.nonce })
  assert.equal(second.nonce, first.nonce)
  assert.notEqual(second.asked.state, first.asked.state)
  assert.notEqual(second.asked.codeChallenge, first.asked.codeChallenge)
  for (const [{ asked }, to] of [
    [second, '/two'],
    [first, '/one'],
  ] as const) {
    const code = system.identity.issueCode(asked, person('ana'))
    wire.send(request(callback({ code, state: asked.state! }), host, { Cookie: first.nonce }))
    assert.equal((await wire.response()).one('location'), `https://hr.example.test${to}`)
  }
})

test('a nonce that is none of ours is replaced', async (t) => {
  const system = new TestGateway(t, { applications: [app('hr')] })
  const wire = system.connect()
  const name = '__Host-sallyport-signin'
  for (const value of ['', 'x', 'a'.repeat(42), `${'a'.repeat(43)}!`, '"'.repeat(43)]) {
    const { nonce } = await begin(system, wire, '/', { Cookie: `${name}=${value}` })
    assert.match(nonce, /=[\w-]{43}$/)
    assert.notEqual(nonce, `${name}=${value}`)
  }
  const twice = `${name}=${'a'.repeat(43)}; ${name}=${'a'.repeat(43)}`
  assert.notEqual(
    (await begin(system, wire, '/', { Cookie: twice })).nonce,
    `${name}=${'a'.repeat(43)}`,
  )
})

test('attack 32: wherever a request points, the sign-in comes back to this host', async (t) => {
  const system = new TestGateway(t, { applications: [app('hr')] })
  const wire = system.connect()
  for (const target of [
    '//evil.test',
    '//evil.test/%2e%2e',
    '/\\evil.test',
    '/%5cevil.test',
    '/%2f%2fevil.test',
    '/@evil.test',
    '/https:evil.test',
    '/https://evil.test',
    '/javascript:alert(1)',
    '/?//evil.test',
    '/?url=https://evil.test/&@evil.test',
    '/.evil.test',
    '/:8443/',
    '/%09//evil.test',
    '/%0d%0aLocation:%20https://evil.test',
    `/${'a'.repeat(limitReturnBytes - 1)}`,
    `/${'a'.repeat(limitReturnBytes)}`,
    `/${'a'.repeat(10_000)}`,
  ]) {
    wire.send(request(target, host, browser))
    const response = await wire.response()
    // What could be read in two ways, or holds a control, is refused before any sign-in.
    if (response.statusCode === 400) continue
    assert.equal(response.statusCode, 302, target)
    const asked = system.identity.requests.at(-1)!
    const code = system.identity.issueCode(asked, person('ana'))
    const nonce = response.one('set-cookie')!.split(';')[0]!
    wire.send(request(callback({ code, state: asked.state! }), host, { Cookie: nonce }))
    const location = (await wire.response()).one('location')!
    assert.equal(new URL(location).host, host, target)
    assert.equal(new URL(location).protocol, 'https:', target)
    assert.equal(
      location,
      `https://hr.example.test${target.length > limitReturnBytes ? '/' : target}`,
    )
  }
})

test("attacks 33 and 34: a callback that is not the end of this browser's own sign-in gives no session", async (t) => {
  const system = new TestGateway(t, { applications: [app('hr'), app('wiki')] })
  const wire = system.connect()
  const victim = await begin(system, wire)
  const attacker = await begin(system, wire)
  const state = attacker.asked.state!
  const fresh = () => system.identity.issueCode(attacker.asked, person('mallory'))
  const cases: [string, string, string | undefined][] = [
    [
      "the attacker's code and state in the victim's browser",
      callback({ code: fresh(), state }),
      victim.nonce,
    ],
    ['no nonce', callback({ code: fresh(), state }), undefined],
    ['two nonces', callback({ code: fresh(), state }), `${attacker.nonce}; ${victim.nonce}`],
    ['a nonce behind a space', callback({ code: fresh(), state }), `a ${attacker.nonce}`],
    ['no state', callback({ code: fresh() }), attacker.nonce],
    ['an empty state', callback({ code: fresh(), state: '' }), attacker.nonce],
    [
      'a changed state',
      callback({ code: fresh(), state: `${state.slice(0, -1)}${state.endsWith('A') ? 'B' : 'A'}` }),
      attacker.nonce,
    ],
    ['two states', `${callback({ code: fresh(), state })}&state=${state}`, attacker.nonce],
    ['two codes', `${callback({ code: fresh(), state })}&code=x`, attacker.nonce],
    ['no code', callback({ state }), attacker.nonce],
    ['an unknown code', callback({ code: 'x', state }), attacker.nonce],
    [
      "another request's code",
      callback({
        code: system.identity.issueCode(victim.asked, person('ana')),
        state: victim.asked.state!,
      }),
      attacker.nonce,
    ],
    ['an error', callback({ error: 'access_denied', state }), attacker.nonce],
    [
      'a session cookie as state',
      callback({ code: fresh(), state: system.cookie(person('ana'), host).split('=')[1]! }),
      attacker.nonce,
    ],
  ]
  for (const [what, target, nonce] of cases) {
    wire.send(request(target, host, { ...browser, ...(nonce ? { Cookie: nonce } : {}) }))
    const response = await wire.response()
    assert.equal(response.statusCode, 400, what)
    assert.equal(response.one('set-cookie'), undefined, what)
    const record = system.records.at(-1)!
    assert.equal(record.reason, 'sign-in-invalid', what)
    assert.equal(record.userId, undefined)
  }
  // The same state on the host of another application.
  wire.send(
    request(callback({ code: fresh(), state }), 'wiki.example.test', { Cookie: attacker.nonce }),
  )
  assert.equal((await wire.response()).statusCode, 400)
  // And it was good all the time, until it is an hour old.
  wire.send(request(callback({ code: fresh(), state }), host, { Cookie: attacker.nonce }))
  assert.equal((await wire.response()).statusCode, 302)
  system.nowAt += hourMs
  wire.send(request(callback({ code: fresh(), state }), host, { Cookie: attacker.nonce }))
  assert.equal((await wire.response()).statusCode, 400)
})

test('a code is good for one sign-in, and its verifier for one code', async (t) => {
  const system = new TestGateway(t, { applications: [app('hr')] })
  const wire = system.connect()
  const first = await begin(system, wire)
  const second = await begin(system, wire, '/', { Cookie: first.nonce })
  const code = system.identity.issueCode(first.asked, person('ana'))
  // The code of one tab under the state of another: the verifier does not fit.
  wire.send(request(callback({ code, state: second.asked.state! }), host, { Cookie: first.nonce }))
  assert.equal((await wire.response()).statusCode, 400)
  const again = system.identity.issueCode(first.asked, person('ana'))
  wire.send(
    request(callback({ code: again, state: first.asked.state! }), host, { Cookie: first.nonce }),
  )
  assert.equal((await wire.response()).statusCode, 302)
  wire.send(
    request(callback({ code: again, state: first.asked.state! }), host, { Cookie: first.nonce }),
  )
  assert.equal((await wire.response()).statusCode, 400)
})

test('who goes back to a callback that is done, and has a session, is sent on to the page', async (t) => {
  const system = new TestGateway(t, { applications: [app('hr')] })
  const wire = system.connect()
  const { nonce, asked } = await begin(system, wire, '/page')
  const cookie = system.cookie(person('ana'), host)
  const again = (cookies: string) =>
    wire.send(request(callback({ code: 'used', state: asked.state! }), host, { Cookie: cookies }))
  again(`${nonce}; ${cookie}`)
  const response = await wire.response()
  assert.equal(response.one('location'), 'https://hr.example.test/page')
  assert.equal(response.one('set-cookie'), undefined)
  system.gateway.apply({ kind: 'session-ended', sessionId: 'session of ana', at: 0 })
  again(`${nonce}; ${cookie}`)
  assert.equal((await wire.response()).statusCode, 400)
})

test('what the provider says of an error is cut short in the record', async (t) => {
  const system = new TestGateway(t, { applications: [app('hr')] })
  const wire = system.connect()
  const { nonce, asked } = await begin(system, wire)
  const error = `access_denied${'x'.repeat(5_000)}`
  wire.send(request(callback({ error, state: asked.state! }), host, { Cookie: nonce }))
  await wire.response()
  const { detail } = system.records.at(-1)!
  assert.match(detail!, /^provider answered access_denied/)
  assert.ok(detail!.length < 100)
})

test('a form that could not be sent opens a sign-in in a tab of its own', async (t) => {
  const system = new TestGateway(t, {
    applications: [
      app('open', {
        externalUrl: 'https://hr.example.test/',
        preAuthentication: 'passthrough',
        allowMixedPreAuthentication: true,
      }),
      app('hr', { externalUrl: 'https://hr.example.test/hr/', allowMixedPreAuthentication: true }),
      app('any', {
        externalUrl: 'https://*.example.test/app/',
        internalUrl: 'http://any.internal/',
      }),
    ],
  })
  const idOf = (name: string) =>
    [...system.snapshot.applications.values()].find(({ application }) => application.name === name)!
      .application.id
  const wire = system.connect()
  for (const [where, name] of [
    [host, 'hr'],
    ['x.example.test', 'any'],
  ] as const) {
    wire.send(request('/.sallyport/signin', where, browser))
    const response = await wire.response()
    assert.equal(response.statusCode, 302, where)
    const asked = system.identity.requests.at(-1)!
    assert.equal(asked.applicationId, idOf(name))
    const code = system.identity.issueCode(asked, person('ana'))
    const nonce = response.one('set-cookie')!.split(';')[0]!
    wire.send(request(callback({ code, state: asked.state! }), where, { Cookie: nonce }))
    assert.equal((await wire.response()).one('location'), `https://${where}/.sallyport/signed-in`)
  }
})

test('a host where nothing needs a sign-in has none to begin', async (t) => {
  const system = new TestGateway(t, {
    applications: [app('hr', { preAuthentication: 'passthrough' })],
  })
  const wire = system.connect()
  wire.send(request('/.sallyport/signin', host, browser))
  assert.equal((await wire.response()).statusCode, 404)
  assert.deepEqual(system.identity.requests, [])
})

test('on another port than 443 the port is in every URL and in the cookie names', async (t) => {
  const system = new TestGateway(t, {
    applications: [app('hr', { externalUrl: 'https://hr.example.test:8443/' })],
    port: 8443,
  })
  const wire = system.connect()
  wire.send(request('/a', 'hr.example.test:8443', browser))
  const response = await wire.response()
  const nonce = response.one('set-cookie')!.split(';')[0]!
  assert.match(nonce, /^__Host-sallyport-signin-8443=/)
  const asked = system.identity.requests.at(-1)!
  assert.equal(asked.redirectUri, 'https://hr.example.test:8443/.sallyport/callback')
  const code = system.identity.issueCode(asked, person('ana'))
  wire.send(
    request(callback({ code, state: asked.state! }), 'hr.example.test:8443', { Cookie: nonce }),
  )
  const done = await wire.response()
  assert.equal(done.one('location'), 'https://hr.example.test:8443/a')
  assert.match(done.one('set-cookie')!, /^__Host-sallyport-8443=/)
})
