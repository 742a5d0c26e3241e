import assert from 'node:assert/strict'
import { test } from 'node:test'
import { initialWindowBytes, MemoryBudget, minimumWindowBytes } from '../src/budget.ts'

const mebibyte = 1_048_576

/** Streams whose readers take everything at once, on a fast link. */
function growAll(budget: MemoryBudget, count: number, rounds: number): number[] {
  const streams = Array.from({ length: count }, () => {
    const window = budget.initialWindow()
    return { window, charge: budget.charge(0, window, 0) }
  })
  for (let round = 0; round < rounds; round++) {
    for (const stream of streams) {
      stream.window = budget.nextWindow(stream.window, stream.window / 2, true)
      stream.charge = budget.charge(stream.charge, stream.window, 0)
    }
  }
  return streams.map(({ window }) => window)
}

test('one fast stream gets the largest window', () => {
  const budget = new MemoryBudget(64 * mebibyte, 16 * mebibyte)
  assert.deepEqual(growAll(budget, 1, 10), [16 * mebibyte])
})

test('many fast streams share, nobody is starved, and the memory is never exceeded', () => {
  for (const count of [2, 5, 20, 100, 500, 2000]) {
    const budget = new MemoryBudget(64 * mebibyte, 16 * mebibyte)
    const windows = growAll(budget, count, 60)
    const extra = windows.reduce((sum, window) => sum + window - minimumWindowBytes, 0)
    assert.equal(extra, budget.chargedBytes)
    assert.ok(extra <= 64 * mebibyte, `${count} streams hold ${extra}`)
    assert.ok(Math.min(...windows) >= minimumWindowBytes)
    if (count <= 100) assert.ok(Math.max(...windows) <= 8 * Math.min(...windows), `${windows}`)
  }
})

test('a slow stream keeps its window', () => {
  const budget = new MemoryBudget(64 * mebibyte, 16 * mebibyte)
  assert.equal(budget.nextWindow(initialWindowBytes, 0, false), initialWindowBytes)
})

test('without free memory windows shrink to the minimum, but not below what the peer holds', () => {
  const budget = new MemoryBudget(mebibyte, 16 * mebibyte)
  budget.charge(0, 4 * mebibyte, 0)
  assert.equal(budget.nextWindow(4 * mebibyte, 0, true), minimumWindowBytes)
  assert.equal(budget.nextWindow(4 * mebibyte, 2 * mebibyte, true), 2 * mebibyte)
})

test('a stream is charged for unread bytes or for its window, whichever is more', () => {
  const budget = new MemoryBudget(mebibyte, mebibyte)
  let charge = budget.charge(0, initialWindowBytes, 0)
  assert.equal(budget.chargedBytes, initialWindowBytes - minimumWindowBytes)
  charge = budget.charge(charge, initialWindowBytes, initialWindowBytes)
  assert.equal(budget.chargedBytes, initialWindowBytes)
  budget.release(charge)
  assert.equal(budget.chargedBytes, 0)
})

test('new streams begin small when half of the memory is spoken for', () => {
  const budget = new MemoryBudget(mebibyte, mebibyte)
  const windows = Array.from({ length: 6 }, () => {
    const window = budget.initialWindow()
    budget.charge(0, window, 0)
    return window
  })
  assert.deepEqual(windows, [
    ...Array(2).fill(initialWindowBytes),
    ...Array(4).fill(minimumWindowBytes),
  ])
})

test('streams that got large first give way to those that come later', () => {
  const budget = new MemoryBudget(64 * mebibyte, 16 * mebibyte)
  const open = (count: number) =>
    Array.from({ length: count }, () => {
      const window = budget.initialWindow()
      return { window, charge: budget.charge(0, window, 0) }
    })
  const grow = (streams: { window: number; charge: number }[]) => {
    for (const stream of streams) {
      stream.window = budget.nextWindow(stream.window, stream.window / 2, true)
      stream.charge = budget.charge(stream.charge, stream.window, 0)
    }
  }
  const first = open(3)
  for (let round = 0; round < 20; round++) grow(first)
  assert.ok(first.every(({ window }) => window >= 8 * mebibyte))
  const later = open(20)
  for (let round = 0; round < 60; round++) grow([...first, ...later])
  assert.ok(Math.max(...first.map(({ window }) => window)) <= 4 * mebibyte)
  assert.ok(Math.min(...later.map(({ window }) => window)) >= mebibyte)
})
