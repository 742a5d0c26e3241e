/**
 * What the numbers cost a request: nanoseconds for each record. `node packages/cli/bench/metrics.ts`
 */
import type { AccessRecord } from '@sallyport/gateway'
import { RequestCounts } from '../src/metrics/requests.ts'

const base = { decision: 'allow', statusCode: 200, receivedBytes: 0, sentBytes: 120 }
const records = Array.from({ length: 1_000 }, (_, index) => ({
  ...base,
  totalMs: (index * 7.3) % 400,
  gatewayMs: (index * 1.1) % 5,
  connectorMs: (index * 3.7) % 90,
  originMs: (index * 3.1) % 80,
  reason: undefined,
})) as unknown as AccessRecord[]

const counts = new RequestCounts()
const rounds = 3_000
for (let pass = 0; pass < 3; pass++) {
  const startedAt = performance.now()
  for (let round = 0; round < rounds; round++) for (const record of records) counts.add(record)
  const ns = ((performance.now() - startedAt) * 1e6) / (rounds * records.length)
  console.log(`${ns.toFixed(0)} ns per request`)
}
