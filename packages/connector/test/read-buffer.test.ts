import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { dialTcp } from '../src/dial.ts'

const never = new AbortController().signal

async function listen(t: TestContext, serve: (socket: Socket) => void): Promise<number> {
  const server = createServer(serve).listen(0, '127.0.0.1')
  t.after(() => server.close())
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

async function dial(t: TestContext, port: number): Promise<Socket> {
  const socket = await dialTcp(['127.0.0.1'], port, never, { isPlain: true })
  t.after(() => socket.destroy())
  return socket
}

async function readToEnd(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => {
    chunks.push(chunk)
    if (chunks.length % 5 > 0) return
    socket.pause()
    setImmediate(() => socket.resume())
  })
  await once(socket, 'end')
  return Buffer.concat(chunks)
}

test('what many sockets read at once through one buffer stays theirs, also for readers that pause', async (t) => {
  const bytes = 3_000_000
  let count = 0
  const port = await listen(t, (socket) => {
    count += 1
    socket.end(Buffer.alloc(bytes, count))
  })
  const bodies = await Promise.all(
    Array.from({ length: 8 }, async () => readToEnd(await dial(t, port))),
  )
  const seen = bodies.map((body) => {
    assert.equal(body.length, bytes)
    assert.ok(body.equals(Buffer.alloc(bytes, body[0])), `bytes of others in ${body[0]}`)
    return body[0]
  })
  assert.deepEqual(seen.sort(), [1, 2, 3, 4, 5, 6, 7, 8])
})

test('what comes before anybody listens waits for the one who does', async (t) => {
  const port = await listen(t, (socket) => {
    socket.write('first ')
    socket.once('data', () => socket.end('second'))
  })
  const socket = await dial(t, port)
  while (socket.readableLength === 0) await new Promise((resolve) => setImmediate(resolve))
  assert.equal(socket.readableLength, 6)
  socket.write('go on')
  while (!socket.readableEnded && socket.readableLength < 12)
    await new Promise((resolve) => setImmediate(resolve))
  assert.equal((await readToEnd(socket)).toString(), 'first second')
})

test('a reader that has paused is sent no more than the buffers of two sockets hold', async (t) => {
  let sent = 0
  const piece = Buffer.alloc(65_536, 'x')
  const blocked = Promise.withResolvers<void>()
  const port = await listen(t, (socket) => {
    socket.on('error', () => {})
    const send = () => {
      sent += piece.length
      if (sent > 1e9) blocked.reject(new Error('nothing held the writer back'))
      else if (socket.write(piece)) setImmediate(send)
      else if (socket.writableLength > 4 * piece.length) blocked.resolve()
      else setImmediate(send)
    }
    send()
  })
  const socket = await dial(t, port)
  let received = 0
  socket.on('data', (chunk: Buffer) => {
    received += chunk.length
    socket.pause()
  })
  await blocked.promise
  assert.ok(received <= 65_536, `${received} bytes came after it had paused`)
  assert.equal(socket.readableLength, 0)
})
