import assert from 'node:assert/strict'
import { createHash, createPublicKey, X509Certificate } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { connect, createServer, type TLSSocket } from 'node:tls'
import { audit, connectors, settings } from '@sallyport/store'
import {
  type Enrolled,
  enrol,
  makeCsr,
  makeForeignCertificate,
  makeKeys,
  renew,
  signChallenge,
  toEnrolled,
} from './connector.ts'
import { baseDomain, post, serveEnrolment, startTestControl } from './service.ts'

const dayMs = 86_400_000

async function tokenOf(service: Awaited<ReturnType<typeof startTestControl>>): Promise<string> {
  return (await service.execute<{ token: string }>('token.create')).token
}

test('a connector that enrols gets a certificate for 30 days and belongs to its group', async (t) => {
  const service = await startTestControl(t)
  await service.execute('connector-group.create', { name: 'branch' })
  const port = await serveEnrolment(t, service.control)
  const created = await service.execute<{ token: string }>('token.create', {
    connectorGroup: 'branch',
  })
  const keys = await makeKeys()
  const answer = await post(service.control, port, '/v1/enroll', {
    token: created.token,
    csr: await makeCsr(keys),
    name: 'branch-1',
  })
  assert.equal(answer.statusCode, 200)
  assert.equal(answer.body.connectorGroup, 'branch')
  assert.equal(answer.body.service, `https://connect.${baseDomain}:8443`)
  assert.equal(answer.body.caBundle, service.control.connectorCa.certificatePem)

  const certificate = new X509Certificate(answer.body.certificate as string)
  const { connectorId } = answer.body
  assert.equal(
    certificate.subjectAltName,
    `URI:spiffe://${baseDomain}/connector/${connectorId as string}`,
  )
  assert.deepEqual(certificate.keyUsage, ['1.3.6.1.5.5.7.3.2'])
  assert.equal(certificate.ca, false)
  const begins = certificate.validFromDate.getTime() - Date.now()
  const ends = certificate.validToDate.getTime() - Date.now()
  assert.ok(Math.abs(begins + dayMs) < 60_000)
  assert.ok(Math.abs(ends - 30 * dayMs) < 60_000)

  assert.deepEqual(await service.control.authenticateConnector({ raw: certificate.raw }), {
    connectorId,
    connectorGroup: 'branch',
    name: 'branch-1',
  })
  assert.deepEqual(await service.auditKinds(), [
    'connector-group-created',
    'enrolment-token-created',
    'connector-enrolled',
  ])
})

test('the token names the CA whose chain the service shows', async (t) => {
  const service = await startTestControl(t)
  const port = await serveEnrolment(t, service.control)
  const [, , fingerprint] = (await tokenOf(service)).split('.')
  const socket = connect({
    port,
    host: '127.0.0.1',
    servername: `connect.${baseDomain}`,
    ALPNProtocols: ['sallyport-enroll/1'],
    rejectUnauthorized: false,
  })
  t.after(() => socket.destroy())
  await new Promise((resolve) => socket.once('secureConnect', resolve))
  const root = socket.getPeerCertificate(true).issuerCertificate
  assert.equal(createHash('sha256').update(root.raw).digest('base64url'), fingerprint)
  assert.equal(fingerprint, service.control.connectorCa.fingerprint)
})

test('attack 50: of 30 simultaneous redemptions of one token exactly one succeeds', async (t) => {
  const service = await startTestControl(t)
  const port = await serveEnrolment(t, service.control)
  const token = await tokenOf(service)
  const requests = await Promise.all(
    Array.from({ length: 30 }, async (_, index) => ({
      token,
      csr: await makeCsr(await makeKeys()),
      name: `racer-${index}`,
    })),
  )
  const answers = await Promise.all(
    requests.map((body) => post(service.control, port, '/v1/enroll', body)),
  )
  assert.equal(answers.filter(({ statusCode }) => statusCode === 200).length, 1)
  assert.equal(answers.filter(({ errorCode }) => errorCode === 'TOKEN_USED').length, 29)
  assert.equal((await connectors.listConnectors(service.store.db)).length, 1)
})

test('attack 50: a token that was used is refused, and an administrator hears of it', async (t) => {
  const service = await startTestControl(t)
  const port = await serveEnrolment(t, service.control)
  const token = await tokenOf(service)
  const body = { token, csr: await makeCsr(await makeKeys()), name: 'one' }
  const first = await post(service.control, port, '/v1/enroll', body)
  assert.equal(first.statusCode, 200)
  const second = await post(service.control, port, '/v1/enroll', body)
  assert.equal(second.statusCode, 401)
  assert.equal(second.errorCode, 'TOKEN_USED')
  const [event] = await audit.listAudit(service.store.db, { kind: 'enrolment-token-replayed' })
  assert.equal(event?.detail.connectorId, first.body.connectorId)
  assert.equal(event?.detail.clientAddress, '127.0.0.1')
  // Not once per attempt: the log must not be a way to fill the disk.
  await post(service.control, port, '/v1/enroll', body)
  assert.equal(
    (await audit.listAudit(service.store.db, { kind: 'enrolment-token-replayed' })).length,
    1,
  )
})

test('a token is good until it expires', async (t) => {
  const service = await startTestControl(t)
  const port = await serveEnrolment(t, service.control)
  const token = await tokenOf(service)
  const body = { token, csr: await makeCsr(await makeKeys()), name: 'late' }
  service.advance(3_600_001)
  const late = await post(service.control, port, '/v1/enroll', body)
  assert.equal(late.errorCode, 'TOKEN_EXPIRED')
  service.advance(-60_000)
  const inTime = await post(service.control, port, '/v1/enroll', body)
  assert.equal(inTime.statusCode, 200)
})

test('a token that nobody made is refused', async (t) => {
  const service = await startTestControl(t)
  const port = await serveEnrolment(t, service.control)
  const token = await tokenOf(service)
  const csr = await makeCsr(await makeKeys())
  for (const wrong of [
    '',
    'sp1',
    `${token}x`,
    token.slice(0, -1),
    token.toUpperCase(),
    `sp1.${'A'.repeat(43)}.${token.split('.')[2]}`,
  ]) {
    const answer = await post(service.control, port, '/v1/enroll', { token: wrong, csr, name: 'x' })
    assert.equal(answer.errorCode, 'TOKEN_INVALID', wrong)
  }
})

test('neither tokens nor keys are in the database, the log or the audit log', async (t) => {
  const service = await startTestControl(t)
  const port = await serveEnrolment(t, service.control)
  const token = await tokenOf(service)
  const body = { token, csr: await makeCsr(await makeKeys()), name: 'one' }
  await post(service.control, port, '/v1/enroll', body)
  await post(service.control, port, '/v1/enroll', body)
  const secret = token.split('.')[1]!
  assert.ok(!JSON.stringify(service.lines).includes(secret))
  await service.close()
  for (const name of await readdir(service.dataDir)) {
    const bytes = await readFile(`${service.dataDir}/${name}`)
    assert.ok(!bytes.includes(secret), name)
    assert.ok(!bytes.includes('PRIVATE KEY'), name)
  }
})

test('nothing but the public key is taken from a signing request', async (t) => {
  const service = await startTestControl(t)
  const port = await serveEnrolment(t, service.control)
  const keys = await makeKeys()
  const { statusCode, body } = await post(service.control, port, '/v1/enroll', {
    token: await tokenOf(service),
    csr: await makeCsr(keys, true),
    name: 'greedy',
  })
  assert.equal(statusCode, 200)
  const certificate = new X509Certificate(body.certificate as string)
  assert.equal(
    certificate.subjectAltName,
    `URI:spiffe://${baseDomain}/connector/${body.connectorId as string}`,
  )
  assert.equal(certificate.ca, false)
  assert.deepEqual(certificate.keyUsage, ['1.3.6.1.5.5.7.3.2'])
  assert.ok(!certificate.subject.includes('Evil') && !certificate.subject.includes('login'))
})

test('a signing request must hold a P-256 key and be signed with it', async (t) => {
  const service = await startTestControl(t)
  const port = await serveEnrolment(t, service.control)
  const token = await tokenOf(service)
  const honest = await makeCsr(await makeKeys())
  const der = Buffer.from(honest.replace(/-----[^-]+-----|\s/g, ''), 'base64')
  // The last byte belongs to the signature.
  der[der.length - 1]! ^= 1
  const forged = `-----BEGIN CERTIFICATE REQUEST-----\n${der.toString('base64')}\n-----END CERTIFICATE REQUEST-----`
  for (const csr of [
    'nonsense',
    '-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----',
    forged,
    await makeCsr(await makeKeys('P-384')),
  ]) {
    const answer = await post(service.control, port, '/v1/enroll', { token, csr, name: 'x' })
    assert.equal(answer.errorCode, 'CSR_INVALID')
    assert.equal(answer.statusCode, 400)
  }
  // None of them has spent the token.
  const answer = await post(service.control, port, '/v1/enroll', { token, csr: honest, name: 'x' })
  assert.equal(answer.statusCode, 200)
})

test('malformed requests are refused with a reason, and the service goes on', async (t) => {
  const service = await startTestControl(t)
  const port = await serveEnrolment(t, service.control)
  const send = (path: string, options: Parameters<typeof post>[4]) =>
    post(service.control, port, path, {}, options)
  const cases: [Parameters<typeof post>[4], number][] = [
    [{ raw: '{' }, 400],
    [{ raw: '[]' }, 400],
    [{ raw: 'null' }, 400],
    [{ raw: '{}' }, 400],
    [{ raw: '{"token":1,"csr":[],"name":{}}' }, 400],
    [{ raw: '{"token":"a","csr":"b","name":"c","more":1}' }, 400],
    [{ raw: `{"token":"${'x'.repeat(70_000)}"}` }, 400],
    [{ raw: '{}', headers: { 'content-type': 'text/plain' } }, 400],
    [{ raw: '{"token":"a","csr":"b","name":"bad\\nname"}' }, 400],
    [{ raw: '{}', method: 'PUT' }, 405],
  ]
  for (const [options, statusCode] of cases)
    assert.equal((await send('/v1/enroll', options)).statusCode, statusCode, options?.raw)
  assert.equal((await send('/v1/other', { raw: '{}' })).statusCode, 404)
  assert.equal((await send('/v1/enroll?x', { raw: '{}' })).statusCode, 404)
  assert.deepEqual(
    service.lines.filter(({ level }) => level === 'error'),
    [],
  )
})

test('one address that asks without end is slowed down', async (t) => {
  const service = await startTestControl(t)
  const port = await serveEnrolment(t, service.control)
  const codes: (string | undefined)[] = []
  for (let index = 0; index < 70; index += 1)
    codes.push((await post(service.control, port, '/v1/enroll', {})).errorCode)
  assert.equal(codes[0], 'REQUEST_INVALID')
  assert.equal(codes.at(-1), 'RATE_LIMITED')
  service.advance(60_000)
  assert.equal((await post(service.control, port, '/v1/enroll', {})).errorCode, 'REQUEST_INVALID')
})

test('attack 52: certificates of another CA, of the service or of nobody are refused', async (t) => {
  const service = await startTestControl(t)
  const port = await serveEnrolment(t, service.control)
  const { connectorId } = await enrol(service, port)
  const uri = `spiffe://${baseDomain}/connector/${connectorId}`
  const chain = service.control.connectServerContext().cert
  const wrong: [Buffer, string][] = [
    [await makeForeignCertificate(uri), 'CERTIFICATE_INVALID'],
    [new X509Certificate(chain).raw, 'CERTIFICATE_INVALID'],
    [new X509Certificate(service.control.connectorCa.certificatePem).raw, 'CERTIFICATE_INVALID'],
    [
      new X509Certificate(service.control.serverContext(`login.${baseDomain}`)!.cert).raw,
      'CERTIFICATE_INVALID',
    ],
    [Buffer.from('no certificate'), 'CERTIFICATE_INVALID'],
  ]
  for (const [raw, code] of wrong)
    await assert.rejects(service.control.authenticateConnector({ raw }), { code })
})

test('attack 52: TLS itself refuses a connector of another CA, and accepts one of ours', async (t) => {
  const service = await startTestControl(t)
  const port = await serveEnrolment(t, service.control)
  const ours = await enrol(service, port)
  const other = await startTestControl(t)
  const theirs = await enrol(other, await serveEnrolment(t, other.control))
  const accepted: string[] = []
  const server = createServer(
    {
      ...service.control.connectServerContext(),
      minVersion: 'TLSv1.3',
      requestCert: true,
      rejectUnauthorized: true,
      ca: service.control.connectorCa.certificatePem,
    },
    (socket: TLSSocket) => {
      service.control
        .authenticateConnector({ raw: socket.getPeerX509Certificate()!.raw })
        .then(({ connectorId }) => {
          accepted.push(connectorId)
          socket.end('welcome')
        })
    },
  )
  server.on('tlsClientError', () => {})
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  const dial = ({ keys, certificatePem }: Enrolled): Promise<string> =>
    new Promise((resolve) => {
      const socket = connect({
        port: (server.address() as AddressInfo).port,
        host: '127.0.0.1',
        servername: `connect.${baseDomain}`,
        ca: service.control.connectorCa.certificatePem,
        key: keys.keyPem,
        cert: certificatePem,
      })
      let text = ''
      socket.on('data', (chunk) => {
        text += String(chunk)
      })
      // Node closes without an alert; what counts is that nothing was said and nobody let in.
      socket.on('error', () => {})
      socket.on('close', () => resolve(text))
    })
  assert.equal(await dial(ours), 'welcome')
  assert.equal(await dial(theirs), '')
  assert.deepEqual(accepted, [ours.connectorId])
})

test('attack 52: an expired certificate opens no tunnel, and one from before its time neither', async (t) => {
  const service = await startTestControl(t)
  const port = await serveEnrolment(t, service.control)
  const { raw } = await enrol(service, port)
  service.advance(-23 * 3_600_000)
  await service.control.authenticateConnector({ raw })
  service.advance(-2 * 3_600_000)
  await assert.rejects(service.control.authenticateConnector({ raw }), {
    code: 'CERTIFICATE_EXPIRED',
  })
  service.advance(25 * 3_600_000 + 30 * dayMs + 1000)
  await assert.rejects(service.control.authenticateConnector({ raw }), {
    code: 'CERTIFICATE_EXPIRED',
  })
})

test('a renewed certificate is put in force by its first use, and supersedes the old one', async (t) => {
  const service = await startTestControl(t)
  const { control, store } = service
  const port = await serveEnrolment(t, control)
  const old = await enrol(service, port)
  service.advance(20 * dayMs)
  const answer = await renew(control, port, old)
  assert.equal(answer.statusCode, 200)
  const renewed = toEnrolled(old.keys, answer.body)
  assert.equal(renewed.connectorId, old.connectorId)

  // Its answer may have been lost: until the new one is used, the old one is good.
  await control.authenticateConnector({ raw: old.raw })
  await Promise.all([
    control.authenticateConnector({ raw: renewed.raw }),
    control.authenticateConnector({ raw: renewed.raw }),
  ])
  const row = await connectors.findConnectorById(store.db, old.connectorId)
  assert.equal(row?.certificateSerial, renewed.serial)
  assert.equal(row?.nextCertificateSerial, undefined)

  await assert.rejects(control.authenticateConnector({ raw: old.raw }), {
    code: 'CERTIFICATE_SUPERSEDED',
  })
  assert.equal((await renew(control, port, old)).errorCode, 'CERTIFICATE_SUPERSEDED')
  assert.equal(
    (await audit.listAudit(store.db, { kind: 'connector-certificate-superseded-used' })).length,
    1,
  )
  await control.authenticateConnector({ raw: renewed.raw })
})

test('a certificate that was issued after a backup is adopted once that is restored, an older one never', async (t) => {
  const service = await startTestControl(t)
  const { control, store } = service
  const port = await serveEnrolment(t, control)
  const old = await enrol(service, port)
  const backup = await connectors.findConnectorById(store.db, old.connectorId)
  const backupAt = service.now()
  service.advance(3_600_000)
  const skipped = toEnrolled(old.keys, (await renew(control, port, old)).body)
  await control.authenticateConnector({ raw: skipped.raw })
  service.advance(3_600_000)
  const newest = toEnrolled(old.keys, (await renew(control, port, skipped)).body)
  await control.authenticateConnector({ raw: newest.raw })

  const putBack = () =>
    store.db
      .updateTable('connector')
      .set({ certificateSerial: old.serial, certificateNotAfterAt: backup!.certificateNotAfterAt })
      .execute()
  const adopt = (one: { raw: Buffer }) => control.authenticateConnector({ raw: one.raw })
  await putBack()
  // Without a restoration there is no such certificate.
  await assert.rejects(adopt(newest), { code: 'CERTIFICATE_SUPERSEDED' })
  const restoredAt = service.now()
  await settings.saveSetting(store.db, 'restored', JSON.stringify({ backupAt, restoredAt }))
  assert.equal((await adopt(newest)).connectorId, old.connectorId)
  for (const earlier of [old, skipped])
    await assert.rejects(adopt(earlier), { code: 'CERTIFICATE_SUPERSEDED' })
  assert.ok((await service.auditKinds()).includes('connector-certificate-adopted'))
  // The same where it asks for a new certificate first.
  await putBack()
  assert.equal((await renew(control, port, newest)).statusCode, 200)

  await putBack()
  await service.execute('connector.revoke', { connector: old.connectorId })
  await assert.rejects(adopt(newest), { code: 'CONNECTOR_REVOKED' })
})

test('a connector may renew with a new key', async (t) => {
  const service = await startTestControl(t)
  const port = await serveEnrolment(t, service.control)
  const old = await enrol(service, port)
  const newKeys = await makeKeys()
  const answer = await renew(service.control, port, old, newKeys)
  const renewed = toEnrolled(newKeys, answer.body)
  assert.ok(
    new X509Certificate(renewed.certificatePem).publicKey.equals(createPublicKey(newKeys.keyPem)),
  )
  await service.control.authenticateConnector({ raw: renewed.raw })
  // And again, with the key that is now in force.
  assert.equal((await renew(service.control, port, renewed)).statusCode, 200)
})

test('a certificate that was renewed but never used can be renewed again', async (t) => {
  const service = await startTestControl(t)
  const port = await serveEnrolment(t, service.control)
  const old = await enrol(service, port)
  const first = toEnrolled(old.keys, (await renew(service.control, port, old)).body)
  const second = toEnrolled(old.keys, (await renew(service.control, port, old)).body)
  await assert.rejects(service.control.authenticateConnector({ raw: first.raw }), {
    code: 'CERTIFICATE_SUPERSEDED',
  })
  // Its key was shown, which is as good as a tunnel.
  assert.equal((await renew(service.control, port, second)).statusCode, 200)
  await assert.rejects(service.control.authenticateConnector({ raw: old.raw }), {
    code: 'CERTIFICATE_SUPERSEDED',
  })
})

test('an expired connector renews for 90 days, and not after', async (t) => {
  const service = await startTestControl(t)
  const port = await serveEnrolment(t, service.control)
  const old = await enrol(service, port)
  service.advance(30 * dayMs + 89 * dayMs)
  const answer = await renew(service.control, port, old)
  assert.equal(answer.statusCode, 200)
  const { raw } = toEnrolled(old.keys, answer.body)
  await service.control.authenticateConnector({ raw })

  const late = await enrol(service, port)
  service.advance(30 * dayMs + 91 * dayMs)
  assert.equal((await renew(service.control, port, late)).errorCode, 'CERTIFICATE_EXPIRED')
})

test('attack 52: a revoked connector gets no tunnel, no challenge and no renewal', async (t) => {
  const service = await startTestControl(t)
  const { control } = service
  const port = await serveEnrolment(t, control)
  const enrolled = await enrol(service, port)
  const asked = await post(control, port, '/v1/challenge', {
    certificate: enrolled.certificatePem,
  })
  const challenge = asked.body.challenge as string
  await service.execute('connector.revoke', { connector: 'branch-1' })
  assert.deepEqual(service.events.at(-1), {
    kind: 'connector-revoked',
    connectorId: enrolled.connectorId,
    at: service.events.at(-1)!.at,
  })
  await assert.rejects(control.authenticateConnector({ raw: enrolled.raw }), {
    code: 'CONNECTOR_REVOKED',
  })
  assert.equal((await renew(control, port, enrolled)).errorCode, 'CONNECTOR_REVOKED')
  // With a challenge from before it was revoked.
  const answer = await post(control, port, '/v1/renew', {
    certificate: enrolled.certificatePem,
    csr: await makeCsr(enrolled.keys),
    challenge,
    signature: signChallenge(challenge, enrolled.keys.keyPem),
  })
  assert.equal(answer.errorCode, 'CONNECTOR_REVOKED')
  service.advance(31 * dayMs)
  assert.equal((await renew(control, port, enrolled)).errorCode, 'CONNECTOR_REVOKED')
})

test('a renewal needs the key: the certificate alone gets nothing, changes nothing, alarms nobody', async (t) => {
  const service = await startTestControl(t)
  const { control, store } = service
  const port = await serveEnrolment(t, control)
  const old = await enrol(service, port)
  const renewed = toEnrolled(old.keys, (await renew(control, port, old)).body)
  const thief = await makeKeys()
  const asked = await post(control, port, '/v1/challenge', { certificate: renewed.certificatePem })
  const challenge = asked.body.challenge as string
  for (const signature of [
    signChallenge(challenge, thief.keyPem),
    signChallenge(`${challenge} `, old.keys.keyPem),
    '',
    'AAAA',
  ]) {
    const answer = await post(control, port, '/v1/renew', {
      certificate: renewed.certificatePem,
      csr: await makeCsr(thief),
      challenge,
      signature,
    })
    assert.equal(answer.errorCode, 'CHALLENGE_INVALID')
  }
  // Had it put the unused certificate in force, the old one would be superseded.
  await control.authenticateConnector({ raw: old.raw })
  assert.deepEqual(
    await audit.listAudit(store.db, { kind: 'connector-certificate-superseded-used' }),
    [],
  )
})

test('a challenge is good once, for a minute, for one certificate, and only if it is ours', async (t) => {
  const service = await startTestControl(t)
  const { control } = service
  const port = await serveEnrolment(t, control)
  const one = await enrol(service, port, 'one')
  const two = await enrol(service, port, 'two')
  const askFor = async ({ certificatePem }: Enrolled) =>
    (await post(control, port, '/v1/challenge', { certificate: certificatePem })).body
      .challenge as string
  const answer = async (challenge: string, { certificatePem, keys }: Enrolled) =>
    post(control, port, '/v1/renew', {
      certificate: certificatePem,
      csr: await makeCsr(keys),
      challenge,
      signature: signChallenge(challenge, keys.keyPem),
    })
  const used = await askFor(one)
  assert.equal((await answer(used, one)).statusCode, 200)
  assert.equal((await answer(used, one)).errorCode, 'CHALLENGE_INVALID')
  assert.equal((await answer(await askFor(two), one)).errorCode, 'CHALLENGE_INVALID')
  const old = await askFor(one)
  service.advance(60_001)
  assert.equal((await answer(old, one)).errorCode, 'CHALLENGE_INVALID')
  for (const foreign of ['', 'x', 's1.AAAA', `${old}A`])
    assert.equal((await answer(foreign, one)).errorCode, 'CHALLENGE_INVALID')
})

test('a tunnel that was let in while its connector is revoked is there when that is told', async (t) => {
  const service = await startTestControl(t)
  const { control, execute, store } = service
  const port = await serveEnrolment(t, control)
  let letIn = 0
  for (let round = 0; round < 12; round += 1) {
    const { raw, connectorId } = await enrol(service, port, `branch-${round}`)
    const order: string[] = []
    const unsubscribe = store.feed.subscribe(({ kind }) => order.push(kind))
    const revoke = async () => {
      // The dial is as many questions to the database ahead.
      for (let ahead = 0; ahead < round % 4; ahead += 1)
        await connectors.findConnectorById(store.db, connectorId)
      await execute('connector.revoke', { connector: connectorId })
    }
    const dial = () =>
      control.authenticateConnector({ raw }).then(
        () => order.push('let in'),
        (error: { code: string }) => assert.equal(error.code, 'CONNECTOR_REVOKED'),
      )
    await Promise.all([dial(), revoke()])
    unsubscribe()
    if (order.includes('let in')) letIn += 1
    assert.notDeepEqual(order, ['connector-revoked', 'let in'])
  }
  assert.ok(letIn > 0 && letIn < 12, `${letIn} of 12 were let in`)
})

test('connectors stay enrolled over a restart', async (t) => {
  const first = await startTestControl(t)
  const enrolled = await enrol(first, await serveEnrolment(t, first.control))
  const second = await first.restart()
  assert.equal(second.control.connectorCa.fingerprint, first.control.connectorCa.fingerprint)
  assert.equal(
    second.control.connectServerContext().cert,
    first.control.connectServerContext().cert,
  )
  await second.control.authenticateConnector({ raw: enrolled.raw })
})
