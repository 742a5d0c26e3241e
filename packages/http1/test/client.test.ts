import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ClientConnection, Http1Error } from '../src/index.ts'
import { get, head, open, RecordedResponse } from './support/client.ts'
import { connect, settle, transports } from './support/wire.ts'

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi'

for (const transport of transports) {
  test(`one connection serves one request after another (${transport})`, async (t) => {
    const client = await open(t, {}, transport)
    const { connection, wire } = client
    for (const [text, body] of [
      [OK, 'hi'],
      ['HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n', 'ab'],
      ['HTTP/1.1 500 \r\nContent-Length: 0\r\n\r\n', ''],
    ] as const) {
      assert.equal(connection.reusable, true)
      const { response } = get(connection)
      assert.equal(connection.reusable, false)
      await wire.has('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
      wire.clear()
      wire.send(text)
      await response.finished
      assert.deepEqual([response.text, response.ends, response.error], [body, 1, undefined])
    }
    assert.equal(client.idles, 3)
  })

  test(`a body until the connection ends is whole when it ends (${transport})`, async (t) => {
    const { connection, wire, closed } = await open(t, {}, transport)
    const { response } = get(connection)
    wire.send('HTTP/1.0 200 OK\r\n\r\nsome ', 'text')
    wire.end()
    await response.finished
    assert.deepEqual([response.text, response.framing], ['some text', { kind: 'close' }])
    assert.equal(connection.reusable, false)
    assert.equal(await closed, undefined)
  })
}

test('head and first part of the body leave in one write', async (t) => {
  const { connection, wire } = await open(t)
  const request = head('POST', 'content-length', '9', 'A', 'b', 'Transfer-Encoding', 'x')
  const exchange = connection.request(
    request,
    { kind: 'length', length: 2 },
    new RecordedResponse(),
  )
  exchange.end(Buffer.from('hi'))
  await wire.has('hi')
  const text = 'POST / HTTP/1.1\r\nHost: a\r\nA: b\r\nContent-Length: 2\r\n\r\nhi'
  assert.deepEqual(wire.pieces, [text])
})

test('framing decides how a request body is sent', async (t) => {
  const { connection, wire } = await open(t)
  const chunked = connection.request(head('POST'), { kind: 'chunked' }, new RecordedResponse())
  chunked.write(Buffer.from('one'))
  chunked.end(Buffer.from('two'), ['T', '1'])
  await wire.has('T: 1')
  assert.equal(
    wire.text,
    'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\nT: 1\r\n\r\n',
  )
  wire.clear()
  wire.send(OK)
  await settle()
  const empty = { kind: 'length', length: 0 } as const
  connection.request(head('POST'), empty, new RecordedResponse()).end()
  await wire.has('\r\n\r\n')
  assert.equal(wire.text, 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n')
  wire.clear()
  wire.send(OK)
  await settle()
  get(connection)
  await wire.has('\r\n\r\n')
  assert.equal(wire.text, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n')
})

test('a head without body yet leaves at the end of the tick', async (t) => {
  const { connection, wire } = await open(t)
  const exchange = connection.request(head('POST'), { kind: 'chunked' }, new RecordedResponse())
  await wire.has('Transfer-Encoding: chunked\r\n\r\n')
  exchange.write(Buffer.from('x'))
  await wire.has(/1\r\nx\r\n$/)
})

test('requests that cannot be are refused, and nothing of them is sent', async (t) => {
  const { connection, wire } = await open(t)
  const sink = new RecordedResponse()
  const none = { kind: 'none' } as const
  const old = { ...head(), versionMinor: 0 as const }
  assert.throws(() => connection.request(head('G T'), none, sink), Http1Error)
  assert.throws(() => connection.request(head('GET', 'A', 'b\r\nC: d'), none, sink), Http1Error)
  assert.throws(
    () => connection.request({ ...head(), target: '/ HTTP/1.1\r\nX: y' }, none, sink),
    Http1Error,
  )
  assert.throws(
    () => connection.request({ ...head(), target: '/\u010d\u010a' }, none, sink),
    Http1Error,
  )
  assert.throws(() => connection.request(head('CONNECT'), none, sink), TypeError)
  assert.throws(() => connection.request(head(), { kind: 'close' }, sink), TypeError)
  assert.throws(() => connection.request(old, { kind: 'chunked' }, sink), TypeError)
  for (const length of [-1, 1.5, 2 ** 53]) {
    assert.throws(() => connection.request(head(), { kind: 'length', length }, sink), TypeError)
  }
  assert.equal(connection.reusable, true)
  get(connection)
  assert.throws(() => get(connection), TypeError)
  await settle()
  assert.equal(wire.text, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n')
})

for (const [what, text] of [
  ['a 1.0 response without keep-alive', 'HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi'],
  ['Connection: close', 'HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 2\r\n\r\nhi'],
] as const) {
  test(`${what} ends the connection`, async (t) => {
    const client = await open(t)
    const { response } = get(client.connection)
    client.wire.send(text)
    await response.finished
    assert.deepEqual([response.text, client.connection.reusable], ['hi', false])
    assert.equal(await client.closed, undefined)
    assert.equal(client.idles, 0)
  })
}

test('a 1.0 response with keep-alive keeps the connection, our own Connection: close does not', async (t) => {
  const { connection, wire, closed } = await open(t)
  const first = get(connection)
  wire.send('HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nhi')
  await first.response.finished
  assert.equal(connection.reusable, true)
  const second = get(connection, head('GET', 'Connection', 'close'))
  wire.send(OK)
  await second.response.finished
  assert.equal(await closed, undefined)
})

test('a response to HEAD, 204 and 304 have no body, and the connection is used again', async (t) => {
  const client = await open(t)
  const { connection, wire } = client
  for (const [method, text] of [
    ['HEAD', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n'],
    ['HEAD', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'],
    ['HEAD', 'HTTP/1.1 200 OK\r\n\r\n'],
    ['GET', 'HTTP/1.1 204 No Content\r\n\r\n'],
    ['GET', 'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n'],
  ] as const) {
    const { response } = get(connection, head(method))
    wire.send(text)
    await response.finished
    assert.deepEqual([response.text, response.framing], ['', { kind: 'none' }])
    // Not at once: a server that sends a body all the same sends it now.
    assert.equal(connection.reusable, false)
    await settle()
    assert.equal(connection.reusable, true)
  }
  assert.equal(client.idles, 5)
})

for (const [what, method, texts] of [
  ['a body after the response to HEAD', 'HEAD', ['HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi']],
  ['a body after 204', 'GET', ['HTTP/1.1 204 No Content\r\n\r\n0\r\n\r\n']],
  ['a body after 304, in its own piece', 'GET', ['HTTP/1.1 304 x\r\n\r\n', OK]],
  ['more than Content-Length says', 'GET', [`${OK}more`]],
  ['a second response', 'GET', [OK + OK]],
  ['a second response, in its own piece', 'GET', [OK, OK]],
  ['an empty line', 'GET', [OK, '\r\n']],
] as const) {
  test(`${what} is unsolicited: the connection is dropped, its response stays`, async (t) => {
    const client = await open(t)
    const { exchange, response } = get(client.connection, head(method))
    client.wire.send(...texts)
    await response.finished
    assert.equal(response.error, undefined)
    assert.equal((await client.closed)?.code, 'HTTP1_UNSOLICITED')
    assert.equal(client.connection.reusable, false)
    assert.equal(response.text, texts[0].startsWith(OK) && method === 'GET' ? 'hi' : '')
    assert.equal(exchange.write(Buffer.from('x')), false)
    assert.throws(() => get(client.connection), TypeError)
  })
}

for (const transport of transports) {
  test(`a response that no request asked for reaches nobody (${transport})`, async (t) => {
    const { connection, wire, closed } = await open(t, {}, transport)
    wire.send(OK)
    assert.equal((await closed)?.code, 'HTTP1_UNSOLICITED')
    assert.throws(() => get(connection), TypeError)
  })
}

test('bytes that the socket holds when a request is made are not its response', async (t) => {
  const [socket, server] = await connect(t, 'memory')
  const connection = new ClientConnection(socket)
  socket.pause()
  server.write(OK)
  await settle()
  assert.ok(socket.readableLength > 0)
  const { response } = get(connection)
  await response.finished
  assert.deepEqual([response.error?.code, response.head], ['HTTP1_UNSOLICITED', undefined])
})

test('an idle connection that the server closes is not reusable', async (t) => {
  const { connection, wire, closed } = await open(t, {}, 'tcp')
  wire.end()
  assert.equal(await closed, undefined)
  assert.equal(connection.reusable, false)
})

test('informational responses come before the final one', async (t) => {
  const { connection, wire } = await open(t)
  const { response } = get(connection)
  wire.send('HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n')
  await settle()
  assert.deepEqual([response.informational, response.head], [[100, 103], undefined])
  wire.send(`HTTP/1.1 102 \r\n\r\n${OK}`)
  await response.finished
  assert.deepEqual([response.informational, response.text], [[100, 103, 102], 'hi'])
})

test('more than 32 informational responses are an error', async (t) => {
  const { connection, wire } = await open(t)
  const { response } = get(connection)
  wire.send('HTTP/1.1 100 \r\n\r\n'.repeat(33) + OK)
  await response.finished
  assert.deepEqual(
    [response.informational.length, response.error?.code],
    [32, 'HTTP1_RESPONSE_INVALID'],
  )
})

const badResponses: [string, string][] = [
  ['HTTP/1.1 200 OK\n\n', 'lines that end in LF alone'],
  ['\r\nHTTP/1.1 200 OK\r\n\r\n', 'an empty line first'],
  ['HTTP/1.1 200 OK\r\nA : b\r\n\r\n', 'a space before the colon'],
  ['HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n', 'a folded line'],
  ['HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n', 'a bare CR'],
  ['HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n', 'a NUL'],
  ['HTTP/1.1 099 OK\r\n\r\n', 'a status code under 100'],
  ['HTTP/1.1 600 OK\r\n\r\n', 'a status code over 599'],
  ['HTTP/2.0 200 OK\r\n\r\n', 'another version'],
  ['SSH-2.0-OpenSSH\r\n\r\n', 'another protocol'],
  ['HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na', 'Content-Length twice'],
  ['HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n', 'two framings'],
  ['HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n', 'a negative Content-Length'],
  ['HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n', 'another transfer coding'],
  ['HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', 'chunked in a 1.0 response'],
  ['HTTP/1.1 101 x\r\nUpgrade: y\r\n\r\n', '101 to a request that asked for no upgrade'],
  [`HTTP/1.1 200 OK\r\nA: ${'b'.repeat(70_000)}`, 'a head without end'],
  [`HTTP/1.1 200 OK\r\n${'A: b\r\n'.repeat(201)}\r\n`, 'too many fields'],
  ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n', 'an invalid chunk'],
]

for (const [text, what] of badResponses) {
  test(`${what} makes a response invalid`, async (t) => {
    const { connection, wire, closed } = await open(t)
    const { response } = get(connection)
    wire.send(text)
    await response.finished
    assert.deepEqual([response.error?.code, response.ends], ['HTTP1_RESPONSE_INVALID', 1])
    assert.equal((await closed)?.code, 'HTTP1_RESPONSE_INVALID')
  })
}

test('a response that is cut off is an error, once', async (t) => {
  for (const text of [
    '',
    'HTTP/1.1 2',
    'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n',
  ]) {
    for (const how of ['end', 'destroy'] as const) {
      const { connection, wire, closed } = await open(t, {}, 'tcp')
      const { exchange, response } = get(connection)
      wire.send(text)
      await wire.has('\r\n\r\n')
      wire.socket[how]()
      await response.finished
      assert.deepEqual([response.error?.code, response.ends], ['HTTP1_CONNECTION_CLOSED', 1])
      assert.equal((await closed)?.code, 'HTTP1_CONNECTION_CLOSED')
      // What tells whether the request may be sent again.
      if (text === '') assert.equal(exchange.responseBegun, false)
      if (how === 'end' && text !== '') assert.equal(exchange.responseBegun, true)
    }
  }
})

test('an error of the socket is kept as the cause', async (t) => {
  const net = await import('node:net')
  const server = net.createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as import('node:net').AddressInfo
  await new Promise((resolve) => server.close(resolve))
  const connection = new ClientConnection(net.connect(port, '127.0.0.1'))
  t.after(() => connection.destroy())
  const { exchange, response } = get(connection)
  await response.finished
  assert.equal(response.error?.code, 'HTTP1_CONNECTION_CLOSED')
  assert.equal((response.error.cause as NodeJS.ErrnoException).code, 'ECONNREFUSED')
  assert.equal(exchange.responseBegun, false)
})

test('a response that is complete before its request ends the connection', async (t) => {
  const client = await open(t)
  const response = new RecordedResponse()
  const exchange = client.connection.request(head('POST'), { kind: 'chunked' }, response)
  exchange.write(Buffer.from('begun'))
  client.wire.send(OK)
  await response.finished
  assert.deepEqual([response.text, client.connection.reusable, client.idles], ['hi', false, 0])
  assert.equal(exchange.write(Buffer.from('more')), false)
  exchange.end()
  exchange.abort()
  assert.equal(await client.closed, undefined)
})

test('a response may begin before its request has ended, and the connection be used again', async (t) => {
  const client = await open(t)
  const response = new RecordedResponse()
  const exchange = client.connection.request(head('POST'), { kind: 'chunked' }, response)
  client.wire.send('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhi')
  await settle()
  assert.equal(response.text, 'hi')
  exchange.end(Buffer.from('all'))
  client.wire.send('ho')
  await response.finished
  assert.equal(client.connection.reusable, true)
})

test('a counted request body is complete with its last byte, though end comes later', async (t) => {
  const client = await open(t)
  const response = new RecordedResponse()
  const exchange = client.connection.request(head('POST'), { kind: 'length', length: 2 }, response)
  exchange.write(Buffer.from('hi'))
  client.wire.send(OK)
  await response.finished
  assert.deepEqual([client.connection.reusable, client.idles], [true, 1])
  const next = get(client.connection)
  exchange.end()
  exchange.abort()
  client.wire.send(OK)
  await next.response.finished
  assert.equal(next.response.text, 'hi')
})

for (const [what, texts] of [
  ['too much', ['abcd']],
  ['too much in parts', ['ab', 'cd']],
] as const) {
  test(`${what} for its Content-Length destroys the connection`, async (t) => {
    const { connection, closed, wire } = await open(t)
    const response = new RecordedResponse()
    const exchange = connection.request(head('POST'), { kind: 'length', length: 3 }, response)
    for (const text of texts) exchange.write(Buffer.from(text))
    await response.finished
    assert.equal(response.error?.code, 'HTTP1_LENGTH_MISMATCH')
    assert.equal((await closed)?.code, 'HTTP1_LENGTH_MISMATCH')
    assert.doesNotMatch(wire.text, /abc/)
  })
}

test('too little for its Content-Length destroys the connection', async (t) => {
  const { connection, closed } = await open(t)
  const response = new RecordedResponse()
  const exchange = connection.request(head('POST'), { kind: 'length', length: 3 }, response)
  exchange.end(Buffer.from('ab'))
  assert.equal((await closed)?.code, 'HTTP1_LENGTH_MISMATCH')
})

test('abort destroys the connection and tells the sink', async (t) => {
  const { connection, closed } = await open(t)
  const { exchange, response } = get(connection)
  exchange.abort()
  await response.finished
  assert.equal(response.error?.code, 'HTTP1_ABORTED')
  assert.equal((await closed)?.code, 'HTTP1_ABORTED')
})

test('a sink that aborts in any callback hears nothing after it but the error', async (t) => {
  for (const callback of ['onInformational', 'onHead', 'onData'] as const) {
    const { connection, wire } = await open(t)
    const response = new RecordedResponse()
    const recorded: string[] = []
    const note = (name: string) => () => {
      recorded.push(name)
      if (name === callback) exchange.abort()
    }
    const exchange = connection.request(
      head(),
      { kind: 'none' },
      {
        onInformational: note('onInformational'),
        onHead: note('onHead'),
        onData: note('onData'),
        onEnd: note('onEnd'),
        onError: (error) => response.onError(error),
      },
    )
    wire.send(`HTTP/1.1 100 \r\n\r\n${OK}`)
    await response.finished
    assert.equal(recorded.at(-1), callback)
    assert.equal(response.error?.code, 'HTTP1_ABORTED')
  }
})

test('a new request can be made in onEnd, and in onIdle', async (t) => {
  const { connection, wire } = await open(t)
  const bodies: string[] = []
  const { promise, resolve } = Promise.withResolvers<void>()
  let count = 0
  const again = () => {
    if (++count > 6) return resolve()
    connection.request(
      head(),
      { kind: 'none' },
      {
        onInformational: () => undefined,
        onHead: () => undefined,
        onData: (chunk) => bodies.push(chunk.toString()),
        onEnd: () => {
          if (count % 2 === 0) again()
        },
        onError: () => assert.fail(),
      },
    )
  }
  wire.socket.on('data', () => wire.send(OK))
  connection.onIdle = again
  again()
  await promise
  assert.deepEqual(bodies, Array(6).fill('hi'))
})

test('a paused response is not delivered, and holds the server back', async (t) => {
  const { connection, wire } = await open(t, {}, 'tcp')
  const { exchange, response } = get(connection)
  const size = 32 << 20
  wire.send(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`)
  wire.socket.write(Buffer.alloc(size, 'x'))
  while (response.chunks.length === 0) await settle(1)
  exchange.pause()
  const delivered = response.chunks.length
  await settle(100)
  assert.equal(response.chunks.length, delivered)
  assert.ok(wire.socket.writableLength > 8 << 20)
  exchange.resume()
  await response.finished
  assert.equal(response.text.length, size)
})

test('a response can be paused in its head; what came with the head waits, its end too', async (t) => {
  for (const text of [
    OK,
    'HTTP/1.1 200 OK\r\n\r\nhi',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n',
  ]) {
    const { connection, wire } = await open(t)
    const response = new RecordedResponse()
    const onHead = response.onHead.bind(response)
    response.onHead = (...args) => {
      onHead(...args)
      exchange.pause()
    }
    const exchange = connection.request(head(), { kind: 'none' }, response)
    wire.send(text)
    wire.end()
    await settle(20)
    assert.deepEqual([response.text, response.ends], ['', 0])
    exchange.resume()
    await response.finished
    assert.deepEqual([response.text, response.error], ['hi', undefined])
  }
})

test('a full socket makes write return false, and drain calls back', async (t) => {
  const { connection, wire } = await open(t, {}, 'tcp')
  wire.socket.pause()
  const response = new RecordedResponse()
  const exchange = connection.request(head('POST'), { kind: 'chunked' }, response)
  let drains = 0
  exchange.onDrain = () => drains++
  const piece = Buffer.alloc(1 << 16)
  for (let count = 0; count < 256; count++) exchange.write(piece)
  assert.equal(exchange.write(piece), false)
  await settle(20)
  assert.equal(drains, 0)
  await new Promise<void>((resolve) => {
    exchange.onDrain = resolve
    wire.socket.resume()
  })
  exchange.end()
})

const UPGRADE = head('GET', 'Connection', 'Upgrade', 'Upgrade', 'echo')
const SWITCHING = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n'

for (const transport of transports) {
  test(`after 101 bytes pass both ways as they are, until both halves end (${transport})`, async (t) => {
    const { connection, wire, closed } = await open(t, {}, transport)
    const { exchange, response } = get(connection, UPGRADE)
    assert.equal(exchange.write(Buffer.from('too early')), false)
    await wire.has('echo\r\n\r\n')
    wire.send(`${SWITCHING}early`)
    while (response.text === '') await settle(1)
    assert.equal(response.head?.statusCode, 101)
    assert.equal(connection.reusable, false)
    wire.clear()
    exchange.write(Buffer.from('0\r\n\r\n'))
    await wire.has('0\r\n\r\n')
    wire.send('HTTP/1.1 200 OK\r\n\r\n')
    wire.end()
    await response.finished
    assert.equal(response.text, 'earlyHTTP/1.1 200 OK\r\n\r\n')
    exchange.end(Buffer.from('last'))
    assert.equal(await wire.all(), '0\r\n\r\nlast')
    assert.equal(await closed, undefined)
  })
}

test('a raw pipe that breaks tells its sink', async (t) => {
  for (const act of ['abort', 'reset'] as const) {
    const { connection, wire, closed } = await open(t)
    const { exchange, response } = get(connection, UPGRADE)
    wire.send(SWITCHING)
    await settle()
    if (act === 'abort') exchange.abort()
    else connection.socket.destroy(new Error('reset'))
    await response.finished
    const code = act === 'abort' ? 'HTTP1_ABORTED' : 'HTTP1_CONNECTION_CLOSED'
    assert.deepEqual([response.error?.code, response.ends], [code, 1])
    assert.equal((await closed)?.code, code)
  }
})

test('an upgrade that the server declines is an ordinary response', async (t) => {
  const { connection, wire } = await open(t)
  const { response } = get(connection, UPGRADE)
  wire.send(OK)
  await response.finished
  assert.deepEqual([response.head?.statusCode, connection.reusable], [200, true])
})

test('trailers of a response are given to the sink', async (t) => {
  const { connection, wire } = await open(t)
  const { response } = get(connection)
  wire.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nGrpc-Status: 0\r\n\r\n')
  await response.finished
  assert.deepEqual(response.trailers, ['Grpc-Status', '0'])
})

test('timeouts: no head, no body, nothing to do, nobody who reads', async (t) => {
  const waits = { headTimeoutMs: 80, bodyIdleTimeoutMs: 80, idleTimeoutMs: 80, writeTimeoutMs: 80 }
  const late = await open(t, waits)
  assert.equal(get(late.connection).exchange.responseBegun, false)
  assert.equal((await late.closed)?.code, 'HTTP1_HEAD_TIMEOUT')
  const stopped = await open(t, waits)
  const { response } = get(stopped.connection)
  stopped.wire.send('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh')
  assert.equal((await stopped.closed)?.code, 'HTTP1_BODY_TIMEOUT')
  assert.deepEqual([response.text, response.error?.code], ['h', 'HTTP1_BODY_TIMEOUT'])
  const idle = await open(t, waits)
  assert.equal(await idle.closed, undefined)
  for (const request of [head('POST'), UPGRADE]) {
    const full = await open(t, { ...waits, headTimeoutMs: 0 })
    const upgrade = request === UPGRADE
    const framing = upgrade ? { kind: 'none' as const } : { kind: 'chunked' as const }
    const exchange = full.connection.request(request, framing, new RecordedResponse())
    if (upgrade) full.wire.send(SWITCHING)
    await settle()
    full.wire.socket.pause()
    while (exchange.write(Buffer.alloc(1 << 16)));
    assert.equal((await full.closed)?.code, 'HTTP1_WRITE_TIMEOUT')
  }
})

test('a paused response is not too slow', async (t) => {
  const { connection, wire } = await open(t, { bodyIdleTimeoutMs: 80 })
  const { exchange, response } = get(connection)
  wire.send('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh')
  await settle()
  exchange.pause()
  const other = await open(t, { bodyIdleTimeoutMs: 160 })
  get(other.connection)
  other.wire.send('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh')
  await other.closed
  exchange.resume()
  wire.send('i')
  await response.finished
  assert.equal(response.text, 'hi')
})

test('a socket that was closed before is reported closed', async (t) => {
  const [socket] = await connect(t, 'memory')
  socket.destroy()
  await settle()
  const connection = new ClientConnection(socket)
  assert.equal(connection.reusable, false)
  await new Promise<void>((resolve) => {
    connection.onClose = () => resolve()
  })
})

test('a sink that throws takes its connection down, and the error is not swallowed', async (t) => {
  const { connection, closed } = await open(t)
  const response = new RecordedResponse()
  response.onHead = () => {
    throw new RangeError('a mistake')
  }
  connection.request(head(), { kind: 'none' }, response)
  const listener = connection.socket.listeners('data')[0] as (chunk: Buffer) => void
  assert.throws(() => listener.call(connection.socket, Buffer.from(OK)), RangeError)
  assert.ok((await closed) instanceof RangeError)
})

test('whoever wants to know hears how many bytes of answers came', async (t) => {
  let readBytes = 0
  const onRead = (bytes: number) => {
    readBytes += bytes
  }
  const { connection, wire } = await open(t, { onRead })
  const { response } = get(connection)
  wire.send(OK)
  await response.finished
  assert.equal(readBytes, OK.length)
})
