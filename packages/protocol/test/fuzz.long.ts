/**
 * A million generated sessions, of another seed each time; `PROTOCOL_FUZZ_SEED` and `PROTOCOL_FUZZ_INPUTS` repeat a run.
 * What fails is kept in vectors/sessions.json, which every later run of the unit tests reads.
 */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fuzz, usedBytes } from './fuzz.ts'

const seed = Number(process.env.PROTOCOL_FUZZ_SEED ?? Date.now() % 2 ** 32)
const inputs = Number(process.env.PROTOCOL_FUZZ_INPUTS ?? 1_000_000)
const file = join(import.meta.dirname, '../vectors/sessions.json')

test('attack 53: a million sessions end as SPEC.md says, and memory stays flat', async (t) => {
  t.diagnostic(`seed ${seed}`)
  assert.equal(keep(await fuzz(seed, Math.min(inputs, 20_000))), undefined)
  const before = await usedBytes()
  assert.equal(keep(await fuzz(seed + 1, inputs)), undefined)
  const grownBytes = (await usedBytes()) - before
  t.diagnostic(`${grownBytes} bytes more in use`)
  assert.ok(grownBytes < 8_000_000, `${grownBytes} bytes more in use`)
})

/** Adds a case that went wrong to the vectors. @returns it */
function keep(failure: object | undefined): object | undefined {
  if (!failure) return undefined
  const { error: _, pieces: __, ...vector } = failure as Record<string, unknown>
  const vectors = JSON.parse(readFileSync(file, 'utf8')) as unknown[]
  vectors.push({ ...vector, name: `found by fuzzing with seed ${seed}` })
  writeFileSync(file, `${JSON.stringify(vectors, undefined, 2)}\n`)
  return failure
}
