import assert from 'node:assert/strict'
import test, { after, before, suite } from 'node:test'
import { compileSnapshot, findApplicationAt, TargetError } from '@sallyport/domain'
import { type Client, rawRequest, type System, startSystem } from '@sallyport/testkit'

const template = {
  displayName: 'x',
  internalUrl: 'http://127.0.0.1/',
  connectorGroup: 'default',
  preAuthentication: 'identity',
  assignmentRequired: true,
  signOn: { method: 'none' },
  jwtAssertion: false,
  connectionAuthentication: false,
  stripHeaders: [] as string[],
  hostHeader: 'internal',
  forwardedFor: 'append',
  backendTimeoutMs: 1_000,
  validateBackendCertificate: true,
  allowMixedPreAuthentication: false,
  visible: true,
} as const

// One host, two policies: everybody signed in may use the root, only ben the /admin/ application, which has an
// origin of its own. Whatever a target looks like, ana never reaches that origin.
suite('attacks on paths', () => {
  const closers: (() => Promise<void> | void)[] = []
  let system: System
  let ana: Client
  let cookie: string

  before(async () => {
    system = await startSystem(
      { after: (close) => void closers.push(close) },
      {
        applications: [
          { name: 'www' },
          { name: 'admin', externalHost: 'www', externalPath: '/admin/', assigned: ['ben'] },
          { name: 'mapped', set: {} },
          { name: 'pre', externalHost: 'prefix', externalPath: '/app/' },
        ],
      },
    )
    const mapped = system.origin('mapped')
    await system.execute('app.update', {
      name: 'mapped',
      set: { internalUrl: `${mapped.url}people/` },
    })
    ana = await system.signIn('ana', 'www')
    cookie = ana.cookieHeader(system.host('www'))
    for (const name of ['www', 'admin', 'mapped', 'pre']) system.origin(name).requests.length = 0
  })
  after(async () => {
    for (const close of closers.reverse()) await close()
  })

  const send = (target: string, method = 'GET') =>
    rawRequest(system, 'www', [`${method} ${target} HTTP/1.1`], { cookie })

  /** Never to the protected origin; and whatever the open origin got is not readable as `/admin`. */
  async function isHarmless(target: string): Promise<number> {
    const { status } = await send(target)
    assert.deepEqual(system.origin('admin').requests, [], `${target} reached the protected origin`)
    assert.ok([200, 400, 403].includes(status), `${target} answered ${status}`)
    return status
  }

  test('attack 1: dot segments, plain and encoded, do not lead from a public path to a protected one', async () => {
    for (const target of [
      '/public/../admin',
      '/public/../admin/',
      '/public/%2e%2e/admin',
      '/public/..%2fadmin',
      '/public/%2e%2e%2fadmin',
      '/public/.%2e/admin',
      '/public/%2E./admin/x',
    ])
      assert.equal(await isHarmless(target), 400, target)
    assert.deepEqual(system.origin('www').requests, [])
  })

  test('attack 2: empty segments, path parameters and trailing slashes do not change who decides', async () => {
    for (const target of [
      '//admin',
      '/public//..//admin',
      '/./admin',
      '/admin;x=1',
      '/admin;x=1/y',
    ])
      assert.equal(await isHarmless(target), 400, target)
    for (const target of ['/admin/.', '/admin/..;/x', '/admin', '/admin/'])
      assert.ok([400, 403].includes(await isHarmless(target)), target)
    assert.deepEqual(system.origin('www').requests, [])
    // WordPress and others rely on the slash.
    await ana.get(system.url('www', '/blog/'))
    await ana.get(system.url('www', '/blog'))
    assert.deepEqual(
      system.origin('www').requests.map(({ url }) => url),
      ['/blog/', '/blog'],
    )
    system.origin('www').requests.length = 0
  })

  test('attack 3: encoded separators, controls, double encoding, overlong and full-width forms', async () => {
    for (const target of [
      '/x%2f..%2fadmin',
      '/x%5c..%5cadmin',
      '/%00admin',
      '/admin%00',
      '/admin%0d%0a',
      '/%252e%252e/admin',
      '/x/%252e%252e%252fadmin',
      '/x/%c0%ae%c0%ae/admin',
      '/x/%e0%80%ae%e0%80%ae/admin',
      '/x/%ef%bc%8e%ef%bc%8e/admin',
      '/x/%ef%bc%8e%ef%bc%8e%ef%bc%8fadmin',
      '/\\admin',
      '/x\\..\\admin',
      '/%61dmin',
      '/%2561dmin',
    ])
      assert.equal(await isHarmless(target), 400, target)
    // A repository path with an encoded slash is one application's under every reading, and stays as it is.
    assert.equal((await send('/repo/group%2Fproject')).status, 200)
    assert.equal(system.origin('www').requests.pop()?.url, '/repo/group%2Fproject')
  })

  test('attack 4: rules see neither query nor fragment', async () => {
    assert.equal((await send('/admin?x=/public/')).status, 403)
    assert.equal((await send('/admin/secret?/../../public')).status, 403)
    assert.equal((await send('/public#/admin')).status, 400)
    assert.equal((await send('/admin#/public')).status, 400)
    assert.ok([400, 403].includes((await send('/admin%23/public')).status))
    assert.ok([400, 403].includes((await send('/admin%3fx=/public')).status))
    assert.deepEqual(system.origin('admin').requests, [])
    assert.equal((await send('/public?to=/admin/../admin')).status, 200)
    assert.equal(system.origin('www').requests.pop()?.url, '/public?to=/admin/../admin')
  })

  test('attack 5: a prefix ends at a segment', async () => {
    assert.equal((await send('/administration')).status, 200)
    assert.equal((await send('/adminx/')).status, 200)
    assert.equal((await send('/ADMIN/')).status, 400)
    assert.deepEqual(system.origin('admin').requests, [])
    const prefix = await system.signIn('ana', 'www')
    assert.equal((await prefix.get(system.url('prefix', '/application'))).status, 404)
    assert.equal((await prefix.get(system.url('prefix', '/'))).status, 404)
  })

  test('attack 5: with 1, 101 or 10,000 routes the same one is found', () => {
    for (const count of [1, 101, 10_000]) {
      const snapshot = compileSnapshot({
        baseDomain: 'sallyport.test',
        port: 443,
        version: 1,
        applications: Array.from({ length: count }, (_, index) => ({
          application: {
            ...template,
            id: `00000000-0000-4000-8000-${String(index).padStart(12, '0')}`,
            name: `app-${index}`,
            // A hundred paths on each host, and each host once as a whole.
            externalUrl: `https://h${Math.floor(index / 100)}.sallyport.test/${index % 100 === 0 ? '' : `p${index % 100}/`}`,
          },
          principalIds: [],
        })),
      })
      const found = (host: string, target: string) => {
        try {
          return findApplicationAt(snapshot, host, target)?.compiled.application.name
        } catch (error) {
          assert.ok(error instanceof TargetError)
          return error.code
        }
      }
      const last = count - 1
      const host = `h${Math.floor(last / 100)}.sallyport.test`
      const path = last % 100 === 0 ? '/' : `/p${last % 100}/`
      const root = `app-${last - (last % 100)}`
      assert.equal(found(host, path), `app-${last}`)
      assert.equal(found(host, '/pp1/'), root)
      assert.equal(found(host, '/p100/'), root)
      assert.equal(found('h999.sallyport.test', '/'), undefined)
      if (count === 1) continue
      assert.equal(found('h0.sallyport.test', '/p1'), 'app-1')
      assert.equal(found('h0.sallyport.test', '/p10/x'), 'app-10')
      assert.equal(found('h0.sallyport.test', '/p1/../p2/'), 'TARGET_AMBIGUOUS')
      assert.equal(found('h0.sallyport.test', '/P1/'), 'TARGET_AMBIGUOUS')
      assert.equal(found('h0.sallyport.test', '/x/%2e%2e/p2/'), 'TARGET_AMBIGUOUS')
    }
  })

  test('attack 6: only origin form is a target', async () => {
    for (const start of [
      `GET http://${system.host('www')}/ HTTP/1.1`,
      'GET http://127.0.0.1/ HTTP/1.1',
      'GET https://internal/ HTTP/1.1',
      'OPTIONS * HTTP/1.1',
      'CONNECT 127.0.0.1:22 HTTP/1.1',
      'CONNECT / HTTP/1.1',
      'GET admin HTTP/1.1',
      'GET ?x HTTP/1.1',
      'GET  HTTP/1.1',
    ]) {
      const before = system.origin('www').requests.length
      const { status } = await rawRequest(system, 'www', [start], { cookie })
      assert.equal(status, 400, start)
      assert.equal(system.origin('www').requests.length, before, start)
    }
    assert.deepEqual(system.origin('admin').requests, [])
  })

  test('attack 7: the rewritten path is checked again', async () => {
    const person = await system.signIn('ana', 'mapped')
    const mapped = system.origin('mapped')
    mapped.requests.length = 0
    const own = person.cookieHeader(system.host('mapped'))
    for (const target of [
      '/../secret',
      '/%2e%2e/secret',
      '/a/..%2f..%2fsecret',
      '/..;/secret',
      '/x/../../secret',
      '/%c4%b0/../../secret',
      '/%c3%9f/..%2f..%2fsecret',
    ])
      assert.equal(
        (await rawRequest(system, 'mapped', [`GET ${target} HTTP/1.1`], { cookie: own })).status,
        400,
        target,
      )
    assert.equal(mapped.requests.length, 0)
    assert.equal(
      (await rawRequest(system, 'mapped', ['GET /%c4%b0/a HTTP/1.1'], { cookie: own })).status,
      200,
    )
    assert.equal(mapped.requests.pop()?.url, '/people/%c4%b0/a')
  })

  test('attack 8: what cannot be parsed is refused, never skipped', async () => {
    const count = system.origin('www').requests.length
    for (const lines of [
      ['GET /%zz HTTP/1.1'],
      ['GET /% HTTP/1.1'],
      ['GET /\x7f HTTP/1.1'],
      ['GET /\xff HTTP/1.1'],
      ['GET / HTTP/1.1', 'X\x00: y'],
      ['GET / HTTP/2.0'],
      ['GET / HTTP/1.1', 'Transfer-Encoding: gzip'],
    ]) {
      const { status } = await rawRequest(system, 'www', lines, { cookie })
      assert.ok(status >= 400 && status < 600, `${JSON.stringify(lines)} answered ${status}`)
    }
    assert.equal(system.origin('www').requests.length, count)
    // A forwarding header that is no list of addresses is replaced, and the request decided as ever.
    assert.equal(
      (await rawRequest(system, 'www', ['GET / HTTP/1.1', 'X-Forwarded-For: zz'])).status,
      401,
    )
  })

  test('attack 9: no path is open for being well known', async () => {
    const count = system.origin('www').requests.length
    for (const target of [
      '/.well-known/acme-challenge/unknown',
      '/health',
      '/healthz',
      '/ping',
      '/favicon.ico',
      '/.sallyport/assets/x.css',
      '/.sallyport/health',
    ]) {
      const { status } = await rawRequest(system, 'www', [`GET ${target} HTTP/1.1`])
      assert.ok([401, 404].includes(status), `${target} answered ${status}`)
    }
    assert.equal(system.origin('www').requests.length, count)
  })

  test('attack 10: headers that name another URL or method have no effect', async () => {
    const count = system.origin('www').requests.length
    for (const field of [
      'User-Agent: GoogleHC/1.0',
      'User-Agent: kube-probe/1.30',
      'X-Original-URL: /public',
      'X-Rewrite-URL: /public',
      'X-Original-URI: /public',
      'X-Forwarded-Uri: /public',
      'X-Forwarded-Path: /public',
    ]) {
      assert.equal(
        (await rawRequest(system, 'www', ['GET /admin/ HTTP/1.1', field], { cookie })).status,
        403,
        field,
      )
      assert.equal((await rawRequest(system, 'www', ['GET / HTTP/1.1', field])).status, 401, field)
    }
    assert.equal(system.origin('www').requests.length, count)
    for (const name of ['X-Original-URL', 'X-Rewrite-URL', 'X_Original_URL', 'X-Forwarded-Uri']) {
      await rawRequest(system, 'www', ['GET /open HTTP/1.1', `${name}: /admin`], { cookie })
      const seen = system.origin('www').requests.pop()!
      assert.equal(seen.url, '/open')
      assert.ok(!seen.rawHeaders.includes('/admin'), `${name} reached the origin`)
    }
    assert.equal(
      (
        await rawRequest(
          system,
          'www',
          ['POST /admin/ HTTP/1.1', 'X-HTTP-Method-Override: GET', 'Content-Length: 0'],
          {
            cookie,
          },
        )
      ).status,
      403,
    )
    assert.deepEqual(system.origin('admin').requests, [])
  })
})
