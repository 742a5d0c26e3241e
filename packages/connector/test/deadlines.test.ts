import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Deadlines, type Timed } from '../src/deadlines.ts'

class Waiting implements Timed {
  expiresAt = 0
  waitingIn = undefined
  waitingBefore = undefined
  waitingAfter = undefined
  readonly name: string
  readonly expired: string[]
  onExpired: () => void = () => {}

  constructor(name: string, expired: string[]) {
    this.name = name
    this.expired = expired
  }

  onDeadline(): void {
    this.expired.push(this.name)
    this.onExpired()
  }
}

/** Resolves when this one has expired. */
function expiry(waiting: Waiting): Promise<void> {
  return new Promise((resolve) => {
    waiting.onExpired = resolve
  })
}

test('deadlines expire in the order of their ends, whatever their durations', async () => {
  const deadlines = new Deadlines()
  const expired: string[] = []
  const make = (name: string) => new Waiting(name, expired)
  const nowAt = performance.now()
  const last = make('80')
  deadlines.start(last, 80, nowAt)
  deadlines.start(make('10'), 10, nowAt)
  deadlines.start(make('40a'), 40, nowAt)
  deadlines.start(make('40b'), 40, nowAt)
  // The test's own timer: those of deadlines do not keep a process alive.
  const alive = setTimeout(() => {}, 60_000)
  await expiry(last)
  clearTimeout(alive)
  assert.deepEqual(expired, ['10', '40a', '40b', '80'])
  assert(performance.now() - nowAt >= 79)
})

test('what was stopped does not expire, and what was started anew expires later', async () => {
  const deadlines = new Deadlines()
  const expired: string[] = []
  const waiting = ['first', 'middle', 'last', 'again'].map((name) => new Waiting(name, expired))
  const [first, middle, last, again] = waiting as [Waiting, Waiting, Waiting, Waiting]
  const nowAt = performance.now()
  for (const one of waiting) deadlines.start(one, 20, nowAt)
  deadlines.stop(first)
  deadlines.stop(middle)
  deadlines.stop(last)
  deadlines.stop(last)
  deadlines.start(again, 60, nowAt)
  const end = new Waiting('end', expired)
  deadlines.start(end, 100, nowAt)
  const alive = setTimeout(() => {}, 60_000)
  await expiry(end)
  clearTimeout(alive)
  assert.deepEqual(expired, ['again', 'end'])
})

test('an expired one may start itself or stop others', async () => {
  const deadlines = new Deadlines()
  const expired: string[] = []
  const one = new Waiting('one', expired)
  const other = new Waiting('other', expired)
  const nowAt = performance.now()
  deadlines.start(one, 10, nowAt)
  deadlines.start(other, 10, nowAt)
  const alive = setTimeout(() => {}, 60_000)
  await new Promise<void>((resolve) => {
    one.onExpired = () => {
      deadlines.stop(other)
      one.onExpired = resolve
      deadlines.start(one, 10, performance.now())
    }
  })
  clearTimeout(alive)
  assert.deepEqual(expired, ['one', 'one'])
})

test('thousands of different durations do not make thousands of lists', () => {
  const deadlines = new Deadlines()
  for (let durationMs = 1000; durationMs < 4000; durationMs += 1) {
    const waiting = new Waiting('', [])
    deadlines.start(waiting, durationMs, performance.now())
    deadlines.stop(waiting)
  }
  assert(deadlines.listCount <= 1024)
  deadlines.close()
})
