import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { checkAgainstNginx, checkAgainstNode, checkSplits, fuzz } from './support/fuzz.ts'
import { NginxOracle } from './support/nginx.ts'
import { NodeServerOracle } from './support/oracles.ts'

// A slice of what fuzz.long.ts does, always the same, so that a failure is this change's.
const SEED = 20_261_123

const nginx = await NginxOracle.start()
after(() => nginx.close())
const checks = {
  'in whatever pieces they come, they mean the same': [checkSplits, 3000],
  'what is accepted, node:http reads alike': [checkAgainstNode(new NodeServerOracle()), 3000],
  'what is accepted, nginx reads alike': [checkAgainstNginx(nginx), 2000],
} as const

for (const kind of ['request', 'response'] as const) {
  for (const [what, [check, count]] of Object.entries(checks)) {
    test(`generated ${kind}s: ${what}`, async (t) => {
      const report = await fuzz(SEED, count, kind, check)
      t.diagnostic(`seed ${SEED}: ${JSON.stringify(report)}`)
      // A generator that never gets through, or always, would prove nothing.
      assert.ok(report.accepted > count / 5 && report.refused > count / 5)
    })
  }
}
