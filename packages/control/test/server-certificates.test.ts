import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { connect, createServer } from 'node:tls'
import { CertificateAuthority, ExtendedKeyUsage } from '../src/certificate-authority.ts'
import { nameConstraints } from '../src/name-constraints.ts'
import { baseDomain, startTestControl } from './service.ts'

const dayMs = 86_400_000

/** Serves a certificate and asks TLS what it thinks of it. */
async function verdict(
  t: TestContext,
  pair: { key: string; cert: string },
  ca: string,
  servername: string,
): Promise<string> {
  const server = createServer(pair, (socket) => socket.end())
  server.on('tlsClientError', () => {})
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  const { port } = server.address() as AddressInfo
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1', servername, ca })
    socket.once('secureConnect', () => {
      socket.destroy()
      resolve('trusted')
    })
    socket.once('error', (error) => resolve(error.message))
  })
}

test('every host of the base domain has a certificate that its authority vouches for', async (t) => {
  const { control } = await startTestControl(t)
  for (const host of [baseDomain, `login.${baseDomain}`, `any.${baseDomain}`]) {
    const pair = control.serverContext(host)
    assert.ok(pair)
    assert.equal(await verdict(t, pair, control.webCa.certificatePem, host), 'trusted')
  }
  assert.equal(control.serverContext('example.com'), undefined)
  assert.equal(control.serverContext('localhost'), undefined)
  assert.equal(control.serverContext(`a.b.${baseDomain}`), undefined)
  assert.equal(control.serverContext(`x${baseDomain}`), undefined)
  // What is made of a certificate can be kept as long as it is the same.
  assert.equal(control.serverContext(`a.${baseDomain}`), control.serverContext(`b.${baseDomain}`))
})

test('a host two labels deep has a certificate as soon as it is published', async (t) => {
  const { control, execute } = await startTestControl(t)
  const host = `hr.branch.${baseDomain}`
  await execute('app.create', {
    name: 'hr',
    externalUrl: `https://${host}:8443/`,
    internalUrl: 'http://hr.internal/',
  })
  const pair = control.serverContext(host)!
  assert.equal(await verdict(t, pair, control.webCa.certificatePem, host), 'trusted')
  await execute('app.create', {
    name: 'wild',
    externalUrl: `https://*.wild.${baseDomain}:8443/`,
    internalUrl: 'http://*.internal/',
  })
  assert.ok(control.serverContext(`anything.wild.${baseDomain}`))
})

test('the two authorities are never mixed', async (t) => {
  const { control } = await startTestControl(t)
  const host = `login.${baseDomain}`
  const connectHost = `connect.${baseDomain}`
  const web = control.serverContext(host)!
  const connectPair = control.connectServerContext()
  const { certificatePem: connectorCa } = control.connectorCa
  const { certificatePem: webCa } = control.webCa
  assert.equal(await verdict(t, connectPair, connectorCa, connectHost), 'trusted')
  assert.notEqual(await verdict(t, web, connectorCa, host), 'trusted')
  assert.notEqual(await verdict(t, connectPair, webCa, connectHost), 'trusted')
})

test('whoever has the key of an authority cannot sign for hosts beyond its names', async (t) => {
  const nowAt = Date.now()
  const root = await CertificateAuthority.create(
    {
      commonName: 'constrained',
      constraints: nameConstraints({ dns: ['sallyport.localhost'] }),
      extendedKeyUsages: [ExtendedKeyUsage.serverAuth],
      lifetimeMs: dayMs,
    },
    nowAt,
  )
  const authority = await CertificateAuthority.load(root)
  const verdictOn = async (name: { type: 'dns' | 'ip'; value: string }) => {
    const { keyPem, certificatePem } = await authority.issuePair(
      {
        subject: [{ CN: ['x'] }],
        names: [name],
        usage: ExtendedKeyUsage.serverAuth,
        lifetimeMs: dayMs,
      },
      nowAt,
    )
    const pair = { key: keyPem, cert: certificatePem }
    return verdict(t, pair, root.certificatePem, name.type === 'dns' ? name.value : '')
  }
  assert.equal(await verdictOn({ type: 'dns', value: 'a.sallyport.localhost' }), 'trusted')
  assert.equal(
    await verdictOn({ type: 'dns', value: 'bank.example' }),
    'permitted subtree violation',
  )
  assert.equal(
    await verdictOn({ type: 'dns', value: 'asallyport.localhost' }),
    'permitted subtree violation',
  )
  assert.equal(await verdictOn({ type: 'ip', value: '127.0.0.1' }), 'excluded subtree violation')
})

test('a certificate outlives a restart, and is renewed before it ends', async (t) => {
  const first = await startTestControl(t)
  const host = `login.${baseDomain}`
  const { cert } = first.control.serverContext(host)!
  const lifetimeMs =
    new X509Certificate(cert).validToDate.getTime() -
    new X509Certificate(cert).validFromDate.getTime()
  assert.ok(lifetimeMs <= 398 * dayMs)
  const second = await first.restart()
  assert.equal(second.control.serverContext(host)!.cert, cert)
  second.advance(61 * dayMs)
  const third = await second.restart()
  assert.notEqual(third.control.serverContext(host)!.cert, cert)
  third.advance(2 * 365 * dayMs)
  const fourth = await third.restart()
  const connect = new X509Certificate(fourth.control.connectServerContext().cert)
  assert.ok(connect.validToDate.getTime() > fourth.now() + 365 * dayMs)
})

test('certificates of the operator go before those of the built-in authority', async (t) => {
  const nowAt = Date.now()
  const authority = await CertificateAuthority.load(
    await CertificateAuthority.create(
      {
        commonName: 'public',
        constraints: nameConstraints({ dns: ['example.com', baseDomain] }),
        extendedKeyUsages: [ExtendedKeyUsage.serverAuth],
        lifetimeMs: dayMs,
      },
      nowAt,
    ),
  )
  const own = await authority.issuePair(
    {
      subject: [{ CN: ['own'] }],
      names: [
        { type: 'dns', value: 'shop.example.com' },
        { type: 'dns', value: `*.${baseDomain}` },
      ],
      usage: ExtendedKeyUsage.serverAuth,
      lifetimeMs: dayMs,
    },
    nowAt,
  )
  const { control } = await startTestControl(t, { certificates: [own] })
  assert.equal(control.serverContext('shop.example.com')?.cert, own.certificatePem)
  assert.equal(control.serverContext(`hr.${baseDomain}`)?.cert, own.certificatePem)
  assert.notEqual(control.serverContext(baseDomain)?.cert, own.certificatePem)
  assert.equal(control.serverContext(`a.b.${baseDomain}`), undefined)
  assert.equal(control.serverContext('example.com'), undefined)

  const other = await authority.issuePair(
    { subject: [{ CN: ['x'] }], names: [], usage: ExtendedKeyUsage.serverAuth, lifetimeMs: dayMs },
    nowAt,
  )
  const wrong = [
    { certificatePem: own.certificatePem, keyPem: other.keyPem, path: 'certificates.0.keyFile' },
    { certificatePem: own.certificatePem, keyPem: 'secret', path: 'certificates.0.keyFile' },
    { certificatePem: 'x', keyPem: own.keyPem, path: 'certificates.0.certificateFile' },
  ]
  for (const { path, ...pair } of wrong)
    await assert.rejects(
      startTestControl(t, { certificates: [pair] }),
      (error: { code: string; message: string; problems: { path: string }[] }) => {
        assert.equal(error.code, 'SERVER_CERTIFICATE_INVALID')
        assert.equal(error.problems[0]?.path, path)
        assert.ok(!error.message.includes('secret'))
        return true
      },
    )
})
