import assert from 'node:assert/strict'
import test from 'node:test'
import { app, hourMs, person, request, startAt, TestGateway } from './support/gateway.ts'

const host = 'hr.example.test'
const browser = { Accept: 'text/html,*/*;q=0.8', 'Sec-Fetch-Mode': 'navigate' }

test('attack 39: without a good cookie the origin is never asked', async (t) => {
  const system = new TestGateway(t, { applications: [app('hr'), app('wiki')] })
  const connector = system.addConnector()
  const wire = system.connect()
  const ana = person('ana')
  const good = system.cookie(ana, host)
  const name = '__Host-sallyport'
  const value = good.slice(name.length + 1)
  const sealedAt = (at: number, session = ana) => {
    system.nowAt = at
    const cookie = system.cookie(session, host)
    system.nowAt = startAt
    return cookie
  }
  const cases: [cookie: string, reason: string][] = [
    ['', 'session-missing'],
    ['a=b', 'session-missing'],
    [`${name}=`, 'session-invalid'],
    [`${name}=${value.slice(0, -1)}`, 'session-invalid'],
    [`${name}=${value}A`, 'session-invalid'],
    [`${name}="${value}"`, 'session-invalid'],
    [`${name}=v1.1.${Buffer.alloc(80).toString('base64url')}`, 'session-invalid'],
    [`${good}; ${good}`, 'session-invalid'],
    [`${good}; ${name}=x`, 'session-invalid'],
    [system.cookie(ana, 'wiki.example.test'), 'session-invalid'],
    [`a ${good}`, 'session-missing'],
    [`\xc2\xa0${good}`, 'session-missing'],
    [good.replace(name, name.toLowerCase()), 'session-missing'],
    [`${name}-8443=${value}`, 'session-missing'],
    [sealedAt(startAt - hourMs), 'session-expired'],
    [sealedAt(startAt, { ...ana, absoluteExpiresAt: startAt }), 'session-expired'],
    [sealedAt(startAt + 300_001), 'session-invalid'],
    [system.cookie({ ...ana, sessionId: 'of another user', userId: 'bob' }, host), 'session-ended'],
    [
      system.cookie({ ...ana, sessionId: 'of an older epoch', signInEpoch: 0 }, host),
      'session-ended',
    ],
    [system.cookie({ ...ana, sessionId: 'unknown' }, host), 'session-ended'],
  ]
  system.identity.sessions.set('of another user', { ...ana, sessionId: 'of another user' })
  system.identity.sessions.set('of an older epoch', { ...ana, sessionId: 'of an older epoch' })
  system.identity.sessions.delete('unknown')
  for (const [index, [cookie, reason]] of cases.entries()) {
    wire.send(request('/', host, cookie === '' ? {} : { Cookie: cookie }))
    const response = await wire.response()
    assert.equal(response.statusCode, 401, cookie)
    assert.deepEqual(JSON.parse(response.body).error.code, 'SIGN_IN_REQUIRED')
    const record = await system.record(index)
    assert.equal(record.reason, reason, cookie)
    assert.equal(record.decision, 'sign-in')
    assert.equal(record.userId, undefined)
  }
  assert.equal(connector.streams.length, 0)
  wire.send(request('/', host, { Cookie: `a=b; ${good}; c=d` }))
  assert.deepEqual((await connector.stream(0)).all('cookie'), ['a=b; c=d'])
})

test('a page that is opened goes to sign-in, a form is offered again, a program gets 401', async (t) => {
  const system = new TestGateway(t, { applications: [app('hr')] })
  const wire = system.connect()
  for (const [target, fields, statusCode] of [
    ['GET /a?b', browser, 302],
    ['HEAD /a', browser, 302],
    ['GET /a', { Accept: 'text/html' }, 302],
    ['POST /a', browser, 401],
    ['GET /a', { Accept: '*/*' }, 401],
    ['GET /a', {}, 401],
    ['GET /a', { Accept: 'text/html', 'Sec-Fetch-Mode': 'cors' }, 401],
    ['GET /a', { Accept: 'text/html', 'X-Requested-With': 'XMLHttpRequest' }, 401],
    ['OPTIONS /a', { Origin: 'https://x.test', 'Sec-Fetch-Mode': 'cors' }, 401],
    ['PROPFIND /a', { Depth: '1' }, 401],
  ] as const) {
    wire.send(request(target, host, fields))
    const response = await wire.response(target.split(' ')[0])
    assert.equal(response.statusCode, statusCode, target)
    assert.equal(response.one('cache-control'), 'no-store')
    if (statusCode === 302) {
      assert.match(response.one('location')!, /^https:\/\/login\.example\.test\/authorize\?/)
      assert.match(
        response.one('set-cookie')!,
        /^__Host-sallyport-signin=[\w-]{43}; Path=\/; Max-Age=3600; Secure; HttpOnly; SameSite=Lax$/,
      )
    } else {
      assert.equal(response.one('www-authenticate'), 'Bearer realm="hr.example.test"')
      assert.equal(response.one('location'), undefined)
      assert.equal(response.one('set-cookie'), undefined)
    }
  }
})

test('robots are told that there is nothing for them, without a sign-in', async (t) => {
  const system = new TestGateway(t, { applications: [app('hr')] })
  const wire = system.connect()
  wire.send(request('/robots.txt', host))
  assert.equal((await wire.response()).body, 'User-agent: *\nDisallow: /\n')
})

test('who is not assigned gets 403, and the origin sees nothing', async (t) => {
  const system = new TestGateway(t, { applications: [app('hr', {}, ['staff', 'bob'])] })
  const connector = system.addConnector()
  const wire = system.connect()
  wire.send(
    request('/', host, { ...browser, Cookie: system.cookie(person('ana', ['guests']), host) }),
  )
  const response = await wire.response()
  assert.equal(response.statusCode, 403)
  assert.match(response.body, /ana/)
  assert.equal(connector.streams.length, 0)
  const record = await system.record()
  assert.equal(record.reason, 'user-not-assigned')
  assert.equal(record.userId, 'ana')
  for (const session of [person('bob'), person('eva', ['staff'])]) {
    wire.send(request('/', host, { Cookie: system.cookie(session, host) }))
    ;(await connector.stream(connector.streams.length)).answer(200)
    assert.equal((await wire.response()).statusCode, 200)
  }
})

test('attacks 11 to 13: another host than the handshake named, and an unknown one', async (t) => {
  const system = new TestGateway(t, { applications: [app('hr'), app('wiki')] })
  const wire = system.connect('hr.example.test')
  for (const [value, statusCode, reason] of [
    ['wiki.example.test', 421, 'host-mismatch'],
    ['HR.example.test', 401, 'session-missing'],
    ['hr.example.test:443', 401, 'session-missing'],
    ['hr.example.test.', 400, 'host-mismatch'],
    ['user@hr.example.test', 400, 'host-mismatch'],
    ['hr.example.test:8443', 400, 'host-mismatch'],
  ] as const) {
    wire.send(request('/', value))
    assert.equal((await wire.response()).statusCode, statusCode, value)
    assert.equal(system.records.at(-1)!.reason, reason, value)
  }
  const unknown = system.connect()
  for (const value of [
    'nothing.example.test',
    'login.example.test',
    'admin.example.test',
    '10.0.0.1',
  ]) {
    for (const target of [
      '/',
      '/.sallyport/signin',
      '/.sallyport/callback?code=x&state=y',
      '/.sallyport/signout',
    ]) {
      unknown.send(request(target, value, browser))
      const response = await unknown.response()
      assert.equal(response.statusCode, 404, `${value} ${target}`)
      assert.equal(response.one('set-cookie'), undefined)
      assert.ok(!/\bhr\b|wiki|sallyport/i.test(response.body))
    }
  }
})

test('attack 6: targets that are no path are refused', async (t) => {
  const system = new TestGateway(t, {
    applications: [app('hr', { preAuthentication: 'passthrough' })],
  })
  const connector = system.addConnector()
  for (const target of [
    'GET http://hr.example.test/',
    'GET hr.example.test:443',
    'GET *',
    'OPTIONS *',
    'CONNECT hr.example.test:443',
    'CONNECT /',
    'GET /a#b',
    'GET /%00',
    'GET /%zz',
  ]) {
    const wire = system.connect()
    wire.send(request(target, host))
    assert.equal((await wire.response()).statusCode, 400, target)
    assert.equal(system.records.at(-1)!.reason, 'target-invalid', target)
    assert.equal(system.records.at(-1)!.decision, 'deny', target)
  }
  for (const target of ['TRACE /', 'TRACK /']) {
    const wire = system.connect()
    wire.send(request(target, host))
    assert.equal((await wire.response()).statusCode, 501, target)
  }
  assert.equal(connector.streams.length, 0)
})

test('the path of a refused target is recorded, but never its query nor an authority', async (t) => {
  const system = new TestGateway(t, { applications: [app('hr')] })
  for (const [target, path] of [
    ['/%00a?token=secret', '/%00a'],
    ['/a#token=secret', '/a'],
    ['http://user:secret@hr.example.test/', ''],
    [`/%00${'a'.repeat(5_000)}`, `/%00${'a'.repeat(1_020)}`],
  ] as const) {
    const wire = system.connect()
    wire.send(request(target, host))
    await wire.response()
    assert.equal(system.records.at(-1)!.path, path)
  }
})

test('attack 17: the address of the client comes from a trusted proxy, and from nobody else', async (t) => {
  for (const [trustedProxies, listed, expected] of [
    [[], '203.0.113.5', '192.0.2.1'],
    [['192.0.2.0/24'], '203.0.113.5', '203.0.113.5'],
    [['192.0.2.0/24'], '198.51.100.1, 203.0.113.5', '203.0.113.5'],
    [['192.0.2.0/24'], '203.0.113.5, nonsense', '192.0.2.1'],
    [['192.0.2.0/24'], undefined, '192.0.2.1'],
  ] as const) {
    const system = new TestGateway(t, {
      applications: [app('hr')],
      trustedProxies: [...trustedProxies],
    })
    const wire = system.connect()
    wire.send(request('/', host, listed === undefined ? {} : { 'X-Forwarded-For': listed }))
    await wire.response()
    assert.equal((await system.record()).clientAddress, expected)
  }
})

test('claims are read once for many requests, and a cookie past half its life is sealed again', async (t) => {
  const system = new TestGateway(t, { applications: [app('hr')] })
  const connector = system.addConnector({}, (relayed) => {
    relayed.onHead = () => relayed.answer(200, ['Cache-Control', 'public, max-age=60'])
  })
  assert.equal(connector.streams.length, 0)
  const cookie = system.cookie(person('ana'), host)
  const wires = Array.from({ length: 5 }, () => system.connect())
  for (const wire of wires) wire.send(request('/', host, { Cookie: cookie }))
  for (const wire of wires) assert.equal((await wire.response()).one('set-cookie'), undefined)
  assert.equal(system.identity.reads, 1)
  system.nowAt += hourMs / 2
  const wire = system.connect()
  wire.send(request('/', host, { Cookie: cookie }))
  const response = await wire.response()
  assert.equal(system.identity.reads, 2)
  const renewed = response.one('set-cookie')!
  assert.match(renewed, /^__Host-sallyport=v1\.[^;]+; Path=\/; Secure; HttpOnly; SameSite=Lax$/)
  // No shared cache may keep what holds a session.
  assert.deepEqual(response.all('cache-control'), ['public, max-age=60', 'private'])
  system.nowAt += hourMs / 2
  wire.send(request('/', host, { Cookie: cookie }))
  assert.equal((await wire.response()).statusCode, 401)
  wire.send(request('/', host, { Cookie: renewed.split(';')[0]! }))
  assert.equal((await wire.response()).statusCode, 200)
})

test('a session that is found to have ended is not asked for again', async (t) => {
  const system = new TestGateway(t, { applications: [app('hr')] })
  const cookie = system.cookie(person('ana'), host)
  system.identity.sessions.clear()
  const wire = system.connect()
  for (let count = 0; count < 5; count += 1) {
    wire.send(request('/', host, { Cookie: cookie }))
    assert.equal((await wire.response()).statusCode, 401)
  }
  assert.equal(system.identity.reads, 1)
})

test('when identity cannot be asked the answer is 503, and nobody gets in', async (t) => {
  const system = new TestGateway(t, { applications: [app('hr')] })
  const connector = system.addConnector()
  system.identity.isDown = true
  const wire = system.connect()
  wire.send(request('/', host, { Cookie: system.cookie(person('ana'), host) }))
  assert.equal((await wire.response()).statusCode, 503)
  const record = await system.record()
  assert.equal(record.reason, 'SIGN_IN_UNAVAILABLE')
  assert.match(record.detail!, /identity is down/)
  assert.equal(connector.streams.length, 0)
})

test('what changes while a session is read counts for the request that waits for it', async (t) => {
  const changes: [string, (system: TestGateway) => void, number, string | undefined][] = [
    ['nothing', () => undefined, 200, undefined],
    [
      'the session ends',
      ({ gateway }) => gateway.apply({ kind: 'session-ended', sessionId: 'session of ana', at: 0 }),
      401,
      'session-ended',
    ],
    [
      'the epoch is raised',
      ({ gateway }) => gateway.apply({ kind: 'user-epoch', userId: 'ana', signInEpoch: 2, at: 0 }),
      401,
      'session-ended',
    ],
    [
      'the group is lost',
      (system) => {
        system.identity.sessions.set('session of ana', person('ana'))
        system.gateway.apply({ kind: 'claims-changed', userId: 'ana', at: 0 })
      },
      403,
      'user-not-assigned',
    ],
    [
      'the assignment is removed',
      (system) => {
        system.snapshot = system.compile([app('hr', {}, ['nobody'])])
      },
      403,
      'user-not-assigned',
    ],
    [
      'the application is deleted',
      (system) => {
        system.snapshot = system.compile([])
      },
      404,
      'application-not-found',
    ],
  ]
  for (const [what, change, statusCode, reason] of changes) {
    const system = new TestGateway(t, { applications: [app('hr', {}, ['staff'])] })
    const connector = system.addConnector({}, (relayed) => {
      relayed.onHead = () => relayed.answer(200)
    })
    const gate = Promise.withResolvers<void>()
    system.identity.gate = gate.promise
    const wire = system.connect()
    wire.send(request('/', host, { Cookie: system.cookie(person('ana', ['staff']), host) }))
    while (system.identity.reads === 0) await new Promise(setImmediate)
    change(system)
    gate.resolve()
    assert.equal((await wire.response()).statusCode, statusCode, what)
    assert.equal((await system.record()).reason, reason, what)
    assert.equal(connector.streams.length, statusCode === 200 ? 1 : 0, what)
  }
})

test('a client that leaves while its session is read leaves one record and no request', async (t) => {
  const system = new TestGateway(t, { applications: [app('hr')] })
  const connector = system.addConnector()
  const gate = Promise.withResolvers<void>()
  system.identity.gate = gate.promise
  const wire = system.connect()
  wire.send(request('/', host, { Cookie: system.cookie(person('ana'), host) }))
  while (system.identity.reads === 0) await new Promise(setImmediate)
  wire.socket.destroy()
  assert.equal((await system.record()).statusCode, 499)
  gate.resolve()
  await new Promise(setImmediate)
  assert.equal(connector.streams.length, 0)
  assert.equal(system.records.length, 1)
})

test('the portal is for whoever is signed in, and its failures are ours', async (t) => {
  const system = new TestGateway(t, {
    applications: [app('hr')],
    portal: async ({ session, path }) => {
      if (path === '/broken') throw new Error('no database')
      return {
        statusCode: 200,
        fields: ['Content-Type', 'text/html'],
        body: `portal of ${session.userId}`,
      }
    },
  })
  const wire = system.connect()
  const cookie = system.cookie(person('ana'), 'apps.example.test')
  wire.send(request('/', 'apps.example.test', { Cookie: cookie }))
  assert.equal((await wire.response()).body, 'portal of ana')
  wire.send(request('/', 'apps.example.test', browser))
  assert.equal((await wire.response()).statusCode, 302)
  wire.send(request('HEAD /', 'apps.example.test', { Cookie: cookie }))
  const head = await wire.response('HEAD')
  assert.equal(head.one('content-length'), '13')
  assert.equal(system.records.at(-1)!.sentBytes, 0)
  wire.send(request('/broken', 'apps.example.test', { Cookie: cookie }))
  const broken = await wire.response()
  assert.equal(broken.statusCode, 500)
  assert.ok(!broken.body.includes('database'))
  assert.match(String(system.internalErrors), /no database/)
})

test('nothing but what stands under the reserved path is answered there, by method and path', async (t) => {
  const system = new TestGateway(t, {
    applications: [app('hr', { preAuthentication: 'passthrough' })],
  })
  const connector = system.addConnector()
  const wire = system.connect()
  for (const [target, fields, statusCode, reason] of [
    ['/.sallyport/', {}, 404, 'reserved-path'],
    ['/.sallyport/x', {}, 404, 'reserved-path'],
    ['/.sallyport/callback/', {}, 404, 'reserved-path'],
    ['/.sallyport/../x', {}, 404, 'reserved-path'],
    ['HEAD /.sallyport/signout', {}, 404, 'reserved-path'],
    ['PUT /.sallyport/signout', {}, 404, 'reserved-path'],
    ['/.sallyport', {}, 400, 'target-ambiguous'],
    ['/%2esallyport/callback', {}, 400, 'target-ambiguous'],
    ['//.sallyport/callback', {}, 400, 'target-ambiguous'],
    ['/.Sallyport/callback', {}, 400, 'target-ambiguous'],
    ['/x/..;/.sallyport/callback', {}, 400, 'target-ambiguous'],
    ['/.sallyport/signout', { 'Service-Worker': 'script' }, 404, 'reserved-path'],
    ['/.sallyport/signout', {}, 200, undefined],
    ['/.sallyport/signed-in', {}, 200, undefined],
    ['POST /.sallyport/signout', {}, 403, 'cross-site'],
    ['POST /.sallyport/signout', { Origin: 'https://evil.test' }, 403, 'cross-site'],
    ['POST /.sallyport/signout', { Origin: 'null' }, 403, 'cross-site'],
    ['POST /.sallyport/signout', { 'Sec-Fetch-Site': 'same-site' }, 403, 'cross-site'],
    [
      'POST /.sallyport/signout',
      { Origin: 'https://hr.example.test', 'Sec-Fetch-Site': 'same-site' },
      403,
      'cross-site',
    ],
    ['POST /.sallyport/signout', { Origin: 'http://hr.example.test' }, 403, 'cross-site'],
    ['POST /.sallyport/signout', { Origin: 'https://hr.example.test:8443' }, 403, 'cross-site'],
    [
      'POST /.sallyport/signout',
      { Origin: 'https://hr.example.test', 'Content-Length': '0' },
      200,
      undefined,
    ],
    ['POST /.sallyport/signout', { 'Sec-Fetch-Site': 'same-origin' }, 200, undefined],
  ] as [string, Record<string, string>, number, string | undefined][]) {
    wire.send(request(target, host, fields))
    const response = await wire.response(target.split(' ')[0])
    assert.equal(response.statusCode, statusCode, `${target} ${JSON.stringify(fields)}`)
    assert.equal(system.records.at(-1)!.reason, reason, target)
  }
  assert.equal(connector.streams.length, 0)
})

test('pages of ours cannot be framed, sniffed or cached', async (t) => {
  const system = new TestGateway(t, { applications: [app('hr')] })
  const wire = system.connect()
  const cookie = system.cookie(person('ana'), host)
  for (const [target, fields] of [
    ['/.sallyport/signout', {}],
    ['/.sallyport/signed-in', {}],
    ['/.sallyport/callback', browser],
    ['/%00', browser],
    ['POST /', browser],
    ['/', { ...browser, Cookie: cookie }],
  ] as [string, Record<string, string>][]) {
    wire.send(request(target, host, fields))
    const response = await wire.response()
    assert.match(response.one('content-type')!, /^text\/html/, target)
    assert.match(response.one('content-security-policy')!, /frame-ancestors 'none'/, target)
    assert.equal(response.one('x-content-type-options'), 'nosniff')
    assert.equal(response.one('cache-control'), 'no-store')
  }
})

test('signing out ends the session where it is kept, and takes the cookie', async (t) => {
  const system = new TestGateway(t, { applications: [app('hr')] })
  const wire = system.connect()
  wire.send(
    request('POST /.sallyport/signout', host, {
      'Sec-Fetch-Site': 'same-origin',
      Cookie: system.cookie(person('ana'), host),
    }),
  )
  const response = await wire.response()
  assert.equal(
    response.one('set-cookie'),
    '__Host-sallyport=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax',
  )
  assert.deepEqual(system.identity.ended, ['session of ana'])
})

test('a fault of ours is answered 500 and told to us, and the connection goes on or ends', async (t) => {
  const system = new TestGateway(t, {
    applications: [app('hr')],
    portal: async ({ path }) => ({
      statusCode: path === '/status' ? 99 : 200,
      fields: path === '/fields' ? ['X', 'a\r\nb'] : [],
      body: '',
    }),
  })
  const cookie = system.cookie(person('ana'), 'apps.example.test')
  for (const [target, statusCode, reason] of [
    ['/status', 500, 'INTERNAL'],
    ['/fields', 502, 'ORIGIN_RESPONSE_INVALID'],
  ] as const) {
    const wire = system.connect()
    wire.send(request(target, 'apps.example.test', { Cookie: cookie }))
    assert.equal((await wire.response()).statusCode, statusCode)
    assert.equal(system.records.at(-1)!.reason, reason)
  }
  assert.equal(system.internalErrors.length, 1)
  // Not even the page can be made.
  system.identity.authorizeUrl = () => 'https://login.example.test/\r\nSet-Cookie: a=b'
  const wire = system.connect()
  wire.send(request('/', host, browser))
  const response = await wire.response()
  assert.equal(response.statusCode, 502)
  assert.equal(response.one('set-cookie'), undefined)
  assert.equal(system.records.length, 3)
})
