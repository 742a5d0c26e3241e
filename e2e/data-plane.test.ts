import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer as createTlsServer, request as httpsRequest } from 'node:https'
import { createServer as createTcpServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { type Client, navigation, Origin, type System, startSystem } from '@sallyport/testkit'
import { WebSocket, WebSocketServer } from 'ws'

suite('the way of a request', () => {
  const closers: (() => Promise<void> | void)[] = []
  let system: System
  let ana: Client

  before(async () => {
    system = await startSystem(
      { after: (close) => void closers.push(close) },
      {
        applications: [
          { name: 'app' },
          { name: 'open', preAuthentication: 'passthrough' },
          { name: 'external', set: { hostHeader: 'external' } },
          { name: 'mapped', externalPath: '/hr/' },
        ],
      },
    )
    const origin = system.origin('mapped')
    await system.execute('app.update', {
      name: 'mapped',
      set: { internalUrl: `${origin.url}people/` },
    })
    ana = await system.signIn('ana', 'app')
    for (const name of ['external', 'mapped'])
      await ana.open(system.url(name, name === 'mapped' ? '/hr/' : '/'))
  })
  after(async () => {
    for (const close of closers.reverse()) await close()
  })

  /** A request whose response is taken as it comes. */
  function stream(
    name: string,
    path: string,
    options: { method?: string; headers?: Record<string, string> } = {},
  ) {
    return httpsRequest({
      host: '127.0.0.1',
      port: system.port,
      servername: system.host(name),
      ca: system.ca,
      path,
      method: options.method ?? 'GET',
      headers: {
        host: `${system.host(name)}:${system.port}`,
        cookie: ana.cookieHeader(system.host(name)),
        ...options.headers,
      },
    })
  }

  test('passthrough needs no session, and the origin gets no identity', async () => {
    const answer = await system.client().get(system.url('open', '/x?y=1'))
    assert.equal(answer.status, 200)
    assert.equal(system.origin('open').requests[0]!.url, '/x?y=1')
    assert.equal(answer.headers['set-cookie'], undefined)
  })

  test('the origin sees the internal host, or on request the external one', async () => {
    await ana.get(system.url('app'))
    assert.equal(
      system.origin('app').requests.at(-1)!.headers.host,
      `127.0.0.1:${system.origin('app').port}`,
    )
    await ana.get(system.url('external'))
    assert.equal(
      system.origin('external').requests.at(-1)!.headers.host,
      `${system.host('external')}:${system.port}`,
    )
  })

  test('a published path is mapped to the internal one, and redirects and cookies back', async () => {
    const origin = system.origin('mapped')
    await ana.get(system.url('mapped', '/hr/list%2Fall?x=1'))
    assert.equal(origin.requests.at(-1)!.url, '/people/list%2Fall?x=1')
    assert.equal((await ana.get(system.url('mapped', '/other'))).status, 404)
    origin.handler = (_, response) => {
      response.writeHead(302, {
        location: `${origin.url}people/next`,
        'content-location': '/people/here',
        'set-cookie': ['a=1; Path=/people/', 'b=2; Path=/; Domain=internal'],
        refresh: `5; url=${origin.url}people/later`,
      })
      response.end()
    }
    const answer = await ana.get(system.url('mapped', '/hr/'))
    origin.handler = undefined
    assert.equal(answer.headers.location, system.url('mapped', '/hr/next'))
    assert.equal(answer.headers['content-location'], '/hr/here')
    assert.equal(answer.headers.refresh, `5; url=${system.url('mapped', '/hr/later')}`)
    assert.deepEqual(answer.headers['set-cookie'], ['a=1; Path=/hr/', 'b=2; Path=/hr/'])
  })

  test('methods, fields in their order and case, and duplicates arrive as they were sent', async () => {
    const request = stream('app', '/odd', { method: 'PROPFIND' })
    request.setHeader('X-CaSe', 'one')
    request.setHeader('X-Twice', ['1', '2'])
    request.end()
    const [response] = (await once(request, 'response')) as [{ resume(): void; statusCode: number }]
    response.resume()
    const seen = system.origin('app').requests.at(-1)!
    assert.equal(seen.method, 'PROPFIND')
    assert.ok(seen.rawHeaders.includes('X-CaSe'))
    assert.deepEqual(
      seen.rawHeaders.filter((_, index) => seen.rawHeaders[index - 1] === 'X-Twice'),
      ['1', '2'],
    )
  })

  test('events and chunks arrive as they are written', async () => {
    const origin = system.origin('app')
    let write: (text: string) => void = () => undefined
    origin.handler = (_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      write = (text) => void response.write(text)
      write('data: 1\n\n')
    }
    const request = stream('app', '/events')
    request.end()
    const [response] = await once(request, 'response')
    for (const expected of ['data: 1\n\n', 'data: 2\n\n', 'data: 3\n\n']) {
      const [chunk] = await once(response, 'data')
      assert.equal(String(chunk), expected)
      write(`data: ${Number(expected[6]) + 1}\n\n`)
    }
    const gone = once(origin.server, 'request').catch(() => undefined)
    void gone
    request.destroy()
    origin.handler = undefined
  })

  test('a client that leaves ends the request at the origin', async () => {
    const origin = system.origin('app')
    const left = new Promise<void>((resolve) => {
      origin.handler = (_, response) => {
        response.on('close', () => resolve())
        response.write('begun')
      }
    })
    const request = stream('app', '/slow')
    request.on('error', () => undefined)
    request.end()
    const [response] = await once(request, 'response')
    response.on('error', () => undefined)
    await once(response, 'data')
    const recorded = system.nextRecord(({ path }) => path === '/slow')
    request.destroy()
    await left
    assert.equal((await recorded).reason, 'client-left')
    origin.handler = undefined
  })

  test('a range is the origin’s to answer', async () => {
    const origin = system.origin('app')
    origin.handler = (request, response) => {
      assert.equal(request.headers.range, 'bytes=2-3')
      response.writeHead(206, { 'content-range': 'bytes 2-3/10', 'content-length': 2 })
      response.end('cd')
    }
    const answer = await ana.get(system.url('app'), { headers: { range: 'bytes=2-3' } })
    assert.deepEqual(
      [answer.status, answer.body, answer.headers['content-range']],
      [206, 'cd', 'bytes 2-3/10'],
    )
    origin.handler = undefined
  })

  test('HEAD, 204 and 304 have no body and leave the connection good', async () => {
    const origin = system.origin('app')
    origin.handler = (request, response) => {
      if (request.method === 'HEAD') response.writeHead(200, { 'content-length': 5 }).end()
      else response.writeHead(request.url === '/204' ? 204 : 304, { etag: '"x"' }).end()
    }
    const head = await ana.fetch(system.url('app', '/h'), { method: 'HEAD' })
    assert.deepEqual([head.status, head.headers['content-length'], head.body], [200, '5', ''])
    assert.equal((await ana.get(system.url('app', '/204'))).status, 204)
    assert.equal((await ana.get(system.url('app', '/304'))).status, 304)
    origin.handler = undefined
    assert.equal((await ana.get(system.url('app'))).body, 'ok')
  })

  test('a body with trailers goes both ways', async () => {
    const origin = system.origin('app')
    origin.handler = (request, response, seen) => {
      request.resume()
      request.on('end', () => {
        seen.rawTrailers = request.rawTrailers
        response.writeHead(200, { trailer: 'X-Sum' })
        response.write('body')
        response.addTrailers({ 'X-Sum': '4' })
        response.end()
      })
    }
    const request = stream('app', '/trailers', { method: 'POST', headers: { trailer: 'X-In' } })
    request.write('abc')
    request.addTrailers({ 'X-In': '3' })
    request.end()
    const [response] = await once(request, 'response')
    response.resume()
    await once(response, 'end')
    assert.deepEqual(response.trailers, { 'x-sum': '4' })
    assert.deepEqual(origin.requests.at(-1)!.rawTrailers, ['X-In', '3'])
    origin.handler = undefined
  })

  test('cookies and fields of the 101 are kept, and messages go both ways until either side closes', async () => {
    const sockets = new WebSocketServer({ server: system.origin('app').server })
    sockets.on('headers', (headers) =>
      headers.push('Set-Cookie: ws=1; Path=/', 'X-Greeting: hello'),
    )
    let path = ''
    sockets.on('connection', (socket, request) => {
      path = request.url!
      socket.on('message', (data, binary) => socket.send(data, { binary }))
    })
    const socket = new WebSocket(`wss://127.0.0.1:${system.port}/Chat/Room?Case=Kept`, ['chat'], {
      ca: system.ca,
      ...({ servername: system.host('app') } as object),
      headers: {
        host: `${system.host('app')}:${system.port}`,
        cookie: ana.cookieHeader(system.host('app')),
      },
    })
    const upgraded = once(socket, 'upgrade')
    await once(socket, 'open')
    const [response] = await upgraded
    assert.deepEqual(response.headers['set-cookie'], ['ws=1; Path=/'])
    assert.equal(response.headers['x-greeting'], 'hello')
    assert.equal(socket.protocol, 'chat')
    assert.equal(path, '/Chat/Room?Case=Kept')
    for (const size of [0, 1, 125, 126, 65_535, 65_536, 3_000_000]) {
      const message = Buffer.alloc(size, 7)
      socket.send(message)
      const [echo] = await once(socket, 'message')
      assert.ok(message.equals(echo as Buffer), `${size} bytes`)
    }
    const recorded = system.nextRecord(({ path: own }) => own === '/Chat/Room')
    socket.close(1000)
    await once(socket, 'close')
    assert.equal((await recorded).statusCode, 101)
    sockets.close()
  })

  test('one record is written for each request, with who, what and how long', async () => {
    system.records.length = 0
    await ana.get(system.url('app', '/recorded?token=secret'))
    await system.client().get(system.url('app', '/refused'))
    assert.equal(system.records.length, 2)
    const [allowed, refused] = system.records
    assert.equal(allowed!.path, '/recorded')
    assert.equal(allowed!.userName, 'ana')
    assert.equal(allowed!.application, 'app')
    assert.equal(allowed!.connector, 'connector-1')
    assert.equal(allowed!.decision, 'allow')
    assert.ok(allowed!.originMs! > 0 && allowed!.connectorMs! >= allowed!.originMs!)
    assert.ok(allowed!.totalMs >= allowed!.connectorMs!)
    assert.deepEqual([refused!.decision, refused!.reason], ['sign-in', 'session-missing'])
    await system.service.close().catch(() => undefined)
    const lines = readFileSync(join(system.dir, 'service/access.log'), 'utf8').trim().split('\n')
    assert.ok(lines.map((line) => JSON.parse(line).id).includes(allowed!.id))
    assert.ok(!lines.join('').includes('secret'))
  })
})

suite('origins that fail', () => {
  const closers: (() => Promise<void> | void)[] = []
  let system: System
  let ana: Client

  before(async () => {
    system = await startSystem(
      { after: (close) => void closers.push(close) },
      { applications: [{ name: 'app' }], connectors: 0 },
    )
    ana = await system.signIn('ana')
  })
  after(async () => {
    for (const close of closers.reverse()) await close()
  })

  async function listenTcp(onSocket: (socket: Socket) => void): Promise<number> {
    const server = createTcpServer((socket) => {
      socket.on('error', () => socket.destroy())
      onSocket(socket)
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    closers.push(() => void server.close())
    return (server.address() as { port: number }).port
  }

  test('each failure has its own code, page and record', async () => {
    assert.equal((await failure('app')).code, 'NO_CONNECTOR')
    const reset = await listenTcp((socket) => socket.once('data', () => socket.resetAndDestroy()))
    const mute = await listenTcp((socket) => socket.resume())
    const garbage = await listenTcp((socket) =>
      socket.once('data', () => socket.end('SSH-2.0-OpenSSH\r\n\r\n')),
    )
    const closed = await Origin.start()
    const closedPort = closed.port
    await closed.close()
    const { cert, key } = system.service.control.serverContext(system.host('app'))!
    const tls = createTlsServer({ cert, key }, (_, response) => response.end('ok'))
    await new Promise<void>((resolve) => tls.listen(0, '127.0.0.1', resolve))
    closers.push(() => void tls.close())
    const tlsPort = (tls.address() as { port: number }).port
    const cases: [string, string, number, Record<string, unknown>][] = [
      [`http://127.0.0.1:${closedPort}/`, 'ORIGIN_CONNECTION_REFUSED', 502, {}],
      [`http://127.0.0.1:${reset}/`, 'ORIGIN_CONNECTION_RESET', 502, {}],
      [`http://127.0.0.1:${mute}/`, 'ORIGIN_TIMEOUT', 504, { backendTimeoutMs: 300 }],
      [`http://127.0.0.1:${garbage}/`, 'ORIGIN_RESPONSE_INVALID', 502, {}],
      ['http://no-such-name.invalid:80/', 'ORIGIN_NAME_NOT_RESOLVED', 502, {}],
      [`https://127.0.0.1:${tlsPort}/`, 'ORIGIN_TLS_INVALID', 502, {}],
      ['http://127.0.0.1:9/', 'DESTINATION_FORBIDDEN', 502, {}],
    ]
    await system.startConnector({
      name: 'connector-1',
      allow: [
        ...[closedPort, reset, mute, garbage, tlsPort].map((port) => `127.0.0.1:${port}`),
        'no-such-name.invalid:80',
      ],
    })
    for (const [index, [internalUrl, code, status, set]] of cases.entries()) {
      const name = `case-${index}`
      await system.execute('app.create', {
        name,
        displayName: name,
        externalUrl: system.url(name),
        internalUrl,
        assignmentRequired: false,
        ...set,
      })
      const found = await failure(name)
      assert.deepEqual([found.code, found.status], [code, status], internalUrl)
      assert.match(found.page, /<html/)
      assert.ok(found.page.includes(found.record.id), 'the page shows the correlation ID')
      assert.doesNotMatch(found.page, /127\.0\.0\.1|no-such-name/, 'and nothing of the inside')
      assert.equal(found.record.reason, code)
      assert.ok(found.record.detail)
    }
    // Without validation the same certificate will do.
    await system.execute('app.update', {
      name: 'case-5',
      set: { validateBackendCertificate: false },
    })
    assert.equal((await ana.get(system.url('case-5'))).status, 200)
  })

  async function failure(name: string) {
    await ana.open(system.url(name))
    const recorded = system.nextRecord(({ path }) => path === '/failing')
    const answer = await ana.get(system.url(name, '/failing'), { headers: navigation })
    const plain = await ana.get(system.url(name, '/again'), {
      headers: { accept: 'application/json' },
    })
    const record = await recorded
    return {
      status: answer.status,
      code: JSON.parse(plain.body).error.code as string,
      page: answer.body,
      record,
    }
  }
})
