import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import net from 'node:net'
import { type TestContext, test } from 'node:test'
import {
  type BodyFraming,
  ClientConnection,
  type ServerExchange,
  serveConnection,
} from '../src/index.ts'
import { head, RecordedResponse } from './support/client.ts'
import { Random } from './support/random.ts'
import { connect, transports } from './support/wire.ts'

const sha256 = (bytes: Buffer | string) => createHash('sha256').update(bytes).digest('hex')

async function listen(t: TestContext, server: net.Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  return (server.address() as net.AddressInfo).port
}

/** Answers with the body that came, with backpressure in both directions. */
function echo(exchange: ServerExchange, fields: string[] = []): void {
  if (exchange.request.method !== 'HEAD' && exchange.expectsContinue) exchange.sendContinue()
  exchange.sendHead({ statusCode: 200, fields })
  exchange.onDrain = () => exchange.resume()
  exchange.receive({
    onData(chunk) {
      if (!exchange.write(chunk)) exchange.pause()
    },
    onEnd: (trailers) => exchange.end(undefined, trailers),
    onError: () => exchange.abort(),
  })
}

interface NodeAnswer {
  status: number
  body: Buffer
  trailers: string[]
}

/** One request by node:http. */
function ask(options: http.RequestOptions, body?: Buffer, trailers?: [string, string][]) {
  return new Promise<NodeAnswer>((resolve, reject) => {
    const request = http.request(options, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () => {
        const { statusCode = 0, rawTrailers } = response
        resolve({ status: statusCode, body: Buffer.concat(chunks), trailers: rawTrailers })
      })
    })
    request.on('error', reject)
    const finish = () => {
      if (trailers) request.addTrailers(trailers)
      request.end(body)
    }
    if (options.headers && 'expect' in options.headers)
      request.on('continue', finish).flushHeaders()
    else finish()
  })
}

test('the client of node:http is served: bodies, trailers, HEAD, Expect, keep-alive', async (t) => {
  let connections = 0
  const server = net.createServer((socket) => {
    connections++
    serveConnection(
      socket,
      {},
      {
        onExchange: (exchange) =>
          echo(exchange, exchange.request.method === 'HEAD' ? ['Content-Length', '5'] : []),
      },
    )
  })
  const port = await listen(t, server)
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  t.after(() => agent.destroy())
  const options = { port, host: '127.0.0.1', agent, method: 'POST' }
  const body = randomBytes(3_000_000)
  assert.deepEqual((await ask({ ...options, method: 'GET' })).body.length, 0)
  assert.equal(sha256((await ask(options, body)).body), sha256(body))
  const headers = { 'transfer-encoding': 'chunked' }
  const chunked = await ask({ ...options, headers }, body, [['X-Sum', '1']])
  assert.equal(sha256(chunked.body), sha256(body))
  assert.deepEqual(chunked.trailers, ['X-Sum', '1'])
  // Without any length, the agent of node:http does not keep the connection.
  assert.equal((await ask({ ...options, method: 'HEAD' })).status, 200)
  const expecting = { ...options, headers: { expect: '100-continue', 'content-length': 4 } }
  assert.equal((await ask(expecting, Buffer.from('late'))).body.toString(), 'late')
  assert.equal(connections, 1)
})

test('the server of node:http is asked: bodies, trailers, HEAD, 204, upgrade', async (t) => {
  const server = http.createServer((request, response) => {
    if (request.url === '/empty') {
      response.writeHead(204).end()
      return
    }
    if (request.url === '/counted') response.setHeader('content-length', '5')
    else response.setHeader('trailer', 'x-sum')
    response.flushHeaders()
    request.pipe(response, { end: false })
    request.on('end', () => {
      if (request.url === '/') response.addTrailers({ 'x-sum': request.rawTrailers.join() })
      response.end(request.url === '/counted' ? 'hello' : '')
    })
  })
  server.on('upgrade', (_request, socket) => {
    socket.write('HTTP/1.1 101 Go\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\nfirst ')
    socket.pipe(socket)
  })
  const port = await listen(t, server)
  const connection = new ClientConnection(net.connect(port, '127.0.0.1'))
  t.after(() => connection.destroy())
  const send = async (
    method: string,
    target: string,
    framing: BodyFraming,
    bodies: Buffer[] = [],
    trailers?: string[],
  ) => {
    while (!connection.reusable) await new Promise(setImmediate)
    const response = new RecordedResponse()
    const exchange = connection.request({ ...head(method), target }, framing, response)
    for (const body of bodies) {
      if (!exchange.write(body)) {
        await new Promise<void>((resolve) => {
          exchange.onDrain = resolve
        })
      }
    }
    exchange.end(undefined, trailers)
    await response.finished
    assert.equal(response.error, undefined)
    return response
  }
  const body = randomBytes(1_000_000)
  const pieces = [body.subarray(0, 10), body.subarray(10, 70_000), body.subarray(70_000)]
  const length = { kind: 'length', length: body.length } as const
  const digest = (response: RecordedResponse) => sha256(Buffer.from(response.text, 'latin1'))
  assert.equal(digest(await send('POST', '/', length, pieces)), sha256(body))
  const chunked = await send('POST', '/', { kind: 'chunked' }, pieces, ['A', '1'])
  assert.equal(digest(chunked), sha256(body))
  assert.deepEqual(chunked.trailers, ['x-sum', 'A,1'])
  assert.equal((await send('HEAD', '/counted', { kind: 'none' })).text, '')
  assert.equal((await send('GET', '/counted', { kind: 'none' })).text, 'hello')
  assert.equal((await send('GET', '/empty', { kind: 'none' })).head?.statusCode, 204)
  while (!connection.reusable) await new Promise(setImmediate)
  const upgraded = new RecordedResponse()
  const fields = ['Host', 'a', 'Connection', 'Upgrade', 'Upgrade', 'echo']
  const pipe = connection.request({ ...head(), fields }, { kind: 'none' }, upgraded)
  upgraded.onHead = () => pipe.end(Buffer.from('second'))
  await upgraded.finished
  assert.equal(upgraded.text, 'first second')
})

for (const transport of transports) {
  test(`our two sides carry bodies of every size and framing, paused at random (${transport})`, async (t) => {
    const random = new Random(7)
    const [near, far] = await connect(t, transport)
    const connection = new ClientConnection(near)
    serveConnection(
      far,
      {},
      {
        onExchange(exchange) {
          const length = exchange.framing.kind === 'length' ? exchange.framing.length : undefined
          echo(exchange, length === undefined ? [] : ['Content-Length', String(length)])
        },
      },
    )
    for (let count = 0; count < 60; count++) {
      const pieces = random.times(5, () =>
        randomBytes(random.below(random.chance(20) ? 300_000 : 3000)),
      )
      const body = Buffer.concat(pieces)
      const chunked = random.chance(50)
      const trailers = chunked && random.chance(30) ? ['T', String(count)] : []
      const response = new RecordedResponse()
      const exchange = connection.request(
        head('POST'),
        chunked ? { kind: 'chunked' } : { kind: 'length', length: body.length },
        response,
      )
      response.onChunk = () => {
        if (!random.chance(30)) return
        exchange.pause()
        setImmediate(() => exchange.resume())
      }
      for (const piece of pieces) {
        exchange.write(piece)
        if (random.chance(50)) await new Promise(setImmediate)
      }
      exchange.end(undefined, trailers)
      await response.finished
      assert.equal(response.error, undefined)
      assert.deepEqual([response.trailers, response.text.length], [trailers, body.length])
      assert.equal(sha256(Buffer.from(response.text, 'latin1')), sha256(body))
      assert.equal(connection.reusable, true)
    }
    connection.destroy()
  })
}
