import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createServer, request } from 'node:http'
import test from 'node:test'
import type { Child } from '@sallyport/cli'
import { lastFirst, startProcesses } from '@sallyport/testkit'

const total = 5 * 1024 ** 3
const chunk = Buffer.alloc(256 * 1024, 7)

test('5 GB go down and up while neither process grows by more than 64 MB', async (context) => {
  const t = lastFirst(context)
  const origin = createServer((incoming, response) => {
    if (incoming.method === 'POST') {
      let received = 0
      incoming.on('data', (part: Buffer) => {
        received += part.length
      })
      incoming.on('end', () => response.end(String(received)))
      return
    }
    const length = Number(new URL(incoming.url!, 'http://x').searchParams.get('bytes'))
    response.writeHead(200, { 'content-length': length })
    send(response, length)
  })
  await new Promise<void>((resolve) => origin.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    origin.closeAllConnections()
    origin.close()
  })
  const originPort = (origin.address() as { port: number }).port
  const {
    service,
    connectors: [connector],
    target: options,
  } = await startProcesses(t, { originPort, connectors: ['one'] })
  const download = (bytes: number) =>
    new Promise<number>((resolve, reject) => {
      request({ ...options, path: `/?bytes=${bytes}` }, (response) => {
        let received = 0
        response.on('data', (part: Buffer) => {
          received += part.length
        })
        response.on('end', () => resolve(received))
        response.on('error', reject)
      })
        .on('error', reject)
        .end()
    })
  const upload = (bytes: number) =>
    new Promise<number>((resolve, reject) => {
      const outgoing = request({ ...options, method: 'POST' }, (response) => {
        let text = ''
        response.on('data', (part: Buffer) => {
          text += part.toString()
        })
        response.on('end', () => resolve(Number(text)))
      })
      outgoing.on('error', reject)
      send(outgoing, bytes)
    })

  // Both ways once, so that buffers and code have their size.
  await download(512 * 1024 ** 2)
  await upload(512 * 1024 ** 2)
  for (const [name, transfer] of [
    ['download', download],
    ['upload', upload],
  ] as const) {
    const before = [service, connector!].map(peakBytes)
    assert.equal(await transfer(total), total)
    for (const [index, child] of [service, connector!].entries()) {
      const grown = (peakBytes(child) - before[index]!) / 1024 ** 2
      console.log(`${name}: ${child.name} grew by ${grown.toFixed(1)} MB`)
      assert.ok(grown <= 64, `${child.name} grew by ${grown} MB during the ${name}`)
    }
  }
})

/** The most memory that the process ever had. */
function peakBytes(child: Child): number {
  const status = readFileSync(`/proc/${child.pid}/status`, 'utf8')
  return Number(/VmHWM:\s+(\d+)/.exec(status)![1]) * 1024
}

function send(
  target: {
    write(part: Buffer): boolean
    end(): unknown
    once(event: 'drain', on: () => void): unknown
  },
  length: number,
): void {
  let left = length
  const next = () => {
    while (left > 0) {
      const part = left < chunk.length ? chunk.subarray(0, left) : chunk
      left -= part.length
      if (!target.write(part)) {
        target.once('drain', next)
        return
      }
    }
    target.end()
  }
  next()
}
