import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import {
  type Client,
  navigation,
  rawRequest,
  type SeenRequest,
  type System,
  startSystem,
} from '@sallyport/testkit'

const identityHeaders = ['X-User', 'X-User-Mail', 'X-Groups', 'X-Tenant']

suite('attacks on header fields', () => {
  const closers: (() => Promise<void> | void)[] = []
  let system: System
  let ana: Client
  let cookie: string

  before(async () => {
    system = await startSystem(
      { after: (close) => void closers.push(close) },
      {
        applications: [
          {
            name: 'hr',
            set: {
              signOn: {
                method: 'headers',
                headers: [
                  { name: 'X-User', claim: 'userName' },
                  { name: 'X-User-Mail', claim: 'mail' },
                  { name: 'X-Groups', claim: 'groups' },
                  { name: 'X-Tenant', value: 'acme' },
                ],
              },
            },
          },
          { name: 'plain' },
          { name: 'open', preAuthentication: 'passthrough' },
          { name: 'replaced', set: { forwardedFor: 'replace' } },
        ],
      },
    )
    ana = await system.signIn('ana', 'hr')
    cookie = ana.cookieHeader(system.host('hr'))
    for (const name of ['plain', 'replaced']) await ana.open(system.url(name))
  })
  after(async () => {
    for (const close of closers.reverse()) await close()
  })

  /** What the origin saw of one request. */
  async function seen(
    name: string,
    fields: readonly string[],
    more: { start?: string; body?: string; cookie?: string } = {},
  ): Promise<SeenRequest> {
    const origin = system.origin(name)
    origin.requests.length = 0
    const own = more.cookie ?? (name === 'open' ? '' : ana.cookieHeader(system.host(name)))
    const answer = await rawRequest(system, name, [more.start ?? 'GET / HTTP/1.1', ...fields], {
      ...(own === '' ? {} : { cookie: own }),
      ...(more.body === undefined ? {} : { body: more.body }),
    })
    assert.equal(answer.status, 200, answer.text)
    assert.equal(origin.requests.length, 1)
    return origin.requests[0]!
  }

  const valuesOf = (request: SeenRequest, name: string) => {
    const values: string[] = []
    for (let index = 0; index < request.rawHeaders.length; index += 2)
      if (
        request.rawHeaders[index]!.toLowerCase().replace(/[^a-z0-9]/g, '-') === name.toLowerCase()
      )
        values.push(request.rawHeaders[index + 1]!)
    return values
  }

  test('attack 16: no spelling of an identity header comes from a client, on any application', async () => {
    for (const name of identityHeaders)
      for (const spelling of [
        name,
        name.toLowerCase(),
        name.toUpperCase(),
        name.replaceAll('-', '_'),
        name.replaceAll('-', '.'),
        name.replace('-', '_'),
      ])
        for (const application of ['hr', 'plain', 'open']) {
          const request = await seen(application, [`${spelling}: evil`, `${spelling}: evil2`])
          const text = JSON.stringify(request.rawHeaders)
          assert.doesNotMatch(text, /evil/, `${spelling} reached ${application}`)
        }
    const request = await seen('hr', ['X-User: root', 'Connection: X-User, close'])
    assert.deepEqual(valuesOf(request, 'x-user'), ['ana'])
    assert.deepEqual(valuesOf(request, 'x-tenant'), ['acme'])
    // Ana is in no group: there is no value of ours, and none of hers either.
    assert.deepEqual(valuesOf(await seen('hr', ['X-Groups: admins']), 'x-groups'), [])
    for (const field of [
      'X-User : evil',
      'X-User\x0b: evil',
      ' X-User: evil',
      'A: b\r\n X-User: evil',
    ]) {
      const origin = system.origin('hr')
      origin.requests.length = 0
      const { status } = await rawRequest(system, 'hr', ['GET / HTTP/1.1', field], { cookie })
      assert.equal(status, 400, JSON.stringify(field))
      assert.deepEqual(origin.requests, [])
    }
    const trailers = await seen(
      'hr',
      ['Transfer-Encoding: chunked', 'Trailer: X-User, X-Checksum'],
      {
        start: 'POST / HTTP/1.1',
        body: '3\r\nabc\r\n0\r\nX-User: evil\r\nx_user: evil\r\nX-Checksum: 1\r\n\r\n',
      },
    )
    assert.equal(trailers.body, 'abc')
    assert.doesNotMatch(JSON.stringify([trailers.rawHeaders, trailers.rawTrailers]), /evil/)
  })

  test('attack 17: X-Forwarded-For ends with our peer, and garbage in it is replaced', async () => {
    const listed = async (fields: string[], name = 'plain') =>
      valuesOf(await seen(name, fields), 'x-forwarded-for')
    assert.deepEqual(await listed([]), ['127.0.0.1'])
    assert.deepEqual(await listed(['X-Forwarded-For: 203.0.113.9']), ['203.0.113.9, 127.0.0.1'])
    assert.deepEqual(
      await listed(['X-Forwarded-For: 203.0.113.9', 'X-Forwarded-For: 2001:db8::1']),
      ['203.0.113.9, 2001:db8::1, 127.0.0.1'],
    )
    assert.deepEqual(await listed(['X-Forwarded-For: 203.0.113.9'], 'replaced'), ['127.0.0.1'])
    for (const garbage of [
      'a',
      '203.0.113.9, a',
      '203.0.113.9:80',
      'unknown',
      '127.0.0.1"',
      ',',
      Array(21).fill('203.0.113.9').join(','),
      '203.0.113.9,'.repeat(2_000),
    ])
      assert.deepEqual(
        await listed([`X-Forwarded-For: ${garbage}`]),
        ['127.0.0.1'],
        garbage.slice(0, 40),
      )
    // One spelling for each address: a mapped one is not another, and none is ours to trust.
    assert.deepEqual(await listed(['X-Forwarded-For: ::ffff:127.0.0.1, ::FFFF:cb00:7109']), [
      '127.0.0.1, 203.0.113.9, 127.0.0.1',
    ])
    const request = await seen('plain', [
      'X_Forwarded_For: 203.0.113.9',
      'Forwarded: for=203.0.113.9',
      'X-Real-IP: 203.0.113.9',
      'True-Client-IP: 203.0.113.9',
      'CF-Connecting-IP: 203.0.113.9',
      'X-Client-IP: 203.0.113.9',
      'X-Forwarded-Prefix: /203.0.113.9',
      'X-Forwarded-Server: 203.0.113.9',
    ])
    assert.doesNotMatch(JSON.stringify(request.rawHeaders), /203\.0\.113\.9/)
    assert.deepEqual(valuesOf(request, 'x-real-ip'), ['127.0.0.1'])
    // No decision and no record believes it either.
    assert.equal(system.records.at(-1)!.clientAddress, '127.0.0.1')
  })

  test('attack 18: scheme, host and port that were forwarded are ours', async () => {
    const request = await seen('plain', [
      'X-Forwarded-Proto: http',
      'X-Forwarded-Host: evil.test',
      'X-Forwarded-Port: 1',
      'X-Forwarded-Scheme: http',
      'X-Forwarded-Ssl: off',
    ])
    const host = `${system.host('plain')}:${system.port}`
    assert.deepEqual(valuesOf(request, 'x-forwarded-proto'), ['https'])
    assert.deepEqual(valuesOf(request, 'x-forwarded-host'), [host])
    assert.deepEqual(valuesOf(request, 'x-forwarded-port'), [String(system.port)])
    assert.deepEqual(valuesOf(request, 'forwarded'), [`for=127.0.0.1;host="${host}";proto=https`])
    assert.doesNotMatch(JSON.stringify(request.rawHeaders), /evil|"off"/)
  })

  test('attack 19: Connection cannot name away what an origin relies on', async () => {
    const request = await seen('hr', [
      'Authorization: Basic eDp5',
      'X-Hop: 1',
      'Keep-Alive: timeout=5',
      'Proxy-Connection: keep-alive',
      'Connection: authorization, x-user, x-forwarded-for, cookie, host, x-hop, close',
    ])
    assert.deepEqual(valuesOf(request, 'x-user'), ['ana'])
    assert.deepEqual(valuesOf(request, 'authorization'), ['Basic eDp5'])
    assert.deepEqual(valuesOf(request, 'x-forwarded-for'), ['127.0.0.1'])
    assert.deepEqual(valuesOf(request, 'host').length, 1)
    for (const gone of ['x-hop', 'keep-alive', 'proxy-connection'])
      assert.deepEqual(valuesOf(request, gone), [], gone)
  })

  test('attack 20: our cookies stay with us, and an origin cannot set them', async () => {
    const names = [...ana.cookies.get(system.host('hr'))!.keys()]
    const session = names.find((name) => name.startsWith('__Host-sallyport'))!
    const value = ana.cookies.get(system.host('hr'))!.get(session)!
    for (const text of [
      `a=1; ${cookie}; b=2`,
      `${cookie}; \u00a0__Host-sallyport=x`,
      `${cookie}; $Version=1; __Host-sallyport="x"; $Path=/`,
      `${cookie}; __host-SALLYPORT=x`,
      `${cookie}; "__Host-sallyport"=x`,
    ]) {
      const request = await seen('hr', [], {
        cookie: Buffer.from(text, 'latin1').toString('latin1'),
      })
      assert.doesNotMatch(JSON.stringify(request.rawHeaders), /sallyport.?=|__host/i, text)
      assert.ok(!JSON.stringify(request.rawHeaders).includes(value))
    }
    assert.equal(
      (await seen('hr', [], { cookie: `a=1; ${cookie}; b=2` })).headers.cookie,
      'a=1; b=2',
    )
    const origin = system.origin('hr')
    origin.handler = (_, response) => {
      response.setHeader('Set-Cookie', [
        'app=1; Path=/; HttpOnly',
        'shared=1; Domain=sallyport.test; Path=/',
        `${session}=evil; Path=/; Secure`,
        `${session.toLowerCase()}=evil`,
        ` ${session}=evil`,
        `=${session}=evil`,
        '__Host-sallyport=evil; Path=/; Secure',
      ])
      response.end()
    }
    const answer = await ana.get(system.url('hr'))
    origin.handler = undefined
    assert.deepEqual(answer.headers['set-cookie'], ['app=1; Path=/; HttpOnly', 'shared=1; Path=/'])
    assert.equal(ana.cookies.get(system.host('hr'))!.get(session), value)
    for (const record of system.records)
      assert.ok(!JSON.stringify(record).includes(value.slice(0, 40)))
    // A cookie of one host is no cookie of another.
    const other = await rawRequest(system, 'plain', ['GET / HTTP/1.1'], {
      cookie: `${session}=${value}`,
    })
    assert.equal(other.status, 401)
  })

  test('attack 21: one field decides; Proxy-Authorization decides nothing and goes nowhere', async () => {
    const request = await seen('plain', [
      'Proxy-Authorization: Basic eDp5',
      'Authorization: Basic YTpi',
    ])
    assert.deepEqual(valuesOf(request, 'proxy-authorization'), [])
    assert.deepEqual(valuesOf(request, 'authorization'), ['Basic YTpi'])
    const { status } = await rawRequest(system, 'plain', [
      'GET / HTTP/1.1',
      'Proxy-Authorization: Bearer x',
      'Authorization: Bearer x',
    ])
    assert.equal(status, 401)
  })

  test('attack 22: heads are bounded, and malformed fields refused', async () => {
    const before = system.origin('plain').requests.length
    const own = ana.cookieHeader(system.host('plain'))
    for (const [fields, expected] of [
      [Array.from({ length: 250 }, (_, index) => `X-${index}: 1`), 431],
      [[`X-Big: ${'a'.repeat(300_000)}`], 431],
      [['X-Nul: a\0b'], 400],
      [['X-Cr: a\rb'], 400],
      [['X-Lf: a\nb'], 400],
      [['X-Fold: a', ' b'], 400],
      [['X Space: a'], 400],
      [['X(Paren): a'], 400],
      [[': a'], 400],
      [['no colon'], 400],
    ] as const) {
      const { status } = await rawRequest(system, 'plain', ['GET / HTTP/1.1', ...fields], {
        cookie: own,
      })
      assert.equal(status, expected, fields[0]!.slice(0, 30))
    }
    const long = await rawRequest(system, 'plain', [`GET /${'a'.repeat(70_000)} HTTP/1.1`], {
      cookie: own,
    })
    assert.ok([414, 431].includes(long.status), String(long.status))
    assert.equal(system.origin('plain').requests.length, before)
    // What Entra takes at most, and more: 60 fields, 32 KiB.
    const many = Array.from({ length: 100 }, (_, index) => `X-${index}: ${'a'.repeat(400)}`)
    assert.equal((await seen('plain', many)).headers['x-99'], 'a'.repeat(400))
  })

  test('attack 22: claims that would make a head too large end the request, and the origin sees nothing', async () => {
    for (let index = 0; index < 40; index += 1) {
      const name = `${index}-${'g'.repeat(1_000)}`.slice(0, 250)
      await system.execute('group.create', { name })
      await system.execute('group.add-member', { group: name, user: 'ana' })
    }
    const groups = (await seen('hr', [])).headers['x-groups'] as string
    assert.equal(groups.split(';').length, 40)
    for (let index = 40; index < 140; index += 1) {
      const name = `${index}-${'g'.repeat(1_000)}`.slice(0, 250)
      await system.execute('group.create', { name })
      await system.execute('group.add-member', { group: name, user: 'ana' })
    }
    const origin = system.origin('hr')
    origin.requests.length = 0
    assert.equal((await ana.get(system.url('hr'))).status, 502)
    assert.deepEqual(origin.requests, [])
    assert.equal(system.records.at(-1)!.reason, 'SIGN_ON_FAILED')
    // Applications that are told nothing are as they were.
    assert.equal((await ana.get(system.url('plain'))).status, 200)
  })

  test('attack 23: nothing that is sent splits a response', async () => {
    for (const target of ['/?x=%0d%0aSet-Cookie:%20a=b', '/x%0d%0aSet-Cookie:a=b']) {
      const answer = await rawRequest(system, 'hr', [
        `GET ${target} HTTP/1.1`,
        ...Object.entries(navigation).map(([name, value]) => `${name}: ${value}`),
      ])
      assert.ok([302, 400].includes(answer.status))
      assert.doesNotMatch(answer.head, /\r\nset-cookie: ?a=b/i)
    }
    const origin = system.origin('plain')
    origin.handler = (request) => {
      const internal = origin.url.slice(0, -1)
      request.socket.end(
        `HTTP/1.1 302 Found\r\nLocation: ${internal}/next?x=%0d%0aA:b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`,
      )
    }
    const moved = await ana.get(system.url('plain', '/start'))
    assert.equal(moved.headers.location, system.url('plain', '/next?x=%0d%0aA:b'))
    origin.handler = (request) => {
      request.socket.end(
        'HTTP/1.1 302 Found\r\nLocation: /a\rSet-Cookie: x=y\r\nContent-Length: 0\r\n\r\n',
      )
    }
    assert.equal((await ana.get(system.url('plain', '/start'))).status, 502)
    origin.handler = undefined
  })
})
