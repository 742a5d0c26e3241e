import assert from 'node:assert/strict'
import test from 'node:test'
import {
  type ApplicationInput,
  applicationSchema,
  type CompiledApplication,
  compileSnapshot,
  toInternalPath,
} from '@sallyport/domain'
import {
  readTiming,
  type Translation,
  toClientFields,
  toClientTrailers,
  toExternalUrl,
} from '../src/to-client.ts'
import { Random } from './support/random.ts'

const id = '00000000-0000-4000-8000-000000000001'

function compiled(externalUrl: string, internalUrl: string): CompiledApplication {
  const input: ApplicationInput = {
    id,
    name: 'hr',
    displayName: 'HR',
    externalUrl,
    internalUrl,
  }
  return compileSnapshot({
    applications: [{ application: applicationSchema.parse(input), principalIds: [] }],
    baseDomain: 'example.test',
    port: Number(new URL(externalUrl).port || 443),
    version: 1,
  }).findApplicationById(id)!
}

function translation(externalUrl: string, internalUrl: string): Translation {
  return {
    compiled: compiled(externalUrl, internalUrl),
    internalOrigin: new URL(internalUrl).origin,
    externalOrigin: new URL(externalUrl).origin,
  }
}

const plain = translation('https://hr.example.test/', 'http://hr.internal:8080/')
const below = translation('https://hr.example.test:8443/hr/', 'https://srv.internal/people/staff/')

test('a URL of the origin becomes one of the external URL', () => {
  for (const [given, value, expected] of [
    [plain, 'http://hr.internal:8080/a?b#c', 'https://hr.example.test/a?b#c'],
    [plain, 'HTTP://HR.internal:8080/a', 'https://hr.example.test/a'],
    [plain, 'http://hr.internal:8080', 'https://hr.example.test/'],
    [plain, 'http://hr.internal:8080?a', 'https://hr.example.test?a'],
    [plain, '//hr.internal:8080/a', 'https://hr.example.test/a'],
    [plain, '/a/b?c', '/a/b?c'],
    [plain, 'a/b', 'a/b'],
    [plain, '', ''],
    // The origin knows the external host, but not that it is reached by HTTPS, or by which port.
    [plain, 'http://hr.example.test/a', 'https://hr.example.test/a'],
    [below, 'http://hr.example.test/people/staff/a', 'https://hr.example.test:8443/hr/a'],
    [below, 'https://hr.example.test:8443/hr/a', 'https://hr.example.test:8443/hr/a'],
    [below, 'https://srv.internal/people/staff/a', 'https://hr.example.test:8443/hr/a'],
    [below, 'https://srv.internal:443/people/staff/a', 'https://hr.example.test:8443/hr/a'],
    [below, 'https://srv.internal/people/staff', 'https://hr.example.test:8443/hr'],
    [below, '/people/staff/a', '/hr/a'],
    [below, '/people/staff', '/hr'],
    // Not under the internal URL: nothing outside means it.
    [below, '/people/other', '/people/other'],
    [below, 'https://srv.internal/people/other', 'https://srv.internal/people/other'],
    [below, '/people/staffing', '/people/staffing'],
  ] as const)
    assert.equal(toExternalUrl(value, given), expected, value)
})

test('a URL elsewhere, and what is no URL, stays as it is', () => {
  for (const value of [
    'https://elsewhere.test/hr.internal:8080/',
    'https://hr.internal:8080/a',
    'http://hr.internal/a',
    'http://hr.internal:80800/a',
    'http://hr.internal:8080.evil.test/a',
    'http://hr.internal:8080@evil.test/a',
    'http://x@hr.internal:8080/a',
    'http://hr.internal.evil.test:8080/a',
    'http://evil.test\\@hr.internal:8080/a',
    'http:/hr.internal:8080/a',
    'http:hr.internal:8080',
    '//evil.test/a',
    '/\\evil.test/a',
    '\\\\evil.test',
    'javascript:alert(1)//http://hr.internal:8080/',
    'mailto:ana@hr.internal',
    'ftp://hr.internal:8080/',
  ])
    assert.equal(toExternalUrl(value, plain), value, value)
})

test('translation never makes a URL of another host out of a harmless one', () => {
  const random = new Random(66)
  const pieces = [
    'http:',
    'https:',
    '//',
    '/',
    '\\',
    '@',
    ':',
    '8080',
    ':443',
    '.',
    '?',
    '#',
    ' ',
    '%2f',
    'hr.internal',
    'hr.internal:8080',
    'srv.internal',
    'hr.example.test',
    'people/staff/',
    'hr/',
    'a',
    'evil.test',
    '..',
    ';',
  ]
  for (const given of [plain, below]) {
    const external = new URL(given.externalOrigin).host
    const base = `${given.externalOrigin}${given.compiled.externalPath}`
    let translated = 0
    for (let count = 0; count < 20_000; count += 1) {
      let value = random.one(['', 'http://', 'https://', '//', '/people/', given.internalOrigin])
      for (let length = random.below(9); length > 0; length -= 1) value += random.one(pieces)
      const result = toExternalUrl(value, given)
      if (result === value) continue
      translated += 1
      assert.equal(new URL(result, base).host, external, `${value} became ${result}`)
      // And what it was before was the origin's.
      const before = new URL(value, `${given.internalOrigin}/`)
      assert.ok(
        [new URL(given.internalOrigin).host, external, external.replace(/:\d+$/, '')].includes(
          before.host,
        ),
        `${value} became ${result}`,
      )
    }
    assert.ok(translated > 100, String(translated))
  }
})

test('a translated URL is forwarded as the URL that the origin meant', () => {
  const random = new Random(67)
  const pieces = [
    'a',
    '/',
    '//',
    'b%2Fc',
    '?x=/people/staff/',
    '%20',
    '.',
    'hr',
    'people',
    'staff/',
  ]
  for (let count = 0; count < 5_000; count += 1) {
    let rest = ''
    for (let length = random.below(6); length > 0; length -= 1) rest += random.one(pieces)
    const path = `/people/staff/${rest}`
    const outside = toExternalUrl(`https://srv.internal${path}`, below)
    assert.ok(outside.startsWith('https://hr.example.test:8443/hr/'), outside)
    assert.equal(
      toInternalPath(below.compiled, outside.slice('https://hr.example.test:8443'.length)),
      path,
    )
  }
})

test('the fields of an answer keep order, case and duplicates, without those of the connection', () => {
  assert.deepEqual(
    toClientFields(
      [
        ...['Server', 'x', 'Connection', 'X-Hop', 'Keep-Alive', 'timeout=5', 'content-type', 'a/b'],
        ...['Transfer-Encoding', 'chunked', 'Trailer', 'X', 'Upgrade', 'h2', 'Alt-Svc', 'h3=":9"'],
        ...['Set-Cookie', 'a=b; Domain=example.test', 'set-cookie', '__Host-sallyport=evil'],
        ...['Set-Cookie', 'c=d', 'Location', 'http://hr.internal:8080/x', 'Sallyport-X', '1'],
        ...['Content-Location', 'http://hr.internal:8080/y', 'constructor', '1', '__proto__', '2'],
        ...['Proxy-Authenticate', 'Basic', 'WWW-Authenticate', 'Basic', 'Content-Length', '3'],
      ],
      plain,
    ),
    [
      ...['Server', 'x', 'content-type', 'a/b', 'Set-Cookie', 'a=b', 'Set-Cookie', 'c=d'],
      ...['Location', 'https://hr.example.test/x', 'Content-Location', 'https://hr.example.test/y'],
      ...['constructor', '1', '__proto__', '2', 'WWW-Authenticate', 'Basic', 'Content-Length', '3'],
    ],
  )
})

test('a Refresh is translated in every form that browsers take', () => {
  for (const [value, expected] of [
    ['5', '5'],
    ['0; url=http://hr.internal:8080/a', '0; url=https://hr.example.test/a'],
    ['0;URL="http://hr.internal:8080/a"', '0;URL="https://hr.example.test/a"'],
    ["1.5, url = 'http://hr.internal:8080/a'", "1.5, url = 'https://hr.example.test/a'"],
    ['0;http://hr.internal:8080/a', '0;https://hr.example.test/a'],
    ['0 http://hr.internal:8080/a', '0 https://hr.example.test/a'],
    ['0; url=https://elsewhere.test/', '0; url=https://elsewhere.test/'],
    ['nonsense http://hr.internal:8080/', 'nonsense http://hr.internal:8080/'],
  ] as const)
    assert.deepEqual(toClientFields(['Refresh', value], plain), ['Refresh', expected])
})

test('trailers of an answer lose what may stand only in a head', () => {
  assert.deepEqual(
    toClientTrailers([
      ...['X-Checksum', '1', 'Set-Cookie', 'a=b', 'Location', '/x', 'Content-Type', 'text/html'],
      ...['grpc-status', '0', 'Content-Length', '9', 'Connection', 'x', 'Cache-Control', 'public'],
      ...['Access-Control-Allow-Origin', '*', 'Strict-Transport-Security', 'max-age=0'],
      ...['Server-Timing', 'a', 'Sallyport-X', '1'],
    ]),
    ['X-Checksum', '1', 'grpc-status', '0', 'Server-Timing', 'a'],
  )
})

test('the timing of the connector is taken out, and only from where the connector puts it', () => {
  const head = (...lines: string[]) => ['HTTP/1.1 200 OK', ...lines].join('\r\n')
  const text = head('sallyport-origin-ms: 1.5;20;21.2', 'Server: x')
  const { end, ...timing } = readTiming(text)!
  assert.deepEqual(timing, { connectMs: 1.5, firstByteMs: 20, connectorMs: 21.2 })
  assert.equal(text.slice(end), '\r\nServer: x')
  const alone = head('sallyport-origin-ms: 0;0.1;0.2')
  assert.equal(readTiming(alone)!.end, alone.length)
  for (const value of [
    '',
    '1;2',
    '1;2;3;4',
    'a;b;c',
    '-1;2;3',
    '1e9;2;3',
    'NaN;1;1',
    ';;',
    '.1;1;1',
  ])
    assert.equal(readTiming(head(`sallyport-origin-ms: ${value}`, 'A: 1;2;3')), undefined, value)
  const later = ['Server', 'x', 'sallyport-origin-ms', '1;2;3']
  assert.equal(readTiming(head('Server: x', 'sallyport-origin-ms: 1;2;3')), undefined)
  assert.deepEqual(toClientFields(later, plain), ['Server', 'x'])
})

test('fields of any length cost time in proportion to it', () => {
  const startedMs = performance.now()
  for (const value of [
    `0${' '.repeat(100_000)}x`,
    `0;${' '.repeat(100_000)}`,
    '5'.repeat(100_000),
    `http://${'a'.repeat(200_000)}`,
    `//${'/'.repeat(200_000)}`,
    `0;url=${'"'.repeat(100_000)}`,
  ])
    toClientFields(['Refresh', value, 'Location', value, 'Set-Cookie', `a=${value}`], plain)
  assert.ok(performance.now() - startedMs < 500)
})
