/**
 * A million generated inputs, of another seed each time; `HTTP1_FUZZ_SEED` and `HTTP1_FUZZ_INPUTS` repeat a run. What fails
 * is kept in vectors/, which every later run of the unit tests reads.
 */
import { after, test } from 'node:test'
import { checkAgainstNginx, checkAgainstNode, checkSplits, fuzz } from './support/fuzz.ts'
import { NginxOracle } from './support/nginx.ts'
import { NodeServerOracle } from './support/oracles.ts'

const seed = Number(process.env.HTTP1_FUZZ_SEED ?? Date.now() % 2 ** 32)
const inputs = Number(process.env.HTTP1_FUZZ_INPUTS ?? 1_000_000)

const nginx = await NginxOracle.start()
after(() => nginx.close())
const checks = {
  'in whatever pieces they come, they mean the same': [checkSplits, 0.2],
  'what is accepted, node:http reads alike': [checkAgainstNode(new NodeServerOracle()), 0.2],
  'what is accepted, nginx reads alike': [checkAgainstNginx(nginx), 0.1],
} as const

for (const kind of ['request', 'response'] as const) {
  for (const [what, [check, share]] of Object.entries(checks)) {
    test(`generated ${kind}s: ${what}`, async (t) => {
      t.diagnostic(`seed ${seed}`)
      const report = await fuzz(seed, Math.round(inputs * share), kind, check)
      t.diagnostic(JSON.stringify(report))
    })
  }
}
