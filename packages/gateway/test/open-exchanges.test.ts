import assert from 'node:assert/strict'
import { test } from 'node:test'
import { OpenExchanges, type Placed } from '../src/open-exchanges.ts'
import { Random } from './support/random.ts'

test('it holds what a Set would hold, whatever comes and goes', () => {
  const random = new Random(7)
  const all: Placed[] = Array.from({ length: 50 }, () => ({ openAt: -1 }))
  const open = new OpenExchanges<Placed>()
  const expected = new Set<Placed>()
  for (let step = 0; step < 20_000; step += 1) {
    const one = all[random.below(all.length)]!
    if (random.below(2) === 0) {
      open.add(one)
      expected.add(one)
    } else {
      open.delete(one)
      expected.delete(one)
    }
    assert.equal(open.size, expected.size)
    assert.equal(open.has(one), expected.has(one))
    if (step % 100 === 0) assert.deepEqual(new Set(open), expected)
  }
})

test('a walk over it sees each once, though they end in the middle of it', () => {
  const open = new OpenExchanges<Placed>()
  const all: Placed[] = Array.from({ length: 10 }, () => ({ openAt: -1 }))
  for (const one of all) open.add(one)
  const seen: Placed[] = []
  for (const one of open) {
    seen.push(one)
    open.delete(one)
  }
  assert.deepEqual(seen, all)
  assert.equal(open.size, 0)
})
