import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { AccessEvent } from '@sallyport/domain'
import { EventFeed } from '@sallyport/store'

test('every listener hears every event until it leaves', () => {
  const feed = new EventFeed()
  const heard: AccessEvent[][] = [[], []]
  const listener = (event: AccessEvent) => heard[0]!.push(event)
  const leave = feed.subscribe(listener)
  feed.subscribe((event) => heard[1]!.push(event))
  const event: AccessEvent = { kind: 'session-ended', sessionId: 's', at: 1 }
  feed.publish(event)
  leave()
  feed.publish(event)
  assert.deepEqual(heard, [[event], [event, event]])
})

test('a listener that throws keeps nothing from the others, and does not go unnoticed', async () => {
  const feed = new EventFeed()
  const failure = new Error('broken listener')
  const heard: string[] = []
  feed.subscribe(() => {
    throw failure
  })
  feed.subscribe(({ kind }) => heard.push(kind))
  // The test runner listens for uncaught exceptions too, so its listeners step aside.
  const others = process.listeners('uncaughtException')
  process.removeAllListeners('uncaughtException')
  const uncaught = new Promise((resolve) => process.once('uncaughtException', resolve))
  feed.publish({ kind: 'configuration-changed', at: 1 })
  assert.deepEqual(heard, ['configuration-changed'])
  assert.equal(await uncaught, failure)
  for (const other of others) process.on('uncaughtException', other)
})
