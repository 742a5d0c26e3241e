import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import { ResetCode, type TunnelStream } from '@sallyport/protocol'
import {
  connectTls,
  lastFirst,
  rawRequest,
  type System,
  sendRaw,
  startSystem,
} from '@sallyport/testkit'
import { dialAs, type HostileConnector, startHostileConnector } from './hostile-connector.ts'

// A connector that was enrolled in good order and then fell: what it says to clients of its own group, and to the service.
suite('attacks by a connector', () => {
  const closers: (() => Promise<void> | void)[] = []
  const scope = lastFirst({ after: (close) => void closers.push(close) })
  let system: System
  let hostile: HostileConnector

  before(async () => {
    system = await startSystem(scope, {
      applications: [{ name: 'good', preAuthentication: 'passthrough' }],
    })
    hostile = await startHostileConnector(scope, system)
  })
  after(async () => {
    for (const close of closers.reverse()) await close()
  })

  const head = 'HTTP/1.1 200 OK\r\nContent-Length: 2'
  const body = Buffer.from('ok')
  const fields = () => `Host: ${system.host('hostile')}:${system.port}\r\n`
  const webSocket =
    'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'

  /** Two requests on one connection; the hostile answer is for the first, a good one for the second. */
  async function answers(
    say: (stream: TunnelStream) => void,
    request = `GET /first HTTP/1.1\r\n${fields()}\r\n`,
  ): Promise<{ text: string; statuses: number[] }> {
    hostile.onStream = (stream, requested) => {
      if (requested.includes(' /second ')) {
        stream.sendHead('HTTP/1.1 200 OK\r\nContent-Length: 6')
        stream.write(Buffer.from('second'))
        stream.end()
      } else say(stream)
    }
    const socket = await connectTls({
      port: system.port,
      ca: system.ca,
      host: system.host('hostile'),
    })
    const text = await sendRaw(
      socket,
      `${request}GET /second HTTP/1.1\r\n${fields()}Connection: close\r\n\r\n`,
    )
    return {
      text,
      statuses: [...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map((match) => Number(match[1])),
    }
  }

  const whole = (stream: TunnelStream, text: string, data?: Buffer, trailers?: string) => {
    stream.sendHead(text)
    if (data) stream.write(data)
    stream.end(trailers)
  }

  test('attack 53: an answer that is none, or ends another way than it says, is never taken for one', async () => {
    const pages: [what: string, status: number, say: (stream: TunnelStream) => void][] = [
      ['no head', 502, (stream) => whole(stream, '')],
      ['garbage', 502, (stream) => whole(stream, 'garbage')],
      ['another version', 502, (stream) => whole(stream, 'HTTP/2 200')],
      ['a status over 599', 502, (stream) => whole(stream, 'HTTP/1.1 999 X')],
      ['a status of zeros', 502, (stream) => whole(stream, 'HTTP/1.1 000 X')],
      ['LF alone', 502, (stream) => whole(stream, 'HTTP/1.1 200 OK\nSet-Cookie: a=b')],
      ['CR in the reason', 502, (stream) => whole(stream, 'HTTP/1.1 200 O\rK')],
      ['a second head within', 502, (stream) => whole(stream, `${head}\r\n\r\n${head}`, body)],
      ['a length twice', 502, (stream) => whole(stream, `${head}\r\nContent-Length: 2`, body)],
      [
        'a length with a sign',
        502,
        (stream) => whole(stream, 'HTTP/1.1 200 OK\r\nContent-Length: +2', body),
      ],
      ['2,000 fields', 502, (stream) => whole(stream, `${head}${'\r\nX: a'.repeat(2_000)}`, body)],
      ['the end instead of a body', 502, (stream) => stream.sendHead(head, true)],
      [
        'data before a head',
        502,
        (stream) => {
          stream.accept()
          stream.write(body)
        },
      ],
      [
        'the end before a head',
        502,
        (stream) => {
          stream.accept()
          stream.end()
        },
      ],
      ['101 unasked', 502, (stream) => whole(stream, 'HTTP/1.1 101 X\r\nUpgrade: websocket')],
      [
        '1xx without end',
        502,
        (stream) => {
          for (let count = 0; count < 40; count += 1) stream.sendHead('HTTP/1.1 103 X')
        },
      ],
      ['REFUSED by all', 503, (stream) => stream.reset(ResetCode.REFUSED)],
      ['NO_ERROR', 502, (stream) => stream.reset(ResetCode.NO_ERROR)],
    ]
    for (const [what, status, say] of pages) {
      const { statuses, text } = await answers(say)
      assert.deepEqual(
        statuses.filter((code) => code >= 200),
        [status, 200],
        `${what}: ${text}`,
      )
      assert.ok(text.endsWith('second'), what)
    }
    // What began as an answer ends with its connection: nobody takes it for whole, and nothing comes after it.
    for (const [what, say] of [
      ['more than it said', (stream) => whole(stream, head, Buffer.from(`ok${head}\r\n\r\nevil`))],
      ['less than it said', (stream) => whole(stream, head, Buffer.from('o'))],
      [
        'a second head',
        (stream) => {
          stream.sendHead(head)
          stream.sendHead(head)
          stream.write(body)
          stream.end()
        },
      ],
      ['trailers that are none', (stream) => whole(stream, 'HTTP/1.1 200 OK', body, 'a b\nX: 1')],
      [
        'trailers that end the section',
        (stream) => whole(stream, 'HTTP/1.1 200 OK', body, `X: 1\r\n\r\n${head}`),
      ],
    ] as [string, (stream: TunnelStream) => void][]) {
      const { text } = await answers(say)
      assert.doesNotMatch(text, /second|evil|0\r\n\r\n$/, what)
    }
    assert.equal(system.service.gateway.open.size, 0)
  })

  test('attack 28: what a connector sends where no body may be reaches nobody, and the connection goes on', async () => {
    for (const [status, method] of [
      [204, 'GET'],
      [304, 'GET'],
      [200, 'HEAD'],
    ] as const) {
      const { text } = await answers(
        (stream) => whole(stream, `HTTP/1.1 ${status} X\r\nContent-Length: 4`, Buffer.from('evil')),
        `${method} /first HTTP/1.1\r\n${fields()}\r\n`,
      )
      assert.doesNotMatch(text, /evil/)
      assert.ok(text.endsWith('second'))
    }
    const { text } = await answers((stream) => {
      stream.sendHead(
        'HTTP/1.1 103 X\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nConnection: close\r\nUpgrade: h2c\r\nSet-Cookie: __Host-sallyport=1',
      )
      whole(
        stream,
        `${head}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\nAlt-Svc: h3=":1"`,
        body,
      )
    })
    assert.equal(text.split('\r\n\r\n')[0], 'HTTP/1.1 103 X')
    assert.doesNotMatch(text.slice(0, text.indexOf('second')), /transfer-encoding|alt-svc/i)
    assert.ok(text.endsWith('second'))
  })

  test('attack 27: an upgrade that a connector answers otherwise leaves a connection for requests', async () => {
    const upgrade = `GET /first HTTP/1.1\r\n${fields()}${webSocket}\r\n`
    const refused = await answers((stream) => whole(stream, head, body), upgrade)
    assert.deepEqual(refused.statuses, [200, 200])
    const ended = await answers(
      (stream) => stream.sendHead('HTTP/1.1 101 X\r\nUpgrade: websocket', true),
      upgrade,
    )
    assert.deepEqual(ended.statuses, [502, 200])
    // What comes after 101 is no HTTP to us, however it looks.
    const raw = await answers((stream) => {
      stream.sendHead('HTTP/1.1 101 X\r\nContent-Length: 5\r\nTransfer-Encoding: chunked')
      stream.write(Buffer.from('raw'))
      stream.end()
    }, upgrade)
    assert.deepEqual(raw.statuses, [101])
    assert.match(raw.text, /\r\n\r\nraw$/)
    assert.doesNotMatch(raw.text, /content-length|transfer-encoding/i)
  })

  test('attack 53: frames that are frames and make no sense end their tunnel at most', async () => {
    let seed = 5_353
    const random = (below: number) => {
      seed = (seed * 1_103_515_245 + 12_345) & 0x7fffffff
      return (seed >> 8) % below
    }
    const frame = (type: number, flags: number, id: number, payload: Buffer) => {
      const bytes = Buffer.alloc(9 + payload.length)
      bytes.writeUIntBE(payload.length, 0, 3)
      bytes[3] = type
      bytes[4] = flags
      bytes.writeUInt32BE(id, 5)
      payload.copy(bytes, 9)
      return bytes
    }
    const hello = Buffer.from([0x53, 0x50, 0x54, 0x31, 1, 1, 2, 0, 0, 0, 0x4e, 0x20, 0])
    hostile.session.close()
    for (let round = 0; round < 25; round += 1) {
      const socket = await dialAs(system, 'hostile')
      const closed = new Promise<void>((resolve) => socket.on('close', () => resolve()))
      socket.on('error', () => socket.destroy())
      socket.resume()
      socket.write(frame(0, 0, 0, hello))
      await system.tunnelsUp('hostile')
      // Requests that are under way while it talks.
      const asked = Array.from({ length: 3 }, () =>
        rawRequest(system, 'hostile', ['GET / HTTP/1.1']).then(({ status }) => status),
      )
      const parts: Buffer[] = []
      for (let count = 0; count < 40; count += 1) {
        const type = random(10)
        const payload = Buffer.alloc(
          type === 5 ? 4 : type === 7 ? 8 : type === 6 ? 2 + random(5) : random(3) * random(200),
          random(256),
        )
        if (type === 2 && random(2) === 0) payload.fill(`${head}\r\n\r\n`)
        parts.push(
          frame(type, random(4), type === 7 || type === 8 || type === 0 ? 0 : random(6), payload),
        )
      }
      socket.write(Buffer.concat(parts))
      socket.end()
      for (const status of await Promise.all(asked))
        assert.ok(status === 0 || status === 200 || status >= 500, String(status))
      await closed
      while (system.service.gateway.tunnels.pick('hostile'))
        await new Promise((resolve) => setImmediate(resolve))
      assert.equal((await rawRequest(system, 'good', ['GET / HTTP/1.1'])).status, 200)
    }
    assert.equal(system.service.gateway.open.size, 0)
    await hostile.dial()
  })

  test('attack 53: a connector that grants nothing holds up one request, and its client sends no more', async () => {
    let stream: TunnelStream | undefined
    hostile.onStream = (opened) => {
      stream = opened
    }
    const socket = await connectTls({
      port: system.port,
      ca: system.ca,
      host: system.host('hostile'),
    })
    const text = sendRaw(
      socket,
      `POST / HTTP/1.1\r\n${fields()}Content-Length: 100000000\r\nConnection: close\r\n\r\n`,
    )
    const chunk = Buffer.alloc(65_536)
    while (socket.write(chunk)) assert.ok(socket.bytesWritten < 50_000_000)
    assert.equal((await rawRequest(system, 'good', ['GET / HTTP/1.1'])).status, 200)
    assert.equal(system.service.gateway.open.size, 1)
    stream!.reset(ResetCode.ORIGIN_TIMEOUT)
    assert.match(await text, /^HTTP\/1\.1 504 /)
    assert.equal(system.service.gateway.open.size, 0)
  })
})
