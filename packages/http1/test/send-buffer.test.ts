import assert from 'node:assert/strict'
import { Duplex } from 'node:stream'
import { test } from 'node:test'
import { SendBuffer, SendMemory } from '../src/send-buffer.ts'

const mark = 65_536

/** Takes nothing until it is told to, and then all at once. */
class Held extends Duplex {
  #release: (() => void)[] = []

  constructor() {
    super({ writableHighWaterMark: mark })
  }

  override _read(): void {}

  override _writev(_chunks: unknown[], done: () => void): void {
    this.#release.push(done)
  }

  /** Lets everything leave that was written. */
  async drain(): Promise<void> {
    while (this.#release.length > 0) {
      for (const done of this.#release.splice(0)) done()
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
}

interface Reader {
  buffer: SendBuffer
  socket: Held
  /** Lets time go by. */
  pass(ms: number): void
  /** Writes until there is no room, and lets it leave after that time. @returns how many bytes there was room for */
  fill(tookMs: number): Promise<number>
}

function startReader(memory: SendMemory): Reader {
  const socket = new Held()
  let nowMs = 0
  const buffer = new SendBuffer(socket, memory, () => nowMs)
  const fill = async (tookMs: number) => {
    let bytes = 0
    do {
      socket.write(Buffer.alloc(8192))
      bytes += 8192
    } while (buffer.hasRoom())
    nowMs += tookMs
    await socket.drain()
    buffer.drained()
    return bytes
  }
  const pass = (ms: number) => {
    nowMs += ms
  }
  return { buffer, socket, fill, pass }
}

test('a reader that takes everything in a moment is given twice as much each time, up to a megabyte', async () => {
  const memory = new SendMemory(64 * mark)
  const { fill } = startReader(memory)
  const room: number[] = []
  for (let round = 0; round < 7; round++) room.push(await fill(1))
  assert.deepEqual(
    room.map((bytes) => bytes / mark),
    [1, 2, 4, 8, 16, 16, 16],
  )
  assert.equal(memory.freeBytes, (64 - 15) * mark)
})

test('a slow reader gets no more than the mark of its socket', async () => {
  const memory = new SendMemory(64 * mark)
  const { fill } = startReader(memory)
  for (let round = 0; round < 5; round++) assert.equal(await fill(1000), mark)
  assert.equal(memory.freeBytes, 64 * mark)
})

test('a reader that becomes slow loses what it had been given', async () => {
  const memory = new SendMemory(64 * mark)
  const { fill } = startReader(memory)
  for (let round = 0; round < 5; round++) await fill(1)
  assert.equal(await fill(10_000), 16 * mark)
  assert.equal(await fill(1), mark)
  assert.equal(memory.freeBytes, 63 * mark)
})

test('readers that are fast share what memory there is, and give it back', async () => {
  const memory = new SendMemory(4 * mark)
  const readers = [startReader(memory), startReader(memory), startReader(memory)]
  for (let round = 0; round < 6; round++) for (const { fill } of readers) await fill(1)
  const rooms: number[] = []
  for (const { fill } of readers) rooms.push((await fill(1)) / mark)
  // Each of them by what it had: 1 and 1 and 1; for twice as much there was nothing left.
  assert.deepEqual(rooms, [2, 2, 2])
  assert.equal(memory.freeBytes, mark)
  for (const { buffer } of readers) buffer.release()
  assert.equal(memory.freeBytes, 4 * mark)
  // Twice is once too often for no one.
  for (const { buffer } of readers) buffer.release()
  assert.equal(memory.freeBytes, 4 * mark)
})

test('while a socket says that there is room, there is: no drain would come', () => {
  const socket = new Held()
  const buffer = new SendBuffer(socket, new SendMemory(0), () => 0)
  socket.write(Buffer.alloc(mark - 1))
  assert.equal(buffer.hasRoom(), true)
  socket.write(Buffer.alloc(1))
  assert.equal(buffer.hasRoom(), false)
  socket.destroy()
})

test('what a message leaves in the socket at its end counts until it has left', async () => {
  const memory = new SendMemory(64 * mark)
  const { buffer, socket, fill } = startReader(memory)
  for (let round = 0; round < 5; round++) await fill(1)
  socket.write(Buffer.alloc(8 * mark))
  buffer.end()
  assert.equal(memory.freeBytes, (64 - 15) * mark)
  await socket.drain()
  buffer.drained()
  assert.equal(memory.freeBytes, 64 * mark)
  assert.equal(await fill(1), mark)
})

test('a message that leaves nothing gives back at its end what it had grown by', async () => {
  const memory = new SendMemory(64 * mark)
  const { buffer, fill } = startReader(memory)
  for (let round = 0; round < 3; round++) await fill(1)
  buffer.end()
  assert.equal(memory.freeBytes, 64 * mark)
})

test('buffers that have not been full for a while make room for those that are', async () => {
  const memory = new SendMemory(15 * mark)
  const quiet = startReader(memory)
  for (let round = 0; round < 5; round++) await quiet.fill(1)
  assert.equal(memory.freeBytes, 0)
  const busy = startReader(memory)
  for (let round = 0; round < 3; round++) assert.equal(await busy.fill(1), mark)
  quiet.pass(2_001)
  for (const room of [1, 2, 4, 8, 16]) assert.equal(await busy.fill(1), room * mark)
  assert.equal(await quiet.fill(1), mark)
})

test('the more waits, the longer a reader may take for it', () => {
  const socket = new Held()
  const buffer = new SendBuffer(socket, new SendMemory(0), () => 0)
  assert.equal(buffer.timeoutMs(120_000), 120_000)
  socket.write(Buffer.alloc(5 * mark))
  assert.equal(buffer.timeoutMs(120_000), 600_000)
  assert.equal(buffer.timeoutMs(0), 0)
  socket.destroy()
})
