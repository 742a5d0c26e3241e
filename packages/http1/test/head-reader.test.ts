import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  HeadReader,
  Http1Error,
  parseRequestHead,
  parseResponseHead,
  type RequestHead,
  type ResponseHead,
  requestFraming,
} from '@sallyport/http1'
import { Random } from './support/random.ts'

const section = '\r\nHost: a.test\r\nCookie: a=b\r\nContent-Length: 5'

test('fields that repeat are the same list again, and others are not', () => {
  const reader = new HeadReader()
  const first = reader.readRequest(`GET /a HTTP/1.1${section}`)
  const second = reader.readRequest(`PUT /b HTTP/1.1${section}`)
  assert.equal(second.fields, first.fields)
  assert.deepEqual([second.method, second.target], ['PUT', '/b'])
  assert.notEqual(reader.readRequest(`GET /a HTTP/1.1${section}0`).fields, first.fields)
  assert.notEqual(reader.readRequest(`GET /a HTTP/1.1${section}`).fields, first.fields)
})

test('the same fields in another version of HTTP are read anew', () => {
  const reader = new HeadReader()
  const chunked = '\r\nHost: a.test\r\nTransfer-Encoding: chunked'
  reader.readRequest(`POST / HTTP/1.1${chunked}`)
  assert.deepEqual(reader.requestFraming, { kind: 'chunked' })
  reader.readRequest(`POST / HTTP/1.0${chunked}`)
  assert.throws(() => reader.requestFraming, { code: 'HTTP1_FRAMING_INVALID' })
  const bare = new HeadReader()
  bare.readRequest('GET / HTTP/1.0\r\nA: b')
  assert.throws(() => bare.readRequest('GET / HTTP/1.1\r\nA: b'), { code: 'HTTP1_HEAD_INVALID' })
})

test('lines in front of the section are left out of it', () => {
  const reader = new HeadReader()
  const rest = '\r\nServer: x'
  for (const timing of ['\r\nT: 1', '\r\nT: 22']) {
    const start = `HTTP/1.1 200 OK${timing}`
    assert.deepEqual(reader.readResponse(start + rest, start.length).fields, ['Server', 'x'])
  }
})

test('a reader of many keeps so many sections, and lets the oldest go', () => {
  const reader = new HeadReader(undefined, 3)
  const read = (name: string) => reader.readRequest(`GET / HTTP/1.1\r\nHost: ${name}`).fields
  const [a, b, c] = [read('a'), read('b'), read('c')]
  assert.deepEqual([read('a') === a, read('b') === b, read('c') === c], [true, true, true])
  read('d')
  assert.deepEqual([read('c') === c, read('b') === b, read('a') === a], [true, true, false])
  const long = `x${'y'.repeat(5_000)}`
  const kept = read(long)
  assert.equal(read(long), kept)
  read('c')
  assert.notEqual(read(long), kept)
})

const lines = [
  '\r\nHost: a',
  '\r\nhost: b',
  '\r\nContent-Length: 5',
  '\r\nContent-Length: +5',
  '\r\nTransfer-Encoding: chunked',
  '\r\nTransfer-Encoding : chunked',
  '\r\nConnection: close',
  '\r\nX: \x00',
  '\nX: y',
  '\r\n X: y',
  '',
]
const starts = {
  request: [
    'GET / HTTP/1.1',
    'GET / HTTP/1.0',
    'GET  / HTTP/1.1',
    'G(T / HTTP/1.1',
    'GET / HTTP/2.0',
    'GET /',
  ],
  response: [
    'HTTP/1.1 200 OK',
    'HTTP/1.0 204 ',
    'HTTP/1.1 99 X',
    'HTTP/1.1 200 \x01',
    'HTTP/2 200',
    '',
  ],
}

function outcome(read: () => RequestHead | ResponseHead): unknown {
  try {
    return read()
  } catch (error) {
    assert.ok(error instanceof Http1Error)
    return error.code
  }
}

for (const kind of ['request', 'response'] as const) {
  for (const maxKept of [1, 4]) {
    test(`what a reader of ${maxKept} has read before changes no ${kind}, and refuses none`, () => {
      const random = new Random(24)
      const reader = new HeadReader(undefined, maxKept)
      for (let round = 0; round < 20_000; round += 1) {
        const text = random.pick(starts[kind]) + random.pick(lines) + random.pick(lines)
        const [known, fresh] =
          kind === 'request'
            ? [() => reader.readRequest(text), () => parseRequestHead(text)]
            : [() => reader.readResponse(text), () => parseResponseHead(text)]
        const expected = outcome(fresh)
        assert.deepEqual(outcome(known), expected, JSON.stringify(text))
        if (kind === 'response' || typeof expected === 'string') continue
        const framing = (read: () => unknown) => outcome(read as () => RequestHead)
        assert.deepEqual(
          framing(() => reader.requestFraming),
          framing(() => requestFraming(expected as RequestHead)),
          JSON.stringify(text),
        )
      }
    })
  }
}
