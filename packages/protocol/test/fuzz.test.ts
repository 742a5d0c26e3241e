import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fuzz, usedBytes } from './fuzz.ts'

test('attack 53: whatever arrives, a session answers as SPEC.md says, and its memory stays flat', async () => {
  assert.equal(await fuzz(20_260_101, 5_000), undefined)
  const before = await usedBytes()
  assert.equal(await fuzz(53, 15_000), undefined)
  const grownBytes = (await usedBytes()) - before
  assert.ok(grownBytes < 4_000_000, `${grownBytes} bytes more in use after 15,000 sessions`)
})
