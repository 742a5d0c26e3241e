import assert from 'node:assert/strict'
import { randomBytes, verify, X509Certificate } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { join } from 'node:path'
import { test } from 'node:test'
import {
  ConnectorError,
  type ConnectorErrorCode,
  enroll,
  readSealingKeyFingerprint,
  readState,
} from '../src/index.ts'
import { type Authority, makeAuthority } from './authority.ts'
import { Inbox } from './inbox.ts'
import { startProxy } from './proxies.ts'
import {
  connectorUri,
  enrolled,
  makeStateDir,
  run,
  startService,
  type TestService,
} from './service.ts'

const dayMs = 86_400_000

function makeToken(ca: Authority): string {
  return `sp1.${randomBytes(32).toString('base64url')}.${ca.fingerprint}`
}

interface Asked {
  path: string
  body: Record<string, string>
  req: IncomingMessage
}

/**
 * Answers like control does; what `answer` returns is the body, with 200, or an error with its
 * status.
 */
function answering(
  service: TestService,
  answer: (asked: Asked) => Promise<object> | object,
): Inbox<Asked> {
  const inbox = new Inbox<Asked>()
  service.onRequest = (req: IncomingMessage, res: ServerResponse) => {
    const chunks: Buffer[] = []
    req.on('data', (chunk) => chunks.push(chunk))
    req.on('end', async () => {
      const asked = { path: req.url!, body: JSON.parse(Buffer.concat(chunks).toString()), req }
      inbox.put(asked)
      const body = await answer(asked)
      res.statusCode = 'error' in body ? 403 : 200
      res.end(JSON.stringify(body))
    })
  }
  return inbox
}

async function issued(service: TestService, { body }: Asked, ca = service.ca): Promise<object> {
  return {
    certificate: await ca.issueFor(body.csr!, { uri: connectorUri }),
    caBundle: service.ca.pem,
    connectorId: 'c-9',
    connectorGroup: 'plant',
    service: service.url.origin,
  }
}

function code(expected: ConnectorErrorCode) {
  return (error: unknown) => {
    assert(error instanceof ConnectorError, String(error))
    assert.equal(error.code, expected, error.message)
    return true
  }
}

test('enrolment stores key, certificate, pinned CA and settings for their owner only', async (t) => {
  const service = await startService(t)
  const requests = answering(service, (asked) => issued(service, asked))
  const stateDir = join(makeStateDir(t), 'deep', 'state')
  const token = makeToken(service.ca)
  const enrolment = await enroll({
    service: service.url,
    token: `${token}\n`,
    stateDir,
    name: 'plant-1',
    allow: ['app.internal:443', '10.0.0.0/8'],
    proxy: new URL((await startProxy(t)).url),
  })
  assert.deepEqual(enrolment, {
    connectorId: 'c-9',
    connectorGroup: 'plant',
    sealingKeyFingerprint: readSealingKeyFingerprint(stateDir),
  })
  assert.equal(statSync(join(stateDir, 'sealing.key')).mode & 0o777, 0o600)
  const { path, body, req } = await requests.take()
  assert.equal(path, '/v1/enroll')
  assert.equal(req.method, 'POST')
  assert.equal(req.headers.host, service.url.host)
  assert.deepEqual(Object.keys(body).sort(), ['csr', 'instanceId', 'name', 'token'])
  assert.equal(body.token, token)
  assert.equal(body.name, 'plant-1')

  assert.equal(statSync(stateDir).mode & 0o777, 0o700)
  assert.deepEqual(readdirSync(stateDir).sort(), [
    'ca.pem',
    'connector.json',
    'connector.key',
    'connector.pem',
    'sealing.key',
  ])
  for (const file of readdirSync(stateDir)) {
    assert.equal(statSync(join(stateDir, file)).mode & 0o777, 0o600, file)
    assert(!readFileSync(join(stateDir, file), 'utf8').includes(token.split('.')[1]!), file)
  }
  const state = readState(stateDir)
  assert.equal(new X509Certificate(state.certificatePem).subjectAltName, `URI:${connectorUri}`)
  assert.deepEqual(state.settings.allow, ['app.internal:443', '10.0.0.0/8'])
  assert.equal(state.settings.service, service.url.origin)
  // And it works: the tunnel comes up with what was stored.
  await run(t, service, { state: { stateDir, issued: undefined as never } })
  await service.sessions.take()
})

test('the token is not sent to anybody whose CA it does not name', async (t) => {
  const interceptor = await makeAuthority('Corporate Inspection CA')
  const service = await startService(t, { serverAuthority: interceptor })
  const requests = answering(service, (asked) => issued(service, asked))
  const stateDir = makeStateDir(t)
  const options = { service: service.url, stateDir, allow: [] }
  await assert.rejects(enroll({ ...options, token: makeToken(service.ca) }), (error) => {
    code('SERVICE_CERTIFICATE_NOT_PINNED')(error)
    assert.match((error as Error).message, /Corporate Inspection CA/)
    return true
  })
  assert.equal(requests.all.length, 0)
  assert.deepEqual(readdirSync(stateDir), [])
})

test('a chain that merely contains the pinned CA is not enough', async (t) => {
  // The leaf is signed by another CA of the same name; the true CA's certificate is sent along.
  const service = await startService(t)
  const twin = await makeAuthority('Sallyport connector CA')
  const leaf = await twin.issue({ dns: ['connect.sallyport.localhost'] })
  const { createServer } = await import('node:tls')
  const server = createServer(
    {
      key: leaf.keyPem,
      cert: leaf.certificatePem + service.ca.pem,
      ALPNProtocols: ['sallyport-enroll/1'],
    },
    (socket) => socket.on('data', () => assert.fail('something was sent')),
  )
  server.on('tlsClientError', () => {})
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  const { port } = server.address() as { port: number }
  await assert.rejects(
    enroll({
      service: new URL(`https://connect.sallyport.localhost:${port}`),
      token: makeToken(service.ca),
      stateDir: makeStateDir(t),
      allow: [],
    }),
    code('SERVICE_CERTIFICATE_NOT_PINNED'),
  )
})

test('bad tokens and rules are refused before anything is sent or spent', async (t) => {
  const service = await startService(t)
  const requests = answering(service, (asked) => issued(service, asked))
  const stateDir = makeStateDir(t)
  const options = { service: service.url, stateDir, allow: [] }
  const good = makeToken(service.ca)
  for (const token of ['', 'x', 'sp2.a.b', good.slice(1), `${good}x`, good.replace('.', '..')])
    await assert.rejects(enroll({ ...options, token }), (error) => {
      code('TOKEN_INVALID')(error)
      assert(token === '' || token === 'x' || !(error as Error).message.includes(token))
      return true
    })
  await assert.rejects(
    enroll({ ...options, token: good, allow: ['10.0.0.5/8'] }),
    code('ALLOW_RULE_INVALID'),
  )
  await assert.rejects(
    enroll({ ...options, token: good, originCaFile: join(stateDir, 'missing.pem') }),
    code('STATE_INVALID'),
  )
  await assert.rejects(
    enroll({ ...options, token: good, service: new URL('http://connect.sallyport.localhost') }),
    code('SERVICE_UNREACHABLE'),
  )
  assert.equal(requests.all.length, 0)
})

test('an identity is never overwritten', async (t) => {
  const service = await startService(t)
  const { stateDir } = await enrolled(t, service)
  const before = readFileSync(join(stateDir, 'connector.key'), 'utf8')
  await assert.rejects(
    enroll({ service: service.url, token: makeToken(service.ca), stateDir, allow: [] }),
    code('ALREADY_ENROLLED'),
  )
  assert.equal(readFileSync(join(stateDir, 'connector.key'), 'utf8'), before)
})

test('a refusal of the service is passed on with its code, and nothing is stored', async (t) => {
  const service = await startService(t)
  answering(service, () => ({ error: { code: 'TOKEN_USED', message: 'used before' } }))
  const stateDir = makeStateDir(t)
  await assert.rejects(
    enroll({ service: service.url, token: makeToken(service.ca), stateDir, allow: [] }),
    (error) => {
      code('SERVICE_REFUSED')(error)
      assert.equal((error as ConnectorError).serviceCode, 'TOKEN_USED')
      assert.match((error as Error).message, /used before/)
      return true
    },
  )
  assert.deepEqual(readdirSync(stateDir), [])
})

test('an answer that cannot be used stores nothing', async (t) => {
  const service = await startService(t)
  const stateDir = makeStateDir(t)
  const other = await makeAuthority('Sallyport connector CA')
  const answers: ((asked: Asked) => Promise<object> | object)[] = [
    () => ({}),
    () => [],
    async (asked) => ({ ...(await issued(service, asked)), certificate: 'no' }),
    async (asked) => ({ ...(await issued(service, asked)), caBundle: '' }),
    async (asked) => ({ ...(await issued(service, asked)), connectorId: 7 }),
    // From a CA that is not the pinned one, and for a key that is not ours.
    (asked) => issued(service, asked, other),
    async (asked) => ({
      ...(await issued(service, asked)),
      certificate: (await service.ca.issue({ uri: connectorUri })).certificatePem,
    }),
  ]
  for (const answer of answers) {
    answering(service, answer)
    await assert.rejects(
      enroll({ service: service.url, token: makeToken(service.ca), stateDir, allow: [] }),
      code('SERVICE_RESPONSE_INVALID'),
    )
    assert.deepEqual(readdirSync(stateDir), [])
  }
  for (const raw of ['no json', 'x'.repeat(300_000)]) {
    service.onRequest = (req, res) => {
      req.resume()
      res.end(raw)
    }
    await assert.rejects(
      enroll({ service: service.url, token: makeToken(service.ca), stateDir, allow: [] }),
      code('SERVICE_RESPONSE_INVALID'),
    )
  }
})

test('a state directory that is not there, damaged or open to others is named', async (t) => {
  const service = await startService(t)
  const { chmodSync, rmSync } = await import('node:fs')
  const state = await enrolled(t, service)
  const { stateDir } = state
  const start = () => run(t, service, { state })
  chmodSync(join(stateDir, 'connector.key'), 0o640)
  await assert.rejects(start, code('STATE_INVALID'))
  chmodSync(join(stateDir, 'connector.key'), 0o600)
  const settings = readFileSync(join(stateDir, 'connector.json'), 'utf8')
  for (const damaged of ['', '[]', '{}', settings.replace('"allow"', '"alow"')]) {
    writeFileSync(join(stateDir, 'connector.json'), damaged)
    await assert.rejects(start, code('STATE_INVALID'))
  }
  writeFileSync(join(stateDir, 'connector.json'), settings)
  rmSync(join(stateDir, 'ca.pem'))
  await assert.rejects(start, code('STATE_INVALID'))
  rmSync(join(stateDir, 'connector.json'))
  await assert.rejects(start, code('NOT_ENROLLED'))
  assert(!existsSync(join(stateDir, 'status.sock')))
})

/** Answers renewals as control does, after checking the proof of possession. */
function renewing(
  service: TestService,
  certificateOf: (csr: string) => Promise<string>,
  caBundle = service.ca.pem,
): Inbox<Asked> {
  return answering(service, async ({ path, body }) => {
    if (path === '/v1/challenge') return { challenge: `sealed-${body.certificate!.length}` }
    if (path === '/v1/sealing-key') return {}
    assert.equal(path, '/v1/renew')
    const old = new X509Certificate(body.certificate!)
    const proven = verify(
      'sha256',
      Buffer.from(`sealed-${body.certificate!.length}`),
      old.publicKey,
      Buffer.from(body.signature!, 'base64url'),
    )
    if (!proven || body.challenge !== `sealed-${body.certificate!.length}`)
      return { error: { code: 'CHALLENGE_INVALID', message: 'not signed' } }
    return {
      certificate: await certificateOf(body.csr!),
      caBundle,
      connectorId: 'c1',
      connectorGroup: 'default',
      service: service.url.origin,
    }
  })
}

test('a certificate is renewed when two thirds of its life are over, stored, and used by a new tunnel while the old one drains', async (t) => {
  const service = await startService(t)
  const state = await enrolled(t, service, {
    notBeforeAt: Date.now() - 20.1 * dayMs,
    notAfterAt: Date.now() + 9.9 * dayMs,
  })
  const requests = renewing(service, (csr) => service.ca.issueFor(csr, { uri: connectorUri }))
  const { connector, log } = await run(t, service, { state })
  const first = await service.sessions.take()
  await log.lines.find(({ message }) => message === 'certificate renewed')
  await service.sessions.take()
  // Others of these requests are about the key that passwords are sealed to.
  assert.deepEqual(
    requests.all.map(({ path }) => path).filter((path) => path === '/v1/renew'),
    ['/v1/renew'],
  )
  const stored = new X509Certificate(readState(state.stateDir).certificatePem)
  const serialOf = (index: number) => service.sockets[index]!.getPeerCertificate().serialNumber
  assert.notEqual(stored.serialNumber.toLowerCase(), state.issued.serial)
  assert.equal(serialOf(1), stored.serialNumber)
  assert.equal(connector.status().certificate.serial, stored.serialNumber.toLowerCase())
  if (!first.draining) await new Promise((resolve) => service.sockets[0]!.once('close', resolve))
  assert.equal(first.draining, true)
  assert.deepEqual(
    readdirSync(state.stateDir).filter((file) => file.endsWith('.new')),
    [],
  )
})

test('a certificate that is not due is left alone', async (t) => {
  const service = await startService(t)
  const requests = answering(service, () => assert.fail('was asked'))
  const { connector } = await run(t, service)
  await service.sessions.take()
  const { renewAt, notAfterAt } = connector.status().certificate
  // 31 days from 1 day ago: two thirds end 19 2/3 days from now.
  assert(Math.abs(renewAt - (Date.now() + (19 + 2 / 3) * dayMs)) < 60_000)
  assert(notAfterAt > renewAt)
  assert.equal(requests.all.length, 0)
})

test('an expired certificate is renewed by its key before anything is dialled with it', async (t) => {
  const service = await startService(t)
  const state = await enrolled(t, service, {
    notBeforeAt: Date.now() - 60 * dayMs,
    notAfterAt: Date.now() - 30 * dayMs,
  })
  renewing(service, (csr) => service.ca.issueFor(csr, { uri: connectorUri }))
  await run(t, service, { state })
  await service.sessions.take()
  assert.equal(service.sockets.length, 1)
  const shown = service.sockets[0]!.getPeerCertificate().serialNumber.toLowerCase()
  assert.notEqual(shown, state.issued.serial)
})

test('a renewal that fails is told, tried again, and costs nothing while the certificate is valid', async (t) => {
  const service = await startService(t)
  const state = await enrolled(t, service, {
    notBeforeAt: Date.now() - 25 * dayMs,
    notAfterAt: Date.now() + 5 * dayMs,
  })
  answering(service, () => ({ error: { code: 'CONNECTOR_REVOKED', message: 'revoked' } }))
  const { connector, log, states } = await run(t, service, { state })
  await states.find(({ tunnels }) => tunnels[0]!.state === 'connected')
  const line = await log.lines.find(({ message }) => message === 'certificate not renewed')
  assert.equal(line.facts.code, 'SERVICE_REFUSED')
  const retryInMs = (line.facts.retryAt as number) - Date.now()
  assert(retryInMs > 30_000 && retryInMs <= 60_000, `${retryInMs}`)
  assert.equal(connector.status().certificate.lastError?.code, 'SERVICE_REFUSED')
  assert.equal(connector.status().tunnels[0]!.state, 'connected')
})

test('a renewed certificate that is no better than the old one is not stored', async (t) => {
  const service = await startService(t)
  const other = await makeAuthority('Other')
  for (const certificateOf of [
    (csr: string) => other.issueFor(csr, { uri: connectorUri }),
    (csr: string) =>
      service.ca.issueFor(csr, { uri: connectorUri, notAfterAt: Date.now() + dayMs }),
    async () => (await service.ca.issue({ uri: connectorUri })).certificatePem,
  ]) {
    const state = await enrolled(t, service, {
      notBeforeAt: Date.now() - 25 * dayMs,
      notAfterAt: Date.now() + 5 * dayMs,
    })
    renewing(service, certificateOf)
    const { log, connector } = await run(t, service, { state })
    const line = await log.lines.find(({ message }) => message === 'certificate not renewed')
    assert.equal(line.facts.code, 'SERVICE_RESPONSE_INVALID')
    assert.equal(readState(state.stateDir).certificatePem, state.issued.certificatePem)
    await connector.close()
  }
})

test('a bundle with the next CA is stored, so that the root can roll', async (t) => {
  const service = await startService(t)
  const next = await makeAuthority('Next connector CA')
  const state = await enrolled(t, service, {
    notBeforeAt: Date.now() - 25 * dayMs,
    notAfterAt: Date.now() + 5 * dayMs,
  })
  renewing(service, (csr) => next.issueFor(csr, { uri: connectorUri }), service.ca.pem + next.pem)
  const { log } = await run(t, service, { state })
  await log.lines.find(({ message }) => message === 'certificate renewed')
  const { caPem } = readState(state.stateDir)
  assert(caPem.includes(next.pem.trim()) && caPem.includes(service.ca.pem.trim()))
})
