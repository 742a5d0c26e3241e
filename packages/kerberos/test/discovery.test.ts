import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CircuitBreaker } from '../src/circuit-breaker.ts'
import { type Dns, discoverKdcs } from '../src/discovery.ts'
import { parseSrvReply } from '../src/dns.ts'
import { KdcClock } from '../src/kdc-clock.ts'
import { ExpiringCache } from '../src/ticket-cache.ts'

const srv = (name: string, priority: number, weight: number) => ({
  name,
  priority,
  weight,
  port: 88,
})

function dnsOf(records: ReturnType<typeof srv>[], asked: string[] = []): Dns {
  return {
    resolveSrv: async (name) => {
      asked.push(name)
      return records
    },
    resolve4: async () => [],
    resolve6: async () => [],
  }
}

test('KDCs come by priority, and among equals by weight', async () => {
  const records = [srv('far', 10, 100), srv('light', 0, 1), srv('heavy', 0, 9)]
  const asked: string[] = []
  let seed = 1
  const random = () => {
    seed = (seed * 16_807) % 2_147_483_647
    return seed / 2_147_483_647
  }
  const first = new Map<string, number>()
  for (let turn = 0; turn < 2000; turn += 1) {
    const kdcs = await discoverKdcs(dnsOf(records, asked), 'CORP.EXAMPLE', random)
    assert.deepEqual(kdcs[2], { host: 'far', port: 88 })
    const { host } = kdcs[0]!
    first.set(host, (first.get(host) ?? 0) + 1)
  }
  assert.equal(asked[0], '_kerberos._tcp.corp.example')
  assert.ok(first.get('heavy')! > 1700 && first.get('light')! > 100, JSON.stringify([...first]))
})

test('a realm that is not in DNS, or said not to be offered, is unknown', async () => {
  const unknown = { code: 'KERBEROS_REALM_UNKNOWN' }
  await assert.rejects(discoverKdcs(dnsOf([]), 'X', Math.random), unknown)
  await assert.rejects(discoverKdcs(dnsOf([srv('.', 0, 0)]), 'X', Math.random), unknown)
  await assert.rejects(discoverKdcs(dnsOf([srv('', 0, 0)]), 'X', Math.random), unknown)
  const failing = { ...dnsOf([]), resolveSrv: () => Promise.reject(new Error('no network')) }
  await assert.rejects(discoverKdcs(failing, 'X', Math.random), unknown)
})

test('a compressed SRV answer is read; pointers that go forward or in a circle are not', () => {
  const answer = Buffer.from(
    '123485000001000100000000095f6b65726265726f73045f74637004636f7270076578616d706c650000210001c00c0021000100000384000c00000064005803646331c01b',
    'hex',
  )
  assert.deepEqual(parseSrvReply(answer, 0x1234), [
    { name: 'dc1.corp.example', port: 88, priority: 0, weight: 100 },
  ])
  assert.throws(() => parseSrvReply(answer, 0x1235), { code: 'EBADRESP' })
  for (let end = 0; end < answer.length; end += 1) {
    assert.throws(() => parseSrvReply(answer.subarray(0, end), 0x1234), { code: 'EBADRESP' })
  }
  for (const pointer of [answer.length - 2, answer.length - 6, 0x3fff]) {
    const circle = Buffer.from(answer)
    circle.writeUInt16BE(0xc000 | pointer, circle.length - 2)
    assert.throws(() => parseSrvReply(circle, 0x1234), { code: 'EBADRESP' })
  }
  const absent = Buffer.from(answer)
  absent[3] = 3
  assert.throws(() => parseSrvReply(absent, 0x1234), { code: 'ENOTFOUND' })
})

test('an open circuit lets one caller try when its time is over, and a success closes it', () => {
  let now = 0
  const breaker = new CircuitBreaker({ now: () => now, failures: 2, openMs: 100 })
  assert.equal(breaker.findRefusal(), undefined)
  breaker.failed()
  assert.equal(breaker.findRefusal(), undefined)
  breaker.failed()
  assert.equal(breaker.findRefusal(), 100)
  now = 100
  assert.equal(breaker.findRefusal(), undefined)
  assert.equal(breaker.findRefusal(), 200)
  breaker.abandoned()
  assert.equal(breaker.findRefusal(), undefined)
  breaker.succeeded()
  assert.equal(breaker.findRefusal(), undefined)
  assert.equal(breaker.findRefusal(), undefined)
})

test('the cache forgets what was used longest ago, what has ended, and what is to be forgotten', () => {
  let now = 0
  const cache = new ExpiringCache<number>(2, () => now)
  cache.set('a', 1, 100)
  cache.set('b', 2, 100)
  assert.equal(cache.get('a'), 1)
  cache.set('c', 3, 50)
  assert.deepEqual([cache.get('a'), cache.get('b'), cache.get('c')], [1, undefined, 3])
  now = 50
  assert.deepEqual([cache.get('c'), cache.size], [undefined, 1])
  cache.set('d', 4, 50)
  assert.equal(cache.get('d'), undefined)
  cache.deleteWhere((value) => value === 1)
  assert.equal(cache.size, 0)
})

test('the clock of one realm says nothing about another, and no time is given out twice', () => {
  let now = Date.UTC(2026, 0, 1)
  const skews: number[] = []
  const clock = new KdcClock(
    () => now,
    ({ clientAt, kdcAt }) => skews.push(kdcAt - clientAt),
  )
  clock.learn('A', now + 600_000)
  assert.deepEqual([clock.now('A') - now, clock.now('B') - now], [600_000, 0])
  const times = Array.from({ length: 5 }, () => clock.nowMicros('A'))
  assert.equal(new Set(times).size, 5)
  assert.equal(clock.nowMicros('B'), BigInt(now) * 1000n)
  now += 500
  // Seconds are all that a KDC tells: within them nothing is learned.
  clock.learn('A', now - 500 + 600_000)
  assert.equal(clock.now('A') - now, 600_000)
  clock.learn('A', now - (now % 1000))
  assert.equal(clock.now('A'), now)
  assert.deepEqual(skews, [600_000])
})
