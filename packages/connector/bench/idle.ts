import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { TunnelSession } from '@sallyport/protocol'
import { AllowList, parseAllowRules } from '../src/allow-list.ts'
import { ClientCertificates } from '../src/client-certificate.ts'
import { Deadlines } from '../src/deadlines.ts'
import { Exchange } from '../src/exchange.ts'
import type { ExchangeHost } from '../src/exchange-host.ts'
import { Instructions } from '../src/instruction.ts'
import { defaultOriginLimits, Origins, originNetwork } from '../src/origin.ts'
import { OriginRequests } from '../src/origin-request.ts'
import { OriginTls } from '../src/origin-tls.ts'

/**
 * Memory of idle WebSockets: what a process grows by for each, with the gateway's end of the stream
 * and the origin's end of the connection in the same process.
 *
 *   node --expose-gc packages/connector/bench/idle.ts [pipes]
 */
const pipes = Number(process.argv[2] ?? 2000)
const collect = (globalThis as { gc?: () => void }).gc
if (!collect) throw new Error('start it with --expose-gc')

const sockets: Socket[] = []
const origin = createServer((socket) => {
  sockets.push(socket)
  socket.on('error', () => {})
  socket.on('data', () =>
    socket.write(
      'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
    ),
  )
}).listen(0, '127.0.0.1')
await once(origin, 'listening')
const { port } = origin.address() as { port: number }
const log = { debug: () => {}, info: () => {}, warn: console.error, error: console.error }
const origins = new Origins(
  originNetwork({
    allowList: new AllowList(parseAllowRules([`127.0.0.1:${port}`])),
    resolve: async () => [],
    tls: new OriginTls(undefined),
    certificates: new ClientCertificates([], { clock: Date.now, log }),
    proxy: undefined,
    limits: defaultOriginLimits,
  }),
)
// Nobody is signed on.
const host: Omit<ExchangeHost, 'assertions' | 'signOn'> = {
  instructions: new Instructions(origins),
  origins,
  requests: new OriginRequests(),
  deadlines: new Deadlines(),
  log,
  counters: { started: 0, active: 0, failed: 0, cancelled: 0, retried: 0 },
  pipes: new Set(),
}
const [one, other] = pair()
new TunnelSession(one, {
  side: 'connector',
  onStream: (stream) => {
    stream.handler = new Exchange(host as ExchangeHost, stream)
  },
  onClose: () => {},
})
const gateway = await new Promise<TunnelSession>((resolve) => {
  const session: TunnelSession = new TunnelSession(other, {
    side: 'gateway',
    onReady: () => resolve(session),
    onClose: () => {},
  })
})
const json = JSON.stringify({
  v: 1,
  app: 'a',
  url: `http://127.0.0.1:${port}`,
  validate: true,
  timeoutMs: 60_000,
  upgrade: true,
})
await open(100)
const before = used()
await open(pipes)
const after = used()
process.stdout.write(
  `${((after.rss - before.rss) / pipes / 1000).toFixed(1)} kB RSS, ${((after.heap - before.heap) / pipes / 1000).toFixed(1)} kB heap per pipe, both ends and the origin's socket included\n`,
)
process.exit(0)

function used(): { rss: number; heap: number } {
  collect!()
  const { rss, heapUsed, external } = process.memoryUsage()
  return { rss, heap: heapUsed + external }
}

async function open(count: number): Promise<void> {
  for (let opened = 0; opened < count; opened += 1)
    await new Promise<void>((resolve, reject) => {
      const stream = gateway.openStream(`\u0001x${json}`, {
        onHead: () => resolve(),
        onData: () => {},
        onEnd: () => {},
        onWritable: () => {},
        onReset: reject,
      })
      stream.sendHead('GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket')
    })
}

function pair(): [Duplex, Duplex] {
  const ends: Duplex[] = [0, 1].map(
    (index) =>
      new Duplex({
        read: () => {},
        write: (chunk, _encoding, done) => {
          ends[1 - index]!.push(chunk)
          done()
        },
      }),
  )
  return ends as [Duplex, Duplex]
}
