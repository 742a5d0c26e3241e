import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { after, before, suite, test } from 'node:test'
import {
  type Client,
  connectTls,
  parseRaw,
  rawRequest,
  type System,
  sendRaw,
  startSystem,
} from '@sallyport/testkit'
import { WebSocket, WebSocketServer } from 'ws'

suite('attacks on framing', () => {
  const closers: (() => Promise<void> | void)[] = []
  let system: System
  let ana: Client
  let ben: Client
  let cookie: string
  /** An origin that answers bytes of our choice. */
  let hostile: Server
  let onRequest: (socket: Socket, head: string) => void

  before(async () => {
    hostile = createServer((socket) => {
      socket.on('error', () => socket.destroy())
      socket.on('data', (chunk) => onRequest(socket, chunk.toString('latin1')))
    })
    await new Promise<void>((resolve) => hostile.listen(0, '127.0.0.1', resolve))
    const { port } = hostile.address() as { port: number }
    closers.push(() => void hostile.close())
    system = await startSystem(
      { after: (close) => void closers.push(close) },
      {
        applications: [
          { name: 'app' },
          { name: 'hostile', internalUrl: `http://127.0.0.1:${port}/` },
        ],
        allow: [`127.0.0.1:${port}`],
      },
    )
    onRequest = (socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
    ana = await system.signIn('ana', 'app')
    ben = await system.signIn('ben', 'app')
    await ana.open(system.url('hostile'))
    await ben.open(system.url('hostile'))
    cookie = ana.cookieHeader(system.host('app'))
    system.origin('app').requests.length = 0
  })
  after(async () => {
    for (const close of closers.reverse()) await close()
  })

  test('attack 24: a request whose length can be read in two ways reaches no origin', async () => {
    const smuggled = '0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n'
    for (const fields of [
      ['Content-Length: 4', 'Transfer-Encoding: chunked'],
      ['Transfer-Encoding: chunked', 'Content-Length: 4'],
      ['Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'],
      ['Transfer-Encoding: chunked, chunked'],
      ['Transfer-Encoding: chunked, identity'],
      ['Transfer-Encoding: identity, chunked'],
      ['Transfer-Encoding: xchunked'],
      ['Transfer-Encoding: chunked;q=1'],
      ['Transfer-Encoding:\x0bchunked'],
      ['Transfer-Encoding : chunked'],
      ['X: y\r\n Transfer-Encoding: chunked', 'Content-Length: 4'],
      ['Content-Length: 4', 'Content-Length: 5'],
      ['Content-Length: 4', 'content-length: 4'],
      ['Content-Length: 4, 4'],
      ['Content-Length: +4'],
      ['Content-Length: 0x4'],
      ['Content-Length: 4 4'],
      ['Content-Length: -1'],
      ['Content-Length: 99999999999999999999'],
      ['Content-Length: '],
    ]) {
      const { status, text } = await rawRequest(system, 'app', ['POST / HTTP/1.1', ...fields], {
        cookie,
        body: smuggled,
      })
      assert.ok(status === 400 || status === 501, `${fields} answered ${status}`)
      assert.equal(text.match(/HTTP\/1\.1 /g)!.length, 1, 'one answer')
    }
    const old = await rawRequest(system, 'app', ['POST / HTTP/1.0', 'Transfer-Encoding: chunked'], {
      cookie,
      body: smuggled,
    })
    assert.equal(old.status, 400)
    for (const body of [
      '5\nhello\n0\n\n',
      '5;\r\r\nhello\r\n0\r\n\r\n',
      '+5\r\nhello\r\n0\r\n\r\n',
      '0x5\r\nhello\r\n0\r\n\r\n',
      '5 \r\nhello\r\n0\r\n\r\n',
      '5\r\nhelloX\r\n0\r\n\r\n',
      'fffffffffffffffff\r\nhello\r\n0\r\n\r\n',
      `5;${'a'.repeat(100_000)}\r\nhello\r\n0\r\n\r\n`,
      '-5\r\nhello\r\n0\r\n\r\n',
      '\r\nhello\r\n0\r\n\r\n',
    ]) {
      const before = system.origin('app').requests.length
      const { status } = await rawRequest(
        system,
        'app',
        ['POST / HTTP/1.1', 'Transfer-Encoding: chunked'],
        {
          cookie,
          body,
        },
      )
      assert.ok(
        status === 0 || status >= 400,
        `${JSON.stringify(body.slice(0, 20))} answered ${status}`,
      )
      for (const request of system.origin('app').requests.slice(before))
        assert.equal(request.body, '', 'no whole body reached the origin')
    }
    for (const head of [
      `GET / HTTP/1.1\nHost: ${system.host('app')}:${system.port}\n\n`,
      `GET / HTTP/1.1\r\nHost: ${system.host('app')}:${system.port}\rX: y\r\n\r\n`,
      `GET /\r\n\r\n`,
      `GET / HTTP/1.1 \r\nHost: ${system.host('app')}:${system.port}\r\n\r\n`,
    ]) {
      const socket = await connectTls({
        port: system.port,
        ca: system.ca,
        host: system.host('app'),
      })
      assert.equal(parseRaw(await sendRaw(socket, head)).status >= 400, true, JSON.stringify(head))
    }
    assert.ok(!system.origin('app').requests.some(({ url }) => url.includes('smuggled')))
  })

  test('attack 24: pipelined requests are each decided and answered in order', async () => {
    const socket = await connectTls({ port: system.port, ca: system.ca, host: system.host('app') })
    const host = `Host: ${system.host('app')}:${system.port}`
    const text = await sendRaw(
      socket,
      `GET /one HTTP/1.1\r\n${host}\r\nCookie: ${cookie}\r\n\r\n` +
        `GET /two HTTP/1.1\r\n${host}\r\n\r\n` +
        `POST /three HTTP/1.1\r\n${host}\r\nCookie: ${cookie}\r\nContent-Length: 3\r\n\r\nabc` +
        `GET /four HTTP/1.1\r\n${host}\r\nCookie: ${cookie}\r\nConnection: close\r\n\r\n`,
    )
    assert.deepEqual(
      [...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map((match) => match[1]),
      ['200', '401', '200', '200'],
    )
    assert.deepEqual(
      system
        .origin('app')
        .requests.slice(-3)
        .map(({ url, body }) => [url, body]),
      [
        ['/one', ''],
        ['/three', 'abc'],
        ['/four', ''],
      ],
    )
  })

  test('attack 26: an upgrade to h2c is not offered to the origin', async () => {
    for (const fields of [
      [
        'Upgrade: h2c',
        'HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA',
        'Connection: Upgrade, HTTP2-Settings',
      ],
      ['Upgrade: h2c', 'HTTP2-Settings: AAMAAABk', 'Connection: close'],
    ]) {
      const socket = await connectTls({
        port: system.port,
        ca: system.ca,
        host: system.host('app'),
      })
      const text = await sendRaw(
        socket,
        `GET /h2c HTTP/1.1\r\nHost: ${system.host('app')}:${system.port}\r\nCookie: ${cookie}\r\n${fields.join('\r\n')}\r\n\r\nGET /last HTTP/1.1\r\nHost: ${system.host('app')}:${system.port}\r\nCookie: ${cookie}\r\nConnection: close\r\n\r\n`,
      )
      assert.equal(parseRaw(text).status, 200)
      const seen = system.origin('app').requests.findLast(({ url }) => url === '/h2c')!
      assert.doesNotMatch(JSON.stringify(seen.rawHeaders), /h2c|http2-settings/i)
    }
  })

  test('attack 27: only a valid upgrade that the origin accepts becomes a pipe', async () => {
    const key = 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='
    const own = ana.cookieHeader(system.host('hostile'))
    let reached = 0
    onRequest = (socket) => {
      reached += 1
      socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
    }
    const upgrade = (fields: string[], start = 'GET /ws HTTP/1.1') =>
      rawRequest(
        system,
        'hostile',
        [start, 'Upgrade: websocket', 'Connection: Upgrade, close', ...fields],
        {
          cookie: own,
        },
      )
    assert.equal((await upgrade([key, 'Sec-WebSocket-Version: 8'])).status, 426)
    assert.equal((await upgrade(['Sec-WebSocket-Version: 13'])).status, 400)
    assert.equal((await upgrade([key, key, 'Sec-WebSocket-Version: 13'])).status, 400)
    assert.equal(
      (await upgrade([key, 'Sec-WebSocket-Version: 13'], 'POST /ws HTTP/1.1')).status,
      400,
    )
    assert.equal(reached, 0)
    // The origin answers something else than 101: what the client says next is a request, and is decided.
    for (const answer of [
      'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok',
      'HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n',
      'HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n',
    ]) {
      reached = 0
      const heads: string[] = []
      onRequest = (socket, head) => {
        reached += 1
        heads.push(head)
        socket.write(answer)
      }
      const socket = await connectTls({
        port: system.port,
        ca: system.ca,
        host: system.host('hostile'),
      })
      const text = await sendRaw(
        socket,
        `GET /ws HTTP/1.1\r\nHost: ${system.host('hostile')}:${system.port}\r\nCookie: ${own}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n${key}\r\nSec-WebSocket-Version: 13\r\n\r\n` +
          `GET /raw HTTP/1.1\r\nHost: ${system.host('hostile')}:${system.port}\r\nConnection: close\r\n\r\n`,
      )
      const statuses = [...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map((match) => match[1])
      assert.equal(statuses.length, 2, text)
      assert.equal(statuses[1], '401')
      assert.ok(!heads.join('').includes('/raw'))
    }
  })

  test('attack 27: a WebSocket needs a session, and ends within two seconds of it', async () => {
    const sockets = new WebSocketServer({ server: system.origin('app').server })
    closers.push(() => void sockets.close())
    sockets.on('connection', (socket) => socket.on('message', (data) => socket.send(data)))
    const open = (headers: Record<string, string>) =>
      new WebSocket(`wss://127.0.0.1:${system.port}/ws`, {
        ca: system.ca,
        ...({ servername: system.host('app') } as object),
        headers: { host: `${system.host('app')}:${system.port}`, ...headers },
      })
    const [refused] = await once(
      open({}).on('error', () => undefined),
      'unexpected-response',
    ).then((args) => [(args[1] as { statusCode: number }).statusCode])
    assert.equal(refused, 401)
    const person = await system.signIn('ben', 'app')
    const socket = open({ cookie: person.cookieHeader(system.host('app')) })
    await once(socket, 'open')
    socket.send('hello')
    assert.equal(String((await once(socket, 'message'))[0]), 'hello')
    const closed = once(socket, 'close')
    socket.on('error', () => undefined)
    const startedAt = performance.now()
    await system.execute('user.disable', { userName: 'ben' })
    await closed
    assert.ok(performance.now() - startedAt < 2_000)
    await system.execute('user.enable', { userName: 'ben' })
    ben = await system.signIn('ben', 'app')
    await ben.open(system.url('hostile'))
  })

  test('attack 28: bytes that an origin sends unasked reach nobody', async () => {
    const used = new Set<Socket>()
    let last: Socket | undefined
    onRequest = (socket, head) => {
      assert.ok(!used.has(socket), 'a connection that sent unasked bytes is never used again')
      last = socket
      const path = /GET (\S+)/.exec(head)![1]!
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${path.length}\r\n\r\n${path}`)
    }
    for (let round = 0; round < 10; round += 1)
      for (const [person, name] of [
        [ana, 'ana'],
        [ben, 'ben'],
      ] as const) {
        const answer = await person.get(system.url('hostile', `/${name}${round}`))
        assert.deepEqual([answer.status, answer.body], [200, `/${name}${round}`])
        // An answer to a request that was never sent, for whoever comes next.
        used.add(last!)
        const dropped = once(last!, 'close')
        last!.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-Evil: 1\r\n\r\nevil')
        await dropped
      }
    assert.equal(used.size, 20)
    // In one piece with the answer that was asked for.
    onRequest = (socket) =>
      socket.write(
        'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil',
      )
    for (const person of [ana, ben, ana, ben])
      assert.equal((await person.get(system.url('hostile', '/joined'))).body, 'ok')
    // A body in the answer to HEAD is such bytes too.
    onRequest = (socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil')
    await ana.fetch(system.url('hostile', '/head'), { method: 'HEAD' })
    onRequest = (socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
    const next = await ben.get(system.url('hostile', '/after-head'))
    assert.ok(next.body === 'ok' || next.status === 502)
    // A storm of interim answers ends.
    onRequest = (socket) => socket.write('HTTP/1.1 102 Processing\r\n\r\n'.repeat(10_000))
    assert.equal((await ana.get(system.url('hostile', '/storm'))).status, 502)
  })

  test('attack 29: what is written into the origin request is what was parsed', async () => {
    let seen = ''
    onRequest = (socket, head) => {
      seen = head
      socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
    }
    const own = ana.cookieHeader(system.host('hostile'))
    for (const target of [
      '/\u010d\u010aX-Evil:1',
      '/%c4%8d%c4%8aX-Evil:1',
      '/?\u010d\u010aX-Evil:1',
    ]) {
      seen = ''
      const socket = await connectTls({
        port: system.port,
        ca: system.ca,
        host: system.host('hostile'),
      })
      const text = await sendRaw(
        socket,
        Buffer.from(
          `GET ${target} HTTP/1.1\r\nHost: ${system.host('hostile')}:${system.port}\r\nCookie: ${own}\r\nConnection: close\r\n\r\n`,
          'utf8',
        ),
      )
      assert.doesNotMatch(seen, /\r\nX-Evil/)
      if (parseRaw(text).status === 200)
        assert.match(seen, /^GET \/%c4%8d%c4%8aX-Evil:1 HTTP\/1\.1\r\n/)
      else assert.equal(parseRaw(text).status, 400)
    }
    await system.execute('user.create', {
      userName: 'odd',
      displayName: 'Odd\u010d\u010aX-Evil: 1',
      password: 'correct horse battery staple',
    })
    await system.execute('app.update', {
      name: 'hostile',
      set: {
        assignmentRequired: false,
        signOn: { method: 'headers', headers: [{ name: 'X-Name', claim: 'displayName' }] },
      },
    })
    const odd = await system.signIn('odd', 'hostile')
    assert.equal((await odd.get(system.url('hostile'))).status, 200)
    assert.doesNotMatch(seen, /\r\nX-Evil/)
    assert.match(seen, /\r\nX-Name: Odd/)
  })

  test('attack 30: a connection that an origin authenticated is not shared', async () => {
    const owners = new Map<Socket, Set<string>>()
    onRequest = (socket, head) => {
      const person = /GET \/(ana|ben)/.exec(head)![1]!
      const people = owners.get(socket) ?? new Set()
      owners.set(socket, people.add(person))
      if (/authorization: (NTLM|Negotiate)/i.test(head))
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
      else
        socket.write(
          'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: NTLM\r\nContent-Length: 0\r\n\r\n',
        )
    }
    for (let round = 0; round < 5; round += 1)
      for (const [person, name] of [
        [ana, 'ana'],
        [ben, 'ben'],
      ] as const) {
        await person.get(system.url('hostile', `/${name}`))
        await person.get(system.url('hostile', `/${name}`), {
          headers: { authorization: 'NTLM TlRMTVNTUAABAAAA' },
        })
      }
    for (const people of owners.values()) assert.equal(people.size, 1, [...people].join())
  })

  test('attack 31: Expect other than 100-continue is refused, and 100-continue reaches the origin and back', async () => {
    assert.equal(
      (
        await rawRequest(
          system,
          'app',
          ['POST / HTTP/1.1', 'Expect: 200-ok', 'Content-Length: 0'],
          { cookie },
        )
      ).status,
      417,
    )
    const origin = system.origin('app')
    const socket = await connectTls({ port: system.port, ca: system.ca, host: system.host('app') })
    const parts: string[] = []
    socket.on('data', (chunk: Buffer) => {
      parts.push(chunk.toString('latin1'))
      if (/ 100 /.test(parts.join('')) && !parts.join('').includes(' 200 ')) socket.write('hello')
    })
    socket.write(
      `POST /expect HTTP/1.1\r\nHost: ${system.host('app')}:${system.port}\r\nCookie: ${cookie}\r\nExpect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n\r\n`,
    )
    await once(socket, 'close')
    assert.match(parts.join(''), /^HTTP\/1\.1 100 [\s\S]*HTTP\/1\.1 200 /)
    assert.equal(origin.requests.at(-1)!.body, 'hello')
  })
})
