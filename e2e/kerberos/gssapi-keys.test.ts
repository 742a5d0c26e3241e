// The gssapi engine before a KDC of our own making, which turns the keys of the keytab down.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { GssapiEngine } from '@sallyport/connector'
import {
  EncryptionKey,
  formatKeytab,
  type KerberosError,
  parsePrincipal,
} from '@sallyport/kerberos'
import { person } from './support.ts'

const account = 'svc@CORP.EXAMPLE'

// ---- RFC 4120, as far as it is needed here

const der = (tag: number, ...parts: Buffer[]): Buffer => {
  const content = Buffer.concat(parts)
  const { length } = content
  const size = length < 128 ? [length] : [0x82, length >> 8, length & 255]
  return Buffer.concat([Buffer.from([tag, ...size]), content])
}
const field = (number: number, value: Buffer) => der(0xa0 + number, value)
const integer = (value: number) => der(2, Buffer.from([value]))
const text = (value: string) => der(0x1b, Buffer.from(value))
const preauthFailed = 24
const preauthRequired = 25
/** PA-ENC-TIMESTAMP, and PA-ETYPE-INFO2 for aes256-cts-hmac-sha1-96. */
const isTry = (request: Buffer) => request.includes(field(1, integer(2)))
const methods = der(
  0x30,
  der(0x30, field(1, integer(19)), field(2, der(4, der(0x30, der(0x30, field(0, integer(18))))))),
  der(0x30, field(1, integer(2)), field(2, der(4))),
)

function krbError(code: number): Buffer {
  const now = new Date().toISOString().replace(/[-:T]|\.\d+/g, '')
  const krbtgt = der(0x30, text('krbtgt'), text('CORP.EXAMPLE'))
  const fields = [
    field(0, integer(5)),
    field(1, integer(30)),
    field(4, der(0x18, Buffer.from(now))),
    field(5, integer(0)),
    field(6, integer(code)),
    field(9, text('CORP.EXAMPLE')),
    field(10, der(0x30, field(0, integer(2)), field(1, krbtgt))),
    field(12, der(4, methods)),
  ]
  return der(0x7e, der(0x30, ...fields))
}

async function startKdc(t: TestContext) {
  const kdc = { tries: 0, address: { host: '127.0.0.1', port: 0 } }
  const server = createServer((socket) => {
    let request = Buffer.alloc(0)
    socket.on('error', () => undefined)
    socket.on('data', (chunk: Buffer) => {
      request = Buffer.concat([request, chunk])
      if (request.length < 4 || request.length < 4 + request.readUInt32BE(0)) return
      if (isTry(request)) kdc.tries += 1
      const answer = krbError(isTry(request) ? preauthFailed : preauthRequired)
      const size = Buffer.alloc(4)
      size.writeUInt32BE(answer.length)
      socket.end(Buffer.concat([size, answer]))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  kdc.address.port = (server.address() as AddressInfo).port
  return kdc
}

test('gssapi: keys that the KDC has turned down are not tried with every request, nor by all who ask at once', async (t) => {
  const kdc = await startKdc(t)
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-test-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  const keytab = join(dir, 'svc.keytab')
  const writeKey = (fill: number) => {
    const key = new EncryptionKey(18, Buffer.alloc(32, fill))
    const entry = { principal: parsePrincipal(account), kvno: 1, etype: 18, key }
    writeFileSync(keytab, formatKeytab([entry], 0), { mode: 0o600 })
  }
  writeKey(1)
  let nowAt = Date.now()
  const engine = new GssapiEngine({
    account,
    keytab,
    realms: { 'CORP.EXAMPLE': [kdc.address] },
    now: () => nowAt,
  })
  t.after(() => engine.close())
  const refused = (name: string) =>
    assert.rejects(
      engine.authorize({ user: person(name), spn: 'HTTP/app.corp.example', format: 'spnego' }),
      (error: KerberosError) => {
        assert.deepEqual([error.code, error.facts.stage], ['KERBEROS_KEYTAB_STALE', 'as'])
        return true
      },
    )
  const people = Array.from({ length: 10 }, (_, index) => `user${index}`)
  await Promise.all(people.map(refused))
  const first = engine.processId
  for (const name of people) await refused(name)
  assert.equal(kdc.tries, 1)
  assert.equal(engine.processId, first, 'nothing is started anew for it')
  writeKey(2)
  await refused('alice')
  assert.equal(kdc.tries, 2, 'another keytab is tried at once')
  nowAt += 10 * 60_000
  await refused('alice')
  assert.equal(kdc.tries, 3, 'the domain may have changed instead')
})
