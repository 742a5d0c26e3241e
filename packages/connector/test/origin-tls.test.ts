import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { createServer, type TLSSocket, type TlsOptions } from 'node:tls'
import { ResetCode } from '@sallyport/protocol'
import { type Issued, makeAuthority } from './authority.ts'
import { Inbox } from './inbox.ts'
import { connected, exchange, failure } from './service.ts'

const get = 'GET / HTTP/1.1\r\nHost: x'
const dayMs = 86_400_000

/** Answers every request on every connection with 204. */
async function startTlsOrigin(t: TestContext, issued: Issued, options: TlsOptions = {}) {
  const connections = new Inbox<TLSSocket>()
  const server = createServer(
    { key: issued.keyPem, cert: issued.certificatePem, ...options },
    (socket) => {
      connections.put(socket)
      socket.on('error', () => {})
      socket.on('data', () => socket.write('HTTP/1.1 204 No Content\r\n\r\n'))
      t.after(() => socket.destroy())
    },
  )
  server.on('tlsClientError', () => {})
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const { port } = server.address() as AddressInfo
  return { port, connections, server }
}

async function network(t: TestContext, originCa: string | undefined) {
  return connected(t, {
    allow: ['app.internal', 'other.internal', '127.0.0.1'],
    resolve: async () => ['127.0.0.1'],
    ...(originCa === undefined ? {} : { originCa }),
  })
}

test('an origin whose certificate comes from the private CA is called, with its name in SNI', async (t) => {
  const ca = await makeAuthority('Private CA')
  const { port, connections } = await startTlsOrigin(t, await ca.issue({ dns: ['app.internal'] }))
  const { session } = await network(t, ca.pem)
  const answer = await exchange(session, { url: `https://App.Internal.:${port}` }, get)
  assert.equal(answer.statusCode, 204)
  const socket = await connections.take()
  assert.equal(socket.servername, 'app.internal')
  assert.equal(socket.alpnProtocol, false)
})

test('an origin on an address is checked against that address, and gets no SNI', async (t) => {
  const ca = await makeAuthority('Private CA')
  const good = await startTlsOrigin(t, await ca.issue({ ip: ['127.0.0.1'] }))
  const bad = await startTlsOrigin(t, await ca.issue({ ip: ['127.0.0.2'], dns: ['127.0.0.1'] }))
  const { session } = await network(t, ca.pem)
  assert.equal(
    (await exchange(session, { url: `https://127.0.0.1:${good.port}` }, get)).statusCode,
    204,
  )
  assert.equal((await good.connections.take()).servername, false)
  const error = await failure(session, { url: `https://127.0.0.1:${bad.port}` })
  assert.equal(error.resetCode, ResetCode.ORIGIN_TLS_INVALID)
})

test('certificates that are foreign, expired, for another name or not for servers are refused', async (t) => {
  const ca = await makeAuthority('Private CA')
  const foreign = await makeAuthority('Private CA')
  const { session } = await network(t, ca.pem)
  const dns = ['app.internal']
  for (const issued of [
    await foreign.issue({ dns }),
    await ca.issue({ dns, notBeforeAt: Date.now() - 3 * dayMs, notAfterAt: Date.now() - dayMs }),
    await ca.issue({ dns, notBeforeAt: Date.now() + dayMs }),
    await ca.issue({ dns: ['app.internal.example'] }),
    await ca.issue({ dns, uri: 'spiffe://x/connector/c1' }),
  ]) {
    const { port } = await startTlsOrigin(t, issued)
    const error = await failure(session, { url: `https://app.internal:${port}` })
    assert.equal(error.resetCode, ResetCode.ORIGIN_TLS_INVALID, error.detail)
  }
})

test('without a private CA a certificate from one is refused, unless validation is off for the app', async (t) => {
  const ca = await makeAuthority('Private CA')
  const { port } = await startTlsOrigin(t, await ca.issue({ dns: ['elsewhere'] }))
  const { session } = await network(t, undefined)
  const url = `https://app.internal:${port}`
  assert.equal((await failure(session, { url })).resetCode, ResetCode.ORIGIN_TLS_INVALID)
  assert.equal((await exchange(session, { url, validate: false }, get)).statusCode, 204)
  // Neither the connection nor the TLS session of the lenient one serves the strict one.
  assert.equal((await failure(session, { url })).resetCode, ResetCode.ORIGIN_TLS_INVALID)
})

test('a second connection resumes the TLS session of the first', async (t) => {
  const ca = await makeAuthority('Private CA')
  const { port, connections } = await startTlsOrigin(t, await ca.issue({ dns: ['app.internal'] }))
  const { session } = await connected(t, {
    allow: ['127.0.0.1'],
    resolve: async () => ['127.0.0.1'],
    originCa: ca.pem,
    originLimits: { maxIdle: 0 },
  })
  for (const reused of [false, true]) {
    await exchange(session, { url: `https://app.internal:${port}` }, get)
    assert.equal((await connections.take()).isSessionReused(), reused)
  }
})

test('what is not TLS, or ends in the handshake, is named', async (t) => {
  const ca = await makeAuthority('Private CA')
  const { session } = await network(t, ca.pem)
  const { createServer: createTcpServer } = await import('node:net')
  for (const [behave, code] of [
    [
      (socket: { end(text: string): void }) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'),
      ResetCode.ORIGIN_TLS_INVALID,
    ],
    [(socket: { end(text: string): void }) => socket.end(''), ResetCode.CONNECTION_RESET],
  ] as const) {
    const server = createTcpServer((socket) => {
      socket.on('error', () => {})
      socket.once('data', () => behave(socket))
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.after(() => server.close())
    const { port } = server.address() as AddressInfo
    const error = await failure(session, { url: `https://app.internal:${port}` })
    assert.equal(error.resetCode, code, error.detail)
  }
})

test('an origin that demands a client certificate where there is none is named by that', async (t) => {
  const ca = await makeAuthority('Private CA')
  const { port } = await startTlsOrigin(t, await ca.issue({ dns: ['app.internal'] }), {
    requestCert: true,
    rejectUnauthorized: true,
    ca: ca.pem,
    maxVersion: 'TLSv1.2',
  })
  const { session } = await network(t, ca.pem)
  const error = await failure(session, { url: `https://app.internal:${port}` })
  assert.equal(error.resetCode, ResetCode.ORIGIN_CLIENT_CERTIFICATE)
})

test('a handshake that never ends is a timeout, and its socket is given up', async (t) => {
  const { createServer: createTcpServer } = await import('node:net')
  const sockets = new Inbox<import('node:net').Socket>()
  const server = createTcpServer((socket) => {
    socket.on('error', () => {})
    socket.resume()
    sockets.put(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const { session } = await network(t, undefined)
  const { port } = server.address() as AddressInfo
  const failing = failure(session, { url: `https://app.internal:${port}`, timeoutMs: 100 })
  const socket = await sockets.take()
  assert.equal((await failing).resetCode, ResetCode.ORIGIN_TIMEOUT)
  if (!socket.closed) await once(socket, 'close')
})
