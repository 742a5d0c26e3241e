import assert from 'node:assert/strict'
import test from 'node:test'
import { runWorlds } from './support/world.ts'

test('attack 43: nor in any of two thousand others', async (t) => {
  const { visits, allowed } = await runWorlds(1_001, 3_000)
  t.diagnostic(`${visits} requests, ${allowed} of them allowed`)
  assert.ok(allowed > visits / 8)
})
