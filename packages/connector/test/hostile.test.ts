import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { ResetCode } from '@sallyport/protocol'
import { startHttpOrigin, startRawOrigin } from './origins.ts'
import { connected, exchange, GatewayStream, openText } from './service.ts'

const get = 'GET / HTTP/1.1\r\nHost: x'

/** Mulberry32: the same numbers for the same seed. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }
}

function seedOf(t: TestContext): number {
  const seed = Number(process.env.SEED ?? Date.now() % 1_000_000)
  t.diagnostic(`SEED=${seed}`)
  return seed
}

const spices = [
  '\r\n',
  '\n',
  '\r',
  '\0',
  ' ',
  '\t',
  ':',
  ',',
  '\u00ff',
  'chunked',
  'Content-Length: 3',
  'Host: y',
  'HTTP/1.1',
  '%0d',
  '\r\n\r\n',
  '127.0.0.1',
  '"',
  '{',
  '0',
  '99999999999999999999',
]

/** Bytes taken out, doubled, replaced, or spiced with what means something to a parser. */
function mutate(text: string, random: (below: number) => number): string {
  let mutated = text
  for (let turns = random(4); turns >= 0; turns -= 1) {
    const at = random(mutated.length + 1)
    const to = Math.min(mutated.length, at + random(8))
    const kind = random(4)
    const middle =
      kind === 0
        ? ''
        : kind === 1
          ? mutated.slice(at, to).repeat(2)
          : kind === 2
            ? String.fromCharCode(random(256))
            : spices[random(spices.length)]!
    mutated = mutated.slice(0, at) + middle + mutated.slice(kind === 3 ? at : to)
  }
  return mutated
}

test('a gateway that sends nonsense gets each stream ended, and no origin is sent a request that its server cannot read', async (t) => {
  const random = randomFrom(seedOf(t))
  const misread: string[] = []
  const origin = await startHttpOrigin(t, (req, res) => {
    req.resume()
    req.on('end', () => res.end(req.method))
    req.on('error', () => {})
  })
  // Methods that Node's parser does not know, but RFC 9110 allows, are no misreading; nor are early
  // ends.
  origin.server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    if (!['HPE_INVALID_METHOD', 'ECONNRESET', 'HPE_INVALID_EOF_STATE'].includes(error.code ?? ''))
      misread.push(
        `${error.code} ${JSON.stringify((error as { rawPacket?: Buffer }).rawPacket?.toString('latin1'))}`,
      )
    socket.destroy()
  })
  const { session, connector } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  const heads = [
    get,
    'POST /a?b=%20 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nX: y',
    'PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nCookie: a=b',
    'GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket',
  ]
  const good = openText({ url: origin.url, upgrade: true, timeoutMs: 2000 })
  for (let round = 0; round < 40; round += 1) {
    const waiting: Promise<unknown>[] = []
    for (let index = 0; index < 25; index += 1) {
      const text = random(4) === 0 ? mutate(good, random) : good
      const { stream, outcomes } = new GatewayStream(session, text)
      const ended = random(2) === 0
      stream.sendHead(mutate(heads[random(heads.length)]!, random), ended)
      if (!ended && random(2) === 0) stream.write(Buffer.from('hello'))
      if (random(8) === 0) stream.reset(ResetCode.CANCELLED)
      else {
        if (!ended) stream.end(random(4) === 0 ? mutate('X-Trailer: 1', random) : undefined)
        waiting.push(outcomes.take())
      }
    }
    await Promise.all(waiting)
  }
  assert.deepEqual(misread, [])
  assert.equal((await exchange(session, { url: origin.url }, get)).body, 'GET')
  assert.equal(connector.status().exchanges.active, 0)
})

test('an origin that answers nonsense ends its exchange and nothing else', async (t) => {
  const random = randomFrom(seedOf(t))
  const origin = await startRawOrigin(t)
  const { session, connector } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  const answers = [
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n',
    'HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n',
    'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nraw',
  ]
  const serve = async () => {
    for (;;) {
      const connection = await origin.connections.take()
      void (async () => {
        for (;;) {
          await connection.requests.take()
          const answer = mutate(answers[random(answers.length)]!, random)
          if (random(2) === 0) connection.socket.end(answer, 'latin1')
          else {
            connection.socket.write(answer, 'latin1')
            connection.socket.end()
          }
        }
      })()
    }
  }
  void serve()
  for (let round = 0; round < 20; round += 1) {
    await Promise.all(
      Array.from({ length: 25 }, async () => {
        const upgrade = random(4) === 0
        const gateway = new GatewayStream(session, openText({ url: origin.url, upgrade }))
        gateway.stream.sendHead(
          upgrade ? `${get}\r\nConnection: Upgrade\r\nUpgrade: websocket` : get,
          !upgrade,
        )
        await gateway.outcomes.take()
        gateway.stream.reset(ResetCode.CANCELLED)
      }),
    )
  }
  const last = new GatewayStream(session, '\u0000{}')
  last.stream.sendHead(get, true)
  assert.equal((await last.failed()).resetCode, ResetCode.PROTOCOL_ERROR)
  assert.equal(connector.status().exchanges.active, 0)
  assert.equal(connector.status().tunnels[0]!.state, 'connected')
})

test('heads and trailers as large as an origin can make them end their exchange at worst', async (t) => {
  const origin = await startRawOrigin(t)
  const { session, connector } = await connected(t, { allow: [`127.0.0.1:${origin.port}`] })
  const answer = async (text: string) => {
    const gateway = new GatewayStream(session, openText({ url: origin.url }))
    gateway.stream.sendHead(get, true)
    const connection = await origin.connections.take()
    await connection.requests.take()
    connection.socket.end(text)
    const outcome = await gateway.outcomes.take()
    await connection.closed
    return outcome instanceof Error ? outcome.resetCode : gateway.heads.last!.length
  }
  const fields = (count: number, length: number) =>
    Array.from({ length: count }, (_, index) => `X-${index}:${'v'.repeat(length)}\r\n`).join('')
  const large = await answer(`HTTP/1.1 200 OK\r\nContent-Length:0\r\n${fields(499, 510)}\r\n`)
  assert(large! > 255_000, `${large}`)
  for (const tooLarge of [
    `HTTP/1.1 200 OK\r\n${fields(499, 520)}\r\n`,
    `HTTP/1.1 200 OK\r\n${fields(501, 1)}\r\n`,
    `HTTP/1.1 200 OK\r\nX: ${'v'.repeat(262_100)}\r\n\r\n`,
    `HTTP/1.1 200 ${'r'.repeat(262_100)}\r\n\r\n`,
    `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n${fields(200, 500)}\r\n`,
  ])
    assert.equal(await answer(tooLarge), ResetCode.ORIGIN_RESPONSE_INVALID, tooLarge.slice(0, 60))
  assert.equal(connector.status().exchanges.active, 0)
})

test('a stream that ends before its head is a violation, and so is a request of HTTP/1.0', async (t) => {
  const { session } = await connected(t, { allow: ['127.0.0.1'] })
  const headless = new GatewayStream(session, openText({ url: 'http://127.0.0.1:1' }))
  headless.stream.end()
  assert.equal((await headless.failed()).resetCode, ResetCode.PROTOCOL_ERROR)
  const old = new GatewayStream(session, openText({ url: 'http://127.0.0.1:1' }))
  old.stream.sendHead('GET / HTTP/1.0\r\nHost: x', true)
  assert.equal((await old.failed()).resetCode, ResetCode.PROTOCOL_ERROR)
})
