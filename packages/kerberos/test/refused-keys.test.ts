import assert from 'node:assert/strict'
import { test } from 'node:test'
import { field, instant, integer, octets, sequence, tagged, text } from '../src/der-writer.ts'
import { KerberosEngine } from '../src/engine.ts'
import { KerberosError } from '../src/errors.ts'
import { KdcCode } from '../src/kdc-errors.ts'
import { EncryptionKey } from '../src/key.ts'
import { PaType } from '../src/messages.ts'
import { parsePrincipal, toKrbtgt, writeName } from '../src/names.ts'

const account = 'svc@CORP.EXAMPLE'
const startAt = Date.UTC(2026, 0, 1)

function krbError(code: number, at: number, data?: Buffer): Buffer {
  const krbtgt = toKrbtgt('CORP.EXAMPLE')
  return tagged(
    30,
    sequence(
      field(0, integer(5)),
      field(1, integer(30)),
      field(4, instant(at)),
      field(5, integer(0)),
      field(6, integer(code)),
      field(9, text(krbtgt.realm)),
      field(10, writeName(krbtgt)),
      ...(data ? [field(12, octets(data))] : []),
    ),
  )
}

const methods = sequence(
  sequence(field(1, integer(PaType.ENC_TIMESTAMP)), field(2, octets(Buffer.alloc(0)))),
)

test('keys that the KDC has turned down are not tried with every request: the account would be locked', async () => {
  let nowAt = startAt
  let fill = 1
  let tries = 0
  const engine = new KerberosEngine({
    account,
    readKeytab: async () => [
      {
        principal: parsePrincipal(account),
        kvno: 1,
        etype: 18,
        key: new EncryptionKey(18, Buffer.alloc(32, fill)),
      },
    ],
    kdcs: {
      // What carries an encrypted timestamp is a try of a key.
      exchange: async (_realm, message) => {
        const isTry = message.includes(
          sequence(field(1, integer(PaType.ENC_TIMESTAMP))).subarray(2),
        )
        if (!isTry) return krbError(KdcCode.PREAUTH_REQUIRED, nowAt, methods)
        tries += 1
        return krbError(KdcCode.PREAUTH_FAILED, nowAt)
      },
    },
    now: () => nowAt,
  })
  const refused = () =>
    assert.rejects(
      engine.authorize({
        user: { type: 'principal', name: 'ana' },
        spn: 'HTTP/app.corp.example',
        format: 'spnego',
      }),
      (error) => error instanceof KerberosError && error.code === 'KERBEROS_KEYTAB_STALE',
    )
  for (let count = 0; count < 20; count += 1) await refused()
  assert.equal(tries, 1)
  fill = 2
  await refused()
  assert.equal(tries, 2, 'another keytab is tried at once')
  nowAt += 10 * 60_000
  await refused()
  assert.equal(tries, 3, 'the domain may have changed instead')
})
