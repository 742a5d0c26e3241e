/**
 * CPU of the tunnel alone, for small exchanges and for one download:
 *
 *   node packages/protocol/bench/exchange.ts [--seconds 3] [--concurrency 64] [--transport
 * memory|tcp]
 *
 * With `tcp` the connector is a process of its own, and each side's CPU is shown apart. Batches are
 * what the event loop gathered in one turn; under load one batch carries many exchanges.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import net from 'node:net'
import { performance } from 'node:perf_hooks'
import { type Duplex, duplexPair } from 'node:stream'
import { parseArgs } from 'node:util'
import { type StreamHandler, TunnelSession, type TunnelStream } from '../src/index.ts'

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '3' },
    concurrency: { type: 'string', default: '64' },
    transport: { type: 'string', default: 'memory' },
    connect: { type: 'string' },
  },
})
const runMs = Number(values.seconds) * 1000

const requestHead = [
  'GET /reports/2024/overview?sort=name HTTP/1.1',
  'Host: hr.inside.example',
  'User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0',
  'Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8',
  'Accept-Language: en-US,en;q=0.5',
  'X-Forwarded-For: 192.0.2.17',
].join('\r\n')
const responseHead = [
  'HTTP/1.1 200 OK',
  'Content-Type: text/html; charset=utf-8',
  'Content-Length: 120',
  'Cache-Control: no-store',
].join('\r\n')
const opening = '{"destination":"http://hr.inside.example:80","signOn":"none"}'
const answer = Buffer.alloc(120, 'a')
const block = Buffer.alloc(65_536, 'b')

const ignore = (): void => {}

/** Answers a request: 120 bytes, or 65,536 bytes as often as the opening says. */
class Answering implements StreamHandler {
  readonly stream: TunnelStream
  #blocks = 0
  constructor(stream: TunnelStream) {
    this.stream = stream
  }
  onHead(): void {
    const [, blocks] = this.stream.openText.split('blocks=')
    this.stream.sendHead(responseHead)
    if (blocks === undefined) {
      this.stream.write(answer)
      this.stream.end()
    } else {
      this.#blocks = Number(blocks)
      this.onWritable()
    }
  }
  onWritable(): void {
    while (this.#blocks > 0) {
      if (--this.#blocks === 0) {
        this.stream.write(block)
        this.stream.end()
      } else if (!this.stream.write(block)) return
    }
  }
  onData = ignore
  onEnd = ignore
  onReset = ignore
}

function startConnector(duplex: Duplex): TunnelSession {
  return new TunnelSession(duplex, {
    side: 'connector',
    onStream(stream) {
      stream.handler = new Answering(stream)
    },
    onClose: ignore,
  })
}

/** Sends one request after the other until `untilAt`. */
class Asking implements StreamHandler {
  static done = 0
  static bytes = 0
  readonly session: TunnelSession
  readonly untilAt: number
  readonly opening: string
  readonly finished: () => void
  constructor(session: TunnelSession, opening: string, untilAt: number, finished: () => void) {
    this.session = session
    this.opening = opening
    this.untilAt = untilAt
    this.finished = finished
    this.ask()
  }
  ask(): void {
    this.session.openStream(this.opening, this).sendHead(requestHead, true)
  }
  onHead = ignore
  onData(chunk: Buffer): void {
    Asking.bytes += chunk.length
  }
  onEnd(): void {
    Asking.done++
    if (performance.now() < this.untilAt) this.ask()
    else this.finished()
  }
  onWritable = ignore
  onReset = ignore
}

async function measure(
  name: string,
  session: TunnelSession,
  concurrency: number,
  open: Buffer,
  otherCpuUs: () => Promise<number>,
): Promise<void> {
  Asking.done = 0
  Asking.bytes = 0
  const before = process.cpuUsage()
  const otherBefore = await otherCpuUs()
  const startedAt = performance.now()
  await Promise.all(
    Array.from(
      { length: concurrency },
      () =>
        new Promise<void>((resolve) => {
          new Asking(session, open, startedAt + runMs, resolve)
        }),
    ),
  )
  const seconds = (performance.now() - startedAt) / 1000
  const used = process.cpuUsage(before)
  const mine = (used.user + used.system) / Asking.done
  const other = ((await otherCpuUs()) - otherBefore) / Asking.done
  console.log(
    `${name}: ${Math.round(Asking.done / seconds)} exchanges/s, ` +
      `${(Asking.bytes / seconds / 1e6).toFixed(0)} MB/s, ` +
      `CPU per exchange ${mine.toFixed(2)} us here, ${other.toFixed(2)} us connector`,
  )
}

async function askCpu(child: ChildProcess): Promise<number> {
  child.send('cpu')
  const [message] = (await once(child, 'message')) as [number]
  return message
}

async function main(): Promise<void> {
  if (values.connect) {
    const socket = net.connect(Number(values.connect), '127.0.0.1')
    socket.setNoDelay(true)
    startConnector(socket)
    process.on('message', () => {
      const { user, system } = process.cpuUsage()
      process.send!(user + system)
    })
    socket.on('close', () => process.disconnect())
    return
  }
  let duplex: Duplex
  let otherCpuUs = async () => 0
  let end = () => {}
  if (values.transport === 'tcp') {
    const server = net.createServer()
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as net.AddressInfo
    const child = fork(import.meta.filename, ['--connect', String(port)])
    const [socket] = (await once(server, 'connection')) as [net.Socket]
    socket.setNoDelay(true)
    duplex = socket
    otherCpuUs = () => askCpu(child)
    end = () => server.close()
  } else {
    const [gatewayEnd, connectorEnd] = duplexPair()
    startConnector(connectorEnd)
    duplex = gatewayEnd
  }
  const session = new TunnelSession(duplex, { side: 'gateway', onClose: end })
  const many = Number(values.concurrency)
  await measure(`warm-up, ${many} at once`, session, many, opening, otherCpuUs)
  await measure(`small, ${many} at once`, session, many, opening, otherCpuUs)
  await measure('small, one at a time', session, 1, opening, otherCpuUs)
  await measure('downloads of 64 MiB', session, 1, 'blocks=1024', otherCpuUs)
  session.close()
}

await main()
