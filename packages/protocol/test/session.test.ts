import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import net from 'node:net'
import type { Duplex } from 'node:stream'
import { describe, type TestContext, test } from 'node:test'
import tls from 'node:tls'
import { GoAwayCode, ResetCode, TunnelSession } from '../src/index.ts'
import { frame, hello, nextTurn, Stuck, stoppedClock, Wire } from './harness.ts'
import { decodeFrames } from './independent-decoder.ts'
import { closed, pump, Recorder, startPair, turns } from './pair.ts'

test('both sides learn of each other: readiness, capabilities, round trip', async (t) => {
  const ready: string[] = []
  const pair = startPair(t, {
    gateway: { capabilities: ['feed', 'x-1'], onReady: () => ready.push('gateway') },
    connector: { capabilities: ['udp'], onReady: () => ready.push('connector') },
  })
  assert.equal(pair.gateway.peerCapabilities.size, 0)
  assert.equal(pair.gateway.roundTripMs, undefined)
  await turns(5)
  assert.deepEqual(ready.sort(), ['connector', 'gateway'])
  assert.deepEqual([...pair.gateway.peerCapabilities], ['udp'])
  assert.deepEqual([...pair.connector.peerCapabilities], ['feed', 'x-1'])
  assert.ok(pair.gateway.roundTripMs! >= 0 && pair.connector.roundTripMs! >= 0)
})

test('a capability that is no word is refused', () => {
  const build = (capabilities: string[]) => () =>
    new TunnelSession(new Wire(), { side: 'gateway', onClose() {}, capabilities })
  for (const word of ['', 'two words', 'ä', 'x'.repeat(256)]) {
    assert.throws(build([word]), TypeError)
  }
  assert.throws(build(Array(17).fill('x'.repeat(255))), TypeError)
  assert.throws(build(Array(256).fill('x')), TypeError)
})

test('two gateways end their tunnel', async (t) => {
  const pair = startPair(t, { connector: { side: 'gateway' } })
  assert.equal((await pair.closed.gateway)?.code, 'TUNNEL_PROTOCOL_VIOLATION')
})

test('a drained tunnel finishes what is open and then closes on both sides', async (t) => {
  const reasons: string[] = []
  const pair = startPair(t, { connector: { onGoAway: (reason) => reasons.push(reason) } })
  const { stream, recorder, served } = await pair.open()
  stream.sendHead('GET / HTTP/1.1', true)
  pair.gateway.goAway('restart')
  pair.gateway.goAway('twice')
  assert.equal(pair.gateway.draining, true)
  assert.throws(() => pair.opening(), { code: 'TUNNEL_CLOSED' })
  await turns(5)
  assert.deepEqual(reasons, ['restart'])
  assert.equal(pair.connector.draining, true)
  assert.equal(pair.gateway.openStreamCount, 1)
  served.stream.sendHead('HTTP/1.1 200 OK')
  await pump(served.stream, served.recorder, Buffer.alloc(3_000_000, 'z'))
  served.stream.end()
  assert.equal(await pair.closed.gateway, undefined)
  assert.equal(await pair.closed.connector, undefined)
  assert.equal(recorder.receivedBytes, 3_000_000)
  await closed(pair.gatewayEnd)
  await closed(pair.connectorEnd)
})

test('a tunnel without streams drains at once', async (t) => {
  const pair = startPair(t)
  await turns(3)
  pair.connector.goAway('update')
  assert.equal(await pair.closed.gateway, undefined)
  assert.equal(await pair.closed.connector, undefined)
})

test('what was opened while the connector said goodbye is refused and retryable', async (t) => {
  const reasons: string[] = []
  const pair = startPair(t, { gateway: { onGoAway: (reason) => reasons.push(reason) } })
  const before = await pair.open()
  pair.connector.goAway('update')
  const crossing = pair.opening()
  crossing.stream.sendHead('GET / HTTP/1.1', true)
  await crossing.recorder.until('reset')
  assert.equal(crossing.recorder.error?.retryable, true)
  assert.deepEqual(reasons, ['update'])
  assert.throws(() => pair.opening(), { code: 'TUNNEL_CLOSED' })
  before.stream.sendHead('GET / HTTP/1.1', true)
  before.served.stream.sendHead('HTTP/1.1 200 OK', true)
  await before.recorder.until('head-end')
  assert.equal(await pair.closed.gateway, undefined)
  assert.equal(await pair.closed.connector, undefined)
})

test('a lost connection fails every stream once, and the tunnel with the cause', async (t) => {
  const pair = startPair(t)
  const streams = [await pair.open(), await pair.open(), await pair.open()]
  streams[1]!.served.stream.sendHead('HTTP/1.1 200 OK')
  await streams[1]!.recorder.until('head')
  const cause = Object.assign(new Error('reset'), { code: 'ECONNRESET' })
  pair.gatewayEnd.destroy(cause)
  const error = await pair.closed.gateway
  assert.equal(error?.code, 'TUNNEL_CLOSED')
  assert.equal(error?.cause, cause)
  for (const { recorder, stream } of streams) {
    assert.equal(recorder.error?.code, 'TUNNEL_CLOSED')
    assert.equal(recorder.error?.retryable, false)
    assert.equal(recorder.events.filter((event) => event === 'reset').length, 1)
    assert.equal(stream.write(Buffer.from('x')), false)
  }
  pair.connectorEnd.destroy()
  assert.equal((await pair.closed.connector)?.code, 'TUNNEL_CLOSED')
  assert.equal(streams[0]!.served.recorder.error?.code, 'TUNNEL_CLOSED')
  assert.throws(() => pair.opening(), { code: 'TUNNEL_CLOSED' })
})

test('a peer that ends its transport without a word has broken off', async (t) => {
  const pair = startPair(t)
  const { recorder } = await pair.open()
  pair.connectorEnd.end()
  await recorder.until('reset')
  assert.equal((await pair.closed.gateway)?.code, 'TUNNEL_CLOSED')
  assert.equal(pair.gateway.openStreamCount, 0)
})

test('close() ends streams at once, and the peer hears it', async (t) => {
  const pair = startPair(t)
  const { recorder, served } = await pair.open()
  pair.gateway.close()
  assert.equal(recorder.error?.code, 'TUNNEL_CLOSED')
  assert.equal(await pair.closed.gateway, undefined)
  assert.equal((await pair.closed.connector)?.code, 'TUNNEL_CLOSED')
  assert.equal(served.recorder.error?.code, 'TUNNEL_CLOSED')
  pair.gateway.close()
  pair.gateway.goAway('late')
  await closed(pair.gatewayEnd)
})

test('close(error) keeps the cause here and names no details there', async (t) => {
  const pair = startPair(t)
  const cause = new Error('certificate of /etc/secret revoked')
  pair.connector.close(cause)
  const here = await pair.closed.connector
  assert.equal(here?.code, 'TUNNEL_CLOSED')
  assert.equal(here?.cause, cause)
  const there = await pair.closed.gateway
  assert.equal(there?.goAwayCode, GoAwayCode.INTERNAL)
  assert.equal(there?.detail, 'closed after an error')
})

test('what a handler closes is closed, and the rest of the input is not read', async (t) => {
  const pair = startPair(t)
  const first = pair.opening()
  const second = pair.opening()
  const served = [await pair.nextServed(), await pair.nextServed()]
  first.recorder.onHead = () => pair.gateway.close()
  served[0]!.stream.sendHead('HTTP/1.1 200 OK', true)
  served[1]!.stream.sendHead('HTTP/1.1 200 OK', true)
  await pair.closed.connector
  assert.deepEqual(second.recorder.events, ['reset'])
})

test('a stream that arrived whole is read to its end although the tunnel is gone', async (t) => {
  const pair = startPair(t)
  const { stream, recorder, served } = await pair.open()
  stream.pause()
  stream.sendHead('GET / HTTP/1.1', true)
  served.stream.sendHead('HTTP/1.1 200 OK')
  served.stream.write(Buffer.from('all of it'))
  served.stream.end()
  await recorder.until('head')
  await turns(2)
  pair.connectorEnd.destroy()
  await pair.closed.gateway
  stream.resume()
  assert.deepEqual(recorder.received, ['head', 'data', 'end'])
})

test('the connector bounds its streams: the gateway keeps to it and opens more when there is room', async (t) => {
  const pair = startPair(t, { connector: { limits: { maxStreams: 2 } } })
  await turns(3)
  const first = await pair.open()
  await pair.open()
  assert.throws(() => pair.opening(), { code: 'TUNNEL_FULL', retryable: true })
  first.stream.reset(ResetCode.CANCELLED)
  await pair.open()
  assert.equal(pair.gateway.openStreamCount, 2)
})

test('streams opened before the bound is known are refused beyond it', async (t) => {
  const pair = startPair(t, { connector: { limits: { maxStreams: 2 } } })
  const opened = [pair.opening(), pair.opening(), pair.opening()]
  await opened[2]!.recorder.until('reset')
  assert.equal(opened[2]!.recorder.error?.resetCode, ResetCode.REFUSED)
  assert.equal(pair.gateway.openStreamCount, 2)
})

test('a tunnel that has used up its stream ids drains', async (t) => {
  const reasons: string[] = []
  const pair = startPair(t, {
    gateway: { limits: { firstStreamId: 0xffff_fffe } },
    connector: { onGoAway: (reason) => reasons.push(reason) },
  })
  const first = await pair.open()
  const last = await pair.open()
  assert.equal(last.stream.id, 0xffff_ffff)
  assert.throws(() => pair.opening(), { code: 'TUNNEL_CLOSED' })
  for (const { stream, served, recorder } of [last, first]) {
    stream.sendHead('GET / HTTP/1.1', true)
    served.stream.sendHead('HTTP/1.1 200 OK', true)
    await recorder.until('head-end')
  }
  assert.equal(reasons.length, 1)
  assert.equal(await pair.closed.gateway, undefined)
  assert.equal(await pair.closed.connector, undefined)
})

test('bytes that are no frames end the tunnel with a coded GOAWAY', async (t) => {
  const pair = startPair(t)
  const { recorder, served } = await pair.open()
  pair.gatewayEnd.write('GET / HTTP/1.1\r\n\r\n')
  assert.equal((await pair.closed.connector)?.code, 'TUNNEL_FRAME_INVALID')
  const error = await pair.closed.gateway
  assert.equal(error?.code, 'TUNNEL_CLOSED')
  assert.equal(error?.goAwayCode, GoAwayCode.FRAME_INVALID)
  assert.equal(recorder.error?.code, 'TUNNEL_CLOSED')
  assert.equal(served.recorder.error?.code, 'TUNNEL_CLOSED')
})

test('a flood of pings from a peer that does not read ends the tunnel', async () => {
  const wire = new Stuck({ highWaterMark: 1 })
  const end = Promise.withResolvers<string | undefined>()
  const session = new TunnelSession(wire, {
    side: 'connector',
    onClose: (error) => end.resolve(error?.code),
    clock: stoppedClock,
    limits: { controlBacklogBytes: 100_000 },
  })
  wire.feed(hello('gateway'))
  await nextTurn()
  const pings = Buffer.alloc(17 * 1000, Buffer.from('0000080700000000000102030405060708', 'hex'))
  let fed = 0
  while (!session.draining && fed < 1_000_000) {
    wire.feed(pings)
    fed += pings.length
    await nextTurn()
  }
  assert.equal(await end.promise, 'TUNNEL_OVERLOADED')
  assert.ok(fed < 200_000, `${fed} bytes of pings were taken`)
  wire.destroy()
})

test('a gateway opens no streams into a backlog', async () => {
  const wire = new Stuck({ highWaterMark: 1 })
  const session = new TunnelSession(wire, {
    side: 'gateway',
    onClose() {},
    clock: stoppedClock,
    limits: { controlBacklogBytes: 100_000 },
  })
  wire.feed(hello('connector'))
  await nextTurn()
  const open = () => session.openStream('\0'.repeat(10_000), new Recorder())
  assert.throws(
    () => {
      for (let count = 0; count < 20; count++) open()
    },
    { code: 'TUNNEL_FULL' },
  )
  wire.release()
  await turns(3)
  open()
  session.close()
  wire.destroy()
})

test('frames of one turn go out in one write, control frames before data', async () => {
  const wire = new Wire()
  const session = new TunnelSession(wire, { side: 'gateway', onClose() {}, clock: stoppedClock })
  wire.feed(hello('connector'))
  const streams = Array.from({ length: 10 }, () => {
    const stream = session.openStream('x', new Recorder())
    stream.sendHead('POST / HTTP/1.1')
    stream.write(Buffer.from('body'))
    return stream
  })
  await nextTurn()
  assert.equal(wire.written.length, 1)
  for (const { id } of streams) wire.feed(frame(5, 0, id, '00001000'))
  session.openStream('late', new Recorder())
  await nextTurn()
  assert.equal(wire.written.length, 2)
  const types = decodeFrames(wire.written[1]!).frames.map(({ type }) => type)
  assert.deepEqual(types, ['OPEN', ...Array(10).fill('DATA')])
  session.close()
  wire.destroy()
})

test('a batch that has grown does not wait for the rest of the turn, and nothing goes out twice', async () => {
  const wire = new Wire()
  const session = new TunnelSession(wire, { side: 'gateway', onClose() {}, clock: stoppedClock })
  wire.feed(hello('connector'))
  await nextTurn()
  wire.written.length = 0
  const open = (count: number) =>
    Array.from({ length: count }, () => session.openStream('\0'.repeat(1000), new Recorder()).id)
  const ids = open(4)
  await nextTick()
  assert.equal(wire.written.length, 0)
  ids.push(...open(12))
  assert.equal(wire.written.length, 0)
  await nextTick()
  assert.equal(wire.written.length, 1)
  ids.push(...open(2))
  await nextTick()
  assert.equal(wire.written.length, 1)
  await nextTurn()
  assert.equal(wire.written.length, 2)
  const { frames } = decodeFrames(Buffer.concat(wire.written))
  assert.deepEqual(
    frames.map(({ type, streamId }) => [type, streamId]),
    ids.map((id) => ['OPEN', id]),
  )
  session.close()
  wire.destroy()
})

test('streams take turns while the socket is full, and control frames pass them', async () => {
  const wire = new Stuck({ highWaterMark: 65_536 })
  const session = new TunnelSession(wire, { side: 'gateway', onClose() {}, clock: stoppedClock })
  wire.feed(hello('connector'))
  const streams = Array.from({ length: 4 }, () => session.openStream('', new Recorder()))
  for (const { id } of streams) wire.feed(frame(5, 0, id, '00100000'))
  for (const stream of streams) {
    for (let count = 0; count < 6; count++) stream.write(Buffer.alloc(65_536, stream.id))
  }
  await nextTurn()
  const late = session.openStream('', new Recorder())
  for (let batch = 0; batch < 30; batch++) {
    wire.release()
    await turns(2)
  }
  const frames = decodeFrames(Buffer.concat(wire.written)).frames
  const data = frames.filter(({ type }) => type === 'DATA').map(({ streamId }) => streamId)
  assert.deepEqual(data, Array(6).fill([1, 2, 3, 4]).flat())
  const place = frames.findIndex(({ type, streamId }) => type === 'OPEN' && streamId === late.id)
  const before = frames.slice(0, place).filter(({ type }) => type === 'DATA').length
  assert.ok(before <= 3, `${before} data frames went before a control frame`)
  session.close()
  wire.destroy()
})

const nextTick = (): Promise<void> => new Promise((resolve) => process.nextTick(resolve))

test('what waits in the socket grows while the socket is quick, and not on a slow link', async () => {
  const largestWrites = async (tookMs: number): Promise<number> => {
    const wire = new Stuck({ highWaterMark: 65_536 })
    let nowMs = 0
    const clock = { ...stoppedClock, now: () => nowMs }
    const session = new TunnelSession(wire, { side: 'gateway', onClose() {}, clock })
    wire.feed(hello('connector'))
    await nextTurn()
    wire.release()
    const streams = Array.from({ length: 4 }, () => session.openStream('', new Recorder()))
    for (const { id } of streams) wire.feed(frame(5, 0, id, '00300000'))
    for (const stream of streams)
      for (let count = 0; count < 48; count++) stream.write(Buffer.alloc(65_536))
    for (let batch = 0; batch < 200; batch++) {
      await turns(2)
      nowMs += tookMs
      wire.release()
    }
    session.close()
    wire.destroy()
    const { frames } = decodeFrames(Buffer.concat(wire.written))
    assert.equal(frames.filter(({ type }) => type === 'DATA').length, 4 * 48)
    return Math.max(...wire.written.map(({ length }) => length))
  }
  // A batch of 128 KiB may come on top of what there is room for.
  const slow = await largestWrites(11)
  assert.ok(slow < 65_536 + 140_000, `${slow} bytes in one write to a slow socket`)
  const quick = await largestWrites(1)
  assert.ok(quick > 300_000, `${quick} bytes in one write to a quick socket`)
  assert.ok(quick < 524_288 + 140_000, `${quick} bytes in one write to a quick socket`)
})

async function startTcp(t: TestContext): Promise<[Duplex, Duplex]> {
  const server = net.createServer()
  server.listen(0, '127.0.0.1')
  t.after(() => server.close())
  await once(server, 'listening')
  const connectorEnd = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1')
  const [gatewayEnd] = (await once(server, 'connection')) as [net.Socket]
  return [gatewayEnd, connectorEnd]
}

/** TLS with a key in common: certificates are somebody else's matter. */
async function startTls(t: TestContext): Promise<[Duplex, Duplex]> {
  const key = randomBytes(32)
  const server = tls.createServer({
    pskCallback: () => key,
    ciphers: 'PSK',
    maxVersion: 'TLSv1.2',
  })
  server.listen(0, '127.0.0.1')
  t.after(() => server.close())
  await once(server, 'listening')
  const connectorEnd = tls.connect({
    port: (server.address() as net.AddressInfo).port,
    host: '127.0.0.1',
    pskCallback: () => ({ psk: key, identity: 'connector' }),
    ciphers: 'PSK',
    maxVersion: 'TLSv1.2',
    checkServerIdentity: () => undefined,
  })
  const [gatewayEnd] = (await once(server, 'secureConnection')) as [tls.TLSSocket]
  return [gatewayEnd, connectorEnd]
}

for (const [name, startEnds] of [
  ['TCP', startTcp],
  ['TLS', startTls],
] as const) {
  describe(`over ${name}`, () => {
    test('twenty streams carry 2 MB each way at once, unchanged', async (t) => {
      const pair = startPair(t, { ends: await startEnds(t) })
      const exchanges = Array.from({ length: 20 }, async () => {
        const { stream, recorder, served } = await pair.open()
        stream.sendHead('POST / HTTP/1.1')
        served.stream.sendHead('HTTP/1.1 200 OK')
        const up = randomBytes(2_000_000)
        const down = randomBytes(2_000_000)
        await Promise.all([
          pump(stream, recorder, up).then(() => stream.end()),
          pump(served.stream, served.recorder, down).then(() => served.stream.end()),
          recorder.until('end'),
          served.recorder.until('end'),
        ])
        assert.equal(digest(recorder.body), digest(down))
        assert.equal(digest(served.recorder.body), digest(up))
      })
      await Promise.all(exchanges)
      assert.equal(pair.gateway.openStreamCount + pair.connector.openStreamCount, 0)
      pair.gateway.goAway('done')
      assert.equal(await pair.closed.gateway, undefined)
      assert.equal(await pair.closed.connector, undefined)
      await closed(pair.gatewayEnd)
      await closed(pair.connectorEnd)
    })

    test('a coded GOAWAY arrives although bytes of the peer are still unread', async (t) => {
      const pair = startPair(t, { ends: await startEnds(t) })
      const { stream, recorder, served } = await pair.open()
      served.stream.accept()
      await recorder.until('writable')
      while (stream.write(Buffer.alloc(65_536)));
      pair.gatewayEnd.write(Buffer.alloc(100_000, 0xff))
      assert.equal((await pair.closed.connector)?.code, 'TUNNEL_FRAME_INVALID')
      assert.equal((await pair.closed.gateway)?.goAwayCode, GoAwayCode.FRAME_INVALID)
    })
  })
}

function digest(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

test('whoever wants to know hears how many bytes came', async (t) => {
  let readBytes = 0
  const onRead = (bytes: number) => {
    readBytes += bytes
  }
  const pair = startPair(t, { gateway: { onRead } })
  let sentBytes = 0
  pair.gatewayEnd.on('data', (chunk: Buffer) => {
    sentBytes += chunk.length
  })
  await turns(5)
  assert.ok(readBytes > 0)
  assert.equal(readBytes, sentBytes)
})
