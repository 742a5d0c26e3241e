import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Http1Error, type ServerExchange } from '../src/index.ts'
import { answer, echo, record, serve } from './support/server.ts'
import { settle, transports } from './support/wire.ts'

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'

for (const transport of transports) {
  test(`requests are answered one after another on one connection (${transport})`, async (t) => {
    const { wire, exchanges } = await serve(t, echo, {}, transport)
    wire.send(GET)
    await wire.has(/GET:$/)
    wire.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello')
    await wire.has(/POST:hello$/)
    wire.send('PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n')
    wire.send('3\r\nllo\r\n0\r\n\r\n')
    await wire.has(/PUT:hello$/)
    assert.equal(exchanges.length, 3)
    assert.doesNotMatch(wire.text, /Connection/i)
  })

  test(`the client learns that the connection ends, and it does (${transport})`, async (t) => {
    const { wire, closed } = await serve(t, echo, {}, transport)
    wire.send('GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n')
    assert.match(await wire.all(), /^HTTP\/1.1 200 OK\r\n.*Connection: close\r\n.*\r\n\r\nGET:$/s)
    wire.end()
    await closed
  })
}

test('head and body leave in one write', async (t) => {
  const { wire } = await serve(t, (exchange) => {
    exchange.sendHead({ statusCode: 200, fields: ['A', 'b'] })
    exchange.end(Buffer.from('body'))
  })
  wire.send(GET)
  await wire.has('body')
  assert.deepEqual(wire.pieces, ['HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 4\r\n\r\nbody'])
})

test('a head without body leaves at the end of the tick', async (t) => {
  const { wire, exchanges } = await serve(t, (exchange) => {
    exchange.sendHead({ statusCode: 200, reason: 'Fine', fields: [] })
    assert.equal(wire.text, '')
  })
  wire.send(GET)
  await wire.has('\r\n\r\n')
  assert.equal(wire.text, 'HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\n\r\n')
  wire.clear()
  exchanges[0]?.write(Buffer.from('one'))
  exchanges[0]?.write(Buffer.alloc(0))
  exchanges[0]?.write(Buffer.from('a'.repeat(20)))
  exchanges[0]?.end(undefined, ['T', '1'])
  await wire.has('T: 1')
  assert.equal(wire.text, `3\r\none\r\n14\r\n${'a'.repeat(20)}\r\n0\r\nT: 1\r\n\r\n`)
})

test('large bodies arrive whole, chunked or counted', async (t) => {
  const piece = Buffer.alloc(100_000, 'x')
  const { wire } = await serve(t, (exchange) => {
    const counted = exchange.request.target === '/counted'
    const fields = counted ? ['Content-Length', '300000'] : []
    exchange.sendHead({ statusCode: 200, fields })
    exchange.write(piece)
    exchange.write(piece)
    exchange.end(piece)
  })
  const xs = 'x'.repeat(100_000)
  wire.send(GET)
  await wire.has('\r\n0\r\n\r\n')
  const head = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'
  assert.ok(wire.text === `${head}${`186a0\r\n${xs}\r\n`.repeat(3)}0\r\n\r\n`)
  wire.clear()
  wire.send('GET /counted HTTP/1.1\r\nHost: a\r\n\r\n')
  await wire.until(({ text }) => text.length > 300_000)
  assert.ok(wire.text === `HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n${xs.repeat(3)}`)
})

test('a body that is complete at once gets a length, even when empty', async (t) => {
  const { wire } = await serve(t, (exchange) => {
    exchange.sendHead({ statusCode: 404, fields: [] }, { end: true })
  })
  wire.send(GET)
  await wire.has('\r\n\r\n')
  assert.equal(wire.text, 'HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n')
})

test('trailers make a body chunked, and are dropped where it cannot be', async (t) => {
  const { wire } = await serve(t, (exchange) => {
    const fields = exchange.request.method === 'GET' ? [] : ['Content-Length', '1']
    exchange.sendHead({ statusCode: 200, fields })
    exchange.end(Buffer.from('b'), ['T', '1'])
  })
  wire.send(GET)
  await wire.has('1\r\nb\r\n0\r\nT: 1\r\n\r\n')
  wire.clear()
  wire.send('POST / HTTP/1.1\r\nHost: a\r\n\r\n')
  await wire.has('b')
  assert.equal(wire.text, 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb')
})

test('trailers that would break out of their section, or frame or route, are not sent', async (t) => {
  const { wire, exchanges } = await serve(t, (exchange) => {
    exchange.sendHead({ statusCode: 200, fields: [] })
  })
  wire.send(GET)
  await wire.has('\r\n\r\n')
  for (const trailers of [
    ['A', 'b\r\nC: d'],
    ['A b', 'c'],
    ['Content-Length', '1'],
    ['HOST', 'a'],
  ]) {
    assert.throws(() => exchanges[0]?.end(undefined, trailers), Http1Error)
  }
  exchanges[0]?.end()
  await wire.has('0\r\n\r\n')
})

for (const [what, act] of [
  ['too much at once', (exchange: ServerExchange) => exchange.end(Buffer.from('abcd'))],
  [
    'too much in parts',
    (exchange: ServerExchange) => ['ab', 'cd'].map((text) => exchange.write(Buffer.from(text))),
  ],
  ['too little', (exchange: ServerExchange) => exchange.end(Buffer.from('ab'))],
  ['nothing', (exchange: ServerExchange) => exchange.end()],
] as const) {
  test(`${what} for its Content-Length destroys the connection`, async (t) => {
    const codes: unknown[] = []
    const { wire, closed } = await serve(t, (exchange) => {
      exchange.onClose = (error) => codes.push((error as Http1Error).code)
      exchange.sendHead({ statusCode: 200, fields: ['content-length', '3'] })
      act(exchange)
    })
    wire.send(GET + GET)
    await closed
    assert.deepEqual(codes, ['HTTP1_LENGTH_MISMATCH'])
    assert.doesNotMatch(wire.text, /abc/)
  })
}

test('the answer to HEAD has the head only, its Content-Length kept', async (t) => {
  const { wire } = await serve(t, (exchange) => {
    const fields = exchange.request.target === '/known' ? ['Content-Length', '5'] : []
    exchange.sendHead({ statusCode: 200, fields })
    exchange.write(Buffer.from('he'))
    exchange.end(Buffer.from('llo and more'))
  })
  wire.send('HEAD /known HTTP/1.1\r\nHost: a\r\n\r\nHEAD / HTTP/1.1\r\nHost: a\r\n\r\n')
  await wire.has(/\r\n\r\n.*\r\n\r\n/s)
  await settle()
  assert.equal(wire.text, 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\n\r\n')
})

test('204 and 304 have no body, and 204 no Content-Length', async (t) => {
  const { wire } = await serve(t, (exchange) => {
    const statusCode = Number(exchange.request.target.slice(1))
    exchange.sendHead({ statusCode, fields: ['Content-Length', '5'] })
    exchange.end(Buffer.from('hello'))
  })
  wire.send('GET /204 HTTP/1.1\r\nHost: a\r\n\r\nGET /304 HTTP/1.1\r\nHost: a\r\n\r\n')
  await wire.has(/304.*\r\n\r\n/s)
  await settle()
  assert.equal(
    wire.text,
    'HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n',
  )
})

test('to a 1.0 client a body ends with the connection', async (t) => {
  const { wire, exchanges } = await serve(t, (exchange) => {
    exchange.sendHead({ statusCode: 200, fields: [] })
    exchange.write(Buffer.from('one '))
  })
  wire.send('GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n')
  await wire.has('one')
  exchanges[0]?.end(Buffer.from('two'), ['T', '1'])
  assert.equal(await wire.all(), 'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\none two')
})

test('a 1.0 client that asks for it keeps its connection, if the length is known', async (t) => {
  const { wire, closed } = await serve(t, (exchange) =>
    answer(exchange, 'a', ['Content-Length', '1']),
  )
  const kept = 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\na'
  wire.send('GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n')
  await wire.has(kept)
  wire.clear()
  wire.send('GET / HTTP/1.0\r\n\r\n')
  assert.equal(await wire.all(), kept.replace('keep-alive', 'close'))
  wire.end()
  await closed
})

test('pipelined requests are answered in order, one exchange at a time', async (t) => {
  const { wire, exchanges } = await serve(t, () => undefined)
  wire.send(
    'A / HTTP/1.1\r\nHost: a\r\n\r\nB / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhiC',
  )
  wire.send(' / HTTP/1.1\r\nHost: a\r\n\r\n')
  const methods = () => exchanges.map(({ request }) => request.method).join('')
  await settle()
  assert.equal(methods(), 'A')
  answer(exchanges[0]!, 'first')
  assert.equal(methods(), 'AB')
  const body = await record(exchanges[1]!).finished
  assert.equal(body.text, 'hi')
  await settle()
  assert.equal(methods(), 'AB')
  answer(exchanges[1]!, 'second')
  await settle()
  assert.equal(methods(), 'ABC')
  answer(exchanges[2]!, 'third')
  await wire.has(/first.*second.*third/s)
})

test('ten thousand pipelined requests, answered at once, do not fill the stack', async (t) => {
  const { wire } = await serve(t, (exchange) => answer(exchange, '.'))
  wire.send(GET.repeat(10_000))
  const response = 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n.'
  await wire.until(({ text }) => text.length === response.length * 10_000)
  assert.equal(wire.text, response.repeat(10_000))
})

for (const transport of transports) {
  test(`a client that pipelines is not read ahead without bound (${transport})`, async (t) => {
    const { wire, exchanges } = await serve(t, () => undefined, {}, transport)
    const flood = Buffer.alloc(1 << 20, GET)
    for (let count = 0; count < 64; count++) wire.socket.write(flood)
    await settle(200)
    assert.equal(exchanges.length, 1)
    // What loopback sockets buffer by themselves is a few MiB.
    assert.ok(wire.socket.writableLength > 32 << 20)
  })
}

test('nothing of a body is delivered before it is asked for', async (t) => {
  const { wire, exchanges } = await serve(t, () => undefined)
  wire.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello')
  wire.send('wor', 'ld')
  await settle()
  const body = record(exchanges[0]!)
  await body.finished
  assert.equal(body.text, 'helloworld')
  assert.deepEqual(body.trailers, [])
})

test('a paused body is not delivered, and holds the client back', async (t) => {
  const { wire, exchanges } = await serve(t, () => undefined, {}, 'tcp')
  const size = 32 << 20
  wire.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${size}\r\n\r\n`)
  wire.socket.write(Buffer.alloc(size, 'x'))
  while (exchanges.length === 0) await settle(1)
  const exchange = exchanges[0]!
  const body = record(exchange)
  exchange.pause()
  const delivered = body.chunks.length
  await settle(100)
  assert.equal(body.chunks.length, delivered)
  body.onChunk = () => exchange.pause()
  exchange.resume()
  while (body.chunks.length === delivered) await settle(1)
  await settle(100)
  assert.equal(body.chunks.length, delivered + 1)
  assert.ok(wire.socket.writableLength > 8 << 20)
  body.onChunk = undefined
  exchange.resume()
  await body.finished
  assert.equal(body.text.length, size)
})

test('a body can be paused and resumed while it is delivered, at every chunk', async (t) => {
  const { wire } = await serve(t, (exchange) => {
    const body = record(exchange)
    body.onChunk = () => {
      exchange.pause()
      setImmediate(() => exchange.resume())
    }
    body.finished.then(() => answer(exchange, body.text))
  })
  wire.send('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n')
  for (const letter of 'abcdef') wire.send(`1\r\n${letter}\r\n`)
  wire.send(`0\r\n\r\n${GET}`)
  await wire.has(/\r\nabcdef.*\r\n\r\n$/s)
})

test('several small chunks in one piece are delivered as one', async (t) => {
  const { wire, exchanges } = await serve(t, () => undefined)
  wire.send(
    'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n',
  )
  await settle()
  const body = record(exchanges[0]!)
  assert.deepEqual([body.chunks, body.ends], [['abc'], 1])
})

test('large chunks in one piece are delivered one by one, and can be paused between', async (t) => {
  const { wire, exchanges } = await serve(t, () => undefined)
  const large = (letter: string) => `1f40\r\n${letter.repeat(8000)}\r\n`
  const text = `${large('a')}${large('b')}1\r\nc\r\n0\r\n\r\n`
  wire.send(`POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${text}`)
  await settle()
  const exchange = exchanges[0]!
  exchange.pause()
  const body = record(exchange)
  body.onChunk = () => exchange.pause()
  assert.deepEqual(body.chunks, [])
  exchange.resume()
  assert.deepEqual(body.chunks, ['a'.repeat(8000)])
  exchange.resume()
  assert.deepEqual([body.chunks[1], body.ends], [`${'b'.repeat(8000)}c`, 1])
})

test('trailers of a request are given to the sink, and not merged into its fields', async (t) => {
  const { wire, exchanges } = await serve(t, () => undefined)
  wire.send(
    'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-A: 1\r\nx-b:\r\n\r\n',
  )
  await settle()
  const body = record(exchanges[0]!)
  assert.deepEqual(body.trailers, ['X-A', '1', 'x-b', ''])
  assert.deepEqual(exchanges[0]?.request.fields, ['Host', 'a', 'Transfer-Encoding', 'chunked'])
})

const EXPECT = 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-Continue\r\n\r\n'

test('100 (Continue) is sent when it is asked for, once, and only to a client that expects it', async (t) => {
  const { wire, exchanges } = await serve(t, () => undefined)
  wire.send(EXPECT)
  await settle()
  assert.equal(wire.text, '')
  const exchange = exchanges[0]!
  assert.equal(exchange.expectsContinue, true)
  exchange.sendContinue()
  exchange.sendContinue()
  await settle()
  assert.equal(wire.text, 'HTTP/1.1 100 Continue\r\n\r\n')
  wire.send('hi')
  const body = await record(exchange).finished
  answer(exchange, body.text)
  await wire.has(/200 OK.*hi$/s)
  assert.doesNotMatch(wire.text, /Connection/)
  wire.clear()
  wire.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n')
  await settle()
  exchanges[1]!.sendContinue()
  await settle()
  assert.deepEqual([exchanges[1]!.expectsContinue, wire.text], [false, ''])
})

test('a client that was refused without 100 loses the connection: its body may or may not follow', async (t) => {
  const { wire, exchanges } = await serve(t, (exchange) => answer(exchange, 'no'))
  wire.send(EXPECT)
  assert.match(await wire.all(), /Connection: close\r\n.*\r\n\r\nno$/s)
  wire.send(GET)
  await settle()
  assert.equal(exchanges.length, 1)
})

test('informational responses go before the final one, but not to a 1.0 client', async (t) => {
  const hints = {
    statusCode: 103,
    reason: 'Early Hints',
    versionMinor: 1 as const,
    fields: ['Link', '</a>'],
  }
  const { wire } = await serve(t, (exchange) => {
    exchange.sendInformational(hints)
    answer(exchange, 'x')
    assert.throws(() => exchange.sendInformational({ ...hints, statusCode: 101 }), TypeError)
    assert.throws(() => exchange.sendInformational({ ...hints, statusCode: 200 }), TypeError)
  })
  wire.send(GET)
  await wire.has(/^HTTP\/1.1 103 Early Hints\r\nLink: <\/a>\r\n\r\nHTTP\/1.1 200 OK\r\n.*x$/s)
  wire.clear()
  wire.send('GET / HTTP/1.0\r\n\r\n')
  assert.match(await wire.all(), /^HTTP\/1.1 200 OK/)
})

test('the rest of an unwanted body is read up to 256 KiB, then the next request is served', async (t) => {
  const { wire, exchanges } = await serve(t, (exchange) => answer(exchange, 'no'))
  const body = 'x'.repeat(200_000)
  wire.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n${body}${GET}`)
  await wire.has(/no.*no$/s)
  wire.send(
    `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n30d40\r\n${body}\r\n0\r\n\r\n${GET}`,
  )
  await wire.has(/no.*no.*no.*no$/s)
  assert.equal(exchanges.length, 4)
})

test('a longer unwanted body closes the connection', async (t) => {
  const body = 'x'.repeat(300_000)
  for (const request of [
    `Content-Length: 300000\r\n\r\n${body}`,
    `Transfer-Encoding: chunked\r\n\r\n493e0\r\n${body}\r\n0\r\n\r\n`,
    `Transfer-Encoding: chunked\r\n\r\n5\r\nhello?\r\n0\r\n\r\n`,
  ]) {
    const { wire, exchanges } = await serve(t, (exchange) => answer(exchange, 'no'))
    wire.send(`POST / HTTP/1.1\r\nHost: a\r\n${request}${GET}`)
    assert.match(await wire.all(), /no$/)
    assert.equal(exchanges.length, 1)
  }
})

test('a body that is answered half-way is discarded; its sink hears nothing more', async (t) => {
  const { wire, exchanges } = await serve(t, () => undefined)
  wire.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc')
  await settle()
  const body = record(exchanges[0]!)
  answer(exchanges[0]!, 'early')
  wire.send(`def${GET}`)
  await settle()
  assert.deepEqual([body.text, body.ends, exchanges.length], ['abc', 0, 2])
})

test('a head that cannot be said is refused whole, and another may be sent', async (t) => {
  const bad: [string[], unknown][] = [
    [['A', 'b\r\nC: d'], Http1Error],
    [['A\r\n', 'b'], Http1Error],
    [['A', 'b\0'], Http1Error],
    [['A', '\u010d\u010a'], Http1Error],
    [['Content-Length', '1', 'Content-length', '1'], Http1Error],
    [['Content-Length', '+1'], Http1Error],
    [['Transfer-Encoding', 'chunked'], TypeError],
    [['connection', 'x'], TypeError],
  ]
  const { wire } = await serve(t, (exchange) => {
    for (const [fields, type] of bad) {
      assert.throws(() => exchange.sendHead({ statusCode: 200, fields }), type as typeof Error)
    }
    assert.throws(
      () => exchange.sendHead({ statusCode: 200, reason: 'a\nb', fields: [] }),
      Http1Error,
    )
    assert.throws(() => exchange.sendHead({ statusCode: 103, fields: [] }), TypeError)
    assert.throws(() => exchange.sendHead({ statusCode: 600, fields: [] }), Http1Error)
    assert.throws(() => exchange.sendHead({ statusCode: 101, fields: ['Upgrade', 'x'] }), TypeError)
    assert.throws(() => exchange.write(Buffer.from('a')), TypeError)
    assert.throws(() => exchange.end(), TypeError)
    assert.equal(exchange.headSent, false)
    answer(exchange, 'good')
    assert.equal(exchange.headSent, true)
  })
  wire.send(GET)
  await wire.has('good')
  assert.equal(wire.text, 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood')
})

test('CONNECT gets no 2xx, which would make the connection a tunnel', async (t) => {
  const { wire } = await serve(t, (exchange) => {
    assert.throws(() => exchange.sendHead({ statusCode: 200, fields: [] }), TypeError)
    exchange.sendHead({ statusCode: 405, fields: [] }, { end: true })
  })
  wire.send('CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n')
  await wire.has('405')
})

test('a second head, and a second receive, are mistakes', async (t) => {
  const { wire } = await serve(t, (exchange) => {
    record(exchange)
    assert.throws(() => record(exchange), TypeError)
    exchange.sendHead({ statusCode: 200, fields: [] })
    assert.throws(() => exchange.sendHead({ statusCode: 200, fields: [] }), TypeError)
    exchange.end(Buffer.from('x'))
    exchange.end(Buffer.from('y'))
    assert.equal(exchange.write(Buffer.from('z')), false)
  })
  wire.send(GET)
  await wire.has(/x$/)
})

test('a full socket makes write return false, and drain calls back', async (t) => {
  const { wire, exchanges } = await serve(t, () => undefined, {}, 'tcp')
  wire.send(GET)
  while (exchanges.length === 0) await settle(1)
  const exchange = exchanges[0]!
  const piece = Buffer.alloc(1 << 16, 'x')
  wire.socket.pause()
  exchange.sendHead({ statusCode: 200, fields: [] })
  let drains = 0
  exchange.onDrain = () => drains++
  // More than the buffers of loopback sockets take.
  for (let count = 0; count < 256; count++) exchange.write(piece)
  assert.equal(exchange.write(piece), false)
  await settle(20)
  assert.equal(drains, 0)
  await new Promise<void>((resolve) => {
    exchange.onDrain = () => {
      drains++
      resolve()
    }
    wire.socket.resume()
  })
  exchange.end(Buffer.from('last'))
  await wire.has('last\r\n0\r\n\r\n')
  assert.equal(drains, 1)
})

test('requests that come while answers wait for their reader are not begun', async (t) => {
  const body = 'x'.repeat(20_000)
  const count = 1000
  const { wire, socket, exchanges } = await serve(
    t,
    (exchange) => answer(exchange, body),
    {},
    'tcp',
  )
  wire.socket.pause()
  wire.send(GET.repeat(count))
  while (!socket.writableNeedDrain) await settle(1)
  await settle(50)
  assert.ok(socket.writableLength < 65_536 + 2 * body.length, `${socket.writableLength} bytes wait`)
  assert.ok(exchanges.length < count)
  wire.socket.resume()
  await wire.until(() => exchanges.length === count)
  wire.send(GET.replace('HTTP/1.1\r\n', 'HTTP/1.1\r\nConnection: close\r\n'))
  assert.equal((await wire.all()).split(body).length, count + 2)
})

for (const transport of transports) {
  test(`a client that leaves before its answer is noticed once (${transport})`, async (t) => {
    const closes: unknown[] = []
    const { wire, exchanges, closed } = await serve(
      t,
      (exchange) => {
        exchange.onClose = (error) => closes.push((error as Http1Error).code)
      },
      {},
      transport,
    )
    wire.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc')
    while (exchanges.length === 0) await settle(1)
    const body = record(exchanges[0]!)
    wire.socket.destroy()
    await closed
    assert.deepEqual(closes, ['HTTP1_CONNECTION_CLOSED'])
    assert.deepEqual([body.error?.code, body.ends], ['HTTP1_CONNECTION_CLOSED', 1])
    // A race between the handler and the client needs no test in the handler.
    answer(exchanges[0]!, 'late')
    exchanges[0]!.sendContinue()
    exchanges[0]!.abort()
  })
}

test('after a complete response onClose is not called', async (t) => {
  let closes = 0
  const { wire, closed } = await serve(t, (exchange) => {
    exchange.onClose = () => closes++
    answer(exchange, 'x')
  })
  wire.send(GET)
  await wire.has('x')
  wire.end()
  await closed
  assert.equal(closes, 0)
})

test('a body that is asked for after the client left ends in an error', async (t) => {
  const { wire, exchanges, closed } = await serve(t, () => undefined)
  wire.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc')
  await settle()
  wire.socket.destroy()
  exchanges[0]!.abort()
  await closed
  assert.equal((await record(exchanges[0]!).finished).error?.code, 'HTTP1_ABORTED')
})

test('abort destroys the connection and tells both sides of the exchange', async (t) => {
  const closes: unknown[] = []
  const { wire, exchanges, closed } = await serve(t, () => undefined)
  wire.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc')
  await settle()
  const exchange = exchanges[0]!
  exchange.onClose = (error) => closes.push((error as Http1Error).code)
  const body = record(exchange)
  exchange.sendHead({ statusCode: 200, fields: [] })
  exchange.abort()
  await closed
  assert.deepEqual([closes, body.error?.code], [['HTTP1_ABORTED'], 'HTTP1_ABORTED'])
  await wire.until((it) => it.ended || it.closed)
  assert.equal(wire.text, '')
})

test('draining ends the current exchange with Connection: close, and an idle connection now', async (t) => {
  const { wire, connection, exchanges } = await serve(t, () => undefined)
  wire.send(GET)
  await settle()
  connection.closeWhenIdle()
  await settle()
  assert.equal(wire.ended, false)
  answer(exchanges[0]!, 'last')
  assert.match(await wire.all(), /Connection: close\r\n.*\r\n\r\nlast$/s)
  const idle = await serve(t, (exchange) => answer(exchange, 'x'))
  idle.wire.send(GET)
  await idle.wire.has('x')
  idle.connection.closeWhenIdle()
  assert.match(await idle.wire.all(), /x$/)
})

test('draining lets a head that has begun come, and a response that has begun end', async (t) => {
  const { wire, connection } = await serve(t, (exchange) => answer(exchange, 'x'))
  wire.send('GET / HTTP/1.1\r\n')
  await settle()
  connection.closeWhenIdle()
  wire.send('Host: a\r\n\r\n')
  assert.match(await wire.all(), /Connection: close\r\n.*\r\n\r\nx$/s)
  const begun = await serve(t, (exchange) => exchange.sendHead({ statusCode: 200, fields: [] }))
  begun.wire.send(GET)
  await begun.wire.has('\r\n\r\n')
  begun.connection.closeWhenIdle()
  begun.exchanges[0]!.end(Buffer.from('x'))
  assert.match(await begun.wire.all(), /1\r\nx\r\n0\r\n\r\n$/)
})

test('a handler that throws takes its connection down, and the error is not swallowed', async (t) => {
  const { wire, socket, closed } = await serve(t, () => {
    throw new RangeError('a mistake')
  })
  const listener = socket.listeners('data')[0] as (chunk: Buffer) => void
  assert.throws(() => listener.call(socket, Buffer.from(GET)), RangeError)
  await closed
  assert.equal(wire.text, '')
})

test('a socket that was closed before it is served is reported closed', async (t) => {
  const { serveConnection } = await import('../src/index.ts')
  const { connect } = await import('./support/wire.ts')
  const [, socket] = await connect(t, 'memory')
  socket.destroy()
  await settle()
  await new Promise<void>((resolve) => {
    serveConnection(socket, {}, { onExchange: () => assert.fail(), onClose: resolve })
  })
})

test('limits that cannot be are refused', async (t) => {
  for (const options of [
    { maxHeadBytes: 300_000 },
    { maxFields: -1 },
    { headTimeoutMs: Number.NaN },
  ]) {
    await assert.rejects(
      serve(t, () => undefined, options),
      RangeError,
    )
  }
})

test('whoever wants to know hears how many bytes of requests came', async (t) => {
  let readBytes = 0
  const onRead = (bytes: number) => {
    readBytes += bytes
  }
  const { wire } = await serve(t, echo, { onRead })
  const text = 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello'
  wire.send(text)
  await wire.has(/POST:hello$/)
  assert.equal(readBytes, text.length)
})
