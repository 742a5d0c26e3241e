/**
 * What following it costs a request, when there is tracing: microseconds for each request. The collector is one that
 * nobody runs. `node packages/cli/bench/tracing.ts`
 */
import type { AccessRecord } from '@sallyport/gateway'
import { pino } from 'pino'
import { RequestTracing } from '../src/tracing/tracing.ts'

const record = {
  at: Date.now(),
  id: 'x-1',
  method: 'GET',
  statusCode: 200,
  decision: 'allow',
  application: 'hr',
  connector: 'one',
  totalMs: 3,
  gatewayMs: 1,
  connectorMs: 2,
  originMs: 1,
} as AccessRecord

for (const sampleRatio of [1, 0.01]) {
  const tracing = new RequestTracing(
    { endpoint: 'http://127.0.0.1:9', sampleRatio },
    pino({ level: 'silent' }),
  )
  for (let pass = 0; pass < 3; pass++) {
    const count = 100_000
    const startedAt = performance.now()
    for (let index = 0; index < count; index++) tracing.begin(record.at, undefined).end(record)
    const us = ((performance.now() - startedAt) * 1_000) / count
    console.log(`sampleRatio ${sampleRatio}: ${us.toFixed(1)} us per request`)
  }
  await tracing.close()
}
