import assert from 'node:assert/strict'
import { createPrivateKey } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { createServer, type TLSSocket, type TlsOptions } from 'node:tls'
import { ResetCode } from '@sallyport/protocol'
import { AllowList, parseAllowRules } from '../src/allow-list.ts'
import {
  type ClientCertificateSettings,
  ClientCertificates,
  findClientCertificateProblems,
  WatchedClientCertificate,
} from '../src/client-certificate.ts'
import { parseDestination } from '../src/destination.ts'
import { defaultOriginLimits, nobody, Origins, originNetwork } from '../src/origin.ts'
import { OriginTls } from '../src/origin-tls.ts'
import { type Authority, makeAuthority } from './authority.ts'
import { Inbox } from './inbox.ts'
import { connected, exchange, failure, makeStateDir, recordLog } from './service.ts'

const application = '4b0c6f3e-6a0e-4a43-9d1e-0d5b9a3c2f11'
const other = 'c0ffee00-6a0e-4a43-9d1e-0d5b9a3c2f22'
const get = 'GET / HTTP/1.1\r\nHost: x'
const dayMs = 86_400_000

/** Answers each request with the serial of the certificate that it was shown. */
async function startOrigin(
  t: TestContext,
  server: Authority,
  clients: Authority,
  options: TlsOptions = {},
) {
  const connections = new Inbox<TLSSocket>()
  const issued = await server.issue({ dns: ['app.internal'] })
  const listener = createServer(
    {
      key: issued.keyPem,
      cert: issued.certificatePem,
      ca: clients.pem,
      requestCert: true,
      rejectUnauthorized: true,
      ...options,
    },
    (socket) => {
      connections.put(socket)
      socket.on('error', () => {})
      t.after(() => socket.destroy())
      const serial = socket.getPeerCertificate()?.serialNumber?.toLowerCase() ?? 'none'
      socket.on('data', () =>
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${serial.length}\r\n\r\n${serial}`),
      )
    },
  )
  listener.on('tlsClientError', () => {})
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  t.after(() => listener.close())
  const { port } = listener.address() as AddressInfo
  return { port, url: `https://app.internal:${port}`, connections }
}

/** Certificate and key as files, and the entry that names them. */
async function makeFiles(
  t: TestContext,
  authority: Authority,
  origins: readonly string[],
  times: { notBeforeAt?: number; notAfterAt?: number } = {},
) {
  const dir = makeStateDir(t)
  const issued = await authority.issue({ uri: 'urn:connector', ...times })
  const settings: ClientCertificateSettings = {
    applications: [application],
    origins,
    certificateFile: join(dir, 'client.pem'),
    keyFile: join(dir, 'client.key'),
  }
  writeFileSync(settings.certificateFile, issued.certificatePem)
  writeFileSync(settings.keyFile, issued.keyPem, { mode: 0o600 })
  return { settings, issued, dir }
}

async function network(
  t: TestContext,
  originCa: string,
  originClientCertificates: readonly ClientCertificateSettings[],
) {
  return connected(t, {
    allow: ['app.internal', 'other.internal', '127.0.0.1'],
    resolve: async () => ['127.0.0.1'],
    originCa,
    originClientCertificates,
  })
}

for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
  test(`an origin that asks for a certificate gets the one of its application, and no other application's request (${maxVersion})`, async (t) => {
    const [servers, clients] = [await makeAuthority('Servers'), await makeAuthority('Clients')]
    const origin = await startOrigin(t, servers, clients, { maxVersion })
    const { settings, issued } = await makeFiles(t, clients, [`app.internal:${origin.port}`])
    const { session, connector } = await network(t, servers.pem, [settings])
    const { url } = origin
    for (let round = 0; round < 2; round += 1) {
      const answer = await exchange(session, { url, app: application }, get)
      assert.equal(answer.body, issued.serial)
    }
    assert.equal(origin.connections.all.length, 1, 'its own connection is used again')
    // The one that the application has left there is idle now.
    for (const app of [other, application.replace('4b', '4c'), '', 'app-1', `${application} `]) {
      const error = await failure(session, { url, app })
      assert.equal(error.resetCode, ResetCode.ORIGIN_CLIENT_CERTIFICATE, error.detail)
      assert.match(error.detail!, /^ORIGIN_CLIENT_CERTIFICATE_REQUIRED: /)
    }
    assert.equal((await exchange(session, { url, app: application }, get)).body, issued.serial)
    assert.equal(
      (await exchange(session, { url, app: application, validate: false }, get)).body,
      issued.serial,
    )
    const [entry] = connector.status().originClientCertificates
    assert.equal(entry!.serial, issued.serial)
    assert.equal(entry!.problem, undefined)
  })
}

test('an origin that only offers to look at a certificate sees none of another application, nor at another port or name', async (t) => {
  const [servers, clients] = [await makeAuthority('Servers'), await makeAuthority('Clients')]
  const lax = { rejectUnauthorized: false }
  const origin = await startOrigin(t, servers, clients, lax)
  const elsewhere = await startOrigin(t, servers, clients, lax)
  const { settings, issued } = await makeFiles(t, clients, [`app.internal:${origin.port}`])
  const { session } = await network(t, servers.pem, [settings])
  const seen = async (app: string, url: string, validate = true) =>
    (await exchange(session, { url, app, validate }, get)).body
  assert.equal(await seen(application, origin.url), issued.serial)
  assert.equal(await seen(other, origin.url), 'none')
  assert.equal(await seen(application, elsewhere.url), 'none')
  assert.equal(await seen(application, `https://other.internal:${origin.port}`, false), 'none')
  assert.equal(await seen(application, origin.url), issued.serial)
  assert.equal(await seen(other, origin.url), 'none')
})

test('a connection or a TLS session begun with a certificate that was replaced is not used again', async (t) => {
  const [servers, clients] = [await makeAuthority('Servers'), await makeAuthority('Clients')]
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    const origin = await startOrigin(t, servers, clients, { maxVersion })
    const rule = `app.internal:${origin.port}`
    const { settings, issued } = await makeFiles(t, clients, [rule])
    const certificates = new ClientCertificates([settings], { clock: Date.now, log: recordLog() })
    t.after(() => certificates.close())
    const origins = new Origins(
      originNetwork({
        allowList: new AllowList(parseAllowRules([rule, '127.0.0.1'])),
        resolve: async () => ['127.0.0.1'],
        tls: new OriginTls(servers.pem),
        certificates,
        proxy: undefined,
        limits: defaultOriginLimits,
      }),
    )
    t.after(() => origins.close())
    const found = origins.find(parseDestination(origin.url), true, application)
    const serialOf = async (connection: Awaited<ReturnType<typeof found.open>>) => {
      const chunks: Buffer[] = []
      await new Promise<void>((resolve, reject) => {
        connection.http.request(
          { method: 'GET', target: '/', versionMinor: 1, fields: ['Host', 'x'] },
          { kind: 'none' },
          {
            onInformational: () => {},
            onHead: () => {},
            onData: (chunk) => chunks.push(chunk),
            onEnd: () => resolve(),
            onError: reject,
          },
        )
      })
      return Buffer.concat(chunks).toString()
    }
    const never = new AbortController().signal
    assert.equal(await serialOf(await found.open(nobody, never)), issued.serial)
    await new Promise((resolve) => setImmediate(resolve))
    const renewed = await clients.issue({ uri: 'urn:connector' })
    writeFileSync(settings.certificateFile, renewed.certificatePem)
    certificates.look()
    writeFileSync(settings.keyFile, renewed.keyPem, { mode: 0o600 })
    certificates.look()
    certificates.look()
    assert.equal(certificates.status()[0]!.serial, renewed.serial)
    assert.equal(found.take(nobody, performance.now(), true), undefined)
    assert.equal(await serialOf(await found.open(nobody, never)), renewed.serial)
  }
})

test('files that cannot be used are named by a code, and what was in force stays so until it ends', async (t) => {
  const clients = await makeAuthority('Clients')
  let nowAt = Date.now()
  const { settings, issued, dir } = await makeFiles(t, clients, ['*.internal'], {
    notAfterAt: nowAt + 20 * dayMs,
  })
  const foreign = await clients.issue({ uri: 'urn:other' })
  const log = recordLog()
  const watched = new WatchedClientCertificate(settings, () => nowAt, log)
  const look = () => {
    watched.look()
    watched.look()
    const { serial, problem } = watched.status()
    return [serial, problem?.code]
  }
  assert.deepEqual(look(), [issued.serial, undefined])
  const { certificateFile, keyFile } = settings
  const steps: [code: string | undefined, change: () => void][] = [
    ['ORIGIN_CLIENT_KEY_MISMATCH', () => writeFileSync(keyFile, foreign.keyPem)],
    ['ORIGIN_CLIENT_KEY_INVALID', () => writeFileSync(keyFile, 'no key')],
    ['ORIGIN_CLIENT_CERTIFICATE_MISSING', () => rmSync(keyFile)],
    [undefined, () => writeFileSync(keyFile, issued.keyPem, { mode: 0o600 })],
    ['ORIGIN_CLIENT_KEY_EXPOSED', () => chmodSync(keyFile, 0o640)],
    [undefined, () => chmodSync(keyFile, 0o600)],
    ['ORIGIN_CLIENT_CERTIFICATE_INVALID', () => writeFileSync(certificateFile, 'none')],
    [
      'ORIGIN_CLIENT_CERTIFICATE_INVALID',
      () =>
        writeFileSync(
          certificateFile,
          `${issued.certificatePem}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`,
        ),
    ],
    ['ORIGIN_CLIENT_CERTIFICATE_MISSING', () => renameSync(certificateFile, join(dir, 'away'))],
    [undefined, () => renameSync(join(dir, 'away'), certificateFile)],
  ]
  writeFileSync(join(dir, 'good'), issued.certificatePem)
  for (const [code, change] of steps) {
    change()
    if (code === undefined) writeFileSync(certificateFile, issued.certificatePem)
    assert.deepEqual(look(), [issued.serial, code])
  }
  assert.ok(log.lines.all.every(({ level }) => level === 'error'))
  nowAt += 7 * dayMs
  watched.look()
  assert.equal(log.lines.last!.message, 'a client certificate ends soon')
  const count = log.lines.all.length
  watched.look()
  assert.equal(log.lines.all.length, count, 'once a day')
  nowAt += 14 * dayMs
  watched.look()
  assert.equal(log.lines.last!.message, 'a client certificate has expired')
  assert.deepEqual(look(), [undefined, 'ORIGIN_CLIENT_CERTIFICATE_EXPIRED'])
  assert.throws(
    () => watched.get(),
    (error: { resetCode: number; message: string }) =>
      error.resetCode === ResetCode.ORIGIN_CLIENT_CERTIFICATE &&
      error.message.startsWith('ORIGIN_CLIENT_CERTIFICATE_EXPIRED: '),
  )
})

test('a connector starts with a certificate that cannot be used, and asks nothing without it', async (t) => {
  const [servers, clients] = [await makeAuthority('Servers'), await makeAuthority('Clients')]
  const origin = await startOrigin(t, servers, clients, { rejectUnauthorized: false })
  const { settings } = await makeFiles(t, clients, ['*.internal'])
  rmSync(settings.keyFile)
  const { session, log } = await network(t, servers.pem, [settings])
  const error = await failure(session, { url: origin.url, app: application })
  assert.equal(error.resetCode, ResetCode.ORIGIN_CLIENT_CERTIFICATE)
  assert.match(error.detail!, /^ORIGIN_CLIENT_CERTIFICATE_MISSING: .*client\.key/)
  assert.equal(origin.connections.all.length, 0)
  const said = log.lines.all.find(({ level }) => level === 'error')
  assert.equal(said!.facts.code, 'ORIGIN_CLIENT_CERTIFICATE_MISSING')
})

test('a key that is locked opens with the passphrase of its file, and not with another', async (t) => {
  const clients = await makeAuthority('Clients')
  const { settings, issued, dir } = await makeFiles(t, clients, ['*.internal'])
  const locked = createPrivateKey(issued.keyPem).export({
    type: 'pkcs8',
    format: 'pem',
    cipher: 'aes-256-cbc',
    passphrase: 'open sesame',
  })
  writeFileSync(settings.keyFile, locked, { mode: 0o600 })
  const passphraseFile = join(dir, 'passphrase')
  const codeOf = (settings: ClientCertificateSettings) =>
    new WatchedClientCertificate(settings, Date.now, recordLog()).status().problem?.code
  assert.equal(codeOf(settings), 'ORIGIN_CLIENT_KEY_INVALID')
  writeFileSync(passphraseFile, 'wrong\n', { mode: 0o600 })
  assert.equal(codeOf({ ...settings, passphraseFile }), 'ORIGIN_CLIENT_KEY_INVALID')
  writeFileSync(passphraseFile, 'open sesame\n')
  assert.equal(codeOf({ ...settings, passphraseFile }), undefined)
  chmodSync(passphraseFile, 0o604)
  assert.equal(codeOf({ ...settings, passphraseFile }), 'ORIGIN_CLIENT_KEY_EXPOSED')
})

test('a certificate that is not valid yet, or no more, is not shown', async (t) => {
  const clients = await makeAuthority('Clients')
  for (const [times, code] of [
    [
      { notBeforeAt: Date.now() + dayMs, notAfterAt: Date.now() + 2 * dayMs },
      'ORIGIN_CLIENT_CERTIFICATE_NOT_YET_VALID',
    ],
    [{ notAfterAt: Date.now() - 1_000 }, 'ORIGIN_CLIENT_CERTIFICATE_EXPIRED'],
  ] as const) {
    const { settings } = await makeFiles(t, clients, ['*.internal'], times)
    const watched = new WatchedClientCertificate(settings, Date.now, recordLog())
    assert.equal(watched.status().problem?.code, code)
    assert.equal(watched.current, undefined)
  }
})

test('every problem of an entry is said, with its path', () => {
  const good = {
    applications: [application],
    origins: ['a.internal:443', '*.b.internal', '10.0.0.1:8443'],
    certificateFile: '/c.pem',
    keyFile: '/c.key',
  }
  assert.deepEqual(findClientCertificateProblems([good]), [])
  assert.deepEqual(
    findClientCertificateProblems([
      good,
      {
        applications: ['hr'],
        origins: ['https://x/'],
        certificateFile: 'c.pem',
        passphraseFile: 5,
        maxTlsVersion: '1.1',
        colour: 'red',
      },
      { ...good, applications: [], origins: [] },
      'text',
    ]).map((problem) => problem.split(': ')[0]),
    [
      ...['applications', 'origins', 'certificateFile', 'keyFile', 'passphraseFile'].map(
        (field) => `originClientCertificates[1].${field}`,
      ),
      'originClientCertificates[1].maxTlsVersion',
      'originClientCertificates[1].colour',
      'originClientCertificates[2].applications',
      'originClientCertificates[2].origins',
      'originClientCertificates[3]',
    ],
  )
  assert.deepEqual(findClientCertificateProblems({}).length, 1)
})
