import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  fieldValues,
  findField,
  formatFields,
  formatRequestHead,
  formatResponseHead,
  Http1Error,
  listsToken,
  parseFields,
  parseRequestHead,
  parseResponseHead,
} from '../src/index.ts'

function refused(code: string, statusCode: number): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof Http1Error, String(error))
    assert.equal(error.code, code)
    assert.equal(error.statusCode, statusCode)
    return true
  }
}
const invalid = refused('HTTP1_HEAD_INVALID', 400)

function request(...lines: string[]): string {
  return ['GET / HTTP/1.1', 'Host: a', ...lines].join('\r\n')
}

test('a request head is cut into its parts, fields in their order, case and number', () => {
  const head = parseRequestHead(
    'POST /a?b=c HTTP/1.1\r\nHost: h:1\r\nX-A: 1\r\nx-a: 2\r\nX-Empty:\r\nX-Bytes: \xe9\xff',
  )
  assert.deepEqual(head, {
    method: 'POST',
    target: '/a?b=c',
    versionMinor: 1,
    fields: ['Host', 'h:1', 'X-A', '1', 'x-a', '2', 'X-Empty', '', 'X-Bytes', '\xe9\xff'],
  })
})

test('every RFC 9110 token is a method', () => {
  for (const method of ['RDG_OUT_DATA', 'RDG_IN_DATA', 'get', 'M-SEARCH', "!#$%&'*+-.^_`|~09aZ"]) {
    assert.equal(parseRequestHead(`${method} / HTTP/1.1\r\nHost: a`).method, method)
  }
})

test('whitespace around a value is no part of it, whitespace inside is', () => {
  const { fields } = parseRequestHead(request('A: \t b \tc\t ', 'B:d', 'C: \t '))
  assert.deepEqual(fields.slice(2), ['A', 'b \tc', 'B', 'd', 'C', ''])
})

test('a tab beside the value of a field that frames or routes is refused: others take it for a part of the value', () => {
  for (const line of [
    'Transfer-Encoding:\tchunked',
    'Transfer-Encoding: chunked\t',
    'transfer-encoding:chunked \t ',
    'Content-Length: \t5',
    'content-length: 5\t',
  ]) {
    assert.throws(() => parseRequestHead(request(line)), invalid)
    assert.throws(() => parseResponseHead(`HTTP/1.1 200 OK\r\n${line}`), invalid)
    assert.ok(parseRequestHead(request(line.replace('\t', ' '))))
    assert.ok(parseRequestHead(request(`X-${line}`)))
  }
  assert.throws(() => parseRequestHead('GET / HTTP/1.1\r\nHost:\ta'), invalid)
  assert.throws(() => parseRequestHead('GET / HTTP/1.0\r\nHost: a\t'), invalid)
})

test('every form of request target is left as it was sent', () => {
  for (const target of ['/', '*', 'http://a/b', 'a:443', '/%2e%2F;x#y', '/"<>\\^`{|}']) {
    assert.equal(parseRequestHead(`GET ${target} HTTP/1.1\r\nHost: a`).target, target)
  }
})

test('a target with a control character, a space or a byte over 0x7f is refused', () => {
  for (const byte of ['\0', '\t', ' ', '\x0b', '\x1f', '\x7f', '\x80', '\xa0', '\xff']) {
    assert.throws(() => parseRequestHead(`GET /a${byte}b HTTP/1.1\r\nHost: a`), invalid)
  }
})

test('a request line with more, fewer or other separators than two single spaces is refused', () => {
  for (const line of [
    'GET  / HTTP/1.1',
    'GET /  HTTP/1.1',
    'GET\t/ HTTP/1.1',
    ' GET / HTTP/1.1',
    'GET / HTTP/1.1 ',
    'GET /',
    'GET HTTP/1.1',
    'GET  HTTP/1.1',
    ' / HTTP/1.1',
    '',
    'G(T / HTTP/1.1',
    'G\xc9T / HTTP/1.1',
  ]) {
    assert.throws(() => parseRequestHead(`${line}\r\nHost: a`), invalid, line)
  }
})

test('only HTTP/1.0 and HTTP/1.1 are spoken; another version leads to 505, another protocol to 400', () => {
  assert.equal(parseRequestHead('GET / HTTP/1.0').versionMinor, 0)
  for (const version of ['HTTP/2.0', 'HTTP/1.2', 'HTTP/0.9', 'HTTP/3.0']) {
    const unsupported = refused('HTTP1_VERSION_UNSUPPORTED', 505)
    assert.throws(() => parseRequestHead(`GET / ${version}\r\nHost: a`), unsupported)
  }
  for (const version of [
    'http/1.1',
    'HTTP/1.',
    'HTTP/11',
    'HTTP/1.10',
    'HTTP/01.1',
    'HTTPS/1.1',
    'X',
  ]) {
    assert.throws(() => parseRequestHead(`GET / ${version}\r\nHost: a`), invalid)
  }
})

test('CR, LF and CRLF are a line end only together', () => {
  for (const text of [
    'GET / HTTP/1.1\nHost: a',
    'GET / HTTP/1.1\rHost: a',
    request('A: b\rc'),
    request('A: b\nc'),
    request('A: b\r\r\nC: d'),
    request('A: b\n\r\nC: d'),
    request('A\n: b'),
    request('A: b\r'),
    request('A: b\n'),
    `${request('A: b')}\r\n`,
    request('', 'A: b'),
  ]) {
    assert.throws(() => parseRequestHead(text), invalid, JSON.stringify(text))
    assert.throws(
      () => parseResponseHead(text.replace('GET / HTTP/1.1', 'HTTP/1.1 200 OK')),
      invalid,
    )
  }
})

test('a value may hold every byte but the control characters, of which only HTAB is allowed', () => {
  for (let code = 0; code < 256; code++) {
    const text = request(`A: b${String.fromCharCode(code)}c`)
    if (code === 0x09 || (code >= 0x20 && code !== 0x7f)) {
      assert.equal(findField(parseRequestHead(text).fields, 'a'), `b${String.fromCharCode(code)}c`)
    } else {
      assert.throws(() => parseRequestHead(text), invalid, `0x${code.toString(16)}`)
    }
  }
})

test('a name may hold token characters only', () => {
  const allowed = /[!#$%&'*+\-.^_`|~0-9A-Za-z]/
  for (let code = 0; code < 256; code++) {
    const character = String.fromCharCode(code)
    if (character === ':') continue
    const text = request(`A${character}B: c`)
    if (allowed.test(character)) assert.equal(parseRequestHead(text).fields[2], `A${character}B`)
    else assert.throws(() => parseRequestHead(text), invalid, `0x${code.toString(16)}`)
  }
})

test('folded lines, space before the colon, empty names and lines without colon are refused', () => {
  for (const line of [' A: b', '\tA: b', 'A : b', 'A\t: b', ': b', ':', 'A', ' ', '\t']) {
    assert.throws(() => parseRequestHead(request(line)), invalid, JSON.stringify(line))
    assert.throws(() => parseRequestHead(`GET / HTTP/1.1\r\n${line}\r\nHost: a`), invalid)
    assert.throws(() => parseFields(line), invalid)
  }
})

test('Host is required once in HTTP/1.1, and allowed at most once in HTTP/1.0', () => {
  assert.throws(() => parseRequestHead('GET / HTTP/1.1'), invalid)
  assert.throws(() => parseRequestHead('GET / HTTP/1.1\r\nHostx: a'), invalid)
  assert.throws(() => parseRequestHead('GET / HTTP/1.1\r\nHost: a\r\nhOST: a'), invalid)
  assert.throws(() => parseRequestHead('GET / HTTP/1.0\r\nHost: a\r\nHost: b'), invalid)
  assert.deepEqual(parseRequestHead('GET / HTTP/1.0').fields, [])
})

test('limits: 431 for a long head or too many fields, 414 for a long target', () => {
  const tooLarge = refused('HTTP1_HEAD_TOO_LARGE', 431)
  const value = 'x'.repeat(64 * 1024)
  assert.throws(() => parseRequestHead(request(`A: ${value}`)), tooLarge)
  assert.ok(parseRequestHead(request(`A: ${value}`), { maxHeadBytes: 256 * 1024 }))
  const many = Array.from({ length: 199 }, (_, index) => `A${index}: b`)
  assert.equal(parseRequestHead(request(...many)).fields.length, 400)
  assert.throws(() => parseRequestHead(request(...many, 'B: c')), tooLarge)
  assert.throws(
    () => parseResponseHead('HTTP/1.1 200 OK\r\nA: b\r\nC: d', { maxFields: 1 }),
    tooLarge,
  )
  const tooLong = refused('HTTP1_TARGET_TOO_LONG', 414)
  const target = `/${'a'.repeat(16 * 1024 - 1)}`
  assert.equal(parseRequestHead(`GET ${target} HTTP/1.1\r\nHost: a`).target, target)
  assert.throws(() => parseRequestHead(`GET ${target}b HTTP/1.1\r\nHost: a`), tooLong)
  assert.throws(
    () => parseRequestHead(`${'A'.repeat(16 * 1024 + 64)} / HTTP/1.1\r\nHost: a`),
    tooLong,
  )
})

test('a head of the largest size with the worst content is refused in linear time', () => {
  const limits = { maxHeadBytes: 256 * 1024, maxFields: 1e6, maxTargetBytes: 256 * 1024 }
  const size = 256 * 1024 - 64
  for (const text of [
    `${'A'.repeat(size)}\x01`,
    `GET /${'a'.repeat(size)}\x01 HTTP/1.1`,
    request(`A:${' '.repeat(size)}\x01`),
    request(`A: ${'\t'.repeat(size)}\r`),
    request(`${'A:b\r\n'.repeat(size / 5)}\x01`),
    request('A'.repeat(size)),
  ]) {
    const before = process.cpuUsage().user
    assert.throws(() => parseRequestHead(text, limits), Http1Error)
    // 256 KiB take about 1 ms; quadratic time would take minutes.
    assert.ok(process.cpuUsage().user - before < 500_000)
  }
})

test('a status line has three digits from 100 to 599, and a reason that may be empty', () => {
  const line = (text: string) => parseResponseHead(`${text}\r\nA: b`)
  assert.deepEqual(line('HTTP/1.0 404 Not Found'), {
    statusCode: 404,
    reason: 'Not Found',
    versionMinor: 0,
    fields: ['A', 'b'],
  })
  assert.equal(line('HTTP/1.1 200 ').reason, '')
  assert.equal(line('HTTP/1.1 200').reason, '')
  assert.equal(parseResponseHead('HTTP/1.1 200').statusCode, 200)
  assert.equal(line('HTTP/1.1 200 \xe9\t~').reason, '\xe9\t~')
  for (const text of [
    'HTTP/1.1 099 A',
    'HTTP/1.1 600 A',
    'HTTP/1.1 20 A',
    'HTTP/1.1 2000 A',
    'HTTP/1.1 +20 A',
    'HTTP/1.1  200 A',
    'HTTP/1.1 200\tA',
    'HTTP/1.1 200 A\x01',
    'HTTP/1.1 2\xb200 A',
    'HTTP/1.1',
    'ICY 200 OK',
    ' HTTP/1.1 200 OK',
    '',
  ]) {
    assert.throws(() => line(text), invalid, text)
  }
  for (const text of ['HTTP/2.0 200 OK', 'HTTP/1.2 200 OK', 'HTTP/2 200']) {
    assert.throws(() => line(`${text} `), refused('HTTP1_VERSION_UNSUPPORTED', 505), text)
  }
})

test('what is formatted parses to the same head', () => {
  const requestHead = parseRequestHead(request('A: b', 'a: ', 'C: \xff'))
  assert.deepEqual(parseRequestHead(formatRequestHead(requestHead)), requestHead)
  const responseHead = parseResponseHead('HTTP/1.0 299 \xe9\r\nA: b')
  assert.deepEqual(parseResponseHead(formatResponseHead(responseHead)), responseHead)
  assert.equal(formatFields([]), '')
  assert.deepEqual(parseFields(''), [])
  assert.deepEqual(parseFields(formatFields(['A', 'b', 'C', ''])), ['A', 'b', 'C', ''])
})

test('nothing that could end a line, or be cut to a byte that could, is formatted', () => {
  const characters = [
    '\r',
    '\n',
    '\0',
    '\r\nB: c',
    '\x0b',
    '\x7f',
    '\u010d\u010a',
    '\u2028',
    '\ud800',
  ]
  for (const bad of characters) {
    assert.throws(() => formatFields(['A', `b${bad}`]), invalid)
    assert.throws(() => formatFields([`A${bad}`, 'b']), invalid)
    const head = { versionMinor: 1 as const, fields: [] }
    assert.throws(() => formatRequestHead({ ...head, method: `G${bad}`, target: '/' }), invalid)
    assert.throws(() => formatRequestHead({ ...head, method: 'G', target: `/${bad}` }), invalid)
    assert.throws(() => formatResponseHead({ ...head, statusCode: 200, reason: bad }), invalid)
  }
  assert.throws(() => formatFields(['', 'b']), invalid)
  assert.throws(() => formatFields(['A']), invalid)
  assert.throws(() => formatFields(['A:', 'b']), invalid)
  const head = { reason: '', versionMinor: 1 as const, fields: [] }
  for (const statusCode of [0, 99, 600, 200.5, Number.NaN]) {
    assert.throws(() => formatResponseHead({ ...head, statusCode }), invalid)
  }
  for (const target of ['', '/a b', '/\xe9']) {
    const head = { method: 'GET', target, versionMinor: 1 as const, fields: [] }
    assert.throws(() => formatRequestHead(head), invalid)
  }
})

test('fields are found by their name in any case', () => {
  const fields = ['A', '1', 'content-LENGTH', '2', 'a', '3', 'ab', '4']
  assert.equal(findField(fields, 'a'), '1')
  assert.equal(findField(fields, 'content-length'), '2')
  assert.equal(findField(fields, 'content-lengt'), undefined)
  assert.deepEqual(fieldValues(fields, 'a'), ['1', '3'])
  assert.deepEqual(fieldValues(fields, 'b'), [])
})

test('a token is found in lists over several fields, but not inside of another token', () => {
  const fields = ['Connection', 'keep-alive , x-Close', 'A', 'close', 'CONNECTION', '\tUpgrade,b']
  assert.equal(listsToken(fields, 'connection', 'upgrade'), true)
  assert.equal(listsToken(fields, 'connection', 'keep-alive'), true)
  assert.equal(listsToken(fields, 'connection', 'close'), false)
  assert.equal(listsToken([], 'connection', 'close'), false)
})
