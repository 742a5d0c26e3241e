import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TunnelSession } from '../src/index.ts'
import { hello, nextTurn, Wire } from './harness.ts'
import { decodeFrames } from './independent-decoder.ts'
import { startPair, TestClock, turns } from './pair.ts'

/** A session whose peer is the test. */
function startSilent(options: { hello: boolean }) {
  const clock = new TestClock()
  const wire = new Wire()
  const codes: (string | undefined)[] = []
  const session = new TunnelSession(wire, {
    side: 'gateway',
    clock,
    onClose: (error) => codes.push(error?.code),
  })
  if (options.hello) wire.feed(hello('connector'))
  const pings = () =>
    decodeFrames(Buffer.concat(wire.written)).frames.filter(({ type }) => type === 'PING').length
  return { clock, wire, codes, session, pings }
}

test('a silent peer is asked after 5 s and again after 10 s, and is dead within 15 s', async () => {
  const { clock, codes, pings, wire } = startSilent({ hello: true })
  await nextTurn()
  assert.equal(pings(), 1)
  await clock.pass(4000)
  assert.equal(pings(), 1)
  await clock.pass(1000)
  assert.equal(pings(), 2)
  await clock.pass(5000)
  assert.equal(pings(), 3)
  await clock.pass(4000)
  assert.deepEqual(codes, [])
  await clock.pass(1000)
  assert.deepEqual(codes, ['TUNNEL_TIMEOUT'])
  wire.destroy()
})

/** Opens a stream that nobody answers. */
function wait(session: TunnelSession): void {
  const ignore = () => {}
  const handler = {
    onHead: ignore,
    onData: ignore,
    onEnd: ignore,
    onWritable: ignore,
    onReset: ignore,
  }
  session.openStream('', handler)
}

test('a tunnel on which something waits is silent after half a second without a byte', async () => {
  const { clock, wire, session } = startSilent({ hello: true })
  wait(session)
  await clock.pass(1000)
  for (let count = 0; count < 8; count++) {
    wire.feed(Buffer.from('000008070100000000ffffffffffffffff', 'hex'))
    await clock.pass(250)
    assert.equal(session.isSilent, false)
  }
  await clock.pass(250)
  assert.equal(session.isSilent, true)
  wire.feed(Buffer.from('000008070100000000ffffffffffffffff', 'hex'))
  assert.equal(session.isSilent, false)
  session.close()
  wire.destroy()
})

test('of a loop that was blocked one look counts, and what came meanwhile is read before the next', async () => {
  const { clock, wire, session } = startSilent({ hello: true })
  wait(session)
  await clock.pass(1000)
  wire.feed(Buffer.from('000008070100000000ffffffffffffffff', 'hex'))
  clock.skip(60_000)
  await clock.pass(0)
  assert.equal(session.isSilent, false)
  session.close()
  wire.destroy()
})

test('a silent peer is asked and given up at the same times while something waits', async () => {
  const { clock, codes, wire, session, pings } = startSilent({ hello: true })
  wait(session)
  for (const [ms, expected] of [
    [4750, 1],
    [250, 2],
    [4750, 2],
    [250, 3],
    [4750, 3],
  ] as const) {
    await clock.pass(ms)
    assert.equal(pings(), expected)
    assert.deepEqual(codes, [])
  }
  await clock.pass(250)
  assert.deepEqual(codes, ['TUNNEL_TIMEOUT'])
  wire.destroy()
})

test('a tunnel with nothing to do is looked at once a second', async () => {
  const { clock, wire, session } = startSilent({ hello: true })
  await clock.pass(1000)
  assert.equal(clock.pendingTimers, 1)
  const before = clock.fired
  await clock.pass(4000)
  assert.equal(clock.fired - before, 4)
  wait(session)
  await clock.pass(2000)
  assert.equal(clock.fired - before, 4 + 1 + 4)
  session.close()
  wire.destroy()
})

test('any byte is a sign of life, even part of a header', async () => {
  const { clock, codes, wire } = startSilent({ hello: true })
  for (const byte of Buffer.from('00000807000000', 'hex')) {
    await clock.pass(14_000)
    wire.feed(Buffer.from([byte]))
  }
  assert.deepEqual(codes, [])
  await clock.pass(15_000)
  assert.deepEqual(codes, ['TUNNEL_TIMEOUT'])
  wire.destroy()
})

test('a peer that never says HELLO is given up after 10 s', async () => {
  const { clock, codes, wire } = startSilent({ hello: false })
  await clock.pass(9000)
  assert.deepEqual(codes, [])
  await clock.pass(1000)
  assert.deepEqual(codes, ['TUNNEL_TIMEOUT'])
  wire.destroy()
})

test('a HELLO that drips in byte by byte is given up too', async () => {
  const { clock, codes, wire } = startSilent({ hello: false })
  for (const byte of hello('connector').subarray(0, 20)) {
    wire.feed(Buffer.from([byte]))
    await clock.pass(1000)
  }
  assert.deepEqual(codes, ['TUNNEL_TIMEOUT'])
  wire.destroy()
})

test('two idle sides keep each other alive for an hour', async (t) => {
  const clock = new TestClock()
  const pair = startPair(t, { gateway: { clock }, connector: { clock } })
  const { recorder, served } = await pair.open()
  await clock.pass(3_600_000)
  served.stream.sendHead('HTTP/1.1 200 OK', true)
  await recorder.until('head-end')
})

test('the death of the link reaches every stream, and leaves no timer behind', async () => {
  const clock = new TestClock()
  const wire = new Wire()
  const session = new TunnelSession(wire, { side: 'gateway', clock, onClose() {} })
  wire.feed(hello('connector'))
  const codes: string[] = []
  const ignore = () => {}
  for (let count = 0; count < 3; count++) {
    session.openStream('', {
      onHead: ignore,
      onData: ignore,
      onEnd: ignore,
      onWritable: ignore,
      onReset: (error) => codes.push(error.code),
    })
  }
  await clock.pass(15_000)
  assert.deepEqual(codes, Array(3).fill('TUNNEL_CLOSED'))
  assert.equal(clock.pendingTimers, 1, 'only the one that destroys the transport')
  await clock.pass(1000)
  assert.equal(wire.destroyed, true)
  assert.equal(clock.pendingTimers, 0)
})

test('a ping is answered with its own bytes; answers that nobody asked for are ignored', async () => {
  const { wire, session } = startSilent({ hello: true })
  await nextTurn()
  const own = decodeFrames(Buffer.concat(wire.written)).frames.find(({ type }) => type === 'PING')
  wire.written.length = 0
  wire.feed(Buffer.from('000008070000000000a1a2a3a4a5a6a7a8', 'hex'))
  wire.feed(Buffer.from('000008070100000000ffffffffffffffff', 'hex'))
  await nextTurn()
  assert.deepEqual(decodeFrames(Buffer.concat(wire.written)).frames, [
    { type: 'PING', flags: ['ACK'], streamId: 0, payload: 'a1a2a3a4a5a6a7a8' },
  ])
  assert.equal(session.roundTripMs, undefined)
  wire.feed(Buffer.from(`000008070100000000${own!.payload}`, 'hex'))
  assert.equal(session.roundTripMs, 0)
  session.close()
  wire.destroy()
})

test('news of an acceptance without a body waits for the answer, but not for long', async (t) => {
  const clock = new TestClock()
  const pair = startPair(t, { gateway: { clock }, connector: { clock } })
  const { stream, recorder, served } = await pair.open()
  stream.sendHead('GET / HTTP/1.1', true)
  await served.recorder.until('head-end')
  await turns(3)
  served.stream.accept()
  await turns(3)
  assert.deepEqual(recorder.events, [])
  await clock.pass(20)
  assert.deepEqual(recorder.events, ['accepted'])
  served.stream.sendHead('HTTP/1.1 200 OK', true)
  await recorder.until('head-end')
})

test('news of an acceptance with a body to come goes out at once', async (t) => {
  const clock = new TestClock()
  const pair = startPair(t, { gateway: { clock }, connector: { clock } })
  const { recorder, served } = await pair.open()
  served.stream.accept()
  await recorder.until('accepted')
})
