import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Http1Error } from '../src/index.ts'
import { Sweep, sweepFor } from '../src/sweep.ts'
import { answer, record, serve } from './support/server.ts'
import { settle } from './support/wire.ts'

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'
const POST = 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n'
const TIMEOUT_MS = 80

/** Sends a byte in every few turns of the event loop until the connection ends. */
async function trickle(wire: { send(text: string): void; ended: boolean; closed: boolean }) {
  while (!wire.ended && !wire.closed) {
    wire.send('x')
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

test('a head that does not come to its end leads to 408', async (t) => {
  const { wire, errors, closed } = await serve(t, () => undefined, { headTimeoutMs: TIMEOUT_MS })
  wire.send('GET / HTTP/1.1\r\n')
  assert.match(await wire.all(), /^HTTP\/1.1 408 Request Timeout\r\n.*Connection: close/s)
  assert.equal(errors[0]?.code, 'HTTP1_HEAD_TIMEOUT')
  wire.end()
  await closed
})

test('a head that comes byte by byte has no longer time than any other', async (t) => {
  const { wire } = await serve(t, () => undefined, { headTimeoutMs: TIMEOUT_MS })
  wire.send('GET / HTTP/1.1\r\nA: ')
  await trickle(wire)
  assert.match(wire.text, /^HTTP\/1.1 408/)
})

test('an idle connection is closed silently, before and after a request', async (t) => {
  const options = { idleTimeoutMs: TIMEOUT_MS }
  const fresh = await serve(t, () => undefined, options)
  assert.equal(await fresh.wire.all(), '')
  assert.deepEqual(fresh.errors, [])
  const used = await serve(t, (exchange) => answer(exchange, 'x'), options)
  used.wire.send(GET)
  assert.match(await used.wire.all(), /^HTTP\/1.1 200 OK\r\n.*x$/s)
})

test('a body that stops coming leads to 408', async (t) => {
  const codes: unknown[] = []
  const { wire, exchanges } = await serve(
    t,
    (exchange) => {
      exchange.onClose = (error) => codes.push((error as Http1Error).code)
    },
    { bodyIdleTimeoutMs: TIMEOUT_MS },
  )
  wire.send(`${POST}abc`)
  await settle()
  const body = record(exchanges[0]!)
  assert.match(await wire.all(), /^HTTP\/1.1 408/)
  assert.deepEqual([body.error?.code, codes], ['HTTP1_BODY_TIMEOUT', ['HTTP1_BODY_TIMEOUT']])
})

test('a body that stops coming under a response that has begun destroys the connection', async (t) => {
  const { wire, closed } = await serve(
    t,
    (exchange) => {
      record(exchange)
      exchange.sendHead({ statusCode: 200, fields: [] })
    },
    { bodyIdleTimeoutMs: TIMEOUT_MS },
  )
  wire.send(POST)
  await closed
  assert.doesNotMatch(wire.text, /408|\r\n0\r\n/)
})

test('a body below the minimum rate leads to 408, though it never stops', async (t) => {
  const options = { bodyRateWindowMs: TIMEOUT_MS, minBodyBytesPerSecond: 10_000 }
  const { wire, exchanges } = await serve(t, record, options)
  wire.send(POST)
  await trickle(wire)
  assert.match(wire.text, /^HTTP\/1.1 408/)
  assert.equal(exchanges.length, 1)
})

test('limits of a body can be lifted for one exchange, and are back for the next', async (t) => {
  const { wire, exchanges } = await serve(
    t,
    (exchange) => {
      if (exchanges.length === 1) {
        exchange.limitBody({ bodyIdleTimeoutMs: 0, minBodyBytesPerSecond: 0 })
      }
      record(exchange).finished.then((body) => answer(exchange, body.error?.message ?? 'whole'))
    },
    { bodyRateWindowMs: TIMEOUT_MS, minBodyBytesPerSecond: 1e6, bodyIdleTimeoutMs: TIMEOUT_MS },
  )
  const clock = sweepFor([TIMEOUT_MS])
  wire.send(`${POST}a`)
  await ticks(clock, TIMEOUT_MS * 3)
  wire.send('x'.repeat(999))
  await wire.has('whole')
  wire.clear()
  wire.send(`${POST}a`)
  assert.match(await wire.all(), /^HTTP\/1.1 408/)
})

test('a body that nobody asked for, or that is paused, is not too slow', async (t) => {
  const options = {
    bodyRateWindowMs: TIMEOUT_MS,
    minBodyBytesPerSecond: 1e6,
    bodyIdleTimeoutMs: TIMEOUT_MS,
  }
  const { wire, exchanges } = await serve(t, () => undefined, options)
  const clock = sweepFor([TIMEOUT_MS])
  wire.send(`${POST}a`)
  await ticks(clock, TIMEOUT_MS * 3)
  const exchange = exchanges[0]!
  const body = record(exchange)
  exchange.pause()
  await ticks(clock, TIMEOUT_MS * 3)
  exchange.resume()
  wire.send('x'.repeat(999))
  await body.finished
  assert.equal(body.error, undefined)
})

test('a client that takes no bytes is dropped', async (t) => {
  for (const request of [
    GET,
    'GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n',
  ]) {
    const codes: unknown[] = []
    const { wire, closed } = await serve(
      t,
      (exchange) => {
        const fields = exchange.upgradeRequested ? ['Upgrade', 'x'] : []
        exchange.onClose = (error) => codes.push((error as Http1Error).code)
        exchange.sendHead({ statusCode: exchange.upgradeRequested ? 101 : 200, fields })
        while (exchange.write(Buffer.alloc(1 << 16)));
      },
      { writeTimeoutMs: TIMEOUT_MS },
    )
    wire.socket.pause()
    wire.send(request)
    await closed
    assert.deepEqual(codes, ['HTTP1_WRITE_TIMEOUT'])
  }
})

test('a client that does not take the end of its last answer is dropped too', async (t) => {
  const options = { writeTimeoutMs: TIMEOUT_MS, idleTimeoutMs: TIMEOUT_MS }
  const { wire, closed } = await serve(
    t,
    (exchange) => answer(exchange, 'x'.repeat(1 << 20)),
    options,
  )
  wire.socket.pause()
  wire.send(GET)
  await closed
})

test('a client that asks and asks, and takes no answers, is dropped too', async (t) => {
  const { wire, closed, exchanges } = await serve(
    t,
    (exchange) => answer(exchange, 'x'.repeat(100_000)),
    { writeTimeoutMs: TIMEOUT_MS },
  )
  wire.socket.pause()
  wire.send(GET.repeat(10))
  await closed
  assert.ok(exchanges.length < 10)
})

test('a client that was quick has more time for the more that waits for it', async (t) => {
  const piece = Buffer.alloc(1 << 16)
  const { wire, closed, exchanges } = await serve(t, () => undefined, {
    writeTimeoutMs: TIMEOUT_MS,
  })
  wire.send(GET)
  while (exchanges.length === 0) await settle(1)
  const exchange = exchanges[0]!
  exchange.sendHead({ statusCode: 200, fields: [] })
  let room = 0
  const fill = () => {
    room = 1
    while (exchange.write(piece)) room += 1
  }
  for (let round = 0; round < 8; round++) {
    const { promise, resolve } = Promise.withResolvers<void>()
    exchange.onDrain = resolve
    fill()
    await promise
  }
  wire.socket.pause()
  fill()
  assert.ok(room > 8, `${room} pieces had room`)
  const startMs = performance.now()
  await closed
  assert.ok(performance.now() - startMs > 4 * TIMEOUT_MS)
})

test('a client that does not close after us is waited for, a while', async (t) => {
  const { wire, closed } = await serve(t, (exchange) => answer(exchange, 'x'), {
    lingerTimeoutMs: TIMEOUT_MS,
  })
  wire.send('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
  await wire.all()
  assert.equal(wire.closed, false)
  wire.send('what nobody reads')
  await closed
})

test('an unwanted body that does not come is not waited for long', async (t) => {
  const { wire } = await serve(t, (exchange) => answer(exchange, 'x'), {
    lingerTimeoutMs: TIMEOUT_MS,
  })
  wire.send(`${POST}abc`)
  assert.match(await wire.all(), /x$/)
})

test('a last answer arrives though the client goes on sending', async (t) => {
  const { wire } = await serve(t, (exchange) => answer(exchange, 'too large'), {}, 'tcp')
  wire.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n')
  for (let count = 0; count < 16; count++) wire.socket.write(Buffer.alloc(1 << 20))
  assert.match(await wire.all(), /too large$/)
  assert.equal(wire.error, undefined)
})

test('timeouts of 0 are off', async (t) => {
  const off = {
    headTimeoutMs: 0,
    idleTimeoutMs: 0,
    bodyIdleTimeoutMs: 0,
    minBodyBytesPerSecond: 0,
    writeTimeoutMs: 0,
    lingerTimeoutMs: TIMEOUT_MS,
  }
  const { wire } = await serve(t, (exchange) => answer(exchange, 'x'), off)
  const clock = sweepFor([TIMEOUT_MS])
  await ticks(clock, TIMEOUT_MS * 2)
  wire.send('GET / HTTP/1.1\r\n')
  await ticks(clock, TIMEOUT_MS * 2)
  wire.send('Host: a\r\n\r\n')
  await wire.has(/x$/)
})

test('the clock counts ticks, so that a stalled process harms no client', (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] })
  const sweep = new Sweep(100)
  const seen: number[] = []
  const entry = { sweep: (nowMs: number) => seen.push(nowMs) }
  sweep.add(entry)
  assert.equal(sweep.deadline(1000), 1100)
  assert.equal(sweep.deadline(0), Number.POSITIVE_INFINITY)
  t.mock.timers.tick(300)
  sweep.delete(entry)
  t.mock.timers.tick(300)
  assert.deepEqual(seen, [100, 200, 300])
  assert.equal(sweepFor([8000, 0]).intervalMs, 1000)
  assert.equal(sweepFor([8000, 7999]).intervalMs, 100)
  assert.equal(sweepFor([80]).intervalMs, 10)
  assert.equal(sweepFor([0]).intervalMs, 1000)
})

/** Resolves when so much time has passed on the clock of the connections. */
function ticks(clock: Sweep, milliseconds: number): Promise<void> {
  return new Promise((resolve) => {
    const until = clock.nowMs + milliseconds
    const entry = {
      sweep(nowMs: number) {
        if (nowMs < until) return
        clock.delete(entry)
        resolve()
      },
    }
    clock.add(entry)
  })
}
