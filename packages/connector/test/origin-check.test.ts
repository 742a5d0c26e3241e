import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ResetCode } from '@sallyport/protocol'
import { openOrigins } from '../src/connector.ts'
import { parseDestination } from '../src/destination.ts'
import { requestHead } from '../src/origin-check.ts'
import { startRawOrigin } from './origins.ts'
import { recordLog } from './service.ts'

test('an application that takes the request and never answers ends a check, and does not hold it up', async (t) => {
  const raw = await startRawOrigin(t)
  const { origins, certificates } = openOrigins(
    {
      service: 'https://connect.example.test',
      connectorId: 'c1',
      connectorGroup: 'default',
      name: 'test',
      allow: [`127.0.0.1:${raw.port}`],
    },
    {
      resolve: async () => [],
      clock: Date.now,
      log: recordLog(),
    },
  )
  t.after(() => {
    origins.close()
    certificates.close()
  })
  const asked = requestHead(
    origins.find(parseDestination(raw.url), true, undefined),
    '/',
    async () => ['Authorization', 'Negotiate AAAA'],
    50,
  )
  const connection = await raw.connections.take()
  await assert.rejects(asked, { resetCode: ResetCode.ORIGIN_TIMEOUT })
  await connection.closed
})
