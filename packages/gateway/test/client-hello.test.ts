import assert from 'node:assert/strict'
import { once } from 'node:events'
import { duplexPair } from 'node:stream'
import test from 'node:test'
import tls from 'node:tls'
import { type ClientHello, ClientHelloError, parseClientHello } from '../src/client-hello.ts'
import { Random } from './support/random.ts'

/** What the runtime's own TLS client sends first. */
async function helloOf(options: tls.ConnectionOptions): Promise<Buffer> {
  const [near, far] = duplexPair()
  const client = tls.connect({ socket: near, ...options })
  client.on('error', () => undefined)
  const [bytes] = (await once(far, 'data')) as [Buffer]
  client.destroy()
  return bytes
}

const hello = await helloOf({
  servername: 'HR.Example.test',
  ALPNProtocols: ['h2', 'http/1.1'],
})
const expected: ClientHello = { serverName: 'hr.example.test', protocols: ['h2', 'http/1.1'] }

/** The same handshake message, cut into records of the given size. */
function inRecords(bytes: Buffer, size: number): Buffer {
  const message = bytes.subarray(5)
  const records: Buffer[] = []
  for (let at = 0; at < message.length; at += size) {
    const part = message.subarray(at, at + size)
    records.push(Buffer.from([22, 3, 1, part.length >> 8, part.length & 255]), part)
  }
  return Buffer.concat(records)
}

/** A ClientHello with these extensions, each a type and its bytes. */
function build(
  extensions: [type: number, body: number[]][],
  more: { after?: number[] } = {},
): Buffer {
  const list = extensions.flatMap(([type, body]) => [
    ...[type >> 8, type & 255, body.length >> 8, body.length & 255],
    ...body,
  ])
  const body = [
    ...[3, 3, ...Array<number>(32).fill(7), 0, 0, 2, 19, 1, 1, 0],
    ...[list.length >> 8, list.length & 255, ...list],
    ...(more.after ?? []),
  ]
  const message = [1, 0, body.length >> 8, body.length & 255, ...body]
  return Buffer.from([22, 3, 1, message.length >> 8, message.length & 255, ...message])
}

const bytesOf = (text: string) => [...Buffer.from(text, 'latin1')]
function serverName(...names: [type: number, name: string][]): [number, number[]] {
  const list = names.flatMap(([type, name]) => [
    type,
    name.length >> 8,
    name.length & 255,
    ...bytesOf(name),
  ])
  return [0, [list.length >> 8, list.length & 255, ...list]]
}

test('server name and protocols of a real ClientHello are read', async () => {
  assert.deepEqual(parseClientHello(hello), expected)
  assert.deepEqual(parseClientHello(await helloOf({ servername: '' })), {
    serverName: undefined,
    protocols: [],
  })
  assert.deepEqual(
    parseClientHello(await helloOf({ servername: 'a.test', maxVersion: 'TLSv1.2' })),
    { serverName: 'a.test', protocols: [] },
  )
})

test('an incomplete ClientHello says how many bytes there must be', () => {
  for (let length = 0; length < hello.length; length += 1) {
    const needed = parseClientHello(hello.subarray(0, length))
    assert.equal(needed, length < 5 ? 5 : hello.length, String(length))
  }
})

test('a ClientHello may span records, however they are cut', () => {
  for (const size of [hello.length, 1000, 100, 64, Math.ceil(hello.length / 60)]) {
    const cut = inRecords(hello, size)
    assert.deepEqual(parseClientHello(cut), expected, String(size))
    for (let length = 0; length < cut.length; length += 1) {
      const needed = parseClientHello(cut.subarray(0, length))
      assert.ok(typeof needed === 'number' && needed > length && needed <= cut.length)
    }
  }
  assert.throws(() => parseClientHello(inRecords(hello, 3)), ClientHelloError)
})

test('what follows the record of a ClientHello is not its business', () => {
  const changeCipherSpec = [20, 3, 3, 0, 1, 1]
  assert.deepEqual(
    parseClientHello(Buffer.concat([hello, Buffer.from([...changeCipherSpec, 23, 3, 3, 0, 9])])),
    expected,
  )
})

test('what is no ClientHello is refused at its first wrong byte', () => {
  const wrong = (...bytes: number[]) => Buffer.from(bytes)
  for (const [name, bytes] of [
    ['HTTP', Buffer.from('G')],
    ['SSH', Buffer.from('SSH-2.0')],
    ['SSL 2', wrong(0x80)],
    ['an alert', wrong(21, 3)],
    ['another version', wrong(22, 4)],
    ['an empty record', wrong(22, 3, 1, 0, 0)],
    ['a ServerHello', wrong(22, 3, 1, 0, 100, 2)],
    ['a record over the limit', wrong(22, 3, 1, 0x40, 0)],
    ['a message over the limit', wrong(22, 3, 1, 0, 4, 1, 1, 0, 0)],
    ['one byte in a record, again and again', inRecords(hello, 1).subarray(0, 65 * 6)],
    ['another record within', Buffer.concat([inRecords(hello, 100).subarray(0, 105), wrong(23)])],
  ] as const)
    assert.throws(() => parseClientHello(bytes), ClientHelloError, name)
})

test('a ClientHello that contradicts itself is refused', () => {
  const good = serverName([0, 'a.test'])
  assert.deepEqual(parseClientHello(build([good])), { serverName: 'a.test', protocols: [] })
  for (const [name, bytes] of [
    ['two server name extensions', build([good, good])],
    ['two server names', build([serverName([0, 'a.test'], [0, 'b.test'])])],
    ['an empty server name', build([serverName([0, ''])])],
    ['NUL in the server name', build([serverName([0, 'a.test\0.evil'])])],
    ['a line end in the server name', build([serverName([0, 'a\r\n'])])],
    ['bytes after the extensions', build([good], { after: [0] })],
    ['bytes after the server names', build([[0, [...good[1], 0]]])],
    ['a list longer than its extension', build([[0, [0, 99, 0, 0, 1, 97]]])],
    ['a protocol longer than its list', build([[16, [0, 2, 9, 97]]])],
    [
      'the same extension twice',
      build([
        [5, []],
        [5, []],
      ]),
    ],
  ] as const)
    assert.throws(() => parseClientHello(bytes), ClientHelloError, name)
  assert.deepEqual(parseClientHello(build([serverName([9, 'x'], [0, 'a.test'])])), {
    serverName: 'a.test',
    protocols: [],
  })
})

test('garbage gives a result, a larger need or a coded error, and nothing else', () => {
  const random = new Random(30)
  const seeds = [hello, inRecords(hello, 50), build([serverName([0, 'a.test'])])]
  const outcomes = { error: 0, needed: 0, hello: 0 }
  for (let count = 0; count < 30_000; count += 1) {
    const bytes = Buffer.from(random.one(seeds))
    for (let changes = random.below(4); changes > 0; changes -= 1)
      bytes[random.below(random.below(2) === 0 ? 60 : bytes.length)] = random.below(256)
    const cut = bytes.subarray(0, random.below(3) === 0 ? random.below(bytes.length) : bytes.length)
    try {
      const result = parseClientHello(cut)
      if (typeof result === 'number') {
        // Or a collector would wait for what has come, or for more than it may hold.
        assert.ok(result > cut.length && result <= 16_384, `${result} of ${cut.length}`)
        outcomes.needed += 1
      } else {
        assert.match(result.serverName ?? 'none', /^[a-z0-9._-]+$/)
        outcomes.hello += 1
      }
    } catch (error) {
      assert.ok(error instanceof ClientHelloError, String(error))
      outcomes.error += 1
    }
  }
  for (const [outcome, count] of Object.entries(outcomes)) assert.ok(count > 500, outcome)
})
