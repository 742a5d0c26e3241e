/**
 * Five million changed messages, of another seed each time; `KERBEROS_FUZZ_SEED` and `KERBEROS_FUZZ_INPUTS` repeat a run. What
 * fails becomes a test.
 */
import { test } from 'node:test'
import { fuzz } from './fuzz.ts'
import { messages } from './readers.ts'

const seed = Number(process.env.KERBEROS_FUZZ_SEED ?? Date.now() % 2 ** 32)
const inputs = Number(process.env.KERBEROS_FUZZ_INPUTS ?? 5_000_000)

for (const message of messages) {
  test(`${message.name}, changed in all ways, is read or refused`, (t) => {
    t.diagnostic(`seed ${seed}`)
    t.diagnostic(JSON.stringify(fuzz(seed, Math.round(inputs / messages.length), [message])))
  })
}
