import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import { connect } from 'node:tls'
import {
  type Client,
  connectTls,
  parseRaw,
  rawRequest,
  type System,
  sendRaw,
  startSystem,
} from '@sallyport/testkit'

suite('attacks on hosts', () => {
  const closers: (() => Promise<void> | void)[] = []
  let system: System
  let ana: Client
  let cookie: string

  before(async () => {
    system = await startSystem(
      { after: (close) => void closers.push(close) },
      {
        applications: [{ name: 'hr' }, { name: 'wiki', assigned: ['ben'] }],
      },
    )
    ana = await system.signIn('ana', 'hr')
    cookie = ana.cookieHeader(system.host('hr'))
    system.origin('hr').requests.length = 0
  })
  after(async () => {
    for (const close of closers.reverse()) await close()
  })

  const nothing = () => {
    assert.deepEqual(system.origin('hr').requests, [])
    assert.deepEqual(system.origin('wiki').requests, [])
  }

  test('attack 11: a Host that can be read in two ways is refused', async () => {
    const { port } = system
    const host = system.host('hr')
    for (const value of [
      `${host}.:${port}`,
      `user@${host}:${port}`,
      `${host}:${port}@evil.test`,
      `${host}:1`,
      `${host}:0${port}0`,
      host,
      `${host}:`,
      `${host}\t:${port}`,
      `${host} :${port}`,
      `${host}:${port}, ${system.host('wiki')}:${port}`,
      `${host}/x:${port}`,
      `${host}%00:${port}`,
      '',
    ]) {
      const { status } = await rawRequest(system, 'hr', ['GET / HTTP/1.1'], { cookie, host: value })
      assert.equal(status, 400, JSON.stringify(value))
    }
    for (const lines of [
      ['GET / HTTP/1.1', `Host: ${host}:${port}`, `Host: ${host}:${port}`, 'Connection: close'],
      ['GET / HTTP/1.1', `Host: ${host}:${port}`, `host: evil.test`, 'Connection: close'],
      ['GET / HTTP/1.1', 'Connection: close'],
      [
        `GET https://${system.host('wiki')}:${port}/ HTTP/1.1`,
        `Host: ${host}:${port}`,
        'Connection: close',
      ],
    ])
      assert.equal((await rawRequest(system, 'hr', lines, { keepHead: true })).status, 400)
    nothing()
    // Case does not matter in a host name.
    assert.equal(
      (
        await rawRequest(system, 'hr', ['GET / HTTP/1.1'], {
          cookie,
          host: `${host.toUpperCase()}:${port}`,
        })
      ).status,
      200,
    )
    system.origin('hr').requests.length = 0
  })

  test('attack 12: a host other than the one of the handshake is misdirected', async () => {
    const { status } = await rawRequest(system, 'hr', ['GET / HTTP/1.1'], {
      cookie,
      host: `${system.host('wiki')}:${system.port}`,
    })
    assert.equal(status, 421)
    for (const name of ['login', 'apps', 'connect', 'admin'])
      assert.equal(
        (
          await rawRequest(system, 'hr', ['GET / HTTP/1.1'], {
            cookie,
            host: `${system.host(name)}:${system.port}`,
          })
        ).status,
        421,
        name,
      )
    nothing()
  })

  test('attack 12: a TLS session that is taken up again is for the host that it names now', async () => {
    for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
      const ask = async (serverName: string, host: string, session?: Buffer) => {
        const socket = connect({
          host: '127.0.0.1',
          port: system.port,
          servername: system.host(serverName),
          ca: system.ca,
          minVersion: version,
          maxVersion: version,
          ...(session ? { session } : {}),
        })
        let ticket: Buffer | undefined
        socket.on('session', (latest) => {
          ticket = latest
        })
        const text = await sendRaw(
          socket,
          `GET / HTTP/1.1\r\nHost: ${system.host(host)}:${system.port}\r\nCookie: ${cookie}\r\nConnection: close\r\n\r\n`,
        )
        return { status: parseRaw(text).status, ticket }
      }
      const first = await ask('hr', 'hr')
      assert.equal(first.status, 200)
      assert.equal((await ask('hr', 'hr', first.ticket)).status, 200, `again, by ${version}`)
      assert.equal((await ask('wiki', 'hr', first.ticket)).status, 421)
      assert.equal((await ask('hr', 'wiki', first.ticket)).status, 421)
      // A cookie of the other host is none here.
      assert.equal((await ask('wiki', 'wiki', first.ticket)).status, 401)
      assert.notEqual((await ask('login', 'hr', first.ticket)).status, 200)
    }
    system.origin('hr').requests.length = 0
    nothing()
  })

  test('attack 13: an unknown host is a fixed page that names nothing, in every layer', async () => {
    const answer = await rawRequest(system, 'nothing', ['GET / HTTP/1.1', 'Accept: text/html'], {
      cookie,
    })
    assert.equal(answer.status, 404)
    assert.doesNotMatch(answer.text, /\bhr\b|wiki/)
    const plain = await rawRequest(system, 'nothing', ['GET /.sallyport/callback?code=1 HTTP/1.1'])
    assert.equal(plain.status, 404)
    // Outside of our domain there is no certificate, so no connection.
    await assert.rejects(connectTls({ port: system.port, ca: system.ca, host: 'example.com' }))
    nothing()
  })

  test('attack 14: literals, look-alikes and odd labels are hosts of nobody', async () => {
    for (const value of [
      '[::1]',
      '[fe80::1%25eth0]',
      '127.0.0.1',
      'h_r.sallyport.test',
      'xn--hr-.sallyport.test',
      'h\u0280.sallyport.test'.replace('\u0280', '%CA%80'),
    ]) {
      const { status } = await rawRequest(system, 'hr', ['GET / HTTP/1.1'], {
        cookie,
        host: `${value}:${system.port}`,
      })
      assert.ok([400, 421].includes(status), `${value} answered ${status}`)
    }
    for (const externalUrl of [
      `https://h_r.sallyport.test:${system.port}/`,
      `https://[::1]:${system.port}/`,
      `https://127.0.0.1:${system.port}/`,
    ])
      await assert.rejects(
        system.execute('app.create', {
          name: 'odd',
          displayName: 'odd',
          externalUrl,
          internalUrl: 'http://127.0.0.1:1/',
        }),
        externalUrl,
      )
    nothing()
  })

  test('attack 15: a wildcard never captures a host of Sallyport', async () => {
    await assert.rejects(
      system.execute('app.create', {
        name: 'login',
        displayName: 'login',
        externalUrl: system.url('login'),
        internalUrl: 'http://127.0.0.1:1/',
      }),
      /login/,
    )
    await system.execute('app.create', {
      name: 'wild',
      displayName: 'wild',
      externalUrl: `https://*.sallyport.test:${system.port}/`,
      internalUrl: system.origin('wiki').url,
      assignmentRequired: false,
    })
    const page = await ana.open(system.url('login', '/nothing-here'))
    assert.notEqual(page.status, 200)
    assert.equal((await ana.open(system.url('apps'))).status, 200)
    assert.match((await ana.open(system.url('apps'))).body, /hr/)
    nothing()
    assert.equal((await ana.open(system.url('anything'))).status, 200)
    assert.equal(system.origin('wiki').requests.length, 1)
  })
})
