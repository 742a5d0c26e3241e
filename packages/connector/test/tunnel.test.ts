import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { backoffMs } from '../src/tunnel-keeper.ts'
import { makeAuthority } from './authority.ts'
import { startRawOrigin } from './origins.ts'
import { startProxy, startRawProxy, startSquid } from './proxies.ts'
import {
  connected,
  connectorUri,
  enrolled,
  exchange,
  GatewayStream,
  openText,
  run,
  startService,
} from './service.ts'

const get = 'GET / HTTP/1.1\r\nHost: x'

test('tunnels are TLS 1.3 with the connector’s certificate and the instance in HELLO', async (t) => {
  const service = await startService(t)
  const state = await enrolled(t, service)
  const { connector } = await run(t, service, { state, tunnels: 2 })
  const sessions = [await service.sessions.take(), await service.sessions.take()]
  for (const socket of service.sockets) {
    assert.equal(socket.getProtocol(), 'TLSv1.3')
    assert.equal(socket.alpnProtocol, 'sallyport-tunnel/1')
    assert.equal(socket.servername, 'connect.sallyport.localhost')
    assert.equal(socket.getPeerCertificate().subjectaltname, `URI:${connectorUri}`)
  }
  const { instanceId } = connector.status()
  for (const session of sessions)
    assert.deepEqual([...session.peerCapabilities], [`instance=${instanceId}`])
})

test('a tunnel that breaks is dialled again, and the connector serves on', async (t) => {
  const origin = await startRawOrigin(t)
  const { service, session, states } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  const gateway = new GatewayStream(session, openText({ url: origin.url }))
  gateway.stream.sendHead(get, true)
  const connection = await origin.connections.take()
  await connection.requests.take()
  service.sockets[0]!.destroy()
  await connection.closed
  await states.find(({ tunnels }) => tunnels[0]!.state === 'waiting')
  const next = await service.sessions.take()
  const answering = exchange(next, { url: origin.url }, get)
  const second = await origin.connections.take()
  await second.requests.take()
  second.socket.write('HTTP/1.1 204 No Content\r\n\r\n')
  assert.equal((await answering).statusCode, 204)
})

test('a service that is down is dialled with growing delays until it is back', async (t) => {
  const { service, connector, states, log } = await connected(t, { random: () => 0 })
  await service.stopListening()
  const attempts: number[] = []
  while (attempts.length < 4) {
    const status = await states.take()
    if (status.tunnels[0]!.state === 'waiting') attempts.push(status.tunnels[0]!.attempts)
  }
  assert.deepEqual(attempts, [1, 2, 3, 4])
  await service.listen()
  await service.sessions.take()
  assert.equal(connector.status().tunnels[0]!.lastError?.code, 'SERVICE_UNREACHABLE')
  const warnings = log.lines.all.filter(({ message }) => message === 'no tunnel')
  assert(warnings.length <= 3, 'the same reason is not logged at each attempt')
})

test('delays double from 100 ms to 10 s, and half of each is left to chance', () => {
  assert.deepEqual(
    [0, 1, 2, 3, 7, 8, 50].map((attempts) => backoffMs(attempts, () => 1)),
    [100, 100, 200, 400, 6400, 10_000, 10_000],
  )
  assert.deepEqual(
    [1, 8].map((attempts) => backoffMs(attempts, () => 0)),
    [50, 5000],
  )
})

test('a link that goes silent without a word is given up and dialled again', async (t) => {
  const { connect } = await import('node:net')
  const service = await startService(t)
  const silence: (() => void)[] = []
  // A NAT that forgot the connection, or a cable that was pulled: nothing is said, nothing is
  // closed.
  const proxy = await startRawProxy(t, (socket) => {
    socket.once('data', () => {
      const upstream = connect(Number(service.url.port), '127.0.0.1')
      upstream.on('error', () => socket.destroy())
      socket.on('close', () => upstream.destroy())
      socket.write('HTTP/1.1 200 OK\r\n\r\n')
      socket.pipe(upstream).pipe(socket)
      silence.push(() => {
        for (const end of [socket, upstream]) end.unpipe().pause()
      })
    })
  })
  const { states } = await run(t, service, {
    proxy,
    tunnelLimits: { pingAfterMs: 1000, deadAfterMs: 2000 },
  })
  await states.find(({ tunnels }) => tunnels[0]!.state === 'connected')
  silence[0]!()
  const { tunnels } = await states.find(({ tunnels }) => tunnels[0]!.state === 'waiting')
  assert.equal(tunnels[0]!.lastError?.code, 'SERVICE_TIMEOUT')
  await states.find(({ tunnels }) => tunnels[0]!.state === 'connected')
})

test('a draining service is left for a new tunnel, while open exchanges end on the old one', async (t) => {
  const origin = await startRawOrigin(t)
  const { service, session } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  const old = new GatewayStream(session, openText({ url: origin.url }))
  old.stream.sendHead(get, true)
  const connection = await origin.connections.take()
  await connection.requests.take()
  session.goAway('the gateway restarts')
  const next = await service.sessions.take()
  assert.equal(next.draining, false)
  connection.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
  await old.ended()
  assert.equal(old.body, 'ok')
})

test('close lets exchanges finish, ends raw pipes, takes no new ones, and leaves nothing', async (t) => {
  const origin = await startRawOrigin(t)
  const { service, session, connector } = await connected(t, {
    allow: [`127.0.0.1:${origin.port}`],
    drainMs: 10_000,
  })
  const pipe = new GatewayStream(session, openText({ url: origin.url, upgrade: true }))
  pipe.stream.sendHead('GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket')
  const socket = await origin.connections.take()
  await socket.requests.take()
  socket.socket.write('HTTP/1.1 101 OK\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
  await pipe.heads.take()
  const slow = new GatewayStream(session, openText({ url: origin.url }))
  slow.stream.sendHead(get, true)
  const connection = await origin.connections.take()
  await connection.requests.take()

  const closing = connector.close()
  await pipe.ended()
  await socket.closed
  connection.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
  await slow.ended()
  await closing
  await connector.closed
  await connection.closed
  if (!service.sockets[0]!.closed) await once(service.sockets[0]!, 'close')
  assert.equal(session.draining, true)
  assert.equal(connector.status().tunnels[0]!.state, 'stopped')
})

test('close cuts what has not ended in time', async (t) => {
  const origin = await startRawOrigin(t)
  const { session, connector } = await connected(t, {
    allow: [`127.0.0.1:${origin.port}`],
    drainMs: 20,
  })
  const stuck = new GatewayStream(session, openText({ url: origin.url }))
  stuck.stream.sendHead(get, true)
  const connection = await origin.connections.take()
  await connection.requests.take()
  await connector.close()
  assert.equal((await stuck.failed()).code, 'TUNNEL_CLOSED')
  await connection.closed
})

for (const [name, options, code] of [
  [
    'a certificate for another host',
    { serverNames: ['connect.example'] },
    'SERVICE_CERTIFICATE_INVALID',
  ],
  [
    'an expired certificate',
    {
      serverCertificate: {
        notBeforeAt: Date.now() - 2 * 86_400_000,
        notAfterAt: Date.now() - 86_400_000,
      },
    },
    'SERVICE_CERTIFICATE_INVALID',
  ],
  ['another protocol', { alpn: ['http/1.1'] }, 'SERVICE_PROTOCOL_MISMATCH'],
  ['TLS 1.2 only', { maxVersion: 'TLSv1.2' as const }, 'SERVICE_PROTOCOL_MISMATCH'],
] as const)
  test(`a service with ${name} gets no tunnel: ${code}`, async (t) => {
    const service = await startService(t, { ...options })
    const { connector, states } = await run(t, service)
    await states.find(({ tunnels }) => tunnels[0]!.lastError !== undefined)
    assert.equal(connector.status().tunnels[0]!.lastError?.code, code)
    assert.equal(service.sockets.length, 0)
  })

test('a box that intercepts TLS is named by its issuer, even if the system trusts it', async (t) => {
  const interceptor = await makeAuthority('Corporate Inspection CA')
  const service = await startService(t, { serverAuthority: interceptor })
  const { states } = await run(t, service)
  const { tunnels } = await states.find(({ tunnels }) => tunnels[0]!.lastError !== undefined)
  assert.equal(tunnels[0]!.lastError!.code, 'SERVICE_CERTIFICATE_NOT_PINNED')
  assert.match(tunnels[0]!.lastError!.message, /Corporate Inspection CA/)
  assert.equal(service.sockets.length, 0)
})

test('a service that does not accept the certificate is told apart from one that is away', async (t) => {
  const service = await startService(t)
  const foreign = await makeAuthority('Another connector CA')
  const state = await enrolled(t, service)
  const { writeState, readState } = await import('../src/state.ts')
  const issued = await foreign.issue({ uri: connectorUri })
  writeState(state.stateDir, {
    ...readState(state.stateDir),
    keyPem: issued.keyPem,
    certificatePem: issued.certificatePem,
  })
  const { states } = await run(t, service, { state })
  const { tunnels } = await states.find(({ tunnels }) => tunnels[0]!.lastError !== undefined)
  assert.equal(tunnels[0]!.lastError!.code, 'SERVICE_REFUSED')
})

test('a TLS alert about the client certificate is named', async (t) => {
  const { createServer } = await import('node:tls')
  const service = await startService(t)
  const leaf = await service.ca.issue({ dns: ['connect.sallyport.localhost'] })
  const other = await makeAuthority('Other')
  const server = createServer({
    key: leaf.keyPem,
    cert: leaf.certificatePem,
    ca: other.pem,
    requestCert: true,
    rejectUnauthorized: true,
    ALPNProtocols: ['sallyport-tunnel/1'],
  })
  server.on('tlsClientError', () => {})
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const { port } = server.address() as { port: number }
  const { states } = await run(t, service, {
    service: new URL(`https://connect.sallyport.localhost:${port}`),
  })
  const { tunnels } = await states.find(({ tunnels }) => tunnels[0]!.lastError !== undefined)
  assert.match(tunnels[0]!.lastError!.code, /^(?:CLIENT_CERTIFICATE_REFUSED|SERVICE_REFUSED)$/)
})

test('a service that cannot be resolved is unreachable, and the name is asked for each time', async (t) => {
  const service = await startService(t)
  let lookUps = 0
  const { states } = await run(t, service, {
    service: new URL('https://connect.example:1'),
    resolve: async () => {
      lookUps += 1
      throw Object.assign(new Error('no such name'), { code: 'ENOTFOUND' })
    },
  })
  await states.find(({ tunnels }) => tunnels[0]!.attempts === 2 && tunnels[0]!.state === 'waiting')
  assert.equal(lookUps, 2)
})

test('tunnels go through an HTTP proxy with credentials', async (t) => {
  const origin = await startRawOrigin(t)
  const proxy = await startProxy(t, { credentials: 'us er:p@ss:wörd' })
  const service = await startService(t)
  const url = new URL(proxy.url)
  url.username = 'us er'
  url.password = 'p@ss:wörd'
  const { connector, log } = await run(t, service, {
    proxy: url,
    allow: [`127.0.0.1:${origin.port}`],
  })
  const session = await service.sessions.take()
  assert.equal(proxy.requests[0]!.target, `127.0.0.1:${service.url.port}`)
  const answering = exchange(session, { url: origin.url }, get)
  const connection = await origin.connections.take()
  await connection.requests.take()
  connection.socket.write('HTTP/1.1 204 No Content\r\n\r\n')
  await answering
  // Origins are not reached through it.
  for (const { target } of proxy.requests) assert.equal(target, `127.0.0.1:${service.url.port}`)
  const told = JSON.stringify([connector.status(), log.lines.all])
  assert(!told.includes('p@ss') && !told.includes('p%40ss'), 'credentials were told')
})

test('tunnels go through squid with Basic authentication', async (t) => {
  const proxy = await startSquid(t, 'ana', 'correct horse:battery')
  const service = await startService(t)
  await run(t, service, { proxy })
  await service.sessions.take()
  const wrong = new URL(proxy)
  wrong.password = 'wrong'
  const refused = await run(t, service, { proxy: wrong })
  const { tunnels } = await refused.states.find(
    ({ tunnels }) => tunnels[0]!.lastError !== undefined,
  )
  assert.equal(tunnels[0]!.lastError!.code, 'PROXY_AUTHENTICATION_REQUIRED')
})

test('each way a proxy fails has its own code', async (t) => {
  const service = await startService(t)
  const codeOf = async (proxy: URL) => {
    const { states, connector } = await run(t, service, { proxy })
    const { tunnels } = await states.find(({ tunnels }) => tunnels[0]!.lastError !== undefined)
    await connector.close()
    return tunnels[0]!.lastError!.code
  }
  const wanting = await startProxy(t, { credentials: 'a:b' })
  assert.equal(await codeOf(wanting.url), 'PROXY_AUTHENTICATION_REQUIRED')
  const refusing = await startProxy(t, {
    answer: () => 'HTTP/1.1 403 Forbidden\r\nServer: box\r\n\r\n',
  })
  assert.equal(await codeOf(refusing.url), 'PROXY_REFUSED')
  for (const answer of [
    'SSH-2.0-x\r\n\r\n',
    '',
    'HTTP/1.1 200',
    'HTTP/1.1 200 OK\r\nBad Field: x\r\n\r\n',
  ]) {
    const raw = await startRawProxy(t, (socket) => {
      socket.once('data', () => socket.end(answer))
    })
    assert.equal(await codeOf(raw), 'PROXY_RESPONSE_INVALID', answer)
  }
  const endless = await startRawProxy(t, (socket) => void socket.write('x'.repeat(100_000)))
  assert.equal(await codeOf(endless), 'PROXY_RESPONSE_INVALID')
  assert.equal(await codeOf(new URL('http://127.0.0.1:1')), 'PROXY_UNREACHABLE')
})

test('an answer to CONNECT may come in pieces, after a 1xx, with the first bytes behind it', async (t) => {
  const service = await startService(t)
  const { connect } = await import('node:net')
  const proxy = await startRawProxy(t, (socket) => {
    socket.once('data', () => {
      const upstream = connect(Number(service.url.port), '127.0.0.1')
      upstream.on('error', () => socket.destroy())
      socket.on('close', () => upstream.destroy())
      for (const part of [
        'HTTP/1.1 100 Continue\r\n\r',
        '\nHTTP/1.1 20',
        '0 OK\r\nVia: x\r\n',
        '\r\n',
      ])
        socket.write(part)
      socket.pipe(upstream).pipe(socket)
    })
  })
  await run(t, service, { proxy })
  await service.sessions.take()
})
