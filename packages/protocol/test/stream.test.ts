import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ResetCode, TunnelError } from '../src/index.ts'
import { Recorder, startPair, turns } from './pair.ts'

const request = 'POST /form HTTP/1.1\r\nHost: origin.example'
const answer = 'HTTP/1.1 200 OK\r\nContent-Type: text/plain'

test('a request with a body and trailers reaches the connector, its answer the gateway', async (t) => {
  const pair = startPair(t)
  const { stream, recorder, served } = await pair.open('{"to":"origin"}')
  stream.sendHead(request)
  stream.write(Buffer.from('one '))
  stream.write(Buffer.from('two'))
  stream.end('Checksum: 1')
  served.stream.accept()
  await served.recorder.until('end')
  assert.equal(served.stream.openText, '{"to":"origin"}')
  assert.deepEqual(served.recorder.heads, [request])
  assert.equal(served.recorder.body.toString(), 'one two')
  assert.equal(served.recorder.trailers, 'Checksum: 1')

  served.stream.sendHead(answer)
  served.stream.write(Buffer.from('done'))
  served.stream.end('Took: 3')
  await recorder.until('end')
  assert.deepEqual(recorder.heads, [answer])
  assert.equal(recorder.body.toString(), 'done')
  assert.equal(recorder.trailers, 'Took: 3')
  assert.deepEqual(
    [...recorder.events, ...served.recorder.events].filter((event) => event === 'reset'),
    [],
  )
  assert.equal(pair.gateway.openStreamCount, 0)
  assert.equal(pair.connector.openStreamCount, 0)
})

test('an exchange without bodies is two heads, and onEnd is not called for them', async (t) => {
  const pair = startPair(t)
  const { stream, recorder, served } = await pair.open()
  stream.sendHead('GET / HTTP/1.1', true)
  await served.recorder.until('head-end')
  served.stream.sendHead('HTTP/1.1 204 No Content', true)
  await recorder.until('head-end')
  assert.deepEqual(recorder.events, ['accepted', 'head-end'])
  assert.deepEqual(served.recorder.events, ['head-end'])
  assert.equal(pair.gateway.openStreamCount, 0)
})

test('informational heads come before the final one', async (t) => {
  const pair = startPair(t)
  const { recorder, served } = await pair.open()
  served.stream.sendHead('HTTP/1.1 100 Continue')
  served.stream.sendHead('HTTP/1.1 103 Early Hints')
  served.stream.sendHead(answer)
  served.stream.end()
  await recorder.until('end')
  assert.deepEqual(recorder.heads, ['HTTP/1.1 100 Continue', 'HTTP/1.1 103 Early Hints', answer])
})

test('a gateway that has ended still receives a long answer', async (t) => {
  const pair = startPair(t)
  const { stream, recorder, served } = await pair.open()
  stream.sendHead(request)
  stream.end()
  await served.recorder.until('end')
  for (let count = 0; count < 5; count++) {
    served.stream.write(Buffer.alloc(1000, 'x'))
    await recorder.next('data')
  }
  served.stream.end()
  await recorder.until('end')
  assert.equal(recorder.receivedBytes, 5000)
})

test('a connector that has ended still receives a long upload', async (t) => {
  const pair = startPair(t)
  const { stream, recorder, served } = await pair.open()
  served.stream.sendHead(answer, true)
  await recorder.until('head-end')
  stream.sendHead(request)
  for (let count = 0; count < 5; count++) {
    stream.write(Buffer.alloc(1000, 'x'))
    await served.recorder.next('data')
  }
  assert.equal(pair.gateway.openStreamCount, 1)
  stream.end()
  await served.recorder.until('end')
  assert.equal(served.recorder.receivedBytes, 5000)
  assert.equal(pair.gateway.openStreamCount, 0)
  assert.equal(pair.connector.openStreamCount, 0)
})

test('a byte pipe needs no head', async (t) => {
  const pair = startPair(t)
  const { stream, recorder, served } = await pair.open()
  served.stream.accept()
  stream.write(Buffer.from('ping'))
  await served.recorder.until('data')
  served.stream.write(Buffer.from('pong'))
  await recorder.until('data')
  assert.equal(served.recorder.body.toString(), 'ping')
  assert.equal(recorder.body.toString(), 'pong')
})

test('no body byte leaves the gateway before the connector accepts', async (t) => {
  const pair = startPair(t)
  const { stream, recorder, served } = await pair.open()
  stream.sendHead(request)
  assert.equal(stream.write(Buffer.from('body')), false)
  await served.recorder.until('head')
  await turns(5)
  assert.deepEqual(served.recorder.events, ['head'])
  assert.equal(stream.accepted, false)
  served.stream.accept()
  await served.recorder.until('data')
  assert.deepEqual(recorder.events, ['accepted', 'writable'])
  assert.equal(stream.accepted, true)
})

test('an acceptance is told even if nothing was written yet', async (t) => {
  const pair = startPair(t)
  const { stream, recorder, served } = await pair.open()
  stream.sendHead(request)
  served.stream.accept()
  await recorder.until('writable')
  assert.deepEqual(recorder.events, ['accepted', 'writable'])
})

test('a head accepts too, and the credit for the body follows', async (t) => {
  const pair = startPair(t)
  const { recorder, served } = await pair.open()
  served.stream.sendHead('HTTP/1.1 100 Continue')
  await recorder.until('writable')
  assert.deepEqual(recorder.events, ['accepted', 'head', 'writable'])
})

test('a refused stream is retryable and nothing of its body was sent', async (t) => {
  const pair = startPair(t)
  const { stream, recorder, served } = await pair.open()
  stream.sendHead(request)
  stream.write(Buffer.from('body'))
  await served.recorder.until('head')
  served.stream.reset(ResetCode.REFUSED, 'backlog is full')
  await recorder.until('reset')
  assert.equal(recorder.error?.code, 'TUNNEL_RESET')
  assert.equal(recorder.error?.resetCode, ResetCode.REFUSED)
  assert.equal(recorder.error?.detail, 'backlog is full')
  assert.equal(recorder.error?.retryable, true)
  assert.deepEqual(served.recorder.events, ['head'])
  assert.equal(pair.connector.openStreamCount, 0)
})

test('a stream cannot be refused after it was accepted', async (t) => {
  const pair = startPair(t)
  const { served } = await pair.open()
  served.stream.accept()
  assert.throws(() => served.stream.reset(ResetCode.REFUSED), TypeError)
})

test('a stream that the gateway gives up before acceptance is gone on both sides', async (t) => {
  const pair = startPair(t)
  const { stream, recorder, served } = await pair.open()
  stream.sendHead(request)
  stream.write(Buffer.from('body'))
  stream.reset(ResetCode.CANCELLED, 'client left')
  await served.recorder.until('reset')
  assert.equal(served.recorder.error?.resetCode, ResetCode.CANCELLED)
  assert.equal(served.recorder.error?.detail, 'client left')
  served.stream.accept()
  served.stream.sendHead(answer)
  assert.equal(served.stream.write(Buffer.from('late')), false)
  served.stream.end()
  served.stream.reset(ResetCode.INTERNAL)
  await turns(3)
  assert.deepEqual(served.recorder.events, ['head', 'reset'])
  assert.deepEqual(recorder.events, [])
  assert.equal(pair.gateway.openStreamCount + pair.connector.openStreamCount, 0)
})

test('a stream opened and given up in one turn is told of once', async (t) => {
  const pair = startPair(t)
  const { stream } = pair.opening()
  stream.reset(ResetCode.CANCELLED)
  const served = await pair.nextServed()
  await served.recorder.until('reset')
  assert.deepEqual(served.recorder.events, ['reset'])
})

test('a reset in mid-body drops what is queued and reaches the peer once', async (t) => {
  const pair = startPair(t)
  const { recorder, served } = await pair.open()
  served.stream.sendHead(answer)
  served.stream.write(Buffer.alloc(1000))
  await recorder.until('data')
  while (served.stream.write(Buffer.alloc(60_000)));
  served.stream.reset(ResetCode.CONNECTION_RESET, 'origin broke off')
  await recorder.until('reset')
  await turns(3)
  assert.equal(recorder.receivedBytes, 1000)
  assert.deepEqual(recorder.received, ['head', 'data', 'reset'])
  assert.equal(recorder.error?.resetCode, ResetCode.CONNECTION_RESET)
})

test('a writer that waits for credit can be cancelled', async (t) => {
  const pair = startPair(t)
  const { stream, recorder, served } = await pair.open()
  served.stream.pause()
  served.stream.accept()
  await recorder.until('writable')
  while (stream.write(Buffer.alloc(65_536)));
  await turns(3)
  stream.reset(ResetCode.CANCELLED)
  await served.recorder.until('reset')
  served.stream.resume()
  assert.deepEqual(served.recorder.events, ['reset'])
})

test('an early answer is delivered whole before the gateway learns that the rest is not needed', async (t) => {
  const pair = startPair(t)
  const { stream, recorder, served } = await pair.open()
  stream.pause()
  stream.sendHead(request)
  stream.write(Buffer.alloc(10_000))
  served.stream.sendHead('HTTP/1.1 413 Content Too Large')
  served.stream.write(Buffer.from('too large'))
  served.stream.end('Reason: size')
  served.stream.reset(ResetCode.NO_ERROR, 'no more, thanks')
  assert.equal(pair.connector.openStreamCount, 1)
  await recorder.until('head')
  await turns(3)
  assert.equal(pair.connector.openStreamCount, 0)
  assert.equal(stream.write(Buffer.alloc(10)), false)
  assert.deepEqual(recorder.chunks, [])
  stream.resume()
  assert.equal(recorder.body.toString(), 'too large')
  assert.equal(recorder.trailers, 'Reason: size')
  assert.deepEqual(recorder.events.slice(-3), ['data', 'end', 'reset'])
  assert.equal(recorder.error?.resetCode, ResetCode.NO_ERROR)
  assert.deepEqual(
    served.recorder.events.filter((event) => event !== 'head' && event !== 'data'),
    [],
  )
  assert.equal(pair.gateway.openStreamCount, 0)
})

test('a gateway that ends in time does not hear that the rest is not needed', async (t) => {
  const pair = startPair(t)
  const { stream, recorder, served } = await pair.open()
  stream.pause()
  served.stream.write(Buffer.from('early'))
  served.stream.end()
  served.stream.reset(ResetCode.NO_ERROR)
  await recorder.until('accepted')
  await turns(3)
  stream.end()
  stream.resume()
  assert.deepEqual(recorder.events, ['accepted', 'data', 'end'])
  assert.equal(pair.gateway.openStreamCount, 0)
})

test('NO_ERROR behind an end that has gone out already is sent at once', async (t) => {
  const pair = startPair(t)
  const { recorder, served } = await pair.open()
  served.stream.sendHead(answer, true)
  await recorder.until('head-end')
  served.stream.reset(ResetCode.NO_ERROR)
  assert.equal(pair.connector.openStreamCount, 0)
  await recorder.until('reset')
  assert.equal(recorder.error?.resetCode, ResetCode.NO_ERROR)
})

test('a paused reader gets neither data nor the end, and then both in order', async (t) => {
  const pair = startPair(t)
  const { recorder, stream, served } = await pair.open()
  stream.pause()
  served.stream.sendHead(answer)
  served.stream.write(Buffer.from('a'))
  served.stream.end('x: y')
  await recorder.until('head')
  await turns(3)
  assert.deepEqual(recorder.received, ['head'])
  stream.resume()
  assert.deepEqual(recorder.received, ['head', 'data', 'end'])
})

test('a reader may pause in the middle of what it is given', async (t) => {
  const pair = startPair(t)
  const { stream, served } = await pair.open()
  const seen: string[] = []
  const picky = new Recorder()
  picky.onData = (chunk) => {
    seen.push(chunk.toString())
    stream.pause()
    stream.resume()
    stream.pause()
  }
  stream.handler = picky
  stream.pause()
  served.stream.sendHead(answer)
  for (const letter of 'abc') {
    served.stream.write(Buffer.alloc(65_536, letter))
    await turns(3)
  }
  served.stream.end()
  await turns(3)
  for (let count = 0; count < 3; count++) stream.resume()
  assert.deepEqual(
    seen.map((chunk) => [chunk[0], chunk.length]),
    [
      ['a', 65_536],
      ['b', 65_536],
      ['c', 65_536],
    ],
  )
  assert.equal(picky.events.includes('end'), false)
  stream.resume()
  assert.equal(picky.events.includes('end'), true)
})

test('a handler can be replaced in the middle of a stream', async (t) => {
  const pair = startPair(t)
  const { stream, recorder, served } = await pair.open()
  served.stream.sendHead('HTTP/1.1 101 Switching Protocols')
  await recorder.until('head')
  const socket = new Recorder()
  stream.handler = socket
  served.stream.write(Buffer.from('frame'))
  await socket.until('data')
  assert.deepEqual(recorder.received, ['head'])
})

test('a handler that throws costs its own stream only, and the error is told', async (t) => {
  const pair = startPair(t)
  const bad = await pair.open()
  const good = await pair.open()
  const mistake = new RangeError('a mistake')
  bad.stream.handler = {
    ...new Recorder(),
    onHead() {
      throw mistake
    },
    onData() {},
    onEnd() {},
    onWritable() {},
    onReset() {},
  }
  bad.served.stream.sendHead(answer)
  await bad.served.recorder.until('reset')
  assert.equal(bad.served.recorder.error?.resetCode, ResetCode.INTERNAL)
  assert.deepEqual(pair.handlerErrors, [mistake])
  good.served.stream.sendHead(answer, true)
  await good.recorder.until('head-end')
})

for (const method of ['onData', 'onEnd', 'onWritable', 'onAccepted', 'onReset'] as const) {
  test(`an error in ${method} does not reach the tunnel`, async (t) => {
    const pair = startPair(t)
    const { recorder, served } = await pair.open()
    recorder[method] = () => {
      throw new RangeError(method)
    }
    served.stream.accept()
    served.stream.write(Buffer.from('x'))
    served.stream.end()
    if (method === 'onReset') served.stream.reset(ResetCode.INTERNAL)
    await turns(4)
    assert.deepEqual(
      pair.handlerErrors.map((error) => (error as Error).message),
      [method],
    )
    const next = await pair.open()
    next.served.stream.sendHead(answer, true)
    await next.recorder.until('head-end')
  })
}

test('a connector that sets no handler loses the stream, not the tunnel', async (t) => {
  const pair = startPair(t, { connector: { onStream() {} } })
  const { recorder } = pair.opening()
  await recorder.until('reset')
  assert.equal(recorder.error?.resetCode, ResetCode.INTERNAL)
  assert.equal(pair.handlerErrors.length, 1)
  assert.equal(pair.gateway.draining, false)
})

test('a head of 256 KiB arrives whole, a longer one is refused where it is made', async (t) => {
  const pair = startPair(t)
  const { stream, served } = await pair.open()
  const long = `GET / HTTP/1.1\r\nAuthorization: Negotiate ${'é'.repeat(262_144 - 41)}`
  assert.equal(long.length, 262_144)
  assert.throws(() => stream.sendHead(`${long}x`), TypeError)
  stream.sendHead(long, true)
  await served.recorder.until('head-end')
  assert.equal(served.recorder.heads[0], long)
})

test('attack 29: a character beyond latin1 is refused, not cut down to a line end', async (t) => {
  const pair = startPair(t)
  const { stream, served } = await pair.open()
  assert.throws(() => stream.sendHead('GET /\u010d\u010aX-User:%20root HTTP/1.1'), TypeError)
  assert.throws(() => stream.end('a: \u010d\u010ab: c'), TypeError)
  stream.sendHead('GET / HTTP/1.1', true)
  await served.recorder.until('head-end')
  assert.deepEqual(served.recorder.heads, ['GET / HTTP/1.1'])
})

test('mistakes in the order of calls are TypeErrors', async (t) => {
  const pair = startPair(t)
  const { stream, served } = await pair.open()
  stream.sendHead(request)
  assert.throws(() => stream.sendHead(request), TypeError)
  assert.throws(() => stream.accept(), TypeError)
  stream.end()
  assert.throws(() => stream.write(Buffer.from('x')), TypeError)
  assert.throws(() => stream.end(), TypeError)
  served.stream.write(Buffer.from('x'))
  assert.throws(() => served.stream.sendHead(answer), TypeError)
  assert.throws(() => pair.connector.openStream('', new Recorder()), TypeError)
  assert.throws(() => pair.gateway.openStream('o'.repeat(65_537), new Recorder()), TypeError)
  assert.throws(() => pair.gateway.openStream('\u0100', new Recorder()), TypeError)
})

test('an opening of 64 KiB arrives whole', async (t) => {
  const pair = startPair(t)
  const payload = 'o'.repeat(65_536)
  const { served } = await pair.open(payload)
  assert.equal(served.stream.openText, payload)
})

test('a long detail is cut between two characters', async (t) => {
  const pair = startPair(t)
  const { recorder, served } = await pair.open()
  served.stream.reset(ResetCode.INTERNAL, `x${'é'.repeat(600)}`)
  await recorder.until('reset')
  assert.equal(recorder.error?.detail, `x${'é'.repeat(511)}`)
  assert.ok(recorder.error instanceof TunnelError)
})

test('empty writes send nothing', async (t) => {
  const pair = startPair(t)
  const { recorder, served } = await pair.open()
  served.stream.sendHead(answer)
  assert.equal(served.stream.write(Buffer.alloc(0)), true)
  served.stream.write(Buffer.from('x'))
  served.stream.end('')
  await recorder.until('end')
  assert.deepEqual(recorder.received, ['head', 'data', 'end'])
  assert.equal(recorder.trailers, undefined)
})
