import assert from 'node:assert/strict'
import test from 'node:test'
import { addressKey, RateLimit } from '../src/rate-limit.ts'

test('a burst may come at once, then one after each interval', () => {
  const limit = new RateLimit({ burst: 3, intervalMs: 100 })
  assert.deepEqual(
    [0, 0, 0, 0, 40, 99, 100, 100, 1_000, 1_000, 1_000, 1_000].map((at) => limit.take('a', at)),
    [0, 0, 0, 100, 60, 1, 0, 100, 0, 0, 0, 100],
  )
  assert.equal(limit.take('b', 1_000), 0)
})

test('what is given back can be taken again', () => {
  const limit = new RateLimit({ burst: 1, intervalMs: 100 })
  assert.equal(limit.take('a', 0), 0)
  assert.equal(limit.take('a', 0), 100)
  limit.giveBack('a')
  limit.giveBack('never seen')
  assert.equal(limit.take('a', 0), 0)
})

test('it remembers no more keys than it may, and forgets the one used least recently', () => {
  const limit = new RateLimit({ burst: 1, intervalMs: 100, limitKeys: 2 })
  for (const key of ['a', 'b', 'c']) assert.equal(limit.take(key, 0), 0)
  assert.equal(limit.take('b', 1), 99)
  assert.equal(limit.take('a', 1), 0)
})

test('one IPv6 subscriber is one client, and so is an address written in two ways', () => {
  assert.equal(addressKey('192.0.2.7'), '192.0.2.7')
  assert.equal(addressKey('::ffff:192.0.2.7'), '192.0.2.7')
  assert.equal(addressKey('2001:DB8:0:1::1'), '2001:db8:0:1')
  assert.equal(addressKey('2001:db8:0:1:ffff::9'), '2001:db8:0:1')
  assert.equal(addressKey('2001:db8::1:0:0:0:1'), '2001:db8:0:1')
  assert.equal(addressKey('fe80::1%eth0'), 'fe80:0:0:0')
  assert.equal(addressKey('::1'), '0:0:0:0')
})
