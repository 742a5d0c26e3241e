import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { test } from 'node:test'
import { ResetCode } from '@sallyport/protocol'
import { startHttpOrigin, startRawOrigin } from './origins.ts'
import { connected, exchange, failure, GatewayStream, openText } from './service.ts'

const get = 'GET / HTTP/1.1\r\nHost: x'

test('a request goes to the origin as it was written, and the answer comes back with its timing', async (t) => {
  const origin = await startHttpOrigin(t, (req, res) => {
    res.writeHead(200, 'Fine', { 'X-Seen': req.rawHeaders.join('|'), 'Content-Length': 5 })
    res.end('hello')
  })
  const { session } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  const answer = await exchange(
    session,
    { url: origin.url },
    'GET /a?b HTTP/1.1\r\nHost: app.example\r\nX-One: 1\r\nx-ONE: 2',
  )
  assert.equal(answer.start, 'HTTP/1.1 200 Fine')
  assert.equal(answer.body, 'hello')
  assert.equal(answer.fields['x-seen'], 'Host|app.example|X-One|1|x-ONE|2')
  assert.match(
    answer.head,
    /^HTTP\/1\.1 200 Fine\r\nsallyport-origin-ms: \d+(\.\d)?;\d+(\.\d)?;\d+(\.\d)?\r\n/,
  )
})

test('fields of the connection, framing and our own timing field do not pass, either way', async (t) => {
  const origin = await startRawOrigin(t)
  const { session } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  const answering = exchange(
    session,
    { url: origin.url },
    `${get}\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTE: trailers\r\nTrailer: x\r\nProxy-Authorization: Basic x\r\nConnection: close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nsallyport-origin-ms: 1;2;3\r\nX-Kept: 1`,
  )
  const connection = await origin.connections.take()
  assert.equal(await connection.requests.take(), `${get}\r\nX-Kept: 1`)
  connection.socket.write(
    'HTTP/1.1 200 OK\r\nConnection: keep-alive, x\r\nKeep-Alive: timeout=5\r\nTrailer: X\r\nUpgrade: h2\r\nProxy-Authenticate: Basic\r\nsallyport-origin-ms: 9;9;9\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  )
  const { head } = await answering
  assert.match(
    head,
    /^HTTP\/1\.1 200 OK\r\nsallyport-origin-ms: [0-9.;]+\r\nSet-Cookie: a=1\r\nset-cookie: b=2$/,
  )
})

test('bytes beyond ASCII in fields and body arrive as they were', async (t) => {
  const origin = await startRawOrigin(t)
  const { session } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  const answering = exchange(
    session,
    { url: origin.url },
    `POST / HTTP/1.1\r\nHost: x\r\nX-Name: \u00e9\u00ff\r\nContent-Length: 3`,
    '\u00ff\u0000\u0080',
  )
  const connection = await origin.connections.take()
  assert.equal(
    await connection.requests.take(),
    'POST / HTTP/1.1\r\nHost: x\r\nX-Name: \u00e9\u00ff\r\nContent-Length: 3',
  )
  if (connection.rest.length < 3) await once(connection.socket, 'data')
  assert.equal(connection.rest, '\u00ff\u0000\u0080')
  connection.socket.write(
    'HTTP/1.1 200 \u00e9\r\nX: \u00fe\r\nContent-Length: 2\r\n\r\n\u00fd\u0001',
    'latin1',
  )
  const answer = await answering
  assert.equal(answer.start, 'HTTP/1.1 200 \u00e9')
  assert.equal(answer.fields.x, '\u00fe')
  assert.equal(answer.body, '\u00fd\u0001')
})

test('methods that no parser of Node knows reach the origin', async (t) => {
  const origin = await startRawOrigin(t)
  const { session } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  const answering = exchange(
    session,
    { url: origin.url },
    'RDG_OUT_DATA /remoteDesktopGateway/ HTTP/1.1\r\nHost: x',
  )
  const connection = await origin.connections.take()
  assert.match(await connection.requests.take(), /^RDG_OUT_DATA /)
  connection.socket.write('HTTP/1.1 204 No Content\r\n\r\n')
  assert.equal((await answering).statusCode, 204)
})

test('bodies of known and of unknown length arrive whole, with trailers, both ways', async (t) => {
  const origin = await startHttpOrigin(t, (req, res) => {
    const chunks: Buffer[] = []
    req.on('data', (chunk) => chunks.push(chunk))
    req.on('end', () => {
      const body = Buffer.concat(chunks)
      const facts = {
        coding: req.headers['transfer-encoding'],
        length: req.headers['content-length'],
        trailers: req.trailers,
        digest: createHash('sha256').update(body).digest('hex'),
      }
      res.writeHead(200, { 'x-facts': JSON.stringify(facts), trailer: 'x-sum' })
      res.write(body)
      res.addTrailers({ 'x-sum': '42', 'set-cookie': 'a=1' })
      res.end()
    })
  })
  const { session } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  const body = randomBytes(300_000)
  const digest = createHash('sha256').update(body).digest('hex')
  for (const framing of [`Content-Length: ${body.length}`, 'Transfer-Encoding: chunked']) {
    const gateway = new GatewayStream(session, openText({ url: origin.url }))
    gateway.stream.sendHead(`POST / HTTP/1.1\r\nHost: x\r\n${framing}`)
    for (let at = 0; at < body.length; at += 60_000)
      gateway.stream.write(body.subarray(at, at + 60_000))
    gateway.stream.end('X-Check: 7\r\nHost: evil\r\nAuthorization: Basic x')
    assert.equal(await gateway.ended(), 'x-sum: 42')
    const chunked = framing.startsWith('T')
    const facts = JSON.parse(/x-facts: (.*)/.exec(gateway.heads.last!)![1]!)
    assert.deepEqual(facts, {
      ...(chunked ? { coding: 'chunked' } : { length: '300000' }),
      trailers: chunked ? { 'x-check': '7' } : {},
      digest,
    })
    assert.equal(createHash('sha256').update(gateway.body, 'latin1').digest('hex'), digest)
  }
})

test('responses without a body end with their head, whatever length they state', async (t) => {
  const origin = await startHttpOrigin(t, (req, res) => {
    const statusCode = Number(req.url!.slice(1))
    res.writeHead(statusCode, req.method === 'HEAD' ? { 'content-length': 1234 } : {})
    res.end()
  })
  const { session } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  for (const [method, statusCode] of [
    ['HEAD', 200],
    ['GET', 204],
    ['GET', 304],
    ['GET', 200],
  ] as const) {
    const answer = await exchange(
      session,
      { url: origin.url },
      `${method} /${statusCode} HTTP/1.1\r\nHost: x`,
    )
    assert.equal(answer.statusCode, statusCode)
    assert.equal(answer.body, '')
    if (method === 'HEAD') assert.equal(answer.fields['content-length'], '1234')
  }
  assert.equal(origin.connections.all.length, 1)
})

test('a body that ends with the connection is complete, and so is HTTP/1.0', async (t) => {
  const origin = await startRawOrigin(t)
  const { session } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  for (const version of ['1.0', '1.1']) {
    const answering = exchange(session, { url: origin.url }, get)
    const connection = await origin.connections.take()
    await connection.requests.take()
    connection.socket.end(`HTTP/${version} 200 OK\r\n\r\nto the end`)
    const answer = await answering
    assert.equal(answer.start, 'HTTP/1.1 200 OK')
    assert.equal(answer.body, 'to the end')
  }
})

test('informational responses are passed on before the final head', async (t) => {
  const origin = await startRawOrigin(t)
  const { session } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  const gateway = new GatewayStream(session, openText({ url: origin.url }))
  gateway.stream.sendHead(get, true)
  const connection = await origin.connections.take()
  await connection.requests.take()
  connection.socket.write('HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\n\r\n')
  assert.equal(await gateway.heads.take(), 'HTTP/1.1 103 Early Hints\r\nLink: </a>')
  connection.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
  await gateway.ended()
  assert.equal(gateway.heads.all.length, 2)
})

test('a storm of informational responses is cut off', async (t) => {
  const origin = await startRawOrigin(t)
  const { session } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  const gateway = new GatewayStream(session, openText({ url: origin.url }))
  gateway.stream.sendHead(get, true)
  const connection = await origin.connections.take()
  await connection.requests.take()
  connection.socket.write('HTTP/1.1 102 Processing\r\n\r\n'.repeat(1000))
  assert.equal((await gateway.failed()).resetCode, ResetCode.ORIGIN_RESPONSE_INVALID)
  assert(gateway.heads.all.length <= 32)
  await connection.closed
})

test('Expect: 100-continue reaches the origin, and its 100 comes back before the body goes', async (t) => {
  const origin = await startRawOrigin(t)
  const { session } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  const gateway = new GatewayStream(session, openText({ url: origin.url }))
  gateway.stream.sendHead('PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue')
  const connection = await origin.connections.take()
  assert.match(await connection.requests.take(), /Expect: 100-continue/)
  connection.socket.write('HTTP/1.1 100 Continue\r\n\r\n')
  assert.equal(await gateway.heads.take(), 'HTTP/1.1 100 Continue')
  gateway.stream.write(Buffer.from('body'))
  gateway.stream.end()
  if (connection.rest === '') await once(connection.socket, 'data')
  assert.equal(connection.rest, 'body')
  connection.socket.write('HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n')
  await gateway.ended()
})

test('an answer that comes before the body has been sent ends the exchange, and the connection', async (t) => {
  const origin = await startRawOrigin(t)
  const { session } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  const gateway = new GatewayStream(session, openText({ url: origin.url }))
  gateway.stream.sendHead('PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000')
  gateway.stream.write(Buffer.alloc(1000))
  const connection = await origin.connections.take()
  await connection.requests.take()
  connection.socket.write('HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno')
  await gateway.ended()
  assert.equal(gateway.body, 'no')
  await connection.closed
  // Told that the rest of the body is not needed.
  const outcome = await gateway.outcomes.take()
  assert(outcome instanceof Error)
  assert.equal(outcome.resetCode, ResetCode.NO_ERROR)
})

test('no body credit is given before there is a connection to the origin', async (t) => {
  let release = (_addresses: readonly string[]) => {}
  const resolved = new Promise<readonly string[]>((resolve) => {
    release = resolve
  })
  const origin = await startRawOrigin(t)
  const { session } = await connected(t, {
    allow: [`127.0.0.1:${origin.port}`],
    resolve: () => resolved,
  })
  const gateway = new GatewayStream(
    session,
    openText({ url: `http://app.internal:${origin.port}` }),
  )
  gateway.stream.sendHead('PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 4')
  gateway.stream.write(Buffer.from('body'))
  gateway.stream.end()
  // A whole exchange later the other one still has no credit.
  const other = exchange(session, { url: origin.url }, get)
  const connection = await origin.connections.take()
  connection.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
  await other
  assert.equal(gateway.stream.accepted, false)
  release(['127.0.0.1'])
  const second = await origin.connections.take()
  await second.requests.take()
  await gateway.accepted.take()
  second.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
  await gateway.ended()
})

test('a client that leaves aborts the request to the origin, answered or not', async (t) => {
  const origin = await startRawOrigin(t)
  const { session, connector } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  for (const answered of [false, true]) {
    const gateway = new GatewayStream(session, openText({ url: origin.url }))
    gateway.stream.sendHead(get, true)
    const connection = await origin.connections.take()
    await connection.requests.take()
    if (answered) {
      connection.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nx')
      await gateway.chunks.take()
    }
    gateway.stream.reset(ResetCode.CANCELLED)
    await connection.closed
  }
  assert.equal(connector.status().exchanges.active, 0)
  assert.equal(connector.status().exchanges.cancelled, 2)
})

test('a client that leaves while the connection is being made aborts that too', async (t) => {
  const started = Promise.withResolvers<void>()
  const origin = await startRawOrigin(t)
  const answer = Promise.withResolvers<readonly string[]>()
  const { session, log } = await connected(t, {
    allow: [`127.0.0.1:${origin.port}`],
    resolve: () => {
      started.resolve()
      return answer.promise
    },
  })
  const gateway = new GatewayStream(
    session,
    openText({ url: `http://app.internal:${origin.port}` }),
  )
  gateway.stream.sendHead(get, true)
  await started.promise
  gateway.stream.reset(ResetCode.CANCELLED)
  await log.lines.find(({ message }) => message === 'request cancelled by the gateway')
  answer.resolve(['127.0.0.1'])
  // Whoever comes next is the first to connect.
  const next = exchange(session, { url: origin.url }, get)
  const connection = await origin.connections.take()
  assert.equal(await connection.requests.take(), get)
  connection.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
  await next
  assert.equal(origin.connections.all.length, 1)
})

test('the timeout runs until the response head, and not beyond', async (t) => {
  const origin = await startRawOrigin(t)
  const { session } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  const silent = failure(session, { url: origin.url, timeoutMs: 50 })
  const connection = await origin.connections.take()
  assert.equal((await silent).resetCode, ResetCode.ORIGIN_TIMEOUT)
  await connection.closed

  const streaming = new GatewayStream(session, openText({ url: origin.url, timeoutMs: 50 }))
  streaming.stream.sendHead(get, true)
  const slow = await origin.connections.take()
  slow.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na')
  await streaming.chunks.take()
  // Another one times out meanwhile: more time has passed than the first was given.
  const later = failure(session, { url: origin.url, timeoutMs: 100 })
  assert.equal((await later).resetCode, ResetCode.ORIGIN_TIMEOUT)
  slow.socket.write('b')
  await streaming.ended()
  assert.equal(streaming.body, 'ab')
})

test('a body that is still being sent puts the timeout off', async (t) => {
  const origin = await startRawOrigin(t)
  const { session } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  const gateway = new GatewayStream(session, openText({ url: origin.url, timeoutMs: 200 }))
  gateway.stream.sendHead('PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 8')
  const connection = await origin.connections.take()
  await connection.requests.take()
  // Each of these takes 50 ms: four times longer than the timeout in all.
  for (let sent = 0; sent < 8; sent += 1) {
    const waiting = failure(session, { url: origin.url, timeoutMs: 100 })
    assert.equal((await waiting).resetCode, ResetCode.ORIGIN_TIMEOUT)
    gateway.stream.write(Buffer.from('x'))
  }
  gateway.stream.end()
  connection.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
  await gateway.ended()
})

test('a reader that stops holds the origin back, and gets all of it when it goes on', async (t) => {
  const total = 64 * 1024 * 1024
  let written = 0
  const stalled = Promise.withResolvers<void>()
  const origin = await startHttpOrigin(t, (_req, res) => {
    res.writeHead(200, { 'content-length': total })
    const chunk = Buffer.alloc(65_536, 'x')
    const more = () => {
      while (written < total) {
        written += chunk.length
        if (!res.write(chunk)) return stalled.resolve()
      }
      res.end()
      return undefined
    }
    res.on('drain', more)
    more()
  })
  const { session } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  const gateway = new GatewayStream(session, openText({ url: origin.url }))
  gateway.stream.pause()
  gateway.stream.sendHead(get, true)
  await gateway.heads.take()
  await stalled.promise
  // Other exchanges go on; after twenty of them the first one has not moved on.
  const passed = async () => {
    for (let turn = 0; turn < 20; turn += 1)
      assert.equal(
        (await failure(session, { url: 'http://10.0.0.1' })).resetCode,
        ResetCode.DESTINATION_FORBIDDEN,
      )
  }
  await passed()
  let before = -1
  while (before !== written) {
    before = written
    await passed()
  }
  assert(written < 24 * 1024 * 1024, `${written} bytes were taken from the origin`)
  gateway.stream.resume()
  await gateway.ended()
  assert.equal(gateway.body.length, total)
})

test('an origin that does not read holds the sender back, and gets all of it when it goes on', async (t) => {
  const total = 32 * 1024 * 1024
  const origin = await startRawOrigin(t)
  const { session } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  let sent = 0
  const chunk = Buffer.alloc(65_536, 'x')
  const stalled = Promise.withResolvers<void>()
  const ended = Promise.withResolvers<void>()
  const stream = session.openStream(openText({ url: origin.url }), {
    onHead: (_head, end) => (end ? ended.resolve() : undefined),
    onData: () => {},
    onEnd: () => ended.resolve(),
    onReset: (error) => ended.reject(error),
    onWritable: () => more(),
  })
  const more = () => {
    while (sent < total) {
      sent += chunk.length
      if (!stream.write(chunk)) return stalled.resolve()
    }
    stream.end()
    return undefined
  }
  stream.sendHead(`PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: ${total}`)
  const connection = await origin.connections.take()
  await connection.requests.take()
  connection.socket.pause()
  await stalled.promise
  const passed = async () => {
    for (let turn = 0; turn < 20; turn += 1) await failure(session, { url: 'http://10.0.0.1' })
  }
  let before = -1
  while (before !== sent) {
    before = sent
    await passed()
  }
  assert(sent < 24 * 1024 * 1024, `${sent} bytes were taken from the sender`)
  let received = connection.rest.length
  connection.socket.removeAllListeners('data')
  connection.socket.on('data', (text: string) => {
    received += text.length
    if (received === total) connection.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
  })
  connection.socket.resume()
  await ended.promise
  assert.equal(received, total)
})

test('what the gateway sends is parsed strictly, and nothing of a bad head reaches an origin', async (t) => {
  const origin = await startRawOrigin(t)
  const { session } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  for (const head of [
    '',
    'GET / HTTP/1.1',
    'GET / HTTP/2\r\nHost: x',
    'GET  / HTTP/1.1\r\nHost: x',
    'GET / HTTP/1.1\r\nHost: x\r\nHost: y',
    'GET / HTTP/1.1\r\nHost: x\r\nX : y',
    'GET / HTTP/1.1\r\nHost: x\r\n folded',
    'GET / HTTP/1.1\r\nHost: x\r\nX: a\nY: b',
    'GET / HTTP/1.1\r\nHost: x\r\nX: a\rY: b',
    'GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /second HTTP/1.1\r\nHost: x',
    'GET / HTTP/1.1\r\nHost: x\r\nX: \u0000',
    'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked',
    'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1',
    'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +1',
    'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked',
    'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5',
    'CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: x',
    'GET http://169.254.169.254/latest HTTP/1.1\r\nHost: x',
    'GET 169.254.169.254:80 HTTP/1.1\r\nHost: x',
    'GET * HTTP/1.1\r\nHost: x',
  ])
    assert.equal(
      (await failure(session, { url: origin.url }, head)).resetCode,
      ResetCode.PROTOCOL_ERROR,
      head,
    )
  assert.equal(origin.connections.all.length, 0)
})

test('data where there is no body, and a body of another length, end the stream', async (t) => {
  const origin = await startRawOrigin(t)
  const { session } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  const gateway = new GatewayStream(session, openText({ url: origin.url }))
  gateway.stream.sendHead(get)
  const first = await origin.connections.take()
  await first.requests.take()
  first.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n')
  await gateway.heads.take()
  gateway.stream.write(Buffer.from('GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n'))
  assert.equal((await gateway.failed()).resetCode, ResetCode.PROTOCOL_ERROR)
  await first.closed
  assert.equal(first.rest, '')
  assert.equal(first.requests.all.length, 1)

  for (const body of ['too long by far', 'short']) {
    const wrong = new GatewayStream(session, openText({ url: origin.url }))
    wrong.stream.sendHead('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10')
    wrong.stream.write(Buffer.from(body))
    wrong.stream.end()
    assert.equal((await wrong.failed()).resetCode, ResetCode.PROTOCOL_ERROR, body)
    const connection = await origin.connections.take()
    await connection.closed
  }
})

test('an instruction that cannot be read ends the stream', async (t) => {
  const { session } = await connected(t, { allow: ['127.0.0.1'] })
  const good = { v: 1, app: 'a', url: 'http://127.0.0.1:1', validate: true, timeoutMs: 1000 }
  for (const json of [
    '',
    'null',
    '[]',
    '{',
    JSON.stringify({ ...good, v: 2 }),
    JSON.stringify({ ...good, url: undefined }),
    JSON.stringify({ ...good, validate: 'false' }),
    JSON.stringify({ ...good, timeoutMs: 0 }),
    JSON.stringify({ ...good, timeoutMs: 1e12 }),
    JSON.stringify({ ...good, timeoutMs: 1.5 }),
    JSON.stringify({ ...good, upgrade: 1 }),
  ]) {
    const gateway = new GatewayStream(session, `\u0001x${json}`)
    gateway.stream.sendHead(get, true)
    assert.equal((await gateway.failed()).resetCode, ResetCode.PROTOCOL_ERROR, json)
  }
  for (const text of ['', '\u00ffA', '\0']) {
    const gateway = new GatewayStream(session, text)
    gateway.stream.sendHead(get, true)
    assert.equal((await gateway.failed()).resetCode, ResetCode.PROTOCOL_ERROR)
  }
})

test('each way an origin fails has its own reset code, and the log names the request', async (t) => {
  const origin = await startRawOrigin(t)
  const { session, log } = await connected(t, {
    allow: ['127.0.0.1', 'gone.internal', 'app.internal'],
    resolve: async (name) => {
      if (name === 'app.internal') return ['127.0.0.1']
      throw Object.assign(new Error('unknown'), { code: 'ENOTFOUND' })
    },
  })
  const closedPort = await startRawOrigin(t)
  const reset = async (opening: { url: string; correlationId?: string }) =>
    (await failure(session, opening)).resetCode
  assert.equal(await reset({ url: 'http://gone.internal' }), ResetCode.NAME_NOT_RESOLVED)
  assert.equal(
    await reset({ url: 'http://10.0.0.1', correlationId: 'req-7' }),
    ResetCode.DESTINATION_FORBIDDEN,
  )
  const line = await log.lines.find(({ facts }) => facts.correlationId === 'req-7')
  assert.equal(line.facts.reset, 'DESTINATION_FORBIDDEN')
  assert.equal(line.facts.applicationId, 'app-1')
  assert.equal(line.facts.origin, 'http://10.0.0.1')

  const answers: [answer: string | undefined, code: number][] = [
    ['', ResetCode.CONNECTION_RESET],
    ['HTTP/1.1 200 OK\r\nContent-Le', ResetCode.CONNECTION_RESET],
    [undefined, ResetCode.CONNECTION_RESET],
    ['SSH-2.0-OpenSSH\r\n\r\n', ResetCode.ORIGIN_RESPONSE_INVALID],
    ['HTTP/1.1 200 OK\nX: y\n\n', ResetCode.ORIGIN_RESPONSE_INVALID],
    [
      'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n',
      ResetCode.ORIGIN_RESPONSE_INVALID,
    ],
    [
      'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n',
      ResetCode.ORIGIN_RESPONSE_INVALID,
    ],
    [
      'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n',
      ResetCode.ORIGIN_RESPONSE_INVALID,
    ],
    ['HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab', ResetCode.CONNECTION_RESET],
    [
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
      ResetCode.ORIGIN_RESPONSE_INVALID,
    ],
    [`HTTP/1.1 200 OK\r\nX: ${'x'.repeat(300_000)}\r\n\r\n`, ResetCode.ORIGIN_RESPONSE_INVALID],
  ]
  for (const [answer, code] of answers) {
    const failing = reset({ url: `http://app.internal:${origin.port}` })
    const connection = await origin.connections.take()
    await connection.requests.take()
    if (answer === undefined) connection.socket.resetAndDestroy()
    else connection.socket.end(answer)
    assert.equal(await failing, code, answer)
    await connection.closed
  }
  const { port } = closedPort
  const taken = closedPort.connections.take()
  const last = exchange(session, { url: `http://127.0.0.1:${port}` }, get)
  const connection = await taken
  await connection.requests.take()
  connection.socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
  await last
})

test('a closed port is a refused connection', async (t) => {
  const { createServer } = await import('node:net')
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  const { session } = await connected(t, { allow: ['127.0.0.1'] })
  const error = await failure(session, { url: `http://127.0.0.1:${port}` })
  assert.equal(error.resetCode, ResetCode.CONNECTION_REFUSED)
})

test('the name is resolved once for a connection, and what was checked is what is dialled', async (t) => {
  const origin = await startRawOrigin(t)
  let lookUps = 0
  const { session } = await connected(t, {
    allow: [`10.0.0.0/8`, `127.0.0.1:${origin.port}`],
    // The first answer would pass a check, every later one points somewhere else.
    resolve: async () => {
      lookUps += 1
      return lookUps === 1 ? ['127.0.0.1'] : ['169.254.169.254']
    },
  })
  const url = `http://rebind.example:${origin.port}`
  const answering = exchange(session, { url }, get)
  const connection = await origin.connections.take()
  await connection.requests.take()
  connection.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
  await answering
  assert.equal(lookUps, 1)
  assert.equal((await failure(session, { url })).resetCode, ResetCode.DESTINATION_FORBIDDEN)
  assert.equal(lookUps, 2)
  assert.equal(origin.connections.all.length, 1)
})

test('an address that does not answer costs a quarter of a second, not the request', async (t) => {
  const origin = await startHttpOrigin(t, (_req, res) => res.end('here'))
  const { session } = await connected(t, {
    // TEST-NET-1 is routed nowhere (RFC 5737): refused at once or never answered.
    allow: ['192.0.2.0/24', `127.0.0.1:${origin.port}`],
    resolve: async () => ['192.0.2.1', '127.0.0.1'],
  })
  const answer = await exchange(session, { url: `http://app.internal:${origin.port}` }, get)
  assert.equal(answer.body, 'here')
})

test('a thousand requests at once are answered, each with its own answer', async (t) => {
  const origin = await startHttpOrigin(t, (req, res) => res.end(req.url))
  const { session, connector } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  const answers = await Promise.all(
    Array.from({ length: 1000 }, (_, index) =>
      exchange(session, { url: origin.url }, `GET /${index} HTTP/1.1\r\nHost: x`),
    ),
  )
  assert.deepEqual(
    answers.map(({ body }) => body),
    answers.map((_, index) => `/${index}`),
  )
  assert.equal(connector.status().exchanges.active, 0)
})
