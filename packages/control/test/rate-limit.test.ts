import assert from 'node:assert/strict'
import { test } from 'node:test'
import { clientOf, RateLimit } from '../src/rate-limit.ts'

test('a burst passes at once, then one more after each interval', () => {
  const limit = new RateLimit({ burst: 3, intervalMs: 100 })
  assert.deepEqual(
    [1, 2, 3, 4].map(() => limit.take('a', 1000)),
    [0, 0, 0, 100],
  )
  assert.equal(limit.take('b', 1000), 0)
  assert.equal(limit.take('a', 1099), 1)
  assert.equal(limit.take('a', 1100), 0)
  assert.equal(limit.take('a', 1100), 100)
})

test('a clock that is set back locks nobody out', () => {
  const limit = new RateLimit({ burst: 2, intervalMs: 100 })
  assert.equal(limit.take('a', 10_000_000), 0)
  assert.equal(limit.take('a', 1000), 0)
})

test('of more keys than it may remember, the one used least recently is forgotten', () => {
  const limit = new RateLimit({ burst: 1, intervalMs: 1000, limitKeys: 2 })
  for (const key of ['a', 'b', 'c']) assert.equal(limit.take(key, 0), 0)
  assert.equal(limit.take('a', 0), 0)
  assert.equal(limit.take('c', 0), 1000)
})

test('one client is an IPv4 address, mapped or not, or a /64 of IPv6, however it is spelled', () => {
  const same: [string | undefined, string][] = [
    ['10.0.0.1', '10.0.0.1'],
    ['::ffff:10.0.0.1', '10.0.0.1'],
    ['::ffff:a00:1', '10.0.0.1'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['2001:0db8:0000:0000:ffff::9', '2001:db8:0:0::/64'],
    ['2001:DB8:0:0:1:2:3:4', '2001:db8:0:0::/64'],
    ['2001:db8:0:1::1', '2001:db8:0:1::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    [undefined, 'unknown'],
  ]
  for (const [address, client] of same) assert.equal(clientOf(address), client, address)
})
