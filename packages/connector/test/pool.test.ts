import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { ResetCode } from '@sallyport/protocol'
import { type RawConnection, startHttpOrigin, startRawOrigin } from './origins.ts'
import { connected, exchange, failure, GatewayStream, openText } from './service.ts'

const get = 'GET / HTTP/1.1\r\nHost: x'
const empty = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'

async function answerNext(connection: RawConnection, answer = empty): Promise<string> {
  const request = await connection.requests.take()
  connection.socket.write(answer)
  return request
}

test('a connection is kept and used again, the one used last first', async (t) => {
  const origin = await startRawOrigin(t)
  const { session, connector } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  const first = exchange(session, { url: origin.url }, 'GET /1 HTTP/1.1\r\nHost: x')
  const second = exchange(session, { url: origin.url }, 'GET /2 HTTP/1.1\r\nHost: x')
  const connections = [await origin.connections.take(), await origin.connections.take()]
  const byPath = async (path: string) => {
    const [one, two] = connections as [RawConnection, RawConnection]
    await Promise.all([
      one.requests.all.length || once(one.socket, 'data'),
      two.requests.all.length || once(two.socket, 'data'),
    ])
    return one.requests.all[0]!.startsWith(`GET ${path} `) ? one : two
  }
  const one = await byPath('/1')
  const two = await byPath('/2')
  await answerNext(one)
  await first
  await answerNext(two)
  await second
  assert.deepEqual(connector.status().origins, [
    { url: origin.url, validate: true, connections: 2, idle: 2 },
  ])
  for (const path of ['/3', '/4']) {
    const next = exchange(session, { url: origin.url }, `GET ${path} HTTP/1.1\r\nHost: x`)
    assert.match(await answerNext(two), new RegExp(`^GET ${path} `))
    assert.equal((await next).fields['sallyport-origin-ms']?.split(';')[0], '0')
  }
  assert.equal(one.requests.all.length, 1)
})

test('bytes that nobody asked for end an idle connection and reach nobody', async (t) => {
  const origin = await startRawOrigin(t)
  const { session } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  const poison = 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison'
  const first = exchange(session, { url: origin.url }, get)
  const connection = await origin.connections.take()
  await answerNext(connection)
  await first
  connection.socket.write(poison)
  await connection.closed
  const second = exchange(session, { url: origin.url }, get)
  await answerNext(
    await origin.connections.take(),
    'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok',
  )
  assert.equal((await second).body, 'ok')
  assert.equal(connection.requests.all.length, 1)
})

test('bytes behind a response, with it or after it, are never the answer to another request', async (t) => {
  const origin = await startRawOrigin(t)
  const { session } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  const poison = 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison'
  for (const [method, answer] of [
    ['GET', `HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok${poison}`],
    ['HEAD', `HTTP/1.1 200 OK\r\nContent-Length: ${poison.length}\r\n\r\n${poison}`],
    ['GET', `HTTP/1.1 204 No Content\r\n\r\n${poison}`],
    ['GET', `HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n${poison}`],
    ['GET', `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n${poison}`],
  ] as const) {
    const answering = exchange(session, { url: origin.url }, `${method} / HTTP/1.1\r\nHost: x`)
    const connection = await origin.connections.take()
    await answerNext(connection, answer)
    const { body } = await answering
    assert(!body.includes('poison'), `${method} ${answer}`)
    await connection.closed
    assert.equal(connection.requests.all.length, 1)
  }
})

test('a kept connection that closes instead of answering is replaced once, unseen', async (t) => {
  const origin = await startRawOrigin(t)
  const { session, connector } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  for (const method of ['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE']) {
    const first = exchange(session, { url: origin.url }, `${method} / HTTP/1.1\r\nHost: x`)
    const kept = await origin.connections.take()
    await answerNext(kept)
    await first
    const second = exchange(session, { url: origin.url }, `${method} / HTTP/1.1\r\nHost: x`)
    await kept.requests.take()
    kept.socket.destroy()
    const replacement = await origin.connections.take()
    assert.match(await replacement.requests.take(), new RegExp(`^${method} `))
    replacement.socket.end('HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')
    assert.equal((await second).statusCode, 200)
    await replacement.closed
  }
  assert.equal(connector.status().exchanges.retried, 5)
  assert.equal(connector.status().exchanges.failed, 0)
})

test('the replacement is not replaced again', async (t) => {
  const origin = await startRawOrigin(t)
  const { session } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  const first = exchange(session, { url: origin.url }, get)
  const kept = await origin.connections.take()
  await answerNext(kept)
  await first
  const second = failure(session, { url: origin.url })
  await kept.requests.take()
  kept.socket.destroy()
  const replacement = await origin.connections.take()
  await replacement.requests.take()
  replacement.socket.destroy()
  assert.equal((await second).resetCode, ResetCode.CONNECTION_RESET)
  assert.equal(origin.connections.all.length, 2)
})

test('nothing is sent twice that may not be, has a body, or was answered in part', async (t) => {
  const origin = await startRawOrigin(t)
  const { session, connector } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  for (const [head, part] of [
    ['POST / HTTP/1.1\r\nHost: x', ''],
    ['RDG_IN_DATA / HTTP/1.1\r\nHost: x', ''],
    ['PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 4', ''],
    ['PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked', ''],
    ['GET / HTTP/1.1\r\nHost: x', 'H'],
  ] as const) {
    const first = exchange(session, { url: origin.url }, get)
    const kept = await origin.connections.take()
    await answerNext(kept)
    await first
    const gateway = new GatewayStream(session, openText({ url: origin.url }))
    const hasBody = /Content-Length|Transfer/.test(head)
    gateway.stream.sendHead(head, !hasBody)
    if (hasBody) {
      gateway.stream.write(Buffer.from('body'))
      gateway.stream.end()
    }
    await kept.requests.take()
    kept.socket.end(part)
    assert.equal((await gateway.failed()).resetCode, ResetCode.CONNECTION_RESET, head)
  }
  assert.equal(connector.status().exchanges.retried, 0)
  assert.equal(origin.connections.all.length, 5)
})

test('what may not be sent twice takes no connection that has been idle for long', async (t) => {
  const origin = await startRawOrigin(t)
  const { session } = await connected(t, {
    allow: [`127.0.0.1:${origin.port}`],
    originLimits: { freshMs: -1 },
  })
  const first = exchange(session, { url: origin.url }, get)
  const kept = await origin.connections.take()
  await answerNext(kept)
  await first
  const post = exchange(
    session,
    { url: origin.url },
    'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0',
  )
  const fresh = await origin.connections.take()
  await answerNext(fresh, 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
  await post
  const again = exchange(session, { url: origin.url }, get)
  await answerNext(kept)
  await again
})

test('old and surplus connections, and those that either side wants closed, are not kept', async (t) => {
  const origin = await startRawOrigin(t)
  const tooOld = await connected(t, {
    allow: [`127.0.0.1:${origin.port}`],
    originLimits: { maxAgeMs: -1 },
  })
  for (let turn = 0; turn < 2; turn += 1) {
    const answering = exchange(tooOld.session, { url: origin.url }, get)
    await answerNext(await origin.connections.take())
    await answering
  }
  const tooMany = await connected(t, {
    allow: [`127.0.0.1:${origin.port}`],
    originLimits: { maxIdle: 0 },
  })
  const surplus = exchange(tooMany.session, { url: origin.url }, get)
  const connection = await origin.connections.take()
  await answerNext(connection)
  await surplus
  await connection.closed
  for (const answer of [
    'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n',
    'HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n',
  ]) {
    const closing = exchange(tooMany.session, { url: origin.url }, get)
    const last = await origin.connections.take()
    await answerNext(last, answer)
    await closing
    await last.closed
  }
})

test('an idle connection is closed after its time', async (t) => {
  const origin = await startRawOrigin(t)
  const { session } = await connected(t, {
    allow: [`127.0.0.1:${origin.port}`],
    originLimits: { idleMs: 100 },
  })
  const answering = exchange(session, { url: origin.url }, get)
  const connection = await origin.connections.take()
  await answerNext(connection)
  await answering
  await connection.closed
  const again = exchange(session, { url: origin.url }, get)
  await answerNext(await origin.connections.take())
  await again
})

// Attack 30: NTLM and Negotiate authenticate the connection, so whoever comes next on it is
// somebody else's user.
for (const [name, request, answer] of [
  [
    'the origin offers NTLM',
    get,
    'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: NTLM\r\nContent-Length: 0\r\n\r\n',
  ],
  [
    'the origin offers Negotiate among others',
    get,
    'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm="x", Negotiate\r\nContent-Length: 0\r\n\r\n',
  ],
  [
    'the origin goes on with NTLM',
    get,
    'HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Basic realm="x"\r\nWWW-AUTHENTICATE: ntlm TlRMTVNTUAAC\r\nContent-Length: 0\r\n\r\n',
  ],
  ['the client sends NTLM', `${get}\r\nAuthorization: NTLM TlRMTVNTUAAB`, empty],
  ['the client sends Negotiate', `${get}\r\nauthorization: negotiate YII`, empty],
  [
    'the origin says that the connection stays authenticated',
    get,
    'HTTP/1.1 200 OK\r\nPersistent-Auth: true\r\nContent-Length: 0\r\n\r\n',
  ],
] as const)
  test(`a connection is never shared when ${name}`, async (t) => {
    const origin = await startRawOrigin(t)
    const { session } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
    // Also when it was a shared one before.
    const before = exchange(session, { url: origin.url }, get)
    const connection = await origin.connections.take()
    await answerNext(connection)
    await before
    const authenticating = exchange(session, { url: origin.url }, request)
    await answerNext(connection, answer)
    await authenticating
    await connection.closed
    const other = exchange(session, { url: origin.url }, get)
    await answerNext(await origin.connections.take())
    await other
    assert.equal(connection.requests.all.length, 2)
  })

test('Basic and Bearer do not keep a connection from being shared', async (t) => {
  const origin = await startHttpOrigin(t, (_req, res) => {
    res.writeHead(401, { 'www-authenticate': 'Basic realm="ntlm negotiate"', 'content-length': 0 })
    res.end()
  })
  const { session } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  for (const authorization of ['Basic TlRMTQ==', 'Bearer negotiate'])
    await exchange(session, { url: origin.url }, `${get}\r\nAuthorization: ${authorization}`)
  assert.equal(origin.connections.all.length, 1)
})

test('a connection of an app without validation is not used by one with it', async (t) => {
  const origin = await startHttpOrigin(t, (_req, res) => res.end())
  const { session } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  await exchange(session, { url: origin.url, validate: false }, get)
  await exchange(session, { url: origin.url, validate: true }, get)
  assert.equal(origin.connections.all.length, 2)
})
