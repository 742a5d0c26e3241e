import assert from 'node:assert/strict'
import test from 'node:test'
import { canonicalFieldName } from '@sallyport/domain'
import { formatFields, parseRequestHead } from '@sallyport/http1'
import {
  FieldFilter,
  type OriginRequest,
  toForwardedLines,
  toOriginLines,
} from '../src/to-origin.ts'
import { Random } from './support/random.ts'

const filter = new FieldFilter({ identityHeaders: new Set(['x-user', 'remote-user', 'x-groups']) })

interface Facts extends OriginRequest {
  clientAddress: string
  signOnFields: string[]
}

function headOf(facts: Partial<Facts> = {}): { target: string; fields: string[] } {
  const { clientAddress = '192.0.2.1', signOnFields = [], ...more } = facts
  const lines = toOriginLines(
    {
      fields: [],
      host: 'hr.internal',
      forwarded: toForwardedLines('hr.example.test', 443, clientAddress),
      peerAddress: '192.0.2.1',
      forwardedFor: 'append',
      framingLine: '',
      upgrade: false,
      expectContinue: false,
      dropsAuthorization: false,
      assertionLine: '',
      signOnLines: signOnFields.length > 0 ? `\r\n${formatFields(signOnFields)}` : '',
      ...more,
    },
    filter,
  )
  // What the connector will read, not what was meant.
  return parseRequestHead(`GET /a?b HTTP/1.1${lines}`)
}

/** Values of a field in whatever spelling an origin takes for it. */
function valuesOf(fields: readonly string[], name: string): string[] {
  return fields.filter(
    (_, index) =>
      index % 2 === 1 && canonicalFieldName(fields[index - 1]!) === canonicalFieldName(name),
  )
}

const always = [
  'X-Forwarded-For',
  '192.0.2.1',
  'X-Forwarded-Host',
  'hr.example.test',
  'X-Forwarded-Proto',
  'https',
  'X-Forwarded-Port',
  '443',
  'X-Real-IP',
  '192.0.2.1',
  'Forwarded',
  'for=192.0.2.1;host="hr.example.test";proto=https',
]

test('the head of a plain request: our Host, the fields in their order and case, then ours', () => {
  const { target, fields } = headOf({
    fields: ['Host', 'hr.example.test', 'accept', '*/*', 'X-A', '1', 'x-a', '2', 'Via', '1.1 lb'],
  })
  assert.equal(target, '/a?b')
  assert.deepEqual(fields, [
    'Host',
    'hr.internal',
    ...['accept', '*/*', 'X-A', '1', 'x-a', '2', 'Via', '1.1 lb'],
    ...always,
  ])
})

test('framing, expectation and upgrade are written by us and never copied', () => {
  const sent = [
    ...['Content-Length', '7', 'Transfer-Encoding', 'gzip', 'Expect', 'nonsense', 'TE', 'trailers'],
    ...['Upgrade', 'h2c', 'HTTP2-Settings', 'AAMAAABk', 'Connection', 'Upgrade, HTTP2-Settings'],
    ...['Trailer', 'X-User', 'Keep-Alive', 'timeout=5', 'Proxy-Connection', 'keep-alive'],
    ...['content_length', '9', 'Transfer.Encoding', 'chunked', 'Sec-WebSocket-Version', '13'],
  ]
  assert.deepEqual(headOf({ fields: sent }).fields, [
    ...['Host', 'hr.internal', 'Sec-WebSocket-Version', '13'],
    ...always,
  ])
  const { fields } = headOf({
    fields: sent,
    framingLine: '\r\nContent-Length: 7',
    expectContinue: true,
    upgrade: true,
  })
  assert.deepEqual(fields.slice(4, -always.length), [
    ...['Content-Length', '7', 'Expect', '100-continue'],
    ...['Connection', 'Upgrade', 'Upgrade', 'websocket'],
  ])
})

test('attack 16: the value that a client sends in an identity header never stays, in any spelling', () => {
  for (const name of [
    'X-User',
    'x-user',
    'X_User',
    'X.USER',
    'x~user',
    'Remote_User',
    'REMOTE-USER',
  ]) {
    const { fields } = headOf({
      fields: [name, 'admin', 'Connection', name, name, 'admin'],
      signOnFields: ['X-User', 'ana'],
    })
    assert.ok(!fields.includes('admin'), name)
    assert.deepEqual(valuesOf(fields, 'X-User'), ['ana'])
    // Where we have no value ourselves, there is none.
    assert.deepEqual(valuesOf(headOf({ fields: [name, 'admin'] }).fields, name), [], name)
    assert.deepEqual(filter.trailers([name, 'admin', 'X-Sum', '1']), ['X-Sum', '1'], name)
  }
})

test('attacks 16 and 19: naming a field in Connection removes it from what the client sent, and nothing of ours', () => {
  const { fields } = headOf({
    fields: [
      ...['Connection', 'close, X-Gone, x-user, X-Forwarded-For, Authorization, cookie,, Host'],
      ...['connection', 'X-Real-IP, Content-Type, x_kept'],
      ...['X-Gone', '1', 'x-gone', '2', 'X-Kept', '3', 'Authorization', 'Bearer t'],
      ...['Cookie', 'a=b', 'Content-Type', 'text/plain'],
    ],
    signOnFields: ['X-User', 'ana'],
  })
  assert.deepEqual(fields, [
    ...['Host', 'hr.internal', 'X-Kept', '3', 'Authorization', 'Bearer t'],
    ...['Content-Type', 'text/plain', 'Cookie', 'a=b'],
    ...always,
    ...['X-User', 'ana'],
  ])
})

test('cookies come in one field, without ours', () => {
  const { fields } = headOf({
    fields: ['Cookie', '__Host-sallyport=v; a=b', 'cookie', 'c=d', 'Cookie', '__Host-sallyport=w'],
  })
  assert.deepEqual(valuesOf(fields, 'Cookie'), ['a=b; c=d'])
  assert.deepEqual(
    valuesOf(headOf({ fields: ['Cookie', '__Host-sallyport=v'] }).fields, 'Cookie'),
    [],
  )
})

test('attack 17: X-Forwarded-For is appended to if it is a list of addresses, else replaced', () => {
  const sent = (values: string[], forwardedFor: 'append' | 'replace' = 'append') =>
    valuesOf(
      headOf({ fields: values.flatMap((value) => ['X-Forwarded-For', value]), forwardedFor })
        .fields,
      'X-Forwarded-For',
    ).join('|')
  assert.equal(sent([]), '192.0.2.1')
  assert.equal(sent(['203.0.113.5']), '203.0.113.5, 192.0.2.1')
  assert.equal(sent(['203.0.113.5,2001:DB8::1']), '203.0.113.5, 2001:db8::1, 192.0.2.1')
  assert.equal(sent(['203.0.113.5', '203.0.113.6']), '203.0.113.5, 203.0.113.6, 192.0.2.1')
  assert.equal(sent(['::ffff:203.0.113.5']), '203.0.113.5, 192.0.2.1')
  assert.equal(sent(['203.0.113.5'], 'replace'), '192.0.2.1')
  for (const value of ['a', '', '203.0.113.5, a', '1'.repeat(60_000), '203.0.113.5:80'])
    assert.equal(sent([value]), '192.0.2.1', value.slice(0, 30))
  assert.equal(sent(Array(21).fill('203.0.113.5')), '192.0.2.1')
})

test('attack 17: behind a trusted proxy its address ends the list and the client is the client', () => {
  const facts = { clientAddress: '203.0.113.5', peerAddress: '10.0.0.1' }
  const fields = ['X-Forwarded-For', '203.0.113.5']
  const appended = headOf({ ...facts, fields }).fields
  assert.deepEqual(valuesOf(appended, 'X-Forwarded-For'), ['203.0.113.5, 10.0.0.1'])
  assert.deepEqual(valuesOf(appended, 'X-Real-IP'), ['203.0.113.5'])
  assert.deepEqual(valuesOf(appended, 'Forwarded'), [
    'for=203.0.113.5;host="hr.example.test";proto=https',
  ])
  const replaced = headOf({ ...facts, fields, forwardedFor: 'replace' }).fields
  assert.deepEqual(valuesOf(replaced, 'X-Forwarded-For'), ['203.0.113.5'])
})

test('attacks 10, 17 and 18: every other field that claims an address, a host or a URL is dropped or ours', () => {
  for (const name of [
    'X-Forwarded',
    'X-Forwarded-Host',
    'X-Forwarded-Proto',
    'X-Forwarded-Port',
    'X-Forwarded-Prefix',
    'X-Forwarded-Uri',
    'X-Forwarded-User',
    'X-Forwarded-Scheme',
    'X-Forwarded-Server',
    'X-Forwarded-Client-Cert',
    'Forwarded',
    'X-Real-IP',
    'True-Client-IP',
    'CF-Connecting-IP',
    'X-Client-IP',
    'X-Original-URL',
    'X-Rewrite-URL',
    'X-Original-URI',
    'X-Host',
    'Proxy',
    'Proxy-Authorization',
    'Sallyport-Origin-Ms',
    'Sallyport-Anything',
  ])
    for (const spelling of [name, name.toLowerCase(), name.replaceAll('-', '_')]) {
      const { fields } = headOf({ fields: [spelling, 'evil'] })
      assert.ok(!fields.includes('evil'), spelling)
      assert.deepEqual(fields.slice(2), always, spelling)
    }
  assert.deepEqual(
    valuesOf(headOf({ fields: ['X_Forwarded_For', '203.0.113.5'] }).fields, 'X-Forwarded-For'),
    ['192.0.2.1'],
  )
})

test('IPv6 stands in Forwarded as its standard wants it', () => {
  const { fields } = headOf({ clientAddress: '2001:db8::1', peerAddress: '2001:db8::1' })
  assert.deepEqual(valuesOf(fields, 'Forwarded'), [
    'for="[2001:db8::1]";host="hr.example.test";proto=https',
  ])
  assert.deepEqual(valuesOf(fields, 'X-Real-IP'), ['2001:db8::1'])
})

test('a field may have the name of anything that objects have', () => {
  for (const name of ['constructor', '__proto__', 'toString', 'valueOf', 'hasOwnProperty'])
    assert.deepEqual(headOf({ fields: [name, '1'] }).fields.slice(2, 4), [name, '1'])
})

test('names are remembered by the thousand and then forgotten, and mean the same after that', () => {
  const many = new FieldFilter({ identityHeaders: new Set(['x-user']) })
  for (let count = 0; count < 10_000; count += 1)
    assert.equal(many.treatmentOf(`X-Name-${count}`), 'keep')
  assert.equal(many.treatmentOf('X_User'), 'drop')
  assert.equal(many.treatmentOf(`X-Forwarded-${'a'.repeat(10_000)}`), 'drop')
})

test('trailers lose what may stand only in a head', () => {
  assert.deepEqual(
    filter.trailers([
      ...['X-Checksum', '1', 'Authorization', 'Bearer t', 'Content-Type', 'a/b', 'Cookie', 'a=b'],
      ...['grpc-status', '0', 'Host', 'evil', 'If-Match', '*', 'Range', 'bytes=0-', 'Expect', 'x'],
      ...['X-Forwarded-For', '203.0.113.5', 'Sec-Fetch-Site', 'same-origin', 'content_type', 'x'],
    ]),
    ['X-Checksum', '1', 'grpc-status', '0'],
  )
})

test('whatever fields come, the origin sees one head with one Host and one of each field of ours', () => {
  const random = new Random(16)
  const names = [
    'Host',
    'X-User',
    'x_user',
    'Connection',
    'Cookie',
    'X-Forwarded-For',
    'Forwarded',
    'TE',
    'Upgrade',
    'Content-Length',
    'Transfer-Encoding',
    'X-Real-IP',
    'Expect',
    'A',
    'x-host',
  ]
  const values = [
    'admin',
    'x-user',
    'close',
    '__Host-sallyport=SECRET',
    '203.0.113.5',
    'chunked',
    '',
    'a\tb',
    '\xff',
    'Host, X-Real-IP',
  ]
  for (let count = 0; count < 5_000; count += 1) {
    const fields: string[] = []
    for (let length = random.below(12); length > 0; length -= 1)
      fields.push(random.one(names), random.one(values))
    const head = headOf({ fields, signOnFields: ['X-User', 'ana'] })
    assert.equal(head.target, '/a?b')
    assert.deepEqual(valuesOf(head.fields, 'X-User'), ['ana'])
    assert.deepEqual(valuesOf(head.fields, 'Host'), ['hr.internal'])
    for (const name of ['X-Forwarded-For', 'X-Forwarded-Host', 'Forwarded', 'X-Real-IP'])
      assert.equal(valuesOf(head.fields, name).length, 1, name)
    for (const name of [
      'Content-Length',
      'Transfer-Encoding',
      'Connection',
      'Upgrade',
      'TE',
      'Expect',
    ])
      assert.deepEqual(valuesOf(head.fields, name), [], name)
    assert.ok(!valuesOf(head.fields, 'Cookie').join().includes('SECRET'))
  }
})
