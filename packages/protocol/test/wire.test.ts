import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ResetCode, TunnelSession, type TunnelStream } from '../src/index.ts'
import { frame, hello, nextTurn, Stuck, stoppedClock, Wire } from './harness.ts'
import { type DecodedFrame, decodeFrames } from './independent-decoder.ts'
import { Recorder, startPair, TestClock, turns } from './pair.ts'

const [OPEN, HEADERS, DATA, WINDOW, RESET, PING, GOAWAY] = [1, 2, 3, 5, 6, 7, 8] as const

/** One side, whose peer is the test: `sent` are the frames since the last call. */
function startSide(
  side: 'gateway' | 'connector',
  options: { clock?: TestClock; wire?: Wire } = {},
) {
  const wire = options.wire ?? new Wire()
  const streams: TunnelStream[] = []
  const recorders: Recorder[] = []
  const goAways: string[] = []
  const session = new TunnelSession(wire, {
    side,
    clock: options.clock ?? stoppedClock,
    onClose() {},
    onGoAway: (reason) => goAways.push(reason),
    onStream(stream) {
      const recorder = new Recorder()
      stream.handler = recorder
      streams.push(stream)
      recorders.push(recorder)
    },
  })
  wire.feed(hello(side === 'gateway' ? 'connector' : 'gateway'))
  return {
    session,
    wire,
    streams,
    recorders,
    goAways,
    async sent(type?: string): Promise<DecodedFrame[]> {
      await nextTurn()
      const { frames } = decodeFrames(Buffer.concat(wire.written.splice(0)))
      return frames.filter((one) => type === undefined || one.type === type)
    },
    open() {
      const recorder = new Recorder()
      const stream = session.openStream('', recorder)
      return { stream, recorder }
    },
    end() {
      session.close()
      wire.destroy()
    },
  }
}

const lengths = (frames: DecodedFrame[]) => frames.map(({ payload }) => payload!.length / 2)

test('a sender stays within its credit to the byte', async () => {
  const side = startSide('gateway')
  const { stream, recorder } = side.open()
  stream.write(Buffer.alloc(1000))
  stream.end()
  side.wire.feed(frame(WINDOW, 0, stream.id, '00000064'))
  assert.deepEqual(lengths(await side.sent('DATA')), [100])
  side.wire.feed(frame(WINDOW, 0, stream.id, '00000001'))
  assert.deepEqual(lengths(await side.sent('DATA')), [1])
  side.wire.feed(frame(WINDOW, 0, stream.id, '00001000'))
  const rest = await side.sent('DATA')
  assert.deepEqual(lengths(rest), [899])
  assert.deepEqual(rest[0]!.flags, ['END'])
  assert.equal(recorder.error, undefined)
  side.end()
})

test('small chunks of a turn share a frame, a large one is cut at 64 KiB', async () => {
  const side = startSide('connector')
  side.wire.feed(frame(OPEN, 0, 1, ''))
  for (let count = 0; count < 10; count++) side.streams[0]!.write(Buffer.alloc(100))
  side.streams[0]!.write(Buffer.alloc(150_000))
  assert.deepEqual(lengths(await side.sent('DATA')), [1000, 65_536, 65_536, 18_928])
  side.end()
})

test('an answer that comes in one turn is three frames or fewer, and no window', async () => {
  const side = startSide('connector')
  side.wire.feed(frame(OPEN, 0, 1, ''))
  side.wire.feed(frame(HEADERS, 1, 1, '47'))
  await side.sent()
  side.streams[0]!.accept()
  side.streams[0]!.sendHead('HTTP/1.1 200 OK')
  side.streams[0]!.write(Buffer.from('body'))
  side.streams[0]!.end()
  assert.deepEqual(
    (await side.sent()).map(({ type, flags }) => [type, ...flags]),
    [['HEADERS'], ['DATA', 'END']],
  )
  side.end()
})

test('nothing is granted while the reader pauses, in mid-read or not', async () => {
  const side = startSide('connector')
  side.wire.feed(frame(OPEN, 0, 1, ''))
  const [stream, recorder] = [side.streams[0]!, side.recorders[0]!]
  stream.accept()
  const block = frame(DATA, 0, 1, '61'.repeat(60_000))
  assert.deepEqual(
    (await side.sent('WINDOW')).map(({ increment }) => increment),
    [262_144],
  )
  recorder.onData = () => stream.pause()
  for (let count = 0; count < 4; count++) side.wire.feed(block)
  assert.deepEqual(await side.sent('WINDOW'), [])
  for (let count = 2; count <= 4; count++) {
    stream.resume()
    assert.deepEqual(await side.sent('WINDOW'), [], `after ${count} of 4 chunks`)
  }
  recorder.onData = () => {}
  stream.resume()
  assert.deepEqual(
    (await side.sent('WINDOW')).map(({ increment }) => increment),
    [240_000],
  )
  side.end()
})

test('a reader that pauses at the chunk that would bring credit gets it when it resumes', async () => {
  const side = startSide('connector')
  side.wire.feed(frame(OPEN, 0, 1, ''))
  const [stream, recorder] = [side.streams[0]!, side.recorders[0]!]
  stream.accept()
  await side.sent()
  const block = frame(DATA, 0, 1, '61'.repeat(65_536))
  side.wire.feed(block)
  recorder.onData = () => stream.pause()
  side.wire.feed(block)
  assert.deepEqual(await side.sent('WINDOW'), [])
  stream.resume()
  assert.deepEqual(
    (await side.sent('WINDOW')).map(({ increment }) => increment),
    [131_072],
  )
  side.end()
})

test('bytes of a frame that is still arriving are not taken for read', async () => {
  const side = startSide('connector')
  side.wire.feed(frame(OPEN, 0, 1, ''))
  side.streams[0]!.accept()
  await side.sent()
  const block = frame(DATA, 0, 1, '61'.repeat(65_536))
  side.wire.feed(block)
  side.wire.feed(block.subarray(0, 1000))
  assert.deepEqual(await side.sent('WINDOW'), [])
  side.wire.feed(block.subarray(1000))
  assert.deepEqual(
    (await side.sent('WINDOW')).map(({ increment }) => increment),
    [131_072],
  )
  side.end()
})

test('credit comes back when half of the window was read', async () => {
  const side = startSide('connector')
  side.wire.feed(frame(OPEN, 0, 1, ''))
  side.streams[0]!.accept()
  await side.sent()
  const block = frame(DATA, 0, 1, '61'.repeat(50_000))
  side.wire.feed(block)
  side.wire.feed(block)
  assert.deepEqual(await side.sent('WINDOW'), [])
  side.wire.feed(block)
  assert.deepEqual(
    (await side.sent('WINDOW')).map(({ increment }) => increment),
    [150_000],
  )
  side.end()
})

test('no credit is granted for a body that is complete', async () => {
  const side = startSide('connector')
  side.wire.feed(frame(OPEN, 0, 1, ''))
  side.streams[0]!.accept()
  await side.sent()
  side.streams[0]!.pause()
  for (let count = 0; count < 4; count++) {
    side.wire.feed(frame(DATA, count === 3 ? 1 : 0, 1, '61'.repeat(60_000)))
  }
  side.streams[0]!.resume()
  assert.deepEqual(await side.sent('WINDOW'), [])
  assert.equal(side.recorders[0]!.events.at(-1), 'end')
  side.end()
})

test('streams that are over give their memory back: later ones begin with a full window', async () => {
  const side = startSide('gateway')
  const flagsOf = async () => (await side.sent('OPEN')).map(({ flags }) => flags.join())
  const open = (count: number) => Array.from({ length: count }, () => side.open().stream)
  const first = open(400)
  const flags = await flagsOf()
  assert.equal(flags[0], '')
  assert.equal(flags[399], 'SMALL')
  for (const stream of first) stream.reset(ResetCode.CANCELLED)
  open(1)
  assert.deepEqual(await flagsOf(), [''])
  side.end()
})

test('unfinished heads that were given up do not count any more', async () => {
  const side = startSide('connector')
  const part = '61'.repeat(65_536)
  for (let id = 1; id <= 500; id++) {
    side.wire.feed(frame(OPEN, 0, id, ''))
    side.wire.feed(frame(HEADERS, 2, id, part))
    side.wire.feed(frame(id % 2 === 0 ? RESET : HEADERS, 0, id, id % 2 === 0 ? '0001' : ''))
  }
  assert.deepEqual(await side.sent('RESET'), [])
  side.end()
})

test('a connector that refuses what it accepted is not believed', async () => {
  const side = startSide('gateway')
  const { stream, recorder } = side.open()
  side.wire.feed(frame(WINDOW, 0, stream.id, '00001000'))
  side.wire.feed(frame(RESET, 0, stream.id, '0002'))
  assert.equal(recorder.error?.resetCode, ResetCode.PROTOCOL_ERROR)
  assert.equal(recorder.error?.retryable, false)
  side.end()
})

test('a reset code of a later version is INTERNAL, its number in the detail', async () => {
  const side = startSide('gateway')
  const { stream, recorder } = side.open()
  side.wire.feed(frame(RESET, 0, stream.id, '03e7776879'))
  assert.equal(recorder.error?.resetCode, ResetCode.INTERNAL)
  assert.equal(recorder.error?.detail, 'code 999: why')
  side.end()
})

test('who ended gently hears nothing more, not even a reset or the death of the tunnel', async () => {
  for (const last of [frame(RESET, 0, 1, '000d'), frame(GOAWAY, 0, 0, '000000000006')]) {
    const side = startSide('connector', { wire: new Stuck({ highWaterMark: 1 }) })
    await nextTurn()
    side.wire.feed(frame(OPEN, 0, 1, ''))
    side.streams[0]!.write(Buffer.from('early answer'))
    side.streams[0]!.end()
    side.streams[0]!.reset(ResetCode.NO_ERROR)
    side.wire.feed(frame(HEADERS, 0, 1, '47'))
    side.wire.feed(last)
    assert.deepEqual(side.recorders[0]!.events, [])
    assert.equal(side.session.openStreamCount, 0)
    side.end()
  }
})

test('a second GOAWAY is no news', () => {
  const side = startSide('gateway')
  side.wire.feed(frame(GOAWAY, 0, 0, '00000000000061'))
  side.wire.feed(frame(GOAWAY, 0, 0, '00000000000062'))
  assert.deepEqual(side.goAways, ['a'])
  side.end()
})

test('bytes that have left, or were given up, do not hold writers back for ever', async (t) => {
  const pair = startPair(t)
  for (let round = 0; round < 12; round++) {
    const { stream, recorder, served } = await pair.open()
    served.stream.accept()
    await recorder.until('writable')
    stream.write(Buffer.alloc(4_000_000))
    if (round % 2 === 0) stream.reset(ResetCode.CANCELLED)
    else stream.end()
    await served.recorder.until(round % 2 === 0 ? 'reset' : 'end')
  }
  const { stream, recorder, served } = await pair.open()
  served.stream.accept()
  await recorder.until('writable')
  assert.equal(stream.write(Buffer.alloc(10)), true)
})

test('when a full socket has made all streams together hold 16 MiB, each gets one chunk more at most', async () => {
  const side = startSide('gateway', { wire: new Stuck({ highWaterMark: 1 }) })
  await nextTurn()
  let queuedBytes = 0
  for (let count = 0; count < 200; count++) {
    const { stream } = side.open()
    side.wire.feed(frame(WINDOW, 0, stream.id, '00400000'))
    do queuedBytes += 32_768
    while (stream.write(Buffer.alloc(32_768)))
  }
  const most = 16_777_216 + 262_144 + 200 * 32_768
  assert.ok(queuedBytes <= most, `${queuedBytes} bytes are queued`)
  assert.ok(queuedBytes > 16_777_216)
  side.end()
})

test('the round trip is the least of the last eight', async () => {
  const clock = new TestClock()
  const side = startSide('gateway', { clock })
  // Silence is measured from the answer on, in ticks of a second.
  const answer = async (delayMs: number) => {
    const [ping] = await side.sent('PING')
    await clock.pass(delayMs)
    side.wire.feed(frame(PING, 1, 0, ping!.payload!))
    await clock.pass(5000 - delayMs)
  }
  await answer(3)
  assert.equal(side.session.roundTripMs, 3)
  for (let count = 0; count < 7; count++) await answer(40)
  assert.equal(side.session.roundTripMs, 3)
  await answer(30)
  assert.equal(side.session.roundTripMs, 30)
  side.end()
})

test('a busy tunnel measures its round trip too', async () => {
  const clock = new TestClock()
  const side = startSide('connector', { clock })
  assert.equal((await side.sent('PING')).length, 1)
  side.wire.feed(frame(OPEN, 0, 1, ''))
  side.streams[0]!.accept()
  const block = frame(DATA, 0, 1, '61'.repeat(65_536))
  for (let count = 0; count < 8; count++) {
    side.wire.feed(block)
    await clock.pass(500)
  }
  const pings = (await side.sent('PING')).length
  assert.ok(pings >= 1 && pings <= 3, `${pings} pings in 4 s`)
  side.end()
})

test('a window doubles when half of it was read within a round trip, and not otherwise', async () => {
  for (const [roundTripMs, grows] of [
    [100, true],
    [10, false],
  ] as const) {
    const clock = new TestClock()
    const side = startSide('connector', { clock })
    const [ping] = await side.sent('PING')
    await clock.pass(roundTripMs)
    side.wire.feed(frame(PING, 1, 0, ping!.payload!))
    side.wire.feed(frame(OPEN, 0, 1, ''))
    side.streams[0]!.accept()
    await side.sent()
    const half = () => {
      for (let count = 0; count < 2; count++) side.wire.feed(frame(DATA, 0, 1, '61'.repeat(65_536)))
    }
    half()
    await clock.pass(50)
    half()
    const increments = (await side.sent('WINDOW')).map(({ increment }) => increment)
    // Both grants leave in one batch: half a window each, and with growth one whole window more.
    assert.deepEqual(increments, [grows ? 262_144 + 262_144 : 262_144])
    side.end()
  }
})

test('the loss of the transport in the middle of a frame is a loss like any other', async (t) => {
  await turns(1)
  const pair = startPair(t)
  const { recorder } = await pair.open()
  pair.connectorEnd.write(Buffer.from('0000ff02', 'hex'))
  pair.connectorEnd.destroy()
  await recorder.until('reset')
  assert.equal((await pair.closed.gateway)?.code, 'TUNNEL_CLOSED')
})
