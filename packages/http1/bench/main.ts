/**
 * What an exchange costs, in CPU time of this process, by the side that is measured:
 *
 *   node packages/http1/bench/main.ts [memory|floor|server|client|node] [count]
 *
 * `memory`: both sides over an in-memory pair. `server`: ours on TCP, driven by bytes written by hand. `node`: node:http on
 * TCP, driven by the same. `client`: ours on TCP, answered by hand. The cost of the hand (`floor`) is measured too.
 */
import { once } from 'node:events'
import http from 'node:http'
import net from 'node:net'
import { type Duplex, duplexPair } from 'node:stream'
import {
  ClientConnection,
  type FieldList,
  type ResponseSink,
  type ServerExchange,
  serveConnection,
} from '../src/index.ts'

const CONNECTIONS = 64
const body = Buffer.alloc(120, 'x')
const requestFields: FieldList = [
  ...['Host', 'hr.example.test'],
  ...['User-Agent', 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/131.0.0.0'],
  ...['Accept', 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8'],
  ...['Accept-Encoding', 'gzip, deflate, br, zstd'],
  ...['Accept-Language', 'en-GB,en;q=0.9'],
  ...['Sec-Fetch-Mode', 'navigate'],
  ...['Cookie', `__Host-sallyport=${'c'.repeat(300)}`],
]
const responseFields: FieldList = [
  ...['Date', 'Mon, 23 Nov 2026 19:24:00 GMT'],
  ...['Content-Type', 'text/html; charset=utf-8'],
  ...['Content-Length', String(body.length)],
  ...['Cache-Control', 'no-store'],
  ...['Server', 'origin'],
]
const lines = (fields: FieldList) =>
  fields.flatMap((name, index) => (index % 2 === 0 ? [`${name}: ${fields[index + 1]}\r\n`] : []))
const requestText = Buffer.from(`GET /a/b?c=d HTTP/1.1\r\n${lines(requestFields).join('')}\r\n`)
const responseText = Buffer.from(
  `HTTP/1.1 200 OK\r\n${lines(responseFields).join('')}\r\n${body.toString()}`,
)

function answer(exchange: ServerExchange): void {
  exchange.sendHead({ statusCode: 200, reason: 'OK', fields: responseFields })
  exchange.end(body)
}

function serve(socket: Duplex): void {
  serveConnection(socket, options, { onExchange: answer })
}
const options = {}

class Sink implements ResponseSink {
  left: number
  readonly connection: ClientConnection
  readonly finish: () => void
  constructor(connection: ClientConnection, left: number, finish: () => void) {
    this.connection = connection
    this.left = left
    this.finish = finish
  }
  next(): void {
    if (this.left-- === 0) {
      this.finish()
      return
    }
    const head = {
      method: 'GET',
      target: '/a/b?c=d',
      versionMinor: 1 as const,
      fields: requestFields,
    }
    this.connection.request(head, { kind: 'none' }, this)
  }
  onInformational(): void {}
  onHead(): void {}
  onData(): void {}
  onEnd(): void {
    this.next()
  }
  onError(error: Error): void {
    throw error
  }
}

function runClients(sockets: Duplex[], count: number): Promise<unknown> {
  return Promise.all(
    sockets.map(
      (socket) =>
        new Promise<void>((resolve) => {
          const connection = new ClientConnection(socket)
          new Sink(connection, Math.ceil(count / sockets.length), () => {
            connection.destroy()
            resolve()
          }).next()
        }),
    ),
  )
}

/** Sends a text again whenever a whole answer of a known size has come. */
function runByHand(sockets: Duplex[], count: number, answerBytes: number): Promise<unknown> {
  return Promise.all(
    sockets.map(
      (socket) =>
        new Promise<void>((resolve) => {
          let left = Math.ceil(count / sockets.length)
          let bytes = 0
          socket.on('data', (chunk: Buffer) => {
            bytes += chunk.length
            if (bytes < answerBytes) return
            bytes -= answerBytes
            if (--left === 0) {
              socket.destroy()
              resolve()
            } else socket.write(requestText)
          })
          socket.write(requestText)
        }),
    ),
  )
}

function answerByHand(socket: Duplex): void {
  let bytes = 0
  socket.on('error', () => undefined)
  socket.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    while (bytes >= requestText.length) {
      bytes -= requestText.length
      socket.write(responseText)
    }
  })
}

async function overTcp(server: net.Server, run: (sockets: Duplex[]) => Promise<unknown>) {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  const sockets = Array.from({ length: CONNECTIONS }, () =>
    net.connect({ port, host: '127.0.0.1', noDelay: true }),
  )
  await Promise.all(sockets.map((socket) => once(socket, 'connect')))
  const result = await timed(() => run(sockets))
  server.close()
  return result
}

async function timed(run: () => Promise<unknown>): Promise<number> {
  const before = process.cpuUsage()
  await run()
  const { user, system } = process.cpuUsage(before)
  return user + system
}

const nodeServer = () =>
  http.createServer((_request, response) => {
    response.writeHead(200, responseFields)
    response.end(body)
  }) as unknown as net.Server

const runs: Record<string, (count: number) => Promise<number>> = {
  memory: (count) => {
    const sockets = Array.from({ length: CONNECTIONS }, () => {
      const [client, server] = duplexPair()
      serve(server)
      return client
    })
    return timed(() => runClients(sockets, count))
  },
  floor: (count) =>
    overTcp(net.createServer({ noDelay: true }, answerByHand), (sockets) =>
      runByHand(sockets, count, responseText.length),
    ),
  server: (count) =>
    overTcp(net.createServer({ noDelay: true }, serve), (sockets) =>
      runByHand(sockets, count, responseText.length),
    ),
  client: (count) =>
    overTcp(net.createServer({ noDelay: true }, answerByHand), (sockets) =>
      runClients(sockets, count),
    ),
  node: (count) =>
    overTcp(nodeServer(), (sockets) => {
      const keepAlive = 'Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n'
      return runByHand(sockets, count, responseText.length + keepAlive.length)
    }),
}

const [only, countText] = process.argv.slice(2)
const count = Number(countText ?? 200_000)
for (const [name, run] of Object.entries(runs)) {
  if (only !== undefined && only !== name) continue
  await run(count / 4)
  const results: number[] = []
  for (let round = 0; round < 5; round++) results.push((await run(count)) / count)
  results.sort((a, b) => a - b)
  console.log(`${name}: ${results[2]!.toFixed(2)} us per exchange`)
}
