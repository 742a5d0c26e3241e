import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Http1Error, type ServerExchange } from '../src/index.ts'
import { answer, record, serve } from './support/server.ts'
import { settle, transports } from './support/wire.ts'

const UPGRADE =
  'GET / HTTP/1.1\r\nHost: a\r\nUpgrade: echo\r\nConnection: keep-alive, Upgrade\r\n\r\n'

function accept(exchange: ServerExchange): void {
  exchange.sendHead({ statusCode: 101, fields: ['Upgrade', 'echo', 'Content-Length', '5'] })
}

for (const transport of transports) {
  test(`after 101 bytes pass both ways as they are, until both halves end (${transport})`, async (t) => {
    let closes = 0
    const { wire, exchanges, closed } = await serve(t, accept, {}, transport)
    wire.send(`${UPGRADE}early`)
    await wire.has('\r\n\r\n')
    assert.equal(
      wire.text,
      'HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n',
    )
    wire.clear()
    const exchange = exchanges[0]!
    exchange.onClose = () => closes++
    const body = record(exchange)
    exchange.write(Buffer.from('0\r\n\r\n'))
    wire.send('GET / HTTP/1.1\r\n\r\n')
    await wire.has('0\r\n\r\n')
    wire.end()
    await body.finished
    assert.equal(body.text, 'earlyGET / HTTP/1.1\r\n\r\n')
    // The other half is still open.
    exchange.end(Buffer.from('last'))
    assert.equal(await wire.all(), '0\r\n\r\nlast')
    await closed
    assert.deepEqual([closes, body.ends, exchanges.length], [0, 1, 1])
  })

  test(`after our end the other half stays open (${transport})`, async (t) => {
    const { wire, exchanges, closed } = await serve(t, accept, {}, transport)
    wire.send(UPGRADE)
    while (exchanges.length === 0) await settle(1)
    const body = record(exchanges[0]!)
    exchanges[0]!.end(Buffer.from('bye'))
    assert.match(await wire.all(), /\r\n\r\nbye$/)
    wire.send('more')
    wire.end()
    await body.finished
    assert.deepEqual([body.text, body.error], ['more', undefined])
    await closed
  })
}

test('a raw pipe holds its reader back while paused', async (t) => {
  const { wire, exchanges } = await serve(t, accept)
  wire.send(UPGRADE)
  await settle()
  const body = record(exchanges[0]!)
  exchanges[0]!.pause()
  for (let count = 0; count < 8; count++) wire.socket.write(Buffer.alloc(100_000, 'x'))
  wire.end()
  await settle(50)
  assert.equal(body.text, '')
  assert.ok(wire.socket.writableLength > 500_000)
  exchanges[0]!.resume()
  await body.finished
  assert.equal(body.text.length, 800_000)
})

test('what came before the raw pipe is received waits, its end too', async (t) => {
  const { wire, exchanges } = await serve(t, (exchange) => {
    // A body that there is not ends at once, and the raw pipe is received anew.
    assert.deepEqual(record(exchange).trailers, [])
    accept(exchange)
  })
  wire.send(UPGRADE, 'ab')
  wire.end()
  await settle(20)
  const body = record(exchanges[0]!)
  await body.finished
  assert.equal(body.text, 'ab')
})

test('a raw pipe that breaks tells its sink and its exchange', async (t) => {
  for (const act of ['abort', 'leave', 'destroy'] as const) {
    const codes: unknown[] = []
    const { wire, exchanges, connection, closed } = await serve(t, accept)
    wire.send(UPGRADE)
    await settle()
    exchanges[0]!.onClose = (error) => codes.push((error as Http1Error).code)
    const body = record(exchanges[0]!)
    if (act === 'abort') exchanges[0]!.abort()
    if (act === 'destroy') connection.destroy()
    if (act === 'leave') connection.socket.destroy(new Error('reset'))
    await closed
    assert.equal(body.ends, 1)
    const code = act === 'abort' ? 'HTTP1_ABORTED' : 'HTTP1_CONNECTION_CLOSED'
    assert.deepEqual([body.error?.code, codes], [code, [code]])
  }
})

test('a raw pipe that has ended can still be aborted', async (t) => {
  const { wire, exchanges, closed } = await serve(t, accept)
  wire.send(UPGRADE)
  await settle()
  const body = record(exchanges[0]!)
  exchanges[0]!.end()
  exchanges[0]!.abort()
  await closed
  assert.equal(body.error?.code, 'HTTP1_ABORTED')
})

test('an upgrade that is declined leaves an HTTP connection behind, never a pipe', async (t) => {
  const { wire, exchanges } = await serve(t, (exchange) => answer(exchange, 'no'))
  wire.send(`${UPGRADE}GET /next HTTP/1.1\r\nHost: a\r\n\r\n`)
  await wire.has(/no.*no$/s)
  assert.deepEqual(
    exchanges.map(({ request }) => request.target),
    ['/', '/next'],
  )
  wire.send('raw bytes\r\n\r\n')
  assert.match(await wire.all(), /400 Bad Request/)
})

test('draining leaves raw pipes alone', async (t) => {
  const { wire, exchanges, connection } = await serve(t, accept)
  wire.send(UPGRADE)
  await settle()
  connection.closeWhenIdle()
  exchanges[0]!.write(Buffer.from('still here'))
  await wire.has('still here')
})

test('an upgrade is requested by Connection and Upgrade together, in HTTP/1.1, without a body', async (t) => {
  for (const [request, requested] of [
    ['GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n', true],
    [
      'POST / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\nContent-Length: 0\r\n\r\n',
      true,
    ],
    ['GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\n', false],
    ['GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n\r\n', false],
    ['GET / HTTP/1.0\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n', false],
    [
      'GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\nContent-Length: 1\r\n\r\na',
      false,
    ],
    [
      'GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\nTransfer-Encoding: chunked\r\n\r\n',
      false,
    ],
  ] as const) {
    const { wire, exchanges } = await serve(t, () => undefined)
    wire.send(request)
    await settle()
    const exchange = exchanges[0]!
    assert.equal(exchange.upgradeRequested, requested, request)
    if (!requested) assert.throws(() => accept(exchange), TypeError)
  }
})

test('101 says what the connection becomes, and nothing that could break out of the head', async (t) => {
  const { wire } = await serve(t, (exchange) => {
    const send = (...fields: string[]) => exchange.sendHead({ statusCode: 101, fields })
    assert.throws(() => send(), TypeError)
    assert.throws(() => send('Upgrade', 'x', 'Connection', 'Upgrade'), TypeError)
    assert.throws(() => send('Upgrade', 'x', 'Transfer-Encoding', 'chunked'), TypeError)
    assert.throws(() => send('Upgrade', 'x\r\n'), Http1Error)
    assert.equal(exchange.headSent, false)
    accept(exchange)
  })
  wire.send(UPGRADE)
  await wire.has('101')
})

test('Upgrade in another response is an option of the connection too', async (t) => {
  const { wire } = await serve(t, (exchange) => {
    exchange.sendHead({ statusCode: 426, fields: ['Upgrade', 'TLS/1.2'] }, { end: true })
  })
  wire.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  await wire.has('\r\nConnection: upgrade\r\n')
  wire.send('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
  assert.match(await wire.all(), /\r\nConnection: close, upgrade\r\n/)
})
