import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo, connect, createServer as createTcpServer } from 'node:net'
import { after, before, suite, test } from 'node:test'
import { connect as connectSecurely } from 'node:tls'
import { connectTls, lastFirst, rawRequest, type System, startSystem } from '@sallyport/testkit'

const webSocket = [
  'Upgrade: websocket',
  'Connection: Upgrade',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
]

/** The same sequence in every run; below `limit`. */
function randomFrom(seed: number): (limit: number) => number {
  let state = seed
  return (limit) => {
    state = (state * 1_103_515_245 + 12_345) & 0x7fffffff
    return (state >> 8) % limit
  }
}

// Two readers of one byte stream that disagree, and answers that reach somebody else.
suite('attacks on the order of requests and answers', () => {
  const closers: (() => Promise<void> | void)[] = []
  const scope = lastFirst({ after: (close) => void closers.push(close) })
  let system: System
  let onRequest: (request: IncomingMessage, response: ServerResponse) => void
  let upgrades = 0

  before(async () => {
    // As lenient as a server can be, so that whatever is left of a trick works on it.
    const lenient = createServer(
      { insecureHTTPParser: true, keepAliveTimeout: 60_000 },
      (request, response) => onRequest(request, response),
    )
    lenient.on('clientError', (_, socket) => socket.destroy())
    lenient.on('upgrade', (_, socket) => {
      upgrades += 1
      socket.on('error', () => socket.destroy())
      socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
    })
    await new Promise<void>((resolve) => lenient.listen(0, '127.0.0.1', resolve))
    scope.after(() => lenient.closeAllConnections())
    scope.after(() => void lenient.close())
    const { port } = lenient.address() as AddressInfo
    system = await startSystem(scope, {
      users: ['ana', 'ben', 'zoe'],
      applications: [
        {
          name: 'app',
          set: {
            signOn: { method: 'headers', headers: [{ name: 'X-User', claim: 'userName' }] },
          },
        },
        {
          name: 'lenient',
          internalUrl: `http://127.0.0.1:${port}/`,
          preAuthentication: 'passthrough',
        },
      ],
      allow: [`127.0.0.1:${port}`],
    })
  })
  after(async () => {
    for (const close of closers.reverse()) await close()
  })

  test('attack 24: whatever frames a request, what stands in its body is never a request to an origin', async () => {
    const random = randomFrom(2_424)
    const pick = (list: readonly string[]) => list[random(list.length)]!
    const smuggled = 'GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n'
    const bodies = [
      smuggled,
      `${smuggled.length.toString(16)}\r\n${smuggled}\r\n0\r\n\r\n`,
      `5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n`,
      `5;a="\r\n0\r\n\r\n${smuggled}`,
      `5\r\nhello0\r\n\r\n${smuggled}`,
      `-0\r\n\r\n${smuggled}`,
      '',
    ].map((body) => body.padEnd(120, 'z'))
    const fields = [
      'Transfer-Encoding: chunked',
      'transfer-encoding: Chunked',
      'Transfer-Encoding:\tchunked',
      'Transfer-Encoding: \x0bchunked',
      'Transfer_Encoding: chunked',
      'Content_Length: 3',
      'Content-Length: 0',
      'Content-Length : 3',
      'Content-Length: +5',
      'Connection: close',
      'Connection: content-length, host, transfer-encoding',
      'Connection: Upgrade, close',
      'Expect: 100-continue',
      'TE: trailers',
      'Trailer: X',
      'Keep-Alive: timeout=1',
      'Upgrade: h2c',
      'X-Early: 1',
      'X: a\r\n b',
      'Foo: bar\rTransfer-Encoding: chunked',
    ]
    const seen = new Map<string, number>()
    onRequest = (request, response) => {
      seen.set(request.url!, (seen.get(request.url!) ?? 0) + 1)
      request.on('error', () => response.destroy())
      if (request.headers['x-early'] !== undefined) response.end('early')
      else request.on('end', () => response.end('ok')).resume()
    }
    let count = 0
    const statuses = new Set<string>()
    async function once(): Promise<void> {
      const socket = connect(system.plainPort, '127.0.0.1')
      const parts: string[] = []
      socket.on('error', () => socket.destroy())
      socket.on('data', (part) => parts.push(part.toString('latin1')))
      const closed = new Promise<void>((resolve) => socket.on('close', () => resolve()))
      const requests: string[] = []
      const last = random(3)
      for (let index = 0; index <= last; index += 1) {
        const own = Array.from({ length: random(4) }, () => pick(fields))
        // What follows is the body by this length, unless another field says otherwise.
        if (random(3) > 0) own.push('Content-Length: 120')
        if (random(5) === 0) own.push(...webSocket)
        if (index === last) own.push('Connection: close')
        count += 1
        requests.push(
          `${pick(['GET', 'POST', 'HEAD', 'PUT', 'OPTIONS', 'DELETE'])} /n${count} HTTP/1.${random(8) === 0 ? 0 : 1}`,
          `Host: ${system.host('lenient')}:${system.port}`,
          ...own,
          '',
          pick(bodies),
        )
      }
      // Whoever waits for the rest of a head at the end hears that it is none.
      const text = `${requests.join('\r\n')}\n`
      for (let at = 0; at < text.length; ) {
        const length = 1 + random(text.length)
        socket.write(text.slice(at, at + length), 'latin1')
        at += length
      }
      await closed
      for (const match of parts.join('').matchAll(/HTTP\/1\.1 (\d+)/g)) statuses.add(match[1]!)
    }
    for (let round = 0; round < 40; round += 1) await Promise.all(Array.from({ length: 40 }, once))
    assert.equal(seen.get('/smuggled'), undefined)
    for (const [url, times] of seen) assert.equal(times, 1, url)
    assert.ok(seen.size > 100, `only ${seen.size} of ${count} requests reached the origin`)
    assert.ok(upgrades > 0)
    assert.deepEqual(
      [...statuses].filter((status) => !/^(?:100|200|400|408|426|501|502)$/.test(status)),
      [],
    )
  })

  test('attack 24: a body of GET or HEAD is a body, and an early answer leaves no rest behind', async () => {
    const bodies: string[] = []
    onRequest = (request, response) => {
      const parts: Buffer[] = []
      if (request.url === '/early') {
        response.end('early')
        return
      }
      request.on('data', (part: Buffer) => parts.push(part))
      request.on('end', () => {
        bodies.push(`${request.method} ${request.url} ${Buffer.concat(parts)}`)
        response.end('ok')
      })
    }
    const host = `Host: ${system.host('lenient')}:${system.port}`
    const smuggled = 'GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n'
    const length = `Content-Length: ${smuggled.length}`
    const socket = await connectTls({
      port: system.port,
      ca: system.ca,
      host: system.host('lenient'),
    })
    const parts: string[] = []
    socket.on('data', (part: Buffer) => parts.push(part.toString('latin1')))
    socket.write(
      `GET /a HTTP/1.1\r\n${host}\r\n${length}\r\n\r\n${smuggled}` +
        `HEAD /b HTTP/1.1\r\n${host}\r\nTransfer-Encoding: chunked\r\n\r\n${smuggled.length.toString(16)}\r\n${smuggled}\r\n0\r\n\r\n` +
        `POST /early HTTP/1.1\r\n${host}\r\nContent-Length: 100000\r\n\r\n`,
    )
    while (!parts.join('').includes('early')) await once(socket, 'data')
    // The rest comes after the answer, and then a request.
    socket.write(smuggled.padEnd(100_000, 'z'))
    socket.write(`GET /last HTTP/1.1\r\n${host}\r\nConnection: close\r\n\r\n`)
    await once(socket, 'close')
    assert.deepEqual(bodies, [`GET /a ${smuggled}`, `HEAD /b ${smuggled}`, 'GET /last '])
    assert.deepEqual(
      [...parts.join('').matchAll(/HTTP\/1\.1 (\d+)/g)].map((match) => match[1]),
      ['200', '200', '200', '200'],
    )
  })

  test('attack 28: three people at once, who break off as they like, never see each other', async () => {
    const people = ['ana', 'ben', 'zoe'] as const
    const random = randomFrom(2_828)
    const origin = system.origin('app')
    origin.handler = (request, response) => {
      const mark = `<${request.headers['x-user']} ${request.url}>`
      const kind = Number(request.headers['x-kind'])
      request.on('error', () => response.destroy())
      const answer = () => {
        response.setHeader('X-For', mark)
        if (kind % 4 === 0) response.writeEarlyHints({ link: '</x>; rel=preload' })
        if (kind % 4 === 1) response.write(mark)
        if (kind % 4 === 2) response.setHeader('Content-Length', mark.length * 40)
        setImmediate(() => response.end(mark.repeat(kind % 4 === 1 ? 39 : 40)))
      }
      if (kind % 23 === 0) request.socket.destroy()
      else if (kind % 5 === 0) answer()
      else request.on('end', answer).resume()
    }
    const cookies = new Map<string, string>()
    for (const person of people)
      cookies.set(person, (await system.signIn(person, 'app')).cookieHeader(system.host('app')))
    let answered = 0
    async function use(person: string, round: number): Promise<void> {
      const socket = await connectTls({
        port: system.port,
        ca: system.ca,
        host: system.host('app'),
      })
      let text = ''
      socket.on('error', () => socket.destroy())
      socket.on('data', (part: Buffer) => {
        text += part.toString('latin1')
      })
      const closed = new Promise<void>((resolve) => socket.on('close', () => resolve()))
      const asked: string[] = []
      let bytes = ''
      const last = random(5)
      for (let index = 0; index <= last; index += 1) {
        const method = ['GET', 'POST', 'HEAD', 'PUT'][random(4)]!
        const body = method === 'POST' || method === 'PUT' ? `${person} `.repeat(random(4_000)) : ''
        const path = `/${person}-${round}-${index}`
        asked.push(`<${person} ${path}>`)
        bytes +=
          `${method} ${path} HTTP/1.1\r\nHost: ${system.host('app')}:${system.port}\r\nCookie: ${cookies.get(person)}\r\nX-Kind: ${random(1_000)}\r\n` +
          (index === last ? 'Connection: close\r\n' : '') +
          (random(2) === 0
            ? `Content-Length: ${body.length}\r\n\r\n${body}`
            : `Transfer-Encoding: chunked\r\n\r\n${body === '' ? '' : `${body.length.toString(16)}\r\n${body}\r\n`}0\r\n\r\n`)
      }
      for (let at = 0; at < bytes.length && !socket.destroyed; ) {
        const length = 1 + random(bytes.length)
        socket.write(bytes.slice(at, at + length))
        at += length
        if (random(4) === 0) await new Promise((resolve) => setImmediate(resolve))
      }
      if (random(3) === 0) socket.destroy()
      await closed
      for (const other of people)
        if (other !== person) assert.ok(!text.includes(other), `${person} saw ${other}`)
      const got = [...text.matchAll(/X-For: (<[^>]*>)/g)].map((match) => match[1]!)
      // In the order in which they were asked; one that failed says nothing.
      let at = 0
      for (const mark of got) {
        at = asked.indexOf(mark, at)
        assert.ok(at >= 0, `${mark} was not asked for, or before another: ${asked}`)
        at += 1
      }
      for (const [mark] of text.matchAll(/<(?!\/)[^>]*>/g)) assert.ok(asked.includes(mark), mark)
      answered += got.length
    }
    for (let round = 0; round < 25; round += 1)
      await Promise.all(
        people.flatMap((person) => Array.from({ length: 4 }, () => use(person, round))),
      )
    origin.handler = undefined
    assert.ok(answered > 200, `${answered} answers`)
    while (system.service.gateway.open.size > 0)
      await new Promise((resolve) => setImmediate(resolve))
    assert.equal((await rawRequest(system, 'app', ['GET / HTTP/1.1'])).status, 401)
  })

  test('attack 27: a pipe that its origin has half closed does not keep a connector from stopping', async (t) => {
    const origin = createTcpServer({ allowHalfOpen: true }, (socket) => {
      socket.on('error', () => socket.destroy())
      socket.once('data', () =>
        socket.end(
          'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nbye',
        ),
      )
    })
    await new Promise<void>((resolve) => origin.listen(0, '127.0.0.1', resolve))
    const { port } = origin.address() as AddressInfo
    const inner = lastFirst(t)
    inner.after(() => void origin.close())
    const other = await startSystem(inner, {
      applications: [
        {
          name: 'app',
          internalUrl: `http://127.0.0.1:${port}/`,
          preAuthentication: 'passthrough',
        },
      ],
      allow: [`127.0.0.1:${port}`],
    })
    const socket = connectSecurely({
      host: '127.0.0.1',
      port: other.port,
      servername: other.host('app'),
      ca: other.ca,
      // Known to Node, though not to its types.
      ...({ allowHalfOpen: true } as object),
    })
    socket.on('error', () => socket.destroy())
    await once(socket, 'secureConnect')
    const ended = once(socket, 'end')
    socket.resume()
    socket.write(
      ['GET / HTTP/1.1', `Host: ${other.host('app')}:${other.port}`, ...webSocket, '', ''].join(
        '\r\n',
      ),
    )
    await ended
    await other.connectors[0]!.close()
    socket.destroy()
  })
})
