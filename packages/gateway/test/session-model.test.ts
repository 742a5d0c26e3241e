import assert from 'node:assert/strict'
import test from 'node:test'
import { runWorlds } from './support/world.ts'

test('attack 43: in no interleaving is anything allowed two seconds after access ended, or after the feed-loss limit', async () => {
  const { visits, allowed } = await runWorlds(1, 60)
  // A world in which nothing is ever allowed would prove nothing.
  assert.ok(allowed > visits / 8, `only ${allowed} of ${visits} requests were allowed`)
})
