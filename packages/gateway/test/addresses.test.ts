import assert from 'node:assert/strict'
import { isIP } from 'node:net'
import test from 'node:test'
import { parseForwardedFor, plainAddress, TrustedProxies } from '../src/addresses.ts'
import { Random } from './support/random.ts'

test('an address has one spelling', () => {
  for (const [written, plain] of [
    ['192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['::FFFF:192.0.2.1', '192.0.2.1'],
    ['::ffff:c000:201', '192.0.2.1'],
    ['0:0:0:0:0:ffff:192.0.2.1', '192.0.2.1'],
    ['0000:0000:0000:0000:0000:FFFF:C000:0201', '192.0.2.1'],
    ['2001:DB8:0:0::1', '2001:db8::1'],
    ['::1', '::1'],
    ['fe80::1%eth0', 'fe80::1%eth0'],
    ['', ''],
    ['host:80', 'host:80'],
    ['[::1]', '[::1]'],
  ] as const)
    assert.equal(plainAddress(written), plain, written)
})

test('a list of forwarded addresses counts only if it is wholly addresses', () => {
  assert.deepEqual(parseForwardedFor(['192.0.2.1']), ['192.0.2.1'])
  assert.deepEqual(parseForwardedFor(['192.0.2.1 ,\t2001:db8::1', '::ffff:192.0.2.2']), [
    '192.0.2.1',
    '2001:db8::1',
    '192.0.2.2',
  ])
  for (const value of [
    '',
    'a',
    'unknown',
    '192.0.2.1,',
    ',192.0.2.1',
    '192.0.2.1,,192.0.2.2',
    '192.0.2.1 192.0.2.2',
    '192.0.2.1:80',
    '[2001:db8::1]',
    '192.0.2.01',
    '192.0.2.256',
    '192.0.2',
    '0x7f.1',
    '3221225985',
    'fe80::1%eth0',
    '_hidden',
    '192.0.2.1;192.0.2.2',
    '192.0.2.1\xa0',
    Array(21).fill('192.0.2.1').join(),
    'a'.repeat(1_000_000),
  ])
    assert.equal(parseForwardedFor([value]), undefined, value.slice(0, 40))
  assert.equal(parseForwardedFor([Array(20).fill('192.0.2.1').join()])?.length, 20)
  assert.equal(parseForwardedFor(['192.0.2.1', 'x']), undefined)
})

test('whatever is sent as a list gives addresses and nothing else', () => {
  const random = new Random(17)
  const pieces = [
    '1',
    '10.0.0.1',
    '::ffff:',
    '.',
    ':',
    ',',
    ', ',
    '%',
    'f',
    '2001:db8::',
    '\t',
    '/8',
  ]
  let read = 0
  for (let count = 0; count < 20_000; count += 1) {
    let value = ''
    for (let length = random.below(8); length >= 0; length -= 1) value += random.one(pieces)
    const list = parseForwardedFor([value])
    if (!list) continue
    read += 1
    for (const address of list) {
      assert.notEqual(isIP(address), 0, value)
      assert.match(address, /^[0-9a-f.:]+$/, value)
      assert.equal(plainAddress(address), address, value)
    }
  }
  assert.ok(read > 50, `only ${read} lists were read`)
})

test('nobody is trusted unless configured', () => {
  const nobody = new TrustedProxies([])
  assert.equal(nobody.has('127.0.0.1'), false)
  assert.equal(nobody.clientAddress('192.0.2.1', ['198.51.100.1']), '192.0.2.1')
})

test('behind a trusted proxy the client is the last address that is not trusted', () => {
  const proxies = new TrustedProxies(['10.0.0.0/8', '2001:db8::/32', '192.0.2.9'])
  const client = (peer: string, ...list: string[]) => proxies.clientAddress(peer, list)
  assert.equal(client('10.0.0.1', '203.0.113.5'), '203.0.113.5')
  assert.equal(client('10.0.0.1', '198.51.100.66', '203.0.113.5', '10.9.9.9'), '203.0.113.5')
  assert.equal(client('2001:db8::1', '203.0.113.5'), '203.0.113.5')
  assert.equal(client('10.0.0.1', '10.0.0.2', '10.0.0.3'), '10.0.0.2')
  assert.equal(client('192.0.2.9', '203.0.113.5'), '203.0.113.5')
  assert.equal(client('192.0.2.10', '203.0.113.5'), '192.0.2.10')
  assert.equal(proxies.clientAddress('10.0.0.1', undefined), '10.0.0.1')
  assert.equal(proxies.has('::ffff:10.0.0.1'), true)
  assert.equal(proxies.has('::ffff:a00:1'), true)
  assert.equal(proxies.has(''), false)
  assert.equal(proxies.has('x'), false)
})

test('what is no range is refused, and never trusts everybody', () => {
  for (const range of [
    '10.0.0.0/',
    '10.0.0.0/33',
    '10.0.0.0/-1',
    '10.0.0.0/8/8',
    '10.0.0.0/8 ',
    '2001:db8::/129',
    'fe80::1%eth0',
    'proxy.example',
    '',
    '/8',
    '*',
  ])
    assert.throws(() => new TrustedProxies([range]), TypeError, range)
})
