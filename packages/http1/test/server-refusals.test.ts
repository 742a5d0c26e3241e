import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Http1Error } from '../src/index.ts'
import { answer, echo, type RecordedBody, record, serve } from './support/server.ts'
import { settle } from './support/wire.ts'

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'
const POST = 'POST / HTTP/1.1\r\nHost: a\r\n'
const CHUNKED = `${POST}Transfer-Encoding: chunked\r\n\r\n`

const badHeads: [string, number, string][] = [
  ['GET / HTTP/1.1\n\n', 400, 'lines that end in LF alone'],
  ['GET / HTTP/1.1\nHost: a\n\n', 400, 'lines that end in LF alone, with a field'],
  ['GET / HTTP/1.1\r\nHost: a\n', 400, 'a line that ends in LF alone, before the head is complete'],
  ['\n', 400, 'an empty line that ends in LF alone'],
  ['GET / HTTP/1.1\r\nHost: a\r\rB: c\r\n\r\n', 400, 'a bare CR'],
  ['GET / HTTP/1.1\r\nHost : a\r\n\r\n', 400, 'a space before the colon'],
  ['GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n', 400, 'a folded line'],
  ['GET / HTTP/1.1\r\nHost: a\0\r\n\r\n', 400, 'a NUL'],
  ['GET / HTTP/1.1\r\n\r\n', 400, 'no Host'],
  ['GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n', 400, 'two Hosts'],
  ['\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n', 400, 'two empty lines first'],
  ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 505, 'the preface of HTTP/2'],
  ['\x16\x03\x01\x02\x00\r\n\r\n', 400, 'something that is not HTTP'],
  [`${POST}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n`, 400, 'two framings'],
  [`${POST}Content-Length: 1\r\nContent-Length: 1\r\n\r\n`, 400, 'Content-Length twice'],
  [`${POST}Content-Length: +1\r\n\r\n`, 400, 'a Content-Length with a sign'],
  [`${POST}Transfer-Encoding: gzip, chunked\r\n\r\n`, 501, 'another transfer coding'],
  [`${POST}Transfer-Encoding: chunked, chunked\r\n\r\n`, 400, 'chunked twice'],
  ['POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n', 400, 'chunked from a 1.0 client'],
  [`GET /${'a'.repeat(20_000)} HTTP/1.1\r\nHost: a\r\n\r\n`, 414, 'a long target'],
  [`GET /${'a'.repeat(20_000)}`, 414, 'a long target, before the head is complete'],
  [`${POST}A: ${'a'.repeat(70_000)}\r\n\r\n`, 431, 'a long head'],
  [`${POST}A: ${'a'.repeat(70_000)}`, 431, 'a long head, before it is complete'],
  [`${POST}${'A: b\r\n'.repeat(200)}\r\n`, 431, 'too many fields'],
]

for (const [text, statusCode, what] of badHeads) {
  test(`${what}: ${statusCode}, then the connection closes and the rest is ignored`, async (t) => {
    const served = await serve(t, (exchange) => answer(exchange, 'x'))
    served.wire.send(GET)
    await served.wire.has(/x$/)
    served.wire.clear()
    served.wire.send(text, GET)
    const response = await served.wire.all()
    assert.match(response, new RegExp(`^HTTP/1\\.1 ${statusCode} `))
    assert.match(response, /\r\nConnection: close\r\n/)
    assert.equal(response.match(/HTTP\/1\.1/g)?.length, 1)
    assert.equal(served.exchanges.length, 1)
    assert.deepEqual(
      served.errors.map((error) => error.statusCode),
      [statusCode],
    )
    served.wire.end()
    await served.closed
  })
}

test('one empty line before each request is ignored', async (t) => {
  const { wire, exchanges } = await serve(t, (exchange) => answer(exchange, 'x'))
  wire.send(`\r\n${GET}\r\n${GET}`)
  for (const letter of `\r\n${GET}`) wire.send(letter)
  await wire.has(/x.*x.*x$/s)
  assert.equal(exchanges.length, 3)
})

test('the handler may give its own answer to a bad head', async (t) => {
  const { serveConnection } = await import('../src/index.ts')
  const { connect, Wire } = await import('./support/wire.ts')
  const [client, socket] = await connect(t, 'memory')
  serveConnection(
    socket,
    {},
    {
      onExchange: () => assert.fail(),
      onError: (_error, connection) => {
        connection.socket.end('HTTP/1.1 400 Mine\r\nConnection: close\r\n\r\n')
      },
    },
  )
  const wire = new Wire(client)
  wire.send('?\r\n\r\n')
  assert.equal(await wire.all(), 'HTTP/1.1 400 Mine\r\nConnection: close\r\n\r\n')
})

test('larger limits can be set', async (t) => {
  const { wire } = await serve(t, echo, {
    maxHeadBytes: 256 * 1024,
    maxFields: 1000,
    maxTargetBytes: 100_000,
  })
  wire.send(`GET /${'a'.repeat(90_000)} HTTP/1.1\r\nHost: a\r\n`)
  wire.send('A: b\r\n'.repeat(900), `C: ${'d'.repeat(100_000)}\r\n\r\n`)
  await wire.has(/GET:$/)
})

const badChunks: [string, string, string][] = [
  ['\r\n', 'HTTP1_BODY_INVALID', 'no size'],
  ['g\r\n', 'HTTP1_BODY_INVALID', 'a size that is not hexadecimal'],
  ['+1\r\na\r\n', 'HTTP1_BODY_INVALID', 'a size with a sign'],
  ['-1\r\na\r\n', 'HTTP1_BODY_INVALID', 'a negative size'],
  ['0x1\r\na\r\n', 'HTTP1_BODY_INVALID', 'a size with a prefix'],
  [' 1\r\na\r\n', 'HTTP1_BODY_INVALID', 'a space before the size'],
  ['1 \r\na\r\n', 'HTTP1_BODY_INVALID', 'a space after the size'],
  ['1\t;a\r\na\r\n', 'HTTP1_BODY_INVALID', 'a tab before the extension'],
  ['1_0\r\n', 'HTTP1_BODY_INVALID', 'an underscore in the size'],
  ['1\na\r\n', 'HTTP1_BODY_INVALID', 'a size line that ends in LF alone'],
  ['1\r\r\na\r\n', 'HTTP1_BODY_INVALID', 'a size line that ends in CR CR LF'],
  ['1\rX\r\na\r\n', 'HTTP1_BODY_INVALID', 'a bare CR in the size line'],
  ['1\r\nab\r\n', 'HTTP1_BODY_INVALID', 'more data than the size'],
  ['1\r\na\n0\r\n\r\n', 'HTTP1_BODY_INVALID', 'data that ends in LF alone'],
  ['1\r\na\rX', 'HTTP1_BODY_INVALID', 'data that ends in CR alone'],
  ['1\r\na0\r\n\r\n', 'HTTP1_BODY_INVALID', 'data that is not followed by a line end'],
  ['20000000000000\r\n', 'HTTP1_BODY_INVALID', 'a size of 2^53'],
  ['fffffffffffffffff\r\n', 'HTTP1_BODY_INVALID', 'a size of 17 digits'],
  ['00000000000000001\r\n', 'HTTP1_BODY_INVALID', 'a size with too many zeros'],
  ['1;a=\x01\r\na\r\n', 'HTTP1_BODY_INVALID', 'a control character in an extension'],
  ['1;a="b\r\na\r\n', 'HTTP1_BODY_INVALID', 'an extension with an open quote'],
  ['1;a="b\nc"\r\na\r\n', 'HTTP1_BODY_INVALID', 'an LF inside of a quoted extension'],
  ['1;\r\na\r\n', 'HTTP1_BODY_INVALID', 'an extension without a name'],
  [`1;${'a'.repeat(20_000)}\r\na\r\n`, 'HTTP1_CHUNK_EXTENSIONS_TOO_LARGE', 'a long extension'],
  [`1;${'a'.repeat(20_000)}`, 'HTTP1_CHUNK_EXTENSIONS_TOO_LARGE', 'a long extension without end'],
  ['1;aaaaaaaa\r\na\r\n'.repeat(2000), 'HTTP1_CHUNK_EXTENSIONS_TOO_LARGE', 'many extensions'],
  ['1'.repeat(20_000), 'HTTP1_CHUNK_EXTENSIONS_TOO_LARGE', 'a size line without end'],
  ['0\r\nA : b\r\n\r\n', 'HTTP1_HEAD_INVALID', 'a space before the colon of a trailer'],
  ['0\r\n A: b\r\n\r\n', 'HTTP1_HEAD_INVALID', 'a folded trailer'],
  ['0\r\nA: b\0\r\n\r\n', 'HTTP1_HEAD_INVALID', 'a NUL in a trailer'],
  ['0\r\nA: b\rc\r\n\r\n', 'HTTP1_HEAD_INVALID', 'a bare CR in a trailer'],
  ['0\r\nA: b\n\r\n', 'HTTP1_BODY_INVALID', 'a trailer that ends in LF alone'],
  ['0\r\n\n', 'HTTP1_BODY_INVALID', 'a body that ends in LF alone'],
  ['0\r\nX\r\n\r\n', 'HTTP1_HEAD_INVALID', 'a trailer without a colon'],
  ['0\r\nContent-Length: 1\r\n\r\n', 'HTTP1_FRAMING_INVALID', 'Content-Length in trailers'],
  ['0\r\ntransfer-encoding: x\r\n\r\n', 'HTTP1_FRAMING_INVALID', 'Transfer-Encoding in trailers'],
  ['0\r\nhost: x\r\n\r\n', 'HTTP1_FRAMING_INVALID', 'Host in trailers'],
  [`0\r\n${'A: b\r\n'.repeat(201)}\r\n`, 'HTTP1_HEAD_TOO_LARGE', 'too many trailers'],
  [`0\r\nA: ${'b'.repeat(70_000)}\r\n\r\n`, 'HTTP1_TRAILERS_TOO_LARGE', 'a long trailer'],
  [`0\r\nA: ${'b'.repeat(70_000)}`, 'HTTP1_TRAILERS_TOO_LARGE', 'a long trailer without end'],
]

for (const [text, code, what] of badChunks) {
  test(`${what} makes a chunked body invalid, whole or byte by byte`, async (t) => {
    for (const pieces of [
      [text],
      text.length > 1000 ? [text.slice(0, 3), text.slice(3)] : [...text],
    ]) {
      const { wire, exchanges, closed } = await serve(t, () => undefined)
      wire.send(CHUNKED)
      await settle()
      const body = record(exchanges[0]!)
      wire.send(...pieces, GET)
      await body.finished
      assert.deepEqual([body.error?.code, body.ends], [code, 1])
      const { statusCode } = body.error as Http1Error
      assert.match(await wire.all(), new RegExp(`^HTTP/1.1 ${statusCode} .*Connection: close`, 's'))
      assert.equal(exchanges.length, 1)
      wire.end()
      await closed
    }
  })
}

test('what a chunked body may have is accepted, whole or byte by byte', async (t) => {
  const text = '3;a;b=c;d="e\\"f;g\t"\r\nabc\r\n00A\r\n0123456789\r\n000;x\r\nT: \xff\r\n\r\n'
  for (const pieces of [[text], [...text]]) {
    const { wire, exchanges } = await serve(t, () => undefined)
    wire.send(CHUNKED)
    await settle()
    const body = record(exchanges[0]!)
    wire.send(...pieces)
    await body.finished
    assert.deepEqual(
      [body.text, body.trailers, body.error],
      ['abc0123456789', ['T', '\xff'], undefined],
    )
  }
})

test('the handler may answer an invalid body itself', async (t) => {
  let closes = 0
  const { wire } = await serve(t, (exchange) => {
    exchange.onClose = () => closes++
    exchange.receive({
      onData: () => undefined,
      onEnd: () => undefined,
      onError: () => {
        exchange.sendHead({ statusCode: 400, reason: 'Mine', fields: [] })
        setImmediate(() => exchange.end(Buffer.from('x')))
      },
    })
  })
  wire.send(`${CHUNKED}?\r\n${GET}`)
  assert.match(
    await wire.all(),
    /^HTTP\/1.1 400 Mine\r\nConnection: close\r\n.*\r\n1\r\nx\r\n0\r\n\r\n$/s,
  )
  assert.equal(closes, 0)
})

test('an invalid body cuts off a response that has begun, visibly', async (t) => {
  const codes: unknown[] = []
  const { wire, closed } = await serve(t, (exchange) => {
    exchange.onClose = (error) => codes.push((error as Http1Error).code)
    exchange.sendHead({ statusCode: 200, fields: [] })
    exchange.write(Buffer.from('begun'))
    setImmediate(() => record(exchange))
  })
  wire.send(`${CHUNKED}?\r\n${GET}`)
  await closed
  assert.deepEqual(codes, ['HTTP1_BODY_INVALID'])
  assert.doesNotMatch(wire.text, /\r\n0\r\n\r\n/)
})

test('a body that turns out invalid after it was answered closes the connection', async (t) => {
  // The data and the error come in one piece, and the handler answers in between.
  for (const rest of ['?\r\n', '?\r\n0\r\n\r\n']) {
    const { wire, exchanges, closed } = await serve(t, (exchange) => {
      const body = record(exchange)
      body.onChunk = () => answer(exchange, 'early')
    })
    wire.send(CHUNKED)
    await settle()
    wire.send(`1\r\na\r\n${rest}`, `0\r\n\r\n${GET}`)
    assert.match(await wire.all(), /early$/)
    wire.end()
    await closed
    assert.equal(exchanges.length, 1)
  }
})

test('a sink that aborts in onData hears the error only', async (t) => {
  const { wire, exchanges, closed } = await serve(t, (exchange) => {
    bodies.push(record(exchange))
    bodies[0]!.onChunk = () => exchange.abort()
  })
  const bodies: RecordedBody[] = []
  wire.send(`${CHUNKED}1\r\na\r\n0\r\n\r\n${GET}`)
  await closed
  const [body] = bodies
  assert.deepEqual([body?.text, body?.error?.code, body?.ends], ['a', 'HTTP1_ABORTED', 1])
  assert.equal(exchanges.length, 1)
})

test('an exchange whose body the codec has refused is told that it is over', async (t) => {
  const codes: unknown[] = []
  const { wire, exchanges } = await serve(t, (exchange) => {
    exchange.onClose = (error) => codes.push((error as Http1Error).code)
    record(exchange)
  })
  wire.send(`${CHUNKED}?\r\n`)
  await wire.all()
  answer(exchanges[0]!, 'late')
  await settle()
  assert.deepEqual(codes, ['HTTP1_BODY_INVALID'])
  assert.doesNotMatch(wire.text, /late/)
})

test('errors carry what a server should answer', () => {
  const error = new Http1Error('HTTP1_TARGET_TOO_LONG', 'x', { cause: 1 })
  assert.deepEqual([error.name, error.statusCode, error.cause], ['Http1Error', 414, 1])
})
