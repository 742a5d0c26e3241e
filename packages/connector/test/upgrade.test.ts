import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { ResetCode } from '@sallyport/protocol'
import { type RawConnection, startRawOrigin } from './origins.ts'
import { connected, exchange, GatewayStream, openText } from './service.ts'

const webSocket = 'GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket'
const switching =
  'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n'

async function text(connection: RawConnection, expected: string): Promise<void> {
  while (connection.rest.length < expected.length) await once(connection.socket, 'data')
  assert.equal(connection.rest, expected)
}

test('after 101 bytes pass both ways, and each end closes its own half', async (t) => {
  const origin = await startRawOrigin(t)
  const { session, connector } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  for (const originFirst of [true, false]) {
    const gateway = new GatewayStream(session, openText({ url: origin.url, upgrade: true }))
    gateway.stream.sendHead(webSocket)
    const connection = await origin.connections.take()
    assert.equal(await connection.requests.take(), webSocket)
    connection.socket.write(`${switching}early`)
    assert.match(
      await gateway.heads.take(),
      /^HTTP\/1\.1 101 Switching Protocols\r\nsallyport-origin-ms: [0-9.;]+\r\nConnection: Upgrade\r\nUpgrade: WebSocket$/,
    )
    assert.equal((await gateway.chunks.take()).toString(), 'early')
    gateway.stream.write(Buffer.from('to origin'))
    await text(connection, 'to origin')
    if (originFirst) {
      connection.socket.end('bye')
      await gateway.ended()
      assert.equal(gateway.body, 'earlybye')
      gateway.stream.write(Buffer.from(' still'))
      await text(connection, 'to origin still')
      gateway.stream.end()
      await connection.closed
    } else {
      gateway.stream.end()
      await connection.closed
      connection.socket.end('late')
      await gateway.ended()
      assert.equal(gateway.body, 'earlylate')
    }
  }
  assert.equal(connector.status().exchanges.active, 0)
  assert.equal(connector.status().exchanges.failed, 0)
})

test('an origin that answers an upgrade with anything but 101 does not get a raw pipe', async (t) => {
  const origin = await startRawOrigin(t)
  const { session } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  for (const status of [
    '200 OK',
    '426 Upgrade Required',
    '500 Oops',
    '100 Continue\r\n\r\nHTTP/1.1 400 Bad',
  ]) {
    const gateway = new GatewayStream(session, openText({ url: origin.url, upgrade: true }))
    gateway.stream.sendHead(webSocket)
    const connection = await origin.connections.take()
    await connection.requests.take()
    connection.socket.write(
      `HTTP/1.1 ${status}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 9\r\n\r\nno`,
    )
    await gateway.chunks.take()
    assert.doesNotMatch(gateway.heads.last!, /upgrade:/i)
    gateway.stream.write(Buffer.from('GET /admin HTTP/1.1\r\nHost: x\r\n\r\n'))
    assert.equal((await gateway.failed()).resetCode, ResetCode.PROTOCOL_ERROR)
    await connection.closed
    assert.equal(connection.requests.all.length, 1)
    assert.equal(connection.rest, '')
  }
})

test('a connection that was asked to upgrade and did not is not used again', async (t) => {
  const origin = await startRawOrigin(t)
  const { session } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  const gateway = new GatewayStream(session, openText({ url: origin.url, upgrade: true }))
  gateway.stream.sendHead(webSocket)
  const connection = await origin.connections.take()
  await connection.requests.take()
  connection.socket.write('HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n')
  await gateway.ended()
  await connection.closed
})

test('bytes that a client sends before 101 do not reach the origin', async (t) => {
  const origin = await startRawOrigin(t)
  const { session } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  const gateway = new GatewayStream(session, openText({ url: origin.url, upgrade: true }))
  gateway.stream.sendHead(webSocket)
  gateway.stream.write(Buffer.from('GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n'))
  const connection = await origin.connections.take()
  await connection.requests.take()
  // No credit before the answer, so nothing has moved.
  assert.equal(connection.rest, '')
  connection.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n')
  assert.equal((await gateway.failed()).resetCode, ResetCode.PROTOCOL_ERROR)
  await connection.closed
  assert.equal(connection.requests.all.length, 1)
})

test('a 101 that was not asked for, or to another protocol, is no answer', async (t) => {
  const origin = await startRawOrigin(t)
  const { session } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  for (const [opening, head, answer] of [
    [{}, 'GET / HTTP/1.1\r\nHost: x', switching],
    // The instruction says no upgrade: the fields alone do not make one.
    [{}, webSocket, switching],
    [{ upgrade: true }, webSocket, switching.replace('WebSocket', 'h2c')],
    [{ upgrade: true }, webSocket, switching.replace('Upgrade: WebSocket\r\n', '')],
    [{ upgrade: true }, webSocket, switching.replace('Connection: Upgrade\r\n', '')],
  ] as const) {
    const gateway = new GatewayStream(session, openText({ url: origin.url, ...opening }))
    gateway.stream.sendHead(head)
    const connection = await origin.connections.take()
    await connection.requests.take()
    connection.socket.write(answer)
    assert.equal((await gateway.failed()).resetCode, ResetCode.ORIGIN_RESPONSE_INVALID)
    assert.equal(gateway.heads.all.length, 0)
    await connection.closed
  }
})

test('h2c is taken out of an upgrade, and what is left is asked for', async (t) => {
  const origin = await startRawOrigin(t)
  const { session } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  for (const [upgrade, left] of [
    ['h2c', undefined],
    ['H2C, h2', undefined],
    ['TLS/1.3', undefined],
    ['HTTP/2.0', undefined],
    ['h2c, websocket', 'websocket'],
    ['websocket, h2c, tcp', 'websocket, tcp'],
  ] as const) {
    const answering = exchange(
      session,
      { url: origin.url, upgrade: true },
      `GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: ${upgrade}\r\nHTTP2-Settings: AAMAAABk`,
    )
    const connection = await origin.connections.take()
    assert.equal(
      await connection.requests.take(),
      left === undefined
        ? 'GET / HTTP/1.1\r\nHost: x'
        : `GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: ${left}`,
    )
    connection.socket.end('HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')
    await answering
  }
})

test('an upgrade with a body is refused', async (t) => {
  const origin = await startRawOrigin(t)
  const { session } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  const gateway = new GatewayStream(session, openText({ url: origin.url, upgrade: true }))
  gateway.stream.sendHead(`${webSocket}\r\nContent-Length: 5`)
  assert.equal((await gateway.failed()).resetCode, ResetCode.PROTOCOL_ERROR)
  assert.equal(origin.connections.all.length, 0)
})

test('a pipe ends when either side breaks off', async (t) => {
  const origin = await startRawOrigin(t)
  const { session, connector } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  const open = async () => {
    const gateway = new GatewayStream(session, openText({ url: origin.url, upgrade: true }))
    gateway.stream.sendHead(webSocket)
    const connection = await origin.connections.take()
    await connection.requests.take()
    connection.socket.write(switching)
    await gateway.heads.take()
    return { gateway, connection }
  }
  const one = await open()
  one.connection.socket.resetAndDestroy()
  assert.equal((await one.gateway.failed()).resetCode, ResetCode.CONNECTION_RESET)

  const two = await open()
  two.gateway.stream.reset(ResetCode.CANCELLED)
  await two.connection.closed

  // The origin has ended its half and then goes away altogether.
  const three = await open()
  three.connection.socket.end()
  await three.gateway.ended()
  three.connection.socket.resetAndDestroy()
  // Nobody reads from a half that has ended: the reset shows at the next write.
  three.gateway.stream.write(Buffer.from('anybody?'))
  const outcome = await three.gateway.outcomes.take()
  assert(outcome instanceof Error)
  assert.equal(outcome.resetCode, ResetCode.NO_ERROR)
  assert.equal(connector.status().exchanges.active, 0)
})

test('the timeout does not run for an open pipe', async (t) => {
  const origin = await startRawOrigin(t)
  const { session } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  const opening = { url: origin.url, upgrade: true, timeoutMs: 50 }
  const gateway = new GatewayStream(session, openText(opening))
  gateway.stream.sendHead(webSocket)
  const connection = await origin.connections.take()
  await connection.requests.take()
  connection.socket.write(switching)
  await gateway.heads.take()
  const silent = new GatewayStream(session, openText({ ...opening, timeoutMs: 150 }))
  silent.stream.sendHead(webSocket)
  assert.equal((await silent.failed()).resetCode, ResetCode.ORIGIN_TIMEOUT)
  connection.socket.write('alive')
  assert.equal((await gateway.chunks.take()).toString(), 'alive')
})
