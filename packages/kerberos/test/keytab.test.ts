import assert from 'node:assert/strict'
import { test } from 'node:test'
import { KerberosError } from '../src/errors.ts'
import { EncryptionKey } from '../src/key.ts'
import { formatKeytab, keysOf, parseKeytab } from '../src/keytab.ts'
import { parsePrincipal } from '../src/names.ts'

const connector = parsePrincipal('svc-connector@CORP.EXAMPLE')
const service = parsePrincipal('HTTP/app.corp.example@CORP.EXAMPLE')
const key = (etype: number, fill: number) =>
  new EncryptionKey(etype, Buffer.alloc(etype % 2 === 0 ? 32 : 16, fill))
const file = formatKeytab(
  [
    { principal: connector, kvno: 2, key: key(17, 1) },
    { principal: connector, kvno: 300, key: key(18, 2) },
    { principal: service, kvno: 1, key: key(20, 3) },
  ],
  Date.UTC(2026, 0, 1),
)

test('what is written is read back, key versions above 255 as well', () => {
  const entries = parseKeytab(file)
  assert.deepEqual(
    entries.map(({ kvno, etype, principal }) => [kvno, etype, principal.components]),
    [
      [2, 17, ['svc-connector']],
      [300, 18, ['svc-connector']],
      [1, 20, ['HTTP', 'app.corp.example']],
    ],
  )
  assert.deepEqual(
    keysOf(entries, connector).map(({ kvno }) => kvno),
    [300, 2],
  )
})

test('a file of an older writer, with holes and unused space, is read', () => {
  const entry = file.subarray(2, 2 + 4 + file.readInt32BE(2))
  const withoutLongKvno = Buffer.from(entry.subarray(0, -4))
  withoutLongKvno.writeInt32BE(withoutLongKvno.length - 4)
  const hole = Buffer.from('fffffffc00000000', 'hex')
  const padded = Buffer.concat([Buffer.of(5, 2), hole, withoutLongKvno, Buffer.alloc(40)])
  const [only, ...more] = parseKeytab(padded)
  assert.deepEqual([only?.kvno, more.length], [2, 0])
})

test('what is wrong with a file is named, with its place', () => {
  const entryOf = (change: (entry: Buffer) => void) => {
    const changed = Buffer.from(file)
    change(changed.subarray(6))
    return changed
  }
  for (const [bytes, why] of [
    [Buffer.alloc(0), /is empty/],
    [Buffer.from('krb5'), /does not begin with 05 02/],
    [Buffer.of(5), /does not begin/],
    [Buffer.of(5, 1, 0, 0), /format version 1/],
    [Buffer.alloc((1 << 20) + 1), /more than 1048576/],
    [file.subarray(0, 4), /entry 1 at byte 2: its length is cut off/],
    [file.subarray(0, -1), /entry 3 at byte \d+: has \d+ bytes, and the file ends 1 bytes earlier/],
    [Buffer.from('0502800000000000', 'hex'), /entry 1 at byte 2/],
    [entryOf((entry) => entry.writeUInt16BE(0)), /its principal has 0 components/],
    [entryOf((entry) => entry.writeUInt16BE(11)), /its principal has 11 components/],
    [entryOf((entry) => entry.writeUInt16BE(0xffff, 2)), /the realm goes beyond its entry/],
    [entryOf((entry) => entry.fill(0xff, 4, 8)), /the realm is not UTF-8/],
  ] as const) {
    assert.throws(
      () => parseKeytab(bytes, '/etc/x.keytab'),
      (error: KerberosError) => {
        assert.equal(error.code, 'KERBEROS_KEYTAB_INVALID')
        assert.equal(error.facts.file, '/etc/x.keytab')
        assert.match(error.message, why)
        return true
      },
    )
  }
})

test('a key whose size is not that of its etype is refused, an unknown etype is kept by name', () => {
  const changed = Buffer.from(file)
  const at = changed.indexOf(Buffer.from('00110010', 'hex'))
  changed.writeUInt16BE(18, at)
  assert.throws(() => parseKeytab(changed), /aes256-cts-hmac-sha1-96 key has 16 bytes, not 32/)
  changed.writeUInt16BE(23, at)
  const entries = parseKeytab(changed)
  assert.deepEqual([entries[0]!.etype, entries[0]!.key], [23, undefined])
  const only = entries.slice(0, 1)
  assert.throws(
    () => keysOf(only, connector, 'x'),
    (error: KerberosError) => {
      assert.equal(error.code, 'KERBEROS_KEYTAB_NO_KEY')
      assert.deepEqual(error.facts.etypes, ['rc4-hmac'])
      return true
    },
  )
})

test('an account that is not in the file is told whose keys are', () => {
  assert.throws(
    () => keysOf(parseKeytab(file), parsePrincipal('other@CORP.EXAMPLE')),
    /only for svc-connector@CORP\.EXAMPLE, HTTP\/app\.corp\.example@CORP\.EXAMPLE/,
  )
  assert.throws(() => keysOf([], connector), /only for nobody/)
  assert.throws(
    () => keysOf(parseKeytab(file), parsePrincipal('svc-connector@OTHER')),
    KerberosError,
  )
})
