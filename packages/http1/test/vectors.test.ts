import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { after, test } from 'node:test'
import { readRequests, readResponse } from './support/drive.ts'
import {
  checkAgainstNginx,
  checkAgainstNode,
  checkSplits,
  type Input,
  type Vector,
} from './support/fuzz.ts'
import { NginxOracle } from './support/nginx.ts'
import { NodeServerOracle } from './support/oracles.ts'
import { Random } from './support/random.ts'

const folder = new URL('../vectors/', import.meta.url)
const nginx = await NginxOracle.start()
const node = new NodeServerOracle()
after(() => nginx.close())

for (const name of readdirSync(folder).filter((file) => file.endsWith('.json'))) {
  const { why, outcome, read, ...input }: Vector = JSON.parse(
    readFileSync(new URL(name, folder), 'utf8'),
  )
  test(`${name}: ${why ?? 'once found by the fuzzer'}`, async () => {
    checkSplits(input, new Random(1))
    await checkAgainstNode(node)(input)
    await checkAgainstNginx(nginx)(input)
    if (outcome !== undefined) assert.deepEqual(summary(input), { outcome, read })
  })
}

function summary(input: Input): { outcome: string; read: string[] } {
  if (input.kind === 'request') {
    const { outcome, requests } = readRequests([input.text])
    return {
      outcome,
      read: requests.map(({ method, target, body }) => `${method} ${target} ${body}`),
    }
  }
  const { outcome, head, body } = readResponse(input.method, [input.text], true)
  return { outcome, read: head === undefined ? [] : [`${head.statusCode} ${body}`] }
}
