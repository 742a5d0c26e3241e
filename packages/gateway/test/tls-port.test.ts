import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { duplexPair } from 'node:stream'
import test, { type TestContext } from 'node:test'
import tls from 'node:tls'
import { promisify } from 'node:util'
import { listenTls } from '../src/tls-port.ts'

// Pre-shared keys spare the test a certificate.
const pskOptions = { ciphers: 'PSK-AES128-GCM-SHA256', maxVersion: 'TLSv1.2' as const }

interface Port {
  port: number
  server: net.Server
  /** Server names by which connections were routed. */
  names: (string | undefined)[]
}

/** A port that sends `a.test` to one server and `b.test` to another, each of which says which it is. */
async function startPort(t: TestContext): Promise<Port> {
  const names: (string | undefined)[] = []
  const servers = Object.fromEntries(
    ['a.test', 'b.test'].map((name) => [
      name,
      tls.createServer({ ...pskOptions, pskCallback: () => Buffer.alloc(32, 1) }, (socket) => {
        socket.on('error', () => undefined)
        socket.end(`${name} ${socket.servername}`)
      }),
    ]),
  )
  const server = listenTls({
    route: ({ serverName }) => {
      names.push(serverName)
      const chosen = servers[serverName ?? '']
      return chosen && ((socket) => chosen.emit('connection', socket))
    },
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  return { port: (server.address() as net.AddressInfo).port, server, names }
}

function connect(t: TestContext, port: number): net.Socket {
  const socket = net.connect({ port, host: '127.0.0.1', noDelay: true })
  socket.on('error', () => undefined)
  t.after(() => socket.destroy())
  return socket
}

/** A TLS client whose bytes pass through `send` on their way out. */
function handshake(
  raw: net.Socket,
  servername: string,
  send: (bytes: Buffer) => void,
): tls.TLSSocket {
  const [near, far] = duplexPair()
  far.on('data', send)
  raw.on('data', (chunk) => far.write(chunk))
  raw.on('close', () => far.destroy())
  const client = tls.connect({
    socket: near,
    servername,
    ...pskOptions,
    checkServerIdentity: () => undefined,
    pskCallback: () => ({ psk: Buffer.alloc(32, 1), identity: 'test' }),
  })
  client.on('error', () => undefined)
  return client
}

async function textOf(socket: tls.TLSSocket): Promise<string> {
  let text = ''
  for await (const chunk of socket) text += chunk
  return text
}

test('each connection goes to the server that its ClientHello names, with all of its bytes', async (t) => {
  const { port, names } = await startPort(t)
  for (const name of ['a.test', 'b.test', 'A.TEST']) {
    const raw = connect(t, port)
    assert.equal(
      await textOf(handshake(raw, name, (bytes) => raw.write(bytes))),
      `${name.toLowerCase()} ${name}`,
    )
  }
  assert.deepEqual(names, ['a.test', 'b.test', 'a.test'])
})

test('a ClientHello that comes byte by byte is collected', async (t) => {
  const { port, server } = await startPort(t)
  const raw = connect(t, port)
  const accepted = once(server, 'connection') as Promise<[net.Socket]>
  let first = true
  const client = handshake(raw, 'a.test', (bytes) => {
    if (!first) {
      raw.write(bytes)
      return
    }
    first = false
    void (async () => {
      const [socket] = await accepted
      for (let at = 0; at < bytes.length; at += 1) {
        raw.write(bytes.subarray(at, at + 1))
        // The next byte goes out when this one has been read, so that no two come together.
        while (socket.bytesRead <= at) await new Promise((resolve) => setImmediate(resolve))
      }
    })()
  })
  assert.equal(await textOf(client), 'a.test a.test')
})

for (const [what, bytes] of [
  ['HTTP without TLS', 'GET / HTTP/1.1\r\nHost: a.test\r\n\r\n'],
  ['a record that is no handshake', '\x17\x03\x03\x00\x05hello'],
  ['a record that would be too long', '\x16\x03\x01\xff\xff'],
] as const)
  test(`a connection that begins with ${what} is closed, and nobody is asked`, async (t) => {
    const { port, names } = await startPort(t)
    const raw = connect(t, port)
    raw.resume()
    raw.write(bytes, 'latin1')
    await once(raw, 'close')
    assert.deepEqual(names, [])
  })

test('a connection for a name that nobody answers to is closed without a byte', async (t) => {
  const { port, names } = await startPort(t)
  for (const name of ['c.test', '']) {
    const raw = connect(t, port)
    const client = handshake(raw, name, (bytes) => raw.write(bytes))
    await once(raw, 'close')
    assert.equal(raw.bytesRead, 0)
    client.destroy()
  }
  assert.deepEqual(names, ['c.test', undefined])
})

test('a connection that says nothing is closed after ten seconds', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const { port, server } = await startPort(t)
  const accepted = once(server, 'connection') as Promise<[net.Socket]>
  const raw = connect(t, port)
  raw.resume()
  const [socket] = await accepted
  t.mock.timers.tick(9_999)
  assert.equal(socket.destroyed, false)
  t.mock.timers.tick(1)
  assert.equal(socket.destroyed, true)
  await once(raw, 'close')
})

test('a connection that leaves in the middle of its ClientHello leaves nothing behind', async (t) => {
  const { port, server } = await startPort(t)
  const accepted = once(server, 'connection') as Promise<[net.Socket]>
  const raw = connect(t, port)
  const [socket] = await accepted
  const closed = once(socket, 'close')
  raw.write('\x16\x03\x01', 'latin1')
  raw.end()
  await closed
  const count = await promisify(server.getConnections.bind(server))()
  assert.equal(count, 0)
})
