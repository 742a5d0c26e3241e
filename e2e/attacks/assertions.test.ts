import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, before, suite, test } from 'node:test'
import { connect } from 'node:tls'
import {
  type Client,
  findFreePort,
  lastFirst,
  navigation,
  rawRequest,
  type System,
  startSystem,
} from '@sallyport/testkit'
import { WebSocket, WebSocketServer } from 'ws'

const header = 'sallyport-jwt-assertion'
const program = join(import.meta.dirname, '../../examples/jwt-assertion/express/app.mjs')
const preload = join(import.meta.dirname, '../support/loopback.mjs')

suite('applications that check the assertion', () => {
  const closers: (() => Promise<void> | void)[] = []
  let system: System
  let ana: Client
  const ports: Record<string, number> = {}

  before(async () => {
    const scope = lastFirst({ after: (close) => void closers.push(close) })
    for (const name of ['crm', 'shop']) ports[name] = await findFreePort()
    const express = (name: string) => ({
      name,
      internalUrl: `http://127.0.0.1:${ports[name]}/`,
      set: { jwtAssertion: true },
    })
    system = await startSystem(scope, {
      applications: [
        express('crm'),
        express('shop'),
        {
          name: 'hr',
          set: {
            jwtAssertion: true,
            signOn: { method: 'headers', headers: [{ name: 'X-User', claim: 'userName' }] },
          },
        },
        { name: 'open', preAuthentication: 'passthrough', set: { jwtAssertion: true } },
        { name: 'none' },
      ],
      allow: Object.values(ports).map((port) => `127.0.0.1:${port}`),
    })
    const authority = join(system.dir, 'authority.pem')
    writeFileSync(authority, system.ca)
    for (const name of ['crm', 'shop']) await startExpress(name, authority)
    ana = await system.signIn('ana', 'crm')
  })
  after(async () => {
    for (const close of closers.reverse()) await close()
  })

  /** The program of the guide, unmodified, as an origin of its own process. */
  async function startExpress(name: string, authority: string): Promise<void> {
    const { id } = (await system.execute('app.show', { name })) as { id: string }
    const child: ChildProcess = spawn(process.execPath, ['--import', preload, program], {
      env: {
        ...process.env,
        NODE_EXTRA_CA_CERTS: authority,
        SALLYPORT_ISSUER: system.url('login').slice(0, -1),
        SALLYPORT_APPLICATION_ID: id,
        PORT: String(ports[name]),
      },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    closers.push(async () => {
      child.kill()
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    })
    await once(createInterface(child.stdout!), 'line')
  }

  /** Straight to the origin, past the gateway. */
  const direct = (name: string, token?: string) =>
    fetch(`http://127.0.0.1:${ports[name]}/`, {
      headers: token === undefined ? {} : { [header]: token },
    })

  /** What the gateway sends to `hr`, whose origin is no verifier. */
  async function tokenFor(client: Client): Promise<string> {
    const { requests } = system.origin('hr')
    requests.length = 0
    const answer = await client.open(system.url('hr'))
    assert.equal(answer.status, 200)
    return requests.at(-1)!.headers[header] as string
  }

  test('the Express application of the guide knows who is there, and nobody past the gateway', async () => {
    const user = (await system.execute('user.show', { userName: 'ana' })) as { id: string }
    const answer = await ana.get(system.url('crm'))
    assert.equal(answer.status, 200)
    assert.deepEqual(JSON.parse(answer.body), { id: user.id, name: 'ana', groups: [] })
    assert.equal((await direct('crm')).status, 401)
    assert.equal((await direct('crm', 'x')).status, 401)
  })

  test('attack 47: the assertion of one application opens no other', async () => {
    const token = await tokenFor(ana)
    for (const name of ['crm', 'shop']) assert.equal((await direct(name, token)).status, 401)
    assert.equal((await ana.open(system.url('shop'))).status, 200)
  })

  test('attack 47: a new key is taken by an origin that has fetched the keys before', async () => {
    const { gateway, control } = system.service
    const { id } = (await system.execute('key.rotate', { use: 'assertions' })) as { id: string }
    assert.notEqual(control.assertionKeys().signing.kid, id)
    const kids = async () => {
      const { body } = await ana.get(system.url('login', '/.well-known/jwks.json'))
      return (JSON.parse(body) as { keys: { kid: string }[] }).keys.map(({ kid }) => kid)
    }
    assert.equal((await kids())[0], id)
    assert.equal((await kids()).length, 2)
    assert.equal((await ana.get(system.url('crm'))).status, 200)
    await system.execute('key.rotate', { use: 'assertions', forgetOlder: true })
    assert.equal((await kids()).length, 1)
    const token = await tokenFor(ana)
    const { kid } = JSON.parse(Buffer.from(token.split('.')[0]!, 'base64url').toString())
    assert.equal(kid, gateway.options.identity.assertionKeyId(), 'what was kept is sent no more')
    assert.equal(kid, (await kids())[0])
  })

  test('attack 16: no spelling of the assertion comes from a client, on any application', async () => {
    const good = await tokenFor(ana)
    await ana.open(system.url('none'))
    for (const name of ['hr', 'open', 'none'])
      for (const spelling of [
        'Sallyport-Jwt-Assertion',
        'sallyport-jwt-assertion',
        'SALLYPORT_JWT_ASSERTION',
        'Sallyport_Jwt-Assertion',
        'Sallyport.Jwt.Assertion',
      ])
        for (const value of ['evil', good]) {
          const origin = system.origin(name)
          origin.requests.length = 0
          const answer = await rawRequest(
            system,
            name,
            [
              'POST / HTTP/1.1',
              `${spelling}: ${value}`,
              `Connection: ${spelling}, close`,
              'Transfer-Encoding: chunked',
            ],
            {
              cookie: name === 'open' ? '' : ana.cookieHeader(system.host(name)),
              body: `0\r\n${spelling}: ${value}\r\n\r\n`,
            },
          )
          assert.equal(answer.status, 200, answer.text)
          const { rawHeaders, rawTrailers } = origin.requests[0]!
          const values = rawHeaders.filter(
            (_, index) =>
              index % 2 === 1 && /^sallyport.jwt.assertion$/i.test(rawHeaders[index - 1]!),
          )
          assert.equal(values.length, name === 'hr' ? 1 : 0, `${spelling} at ${name}`)
          assert.doesNotMatch(JSON.stringify([values, rawTrailers]), /evil/)
          assert.deepEqual(rawTrailers, [])
        }
  })

  test('attack 30: people who share a connection to the origin are each told apart', async () => {
    const ben = await system.signIn('ben', 'hr')
    await ana.open(system.url('hr'))
    const origin = system.origin('hr')
    const sockets = new Map<string, Set<number>>()
    const wrong: string[] = []
    origin.handler = (request, response, { headers }) => {
      const claims = JSON.parse(
        Buffer.from(String(headers[header]).split('.')[1]!, 'base64url').toString(),
      ) as { preferred_username: string }
      const user = String(headers['x-user'])
      if (claims.preferred_username !== user || request.url !== `/${user}`)
        wrong.push(`${request.url}: ${user}, ${claims.preferred_username}`)
      const of = sockets.get(user) ?? new Set()
      sockets.set(user, of.add(request.socket.remotePort!))
      request.resume().on('end', () => response.end(user))
    }
    await Promise.all(
      [ana, ben].map(async (client, index) => {
        const name = ['ana', 'ben'][index]!
        for (let count = 0; count < 100; count += 1)
          assert.equal((await client.get(system.url('hr', `/${name}`))).body, name)
      }),
    )
    origin.handler = undefined
    assert.deepEqual(wrong, [])
    const shared = [...sockets.get('ana')!].filter((port) => sockets.get('ben')!.has(port))
    assert.ok(shared.length > 0, 'there was a connection that both came by')
  })

  test('attack 46: an assertion is no session, no bearer token and no code', async () => {
    const token = await tokenFor(ana)
    const suffix = `-${system.port}`
    for (const [host, name] of [
      ['hr', `__Host-sallyport${suffix}`],
      ['crm', `__Host-sallyport${suffix}`],
      ['apps', `__Host-sallyport${suffix}`],
    ] as const) {
      const thief = system.client()
      thief.cookies.set(system.host(host), new Map([[name, token]]))
      assert.equal((await thief.get(system.url(host))).status, 401)
      const bearer = await system
        .client()
        .get(system.url(host), { headers: { authorization: `Bearer ${token}` } })
      assert.equal(bearer.status, 401)
    }
    const thief = system.client()
    thief.cookies.set(
      system.host('login'),
      new Map([[`__Host-sallyport-identity${suffix}`, token]]),
    )
    assert.match((await thief.get(system.url('login', '/sessions'))).body, /not signed in here/)
    const tenant = `/${system.service.control.tenantId}`
    for (const field of ['code', 'client_secret', 'code_verifier']) {
      const form = new URLSearchParams({
        grant_type: 'authorization_code',
        client_id: [...system.service.control.snapshot().applications.keys()][0]!,
        client_secret: 'x',
        code: 'x',
        code_verifier: 'x'.repeat(43),
        redirect_uri: system.url('crm', '/.sallyport/callback'),
        [field]: token,
      })
      const answer = await thief.fetch(system.url('login', `${tenant}/oauth2/v2.0/token`), {
        method: 'POST',
        headers: { 'content-type': 'application/x-www-form-urlencoded' },
        body: form.toString(),
      })
      assert.ok([400, 401].includes(answer.status), `${field}: ${answer.status}`)
    }
  })

  test('attack 43: after sign-out nobody is told any more who was there, nor their groups', async () => {
    const client = await system.signIn('ana', 'hr')
    const token = await tokenFor(client)
    const groups = () =>
      client.get(system.url('login', '/assertion/groups'), {
        headers: { authorization: `Bearer ${token}` },
      })
    assert.equal((await groups()).status, 200)
    const { sid } = JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString())
    await system.execute('session.end', { sessionId: sid })
    const { requests } = system.origin('hr')
    requests.length = 0
    assert.equal((await client.get(system.url('hr'))).status, 401)
    assert.deepEqual(requests, [])
    assert.equal((await groups()).status, 401)
  })

  test('a WebSocket carries the assertion and the headers', async () => {
    const server = new WebSocketServer({ server: system.origin('hr').server })
    const seen = new Promise<Record<string, unknown>>((resolve) =>
      server.on('connection', (socket, { headers }) => {
        resolve(headers)
        socket.close()
      }),
    )
    await ana.open(system.url('hr'))
    const socket = new WebSocket(`wss://${system.host('hr')}:${system.port}/`, {
      createConnection: () =>
        connect({
          host: '127.0.0.1',
          port: system.port,
          servername: system.host('hr'),
          ca: system.ca,
        }),
      headers: {
        cookie: ana.cookieHeader(system.host('hr')),
        'sallyport-jwt-assertion': 'evil',
        'x-user': 'evil',
      },
    })
    const closed = once(socket, 'close')
    const headers = await seen
    assert.equal(headers['x-user'], 'ana')
    assert.match(String(headers[header]), /^[\w-]+\.[\w-]+\.[\w-]+$/)
    await closed
    server.close()
  })

  test('attack 20: no assertion stands in a log or in what a browser gets', async () => {
    const token = await tokenFor(ana)
    const origin = system.origin('hr')
    origin.handler = (request, response) => {
      response.setHeader('Sallyport-Jwt-Assertion', 'x')
      response.end(request.url)
    }
    const answer = await ana.get(system.url('hr'), { headers: navigation })
    origin.handler = undefined
    assert.equal(answer.headers[header], undefined)
    assert.ok(!JSON.stringify(system.records).includes(token.split('.')[1]!))
  })
})
