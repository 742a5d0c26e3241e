import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  type BodyFraming,
  type FieldList,
  Http1Error,
  requestFraming,
  responseFraming,
} from '../src/index.ts'

function ofRequest(fields: FieldList, versionMinor: 0 | 1 = 1): BodyFraming {
  return requestFraming({ method: 'POST', target: '/', versionMinor, fields })
}

function ofResponse(
  fields: FieldList,
  { statusCode = 200, method = 'GET', versionMinor = 1 as 0 | 1 } = {},
): BodyFraming {
  return responseFraming({ statusCode, reason: '', versionMinor, fields }, method)
}

function refused(code: string, statusCode: number): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof Http1Error, String(error))
    assert.deepEqual([error.code, error.statusCode], [code, statusCode])
    return true
  }
}
const invalid = refused('HTTP1_FRAMING_INVALID', 400)

test('a request without framing fields has no body, a response ends with the connection', () => {
  assert.deepEqual(ofRequest(['A', 'b']), { kind: 'none' })
  assert.deepEqual(ofResponse(['A', 'b']), { kind: 'close' })
})

test('Content-Length is digits up to 2^53 - 1', () => {
  for (const [value, length] of [
    ['0', 0],
    ['5', 5],
    ['007', 7],
    ['9007199254740991', 2 ** 53 - 1],
  ] as const) {
    assert.deepEqual(ofRequest(['content-length', value]), { kind: 'length', length })
    assert.deepEqual(ofResponse(['Content-Length', value]), { kind: 'length', length })
  }
  for (const value of [
    '',
    '+5',
    '-5',
    '-0',
    '0x5',
    '5,5',
    '5, 5',
    '5 5',
    '5.0',
    '5e1',
    '\xb2',
    '5;',
    '"5"',
    'Infinity',
    '9007199254740992',
    '99999999999999999999',
  ]) {
    assert.throws(() => ofRequest(['Content-Length', value]), invalid, value)
    assert.throws(() => ofResponse(['Content-Length', value]), invalid, value)
  }
})

test('a repeated Content-Length is refused, the same value and other case included', () => {
  assert.throws(() => ofRequest(['Content-Length', '5', 'Content-Length', '5']), invalid)
  assert.throws(() => ofRequest(['Content-Length', '5', 'content-length', '6']), invalid)
  assert.throws(() => ofResponse(['Content-Length', '5', 'CONTENT-LENGTH', '5']), invalid)
})

test('Content-Length together with Transfer-Encoding is refused, in either order', () => {
  const length = ['Content-Length', '5']
  const chunked = ['Transfer-Encoding', 'chunked']
  assert.throws(() => ofRequest([...length, ...chunked]), invalid)
  assert.throws(() => ofRequest([...chunked, ...length]), invalid)
  assert.throws(() => ofResponse([...chunked, ...length]), invalid)
})

test('Transfer-Encoding is exactly chunked, in any case', () => {
  for (const value of ['chunked', 'Chunked', 'CHUNKED']) {
    assert.deepEqual(ofRequest(['transfer-ENCODING', value]), { kind: 'chunked' })
    assert.deepEqual(ofResponse(['Transfer-Encoding', value]), { kind: 'chunked' })
  }
  for (const value of [
    '',
    'identity',
    'gzip',
    'chunked, chunked',
    'chunked, gzip',
    'chunked,',
    ',chunked',
    'chunked;a=b',
    '"chunked"',
    'xchunked',
    'chunkedx',
    'chunked\x0b',
    'chun ked',
    '\x0bchunked',
    'gzip;q=1, chunked',
  ]) {
    assert.throws(() => ofRequest(['Transfer-Encoding', value]), invalid, value)
    assert.throws(() => ofResponse(['Transfer-Encoding', value]), invalid, value)
  }
  assert.throws(
    () => ofRequest(['Transfer-Encoding', 'chunked', 'Transfer-Encoding', 'chunked']),
    invalid,
  )
})

test('other codings before chunked are not implemented: 501', () => {
  const unsupported = refused('HTTP1_TRANSFER_CODING_UNSUPPORTED', 501)
  assert.throws(() => ofRequest(['Transfer-Encoding', 'gzip, chunked']), unsupported)
  assert.throws(() => ofRequest(['Transfer-Encoding', 'gzip ,\tx,Chunked']), unsupported)
})

test('Transfer-Encoding in HTTP/1.0 is refused', () => {
  assert.throws(() => ofRequest(['Transfer-Encoding', 'chunked'], 0), invalid)
  assert.throws(() => ofResponse(['Transfer-Encoding', 'chunked'], { versionMinor: 0 }), invalid)
})

test('the answer to HEAD, 1xx, 204 and 304 have no body, whatever they declare', () => {
  for (const fields of [[], ['Content-Length', '5'], ['Transfer-Encoding', 'chunked']]) {
    assert.deepEqual(ofResponse(fields, { method: 'HEAD' }), { kind: 'none' })
    for (const statusCode of [100, 101, 103, 199, 204, 304]) {
      assert.deepEqual(ofResponse(fields, { statusCode }), { kind: 'none' })
    }
  }
  assert.notDeepEqual(ofResponse([], { method: 'head' }), { kind: 'none' })
  assert.notDeepEqual(ofResponse([], { statusCode: 205 }), { kind: 'none' })
})

test('what a response without body declares is checked, because it may be forwarded', () => {
  assert.throws(() => ofResponse(['Content-Length', 'x'], { statusCode: 304 }), invalid)
  assert.throws(
    () => ofResponse(['Content-Length', '1', 'Transfer-Encoding', 'chunked'], { method: 'HEAD' }),
    invalid,
  )
})
