import type { AccessRecord } from '@sallyport/gateway'
import { AccessLog } from '../../src/access-log.ts'

// As `serve` does: from its first use on, standard output does not wait for its reader.
process.stdout.write('ready\n')
const log = new AccessLog('-', (error) => {
  process.stderr.write(`${error}\n`)
  process.exitCode = 1
})
for (let index = 0; index < 4_000; index += 1)
  log.write({
    at: 0,
    id: String(index),
    host: '',
    method: 'GET',
    path: `/${'p'.repeat(50)}`,
    statusCode: 200,
    decision: 'allow',
    clientAddress: '',
    receivedBytes: 0,
    sentBytes: 0,
    totalMs: 1,
  } as AccessRecord)
log.flush()
process.stderr.write('written\n')
