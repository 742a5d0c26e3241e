import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fuzz, Random } from './fuzz.ts'
import { findMessage, isRefusal, messages, readers } from './readers.ts'

for (const { name, reader, bytes } of messages) {
  test(`${name} of real servers is read, and each piece that is cut off it is refused`, () => {
    readers[reader](bytes)
    for (let end = 0; end < bytes.length; end += 1) {
      // A keytab may end after any of its entries.
      if (reader === 'keytab' && end >= 2) continue
      assert.throws(() => readers[reader](bytes.subarray(0, end)), isRefusal, `${end} bytes`)
    }
  })
}

test('evidence says who the user is to the directory', () => {
  const { bytes } = findMessage('evidence')
  const { client, account } = readers.evidence(bytes)
  assert.deepEqual([client.components, client.realm], [['sam'], 'CORP.EXAMPLE'])
  const { sid, extraSids, ...rest } = account!
  assert.match(sid, /^S-1-5-21-\d+-\d+-\d+-\d+$/)
  assert.deepEqual(rest, {
    name: 'sam',
    domain: 'CORP',
    groupIds: [513],
    userPrincipalName: 'sam@contoso.com',
    dnsDomain: 'CORP.EXAMPLE',
    sensitive: true,
  })
  // Service asserted identity: the KDC vouches, no password was seen.
  assert.ok(extraSids.includes('S-1-18-2'))
})

test('50,000 changed messages are read or refused, and nothing else', (t) => {
  // Always the same, so that a failure is this change's.
  const report = fuzz(20_261_125, 50_000, messages)
  t.diagnostic(JSON.stringify(report))
  assert.ok(report.accepted > 1000 && report.refused > 10_000)
})

test('20,000 inputs of chance are refused', () => {
  const random = new Random(7)
  for (let turn = 0; turn < 20_000; turn += 1) {
    const bytes = Buffer.from(Array.from({ length: random.below(60) }, () => random.below(256)))
    for (const [name, read] of Object.entries(readers)) {
      assert.throws(() => read(bytes), isRefusal, `${name} ${bytes.toString('hex')}`)
    }
  }
})
