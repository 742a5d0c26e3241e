import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { connect, type TLSSocket } from 'node:tls'
import { lastFirst, type System, startSystem } from '@sallyport/testkit'

const host = 'hr.example.org'

/** A certificate and its key in files of a folder of their own. */
interface Issued {
  certificateFile: string
  keyFile: string
  serial: string
}

interface Place {
  dir: string
  /** Issues one for the host; days may be negative: it has expired then. */
  issue(name: string, days?: number): Issued
}

function makePlace(t: Pick<TestContext, 'after'>): Place {
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-certificates-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  return {
    dir,
    issue(name, days = 90) {
      const folder = join(dir, name)
      mkdirSync(folder)
      const certificateFile = join(folder, 'fullchain.pem')
      const keyFile = join(folder, 'privkey.pem')
      const request = join(folder, 'request.pem')
      const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'pipe' })
      openssl(
        ...['req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-noenc'],
        ...['-keyout', keyFile, '-out', request, '-subj', `/CN=${name}`],
        ...['-addext', `subjectAltName=DNS:${host},DNS:*.example.net`],
      )
      openssl(
        ...['x509', '-req', '-in', request, '-signkey', keyFile, '-out', certificateFile],
        ...['-days', String(days), '-copy_extensions', 'copyall'],
      )
      const { serialNumber } = new X509Certificate(readFileSync(certificateFile))
      return { certificateFile, keyFile, serial: serialNumber.toLowerCase() }
    },
  }
}

/** A service that shows what lies under `live`, and a TLS client for it. */
async function start(t: TestContext, live: { certificateFile: string; keyFile: string }) {
  const system = await startSystem(lastFirst(t), {
    connectors: 0,
    config: `certificates: [{ certificateFile: ${JSON.stringify(live.certificateFile)}, keyFile: ${JSON.stringify(live.keyFile)} }]\nmetricsListen: { port: 0 }\n`,
  })
  return { system, shown: () => serialShown(system) }
}

async function handshake({ port }: System): Promise<TLSSocket> {
  const socket = connect({
    port,
    host: '127.0.0.1',
    servername: host,
    ALPNProtocols: ['http/1.1'],
    // Self-signed; the test looks at the certificate itself.
    rejectUnauthorized: false,
  })
  await once(socket, 'secureConnect')
  return socket
}

/** Every handshake succeeds, whatever happens to the files. */
async function serialShown(system: System): Promise<string> {
  const socket = await handshake(system)
  const { serialNumber } = socket.getPeerX509Certificate()!
  socket.destroy()
  return serialNumber.toLowerCase()
}

async function until(shown: () => Promise<string>, serial: string): Promise<void> {
  while ((await shown()) !== serial) await new Promise(setImmediate)
}

interface Status {
  certificates: { certificateFile: string; hosts: string[]; serial: string; problem?: string }[]
  warnings: string[]
}

const statusOf = (system: System) => system.execute('status', {}) as Promise<Status>

test('a certificate that is renamed into place is shown soon, and open connections stay', async (t) => {
  const place = makePlace(t)
  const [first, second] = [place.issue('first'), place.issue('second')]
  const live = { certificateFile: join(place.dir, 'cert.pem'), keyFile: join(place.dir, 'key.pem') }
  renameSync(first.certificateFile, live.certificateFile)
  renameSync(first.keyFile, live.keyFile)
  const { system, shown } = await start(t, live)
  assert.equal(await shown(), first.serial)
  const open = await handshake(system)
  // In the order in which nothing fits for a moment.
  renameSync(second.certificateFile, live.certificateFile)
  assert.equal(await shown(), first.serial)
  renameSync(second.keyFile, live.keyFile)
  await until(shown, second.serial)
  open.write(`GET / HTTP/1.1\r\nHost: ${host}:${system.port}\r\n\r\n`)
  const [answer] = (await once(open, 'data')) as [Buffer]
  assert.match(answer.toString(), /^HTTP\/1\.1 404 /)
  open.destroy()
  const { certificates, warnings } = await statusOf(system)
  assert.deepEqual(
    certificates.map(({ serial, hosts, problem }) => [serial, hosts, problem]),
    [[second.serial, [host, '*.example.net'], undefined]],
  )
  assert.deepEqual(warnings, [])
})

test('symbolic links that are swapped, as certbot does, are followed', async (t) => {
  const place = makePlace(t)
  const [first, second] = [place.issue('archive1'), place.issue('archive2')]
  const live = { certificateFile: join(place.dir, 'cert.pem'), keyFile: join(place.dir, 'key.pem') }
  const point = ({ certificateFile, keyFile }: Issued) => {
    for (const [target, link] of [
      [certificateFile, live.certificateFile],
      [keyFile, live.keyFile],
    ] as const) {
      symlinkSync(target, `${link}.new`)
      renameSync(`${link}.new`, link)
    }
  }
  point(first)
  const { shown } = await start(t, live)
  assert.equal(await shown(), first.serial)
  point(second)
  await until(shown, second.serial)
})

test('what cannot be used leaves the old one in force, and status and numbers say so', async (t) => {
  const place = makePlace(t)
  const [live, other, late, next] = [
    place.issue('live'),
    place.issue('other'),
    place.issue('late', -1),
    place.issue('next'),
  ]
  const { system, shown } = await start(t, live)
  const write = (certificateFile: string | undefined, keyFile: string | undefined) => {
    if (certificateFile) writeFileSync(live.certificateFile, readFileSync(certificateFile))
    if (keyFile) writeFileSync(live.keyFile, readFileSync(keyFile))
  }
  const original = readFileSync(live.certificateFile, 'utf8')
  const cases: [string, () => void, RegExp][] = [
    ['a key of another', () => write(undefined, other.keyFile), /keyFile: is not the key of/],
    [
      'a file that is half written',
      () => writeFileSync(live.certificateFile, original.slice(0, original.length / 2)),
      /certificateFile: cannot be read; it must be PEM/,
    ],
    ['no text', () => writeFileSync(live.certificateFile, Buffer.alloc(999, 255)), /must be PEM/],
    ['one that has expired', () => write(late.certificateFile, late.keyFile), /and not now/],
    ['a file that is gone', () => rmSync(live.keyFile), /privkey\.pem cannot be read \(ENOENT\)/],
  ]
  for (const [what, spoil, problem] of cases) {
    spoil()
    await system.service.reload()
    assert.equal(await shown(), live.serial, what)
    const { certificates, warnings } = await statusOf(system)
    assert.match(certificates[0]!.problem!, problem, what)
    assert.match(warnings[0]!, /; the one before stays in force$/)
    assert.doesNotMatch(JSON.stringify([certificates, warnings]), /PRIVATE|MII/)
    assert.match(await numbers(system), /^sallyport_certificate_problems 1$/m)
  }
  write(next.certificateFile, next.keyFile)
  await system.service.reload()
  assert.equal(await shown(), next.serial)
  assert.deepEqual((await statusOf(system)).warnings, [])
  assert.match(await numbers(system), /^sallyport_certificate_problems 0$/m)
})

test('a certificate that ends soon, or has ended, is a warning and a number', async (t) => {
  const place = makePlace(t)
  const live = place.issue('live', 13)
  const { system } = await start(t, live)
  const { warnings } = await statusOf(system)
  assert.equal(warnings.length, 1)
  assert.match(
    warnings[0]!,
    /fullchain\.pem \(hr\.example\.org, \*\.example\.net\) ends on 20\d\d-/,
  )
  const end = new X509Certificate(readFileSync(live.certificateFile)).validToDate.getTime() / 1000
  const { certificateFile } = live
  assert.ok(
    (await numbers(system)).includes(
      `sallyport_certificate_not_after_seconds{certificate="${certificateFile}"} ${end}\n`,
    ),
  )
  // At the start there is no better one: it is shown, and said.
  const expired = await start(t, place.issue('expired', -1))
  assert.match((await statusOf(expired.system)).warnings[0]!, / has expired on /)
  assert.ok(await expired.shown())
})

const numbers = async ({ service }: System) =>
  (await fetch(`http://127.0.0.1:${service.metricsPort}/metrics`)).text()
