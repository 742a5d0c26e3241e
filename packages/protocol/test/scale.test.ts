import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { StreamHandler, TunnelSession } from '../src/index.ts'
import { usedBytes } from './fuzz.ts'
import { startPair, turns } from './pair.ts'

const ignore = (): void => {}

const silent: StreamHandler = {
  onHead: ignore,
  onData: ignore,
  onEnd: ignore,
  onWritable: ignore,
  onReset: ignore,
}

/** One exchange after the other, until the counter is used up. */
class Asking implements StreamHandler {
  static left = 0
  static bytes = 0
  readonly session: TunnelSession
  readonly done: () => void
  constructor(session: TunnelSession, done: () => void) {
    this.session = session
    this.done = done
    this.ask()
  }
  ask(): void {
    if (Asking.left-- <= 0) {
      this.done()
      return
    }
    this.session.openStream('to', this).sendHead('GET / HTTP/1.1', true)
  }
  onHead = ignore
  onData(chunk: Buffer): void {
    Asking.bytes += chunk.length
  }
  onEnd(): void {
    this.ask()
  }
  onWritable = ignore
  onReset = ignore
}

test('attack 53: a million streams one after the other leave nothing behind', async (t) => {
  const body = Buffer.from('0123456789')
  const pair = startPair(t, {
    connector: {
      onStream(stream) {
        stream.handler = {
          ...silent,
          onHead() {
            stream.sendHead('HTTP/1.1 200 OK')
            stream.write(body)
            stream.end()
          },
        }
      },
    },
  })
  const run = async (count: number) => {
    Asking.left = count
    await Promise.all(
      Array.from(
        { length: 50 },
        () =>
          new Promise<void>((resolve) => {
            new Asking(pair.gateway, resolve)
          }),
      ),
    )
  }
  await run(20_000)
  const before = await usedBytes()
  await run(980_000)
  assert.equal(Asking.bytes, 10_000_000)
  const grownBytes = (await usedBytes()) - before
  assert.ok(grownBytes < 2_000_000, `${grownBytes} bytes more in use`)
  assert.equal(pair.gateway.openStreamCount + pair.connector.openStreamCount, 0)
})

test('10,000 idle streams cost little memory, and the tunnel stays quick', async (t) => {
  const count = 10_000
  const pair = startPair(t, {
    connector: {
      onStream(stream) {
        stream.handler = silent
        stream.sendHead('HTTP/1.1 101 Switching Protocols')
      },
    },
  })
  await turns(3)
  const before = await usedBytes()
  for (let index = 0; index < count; index++) {
    pair.gateway.openStream('to', silent).sendHead('GET /socket HTTP/1.1')
    if (index % 100 === 0) await turns(1)
  }
  await turns(5)
  assert.equal(pair.connector.openStreamCount, count)
  const eachBytes = ((await usedBytes()) - before) / count
  assert.ok(eachBytes < 1500, `${eachBytes} bytes for both ends of a stream`)
})
