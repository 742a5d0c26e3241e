import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { AccessRecord } from '@sallyport/gateway'
import { writeAccessLine } from '../src/access-line.ts'
import { LineBytes } from '../src/line-bytes.ts'
import { seeded } from './support/random.ts'

const texts = [
  '',
  'plain',
  'with "quotes" and \\',
  'a\tb\r\nc\0d\u001b[2J',
  '\u007f\u0085\u2028\u202e\u2066',
  'ü\u00ff€😀\ud800',
  '</script>',
]
const counts = [0, 9, 10, 999, 1_000, 54_321, 2 ** 31 - 1, 2 ** 31, 5_000_000_000]
const optional = [
  'reason',
  'application',
  'applicationId',
  'userId',
  'userName',
  'sessionId',
  'connector',
  'detail',
] as const

function toAccessLine(record: AccessRecord): string {
  const bytes = new LineBytes(16)
  writeAccessLine(bytes, record)
  return bytes.view().toString()
}

// The first of its process, so that nothing is known of a record before.
test('the first record may be of a head that could not be read', () => {
  const record = {
    at: 1,
    id: 'x',
    host: '',
    method: '',
    path: '',
    statusCode: 400,
    decision: 'deny',
    clientAddress: '192.0.2.1',
    receivedBytes: 0,
    sentBytes: 0,
    totalMs: 0,
  } as AccessRecord
  assert.deepEqual(JSON.parse(toAccessLine(record)), JSON.parse(JSON.stringify(record)))
})

test('a line says what the record holds, and is one line to every reader', () => {
  const random = seeded(26)
  const pick = <T>(from: readonly T[]) => from[Math.floor(random() * from.length)]!
  for (let round = 0; round < 5_000; round += 1) {
    const text = () => pick(texts)
    const ms = () => pick([0, 0.0004, 0.0005, 0.01, 0.1, 1.2345678, 59_999.9996, 1e9])
    const record = {
      at: 1_795_469_067_449 + pick([0, 1]),
      id: text(),
      host: text(),
      method: text(),
      path: text(),
      statusCode: pick([200, 404]),
      decision: pick(['allow', 'deny']),
      clientAddress: text(),
      receivedBytes: pick(counts),
      sentBytes: pick(counts),
      totalMs: ms(),
      gatewayMs: pick([undefined, ms()]),
      connectorMs: pick([undefined, ms()]),
      originMs: pick([undefined, ms()]),
      ...Object.fromEntries(optional.map((name) => [name, pick([undefined, text()])])),
    } as AccessRecord
    const line = toAccessLine(record)
    const round3 = (value: number | undefined) =>
      value === undefined ? undefined : Math.round(value * 1000) / 1000
    const expected = {
      ...record,
      totalMs: round3(record.totalMs),
      gatewayMs: round3(record.gatewayMs),
      connectorMs: round3(record.connectorMs),
      originMs: round3(record.originMs),
    }
    assert.deepEqual(JSON.parse(line), JSON.parse(JSON.stringify(expected)))
    assert.match(line, /^[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+\n$/)
  }
})
