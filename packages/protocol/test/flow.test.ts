import assert from 'node:assert/strict'
import { performance } from 'node:perf_hooks'
import { type Duplex, duplexPair } from 'node:stream'
import { test } from 'node:test'
import { ResetCode, TunnelSession, type TunnelStream } from '../src/index.ts'
import { Random, usedBytes } from './fuzz.ts'
import { hello, nextTurn, stoppedClock, Wire } from './harness.ts'
import { decodeFrames } from './independent-decoder.ts'
import { pump, Recorder, startPair, TestClock, turns } from './pair.ts'

const initialWindow = 262_144

test('a reader that pauses stops its sender after one window, and nobody else', async (t) => {
  const pair = startPair(t)
  const slow = await pair.open()
  const quick = await pair.open()
  slow.stream.pause()
  slow.served.stream.sendHead('HTTP/1.1 200 OK')
  let writtenBytes = 0
  const fill = () => {
    do writtenBytes += 65_536
    while (slow.served.stream.write(Buffer.alloc(65_536)))
  }
  fill()
  for (let count = 0; count < 20; count++) {
    const writable = slow.served.recorder.events.filter((event) => event === 'writable').length
    await turns(2)
    if (slow.served.recorder.events.filter((event) => event === 'writable').length > writable) {
      fill()
    }
  }
  assert.ok(writtenBytes <= 2 * initialWindow + 131_072, `${writtenBytes} bytes were accepted`)
  assert.equal(slow.recorder.receivedBytes, 0)

  quick.served.stream.sendHead('HTTP/1.1 200 OK')
  await pump(quick.served.stream, quick.served.recorder, Buffer.alloc(2_000_000))
  quick.served.stream.end()
  await quick.recorder.until('end')
  assert.equal(quick.recorder.receivedBytes, 2_000_000)
  assert.equal(slow.recorder.receivedBytes, 0)

  slow.stream.resume()
  slow.served.stream.end()
  await slow.recorder.until('end')
  assert.equal(slow.recorder.receivedBytes, writtenBytes)
})

test('a reader that pauses after each chunk receives everything', async (t) => {
  const pair = startPair(t)
  const { stream, recorder, served } = await pair.open()
  const onData = recorder.onData.bind(recorder)
  recorder.onData = (chunk) => {
    onData(chunk)
    stream.pause()
    setImmediate(() => stream.resume())
  }
  served.stream.sendHead('HTTP/1.1 200 OK')
  const bytes = Buffer.from(Array.from({ length: 1_500_000 }, (_, index) => index % 251))
  await pump(served.stream, served.recorder, bytes)
  served.stream.end()
  await recorder.until('end')
  assert.ok(recorder.body.equals(bytes))
})

test('a writer without credit is told when it comes', async (t) => {
  const pair = startPair(t)
  const { stream, recorder, served } = await pair.open()
  served.stream.pause()
  served.stream.accept()
  await recorder.until('writable')
  await pump(stream, recorder, Buffer.alloc(initialWindow - 65_536))
  assert.equal(stream.write(Buffer.alloc(65_536)), false)
  await turns(5)
  const told = recorder.events.length
  await turns(5)
  assert.equal(recorder.events.length, told)
  served.stream.resume()
  await recorder.next('writable')
  assert.equal(stream.write(Buffer.alloc(1)), true)
})

test('a writer that ignores false loses its stream, not the tunnel', async (t) => {
  const pair = startPair(t)
  const { stream, served } = await pair.open()
  assert.throws(
    () => {
      for (let count = 0; count < 1000; count++) stream.write(Buffer.alloc(65_536))
    },
    { code: 'TUNNEL_QUEUE_FULL' },
  )
  await served.recorder.until('reset')
  assert.equal(served.recorder.error?.resetCode, ResetCode.INTERNAL)
  assert.equal(stream.write(Buffer.alloc(1)), false)
  await pair.open()
})

test('a connector that never grants anything stalls one upload and nothing else', async (t) => {
  const pair = startPair(t)
  const stalled = await pair.open()
  stalled.stream.sendHead('POST / HTTP/1.1')
  assert.equal(stalled.stream.write(Buffer.alloc(10_000)), false)
  stalled.stream.end()
  const next = await pair.open()
  next.stream.sendHead('GET / HTTP/1.1', true)
  next.served.stream.sendHead('HTTP/1.1 200 OK', true)
  await next.recorder.until('head-end')
  assert.deepEqual(stalled.served.recorder.events, ['head'])
  stalled.served.stream.accept()
  await stalled.served.recorder.until('end')
  assert.equal(stalled.served.recorder.receivedBytes, 10_000)
})

test('an end does not overtake what waits behind a small write of the same turn', async (t) => {
  const pair = startPair(t)
  const { recorder, served } = await pair.open()
  served.stream.sendHead('HTTP/1.1 200 OK')
  await recorder.until('head')
  served.stream.write(Buffer.from('small'))
  served.stream.write(Buffer.alloc(100_000, 'x'))
  served.stream.end()
  await recorder.until('end')
  assert.equal(recorder.receivedBytes, 100_005)
})

test('an end without data needs no credit', async (t) => {
  const pair = startPair(t)
  const { stream, served } = await pair.open()
  stream.sendHead('POST / HTTP/1.1')
  stream.end('Checksum: 0')
  await served.recorder.until('end')
  assert.equal(served.recorder.trailers, 'Checksum: 0')
})

test('many paused readers hold no more than the memory bound and 64 KiB each', async (t) => {
  const memoryBytes = 2_097_152
  const count = 100
  const pair = startPair(t, { gateway: { limits: { memoryBytes } } })
  const paused: TunnelStream[] = []
  let arrivedBytes = 0
  pair.gatewayEnd.on('data', (chunk: Buffer) => {
    arrivedBytes += chunk.length
  })
  for (let index = 0; index < count; index++) {
    const { stream, served } = await pair.open()
    stream.pause()
    paused.push(stream)
    served.stream.sendHead('HTTP/1.1 200 OK')
    served.recorder.onWritable = () => {
      while (served.stream.write(Buffer.alloc(16_384)));
    }
    served.recorder.onWritable()
  }
  await turns(200)
  const boundBytes = memoryBytes + count * 65_536
  assert.ok(arrivedBytes > count * 60_000, `${arrivedBytes} bytes arrived`)
  assert.ok(arrivedBytes <= boundBytes * 1.01, `${arrivedBytes} bytes for a bound of ${boundBytes}`)
  const quiet = arrivedBytes
  await turns(20)
  assert.equal(arrivedBytes, quiet)
  // Each takes something now, and gets no more than the minimum again.
  for (const stream of paused) {
    stream.handler = {
      ...new Recorder(),
      onHead() {},
      onData: () => stream.pause(),
      onEnd() {},
      onWritable() {},
      onReset() {},
    }
    stream.resume()
  }
  await turns(200)
  assert.ok(arrivedBytes <= boundBytes + count * 65_536 * 2, `${arrivedBytes} bytes in all`)
})

test('a paused stream that gets a million tiny frames holds their bytes, not a million objects', async () => {
  const wire = new Wire()
  const session = new TunnelSession(wire, {
    side: 'connector',
    clock: stoppedClock,
    onClose() {},
    onStream(stream) {
      stream.handler = new Recorder()
      stream.pause()
      stream.accept()
    },
  })
  wire.feed(hello('gateway'))
  const before = await usedBytes()
  for (let id = 1; id <= 4; id++) {
    wire.feed(Buffer.from(`00000001000000000${id}`, 'hex'))
    const tiny = Buffer.from(`00000103000000000${id}61`, 'hex')
    const many = Buffer.alloc(tiny.length * 4096, tiny)
    for (let fed = 0; fed < initialWindow; fed += 4096) wire.feed(many)
  }
  assert.equal(session.openStreamCount, 4)
  const heldBytes = (await usedBytes()) - before
  assert.ok(heldBytes < 4 * initialWindow * 1.5, `${heldBytes} bytes held for ${4 * initialWindow}`)
  session.close()
  wire.destroy()
})

test('small chunks cut from a large read do not keep it alive while the reader pauses', async () => {
  const wire = new Wire()
  const session = new TunnelSession(wire, {
    side: 'connector',
    clock: stoppedClock,
    onClose() {},
    onStream(stream) {
      stream.handler = new Recorder()
      stream.pause()
      stream.accept()
    },
  })
  wire.feed(hello('gateway'))
  const before = await usedBytes()
  for (let id = 1; id <= 300; id++) {
    const large = Buffer.alloc(65_536)
    large.set([0, 0, 0, 1, 0, 0, 0, id >> 8, id & 255], 0)
    large.set([0, 0, 10, 3, 0, 0, 0, id >> 8, id & 255], 9)
    wire.feed(large.subarray(0, 28))
  }
  assert.equal(session.openStreamCount, 300)
  const heldBytes = (await usedBytes()) - before
  assert.ok(heldBytes < 1_500_000, `${heldBytes} bytes held for 3,000`)
  session.close()
  wire.destroy()
})

test('unfinished heads are bounded over all streams', async () => {
  const wire = new Wire()
  const codes: (string | undefined)[] = []
  const session = new TunnelSession(wire, {
    side: 'connector',
    clock: stoppedClock,
    onClose() {},
    onStream(stream) {
      const recorder = new Recorder()
      recorder.onReset = (error) => codes.push(error.code)
      stream.handler = recorder
    },
  })
  wire.feed(hello('gateway'))
  const part = Buffer.alloc(65_536, 'a')
  for (let id = 1; id <= 64; id++) {
    wire.feed(Buffer.from(`0000000100${id.toString(16).padStart(8, '0')}`, 'hex'))
    for (let count = 0; count < 3; count++) {
      wire.feed(Buffer.from(`0100000202${id.toString(16).padStart(8, '0')}`, 'hex'))
      wire.feed(part)
    }
  }
  const kept = Math.floor(8_388_608 / 65_536 / 3)
  assert.ok(session.openStreamCount <= kept + 1, `${session.openStreamCount} streams kept theirs`)
  assert.ok(session.openStreamCount >= kept)
  assert.ok(codes.length > 0 && codes.every((code) => code === 'TUNNEL_OVERLOADED'))
  await nextTurn()
  const resets = decodeFrames(Buffer.concat(wire.written)).frames.filter(
    ({ type }) => type === 'RESET',
  )
  assert.ok(resets.every(({ code }) => code === ResetCode.OVERLOADED))
  assert.equal(resets.length, codes.length)
  session.close()
  wire.destroy()
})

/** Passes bytes on after a delay, like a long cable: any amount may be on its way. */
function delayed(delayMs: number): [Duplex, Duplex] {
  const [near, nearEnd] = duplexPair()
  const [far, farEnd] = duplexPair()
  const relay = (from: Duplex, to: Duplex) => {
    const due: { at: number; chunk: Buffer }[] = []
    let timer: NodeJS.Timeout | undefined
    const pass = () => {
      timer = undefined
      while (due.length > 0 && due[0]!.at <= performance.now()) to.write(due.shift()!.chunk)
      if (due.length > 0) timer = setTimeout(pass, Math.max(1, due[0]!.at - performance.now()))
    }
    from.on('data', (chunk: Buffer) => {
      due.push({ at: performance.now() + delayMs, chunk })
      timer ??= setTimeout(pass, delayMs)
    })
    from.on('close', () => clearTimeout(timer))
    to.on('close', () => clearTimeout(timer))
  }
  relay(nearEnd, farEnd)
  relay(farEnd, nearEnd)
  near.on('close', () => nearEnd.destroy())
  far.on('close', () => farEnd.destroy())
  return [near, far]
}

test('one download fills a link of 100 ms: its window grows', async (t) => {
  const pair = startPair(t, { ends: delayed(50) })
  const { recorder, served } = await pair.open()
  served.stream.sendHead('HTTP/1.1 200 OK')
  const startedAt = performance.now()
  await pump(served.stream, served.recorder, Buffer.alloc(40_000_000))
  served.stream.end()
  await recorder.until('end')
  const seconds = (performance.now() - startedAt) / 1000
  const bytesPerSecond = 40_000_000 / seconds
  const without = initialWindow / 0.1
  assert.ok(
    bytesPerSecond > 4 * without,
    `${Math.round(bytesPerSecond)} bytes/s, ${without} without growth`,
  )
})

test('a window does not grow for a sender that is slower than the link', async (t) => {
  const clock = new TestClock()
  const pair = startPair(t, { gateway: { clock }, connector: { clock } })
  await turns(5)
  const { stream, recorder, served } = await pair.open()
  served.stream.sendHead('HTTP/1.1 200 OK')
  for (let round = 0; round < 40; round++) {
    served.stream.write(Buffer.alloc(65_536))
    await turns(3)
    // A round trip takes no time on this clock, so no window is ever used up within two.
    await clock.pass(200)
  }
  assert.equal(recorder.receivedBytes, 40 * 65_536)
  stream.pause()
  let arrivedBytes = 0
  pair.gatewayEnd.on('data', (chunk: Buffer) => {
    arrivedBytes += chunk.length
  })
  served.recorder.onWritable = () => {
    while (served.stream.write(Buffer.alloc(65_536)));
  }
  served.recorder.onWritable()
  await turns(30)
  assert.ok(arrivedBytes > initialWindow / 2, `${arrivedBytes} bytes of credit`)
  assert.ok(arrivedBytes < initialWindow + 200, `${arrivedBytes} bytes of credit`)
})

for (const way of ['down', 'up'] as const) {
  test(`a tunnel carries bulk until two seconds after a long body has moved ${way}`, async (t) => {
    const clock = new TestClock()
    const pair = startPair(t, { gateway: { clock }, connector: { clock } })
    const { stream, recorder, served } = await pair.open()
    stream.sendHead('POST / HTTP/1.1')
    served.stream.sendHead('HTTP/1.1 200 OK')
    await recorder.until('head')
    const [from, fromRecorder, to] =
      way === 'up'
        ? [stream, recorder, served.recorder]
        : [served.stream, served.recorder, recorder]
    await pump(from, fromRecorder, Buffer.alloc(100_000))
    while (to.receivedBytes < 100_000) await to.next('data')
    await turns(4)
    assert.equal(pair.gateway.carriesBulk, false)

    await pump(from, fromRecorder, Buffer.alloc(100_000))
    while (to.receivedBytes < 200_000) await to.next('data')
    await turns(4)
    assert.equal(pair.gateway.carriesBulk, true)
    await clock.pass(1_999)
    assert.equal(pair.gateway.carriesBulk, true)
    await clock.pass(1)
    assert.equal(pair.gateway.carriesBulk, false)
  })
}

test('all bytes arrive in their order, in whatever sizes and turns they are written and read', async (t) => {
  const random = new Random(17)
  const pair = startPair(t)
  const sizes = [0, 1, 100, 4_096, 4_097, 20_000, 65_536, 100_000]
  for (let round = 0; round < 150; round++) {
    const { stream, recorder, served } = await pair.open()
    stream.sendHead('POST / HTTP/1.1')
    served.stream.sendHead('HTTP/1.1 200 OK')
    await recorder.until('head')
    const isUp = random.below(2) === 0
    const [from, fromRecorder, to, toRecorder] = isUp
      ? [stream, recorder, served.stream, served.recorder]
      : [served.stream, served.recorder, stream, recorder]
    const written: Buffer[] = []
    for (let count = random.below(8); count > 0; count--) {
      const piece = Buffer.alloc(sizes[random.below(sizes.length)]!, random.below(256))
      written.push(piece)
      if (random.below(6) === 0) to.pause()
      const hasRoom = from.write(piece)
      if (random.below(3) === 0) await turns(1 + random.below(3))
      to.resume()
      if (!hasRoom && piece.length > 0)
        await Promise.race([fromRecorder.next('writable'), turns(20)])
    }
    from.end()
    to.resume()
    await toRecorder.until('end')
    const expected = Buffer.concat(written)
    assert.equal(toRecorder.body.equals(expected), true, `round ${round}, ${expected.length} bytes`)
    for (const other of [stream, served.stream]) if (other !== from) other.end()
    await turns(2)
  }
})
