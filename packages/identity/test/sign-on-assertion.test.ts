import assert from 'node:assert/strict'
import { randomUUID, verify, X509Certificate } from 'node:crypto'
import test from 'node:test'
import { connectorGroups, connectors, groups, users } from '@sallyport/store'
import { type Fixture, loginOrigin, type Published, signIn, startFixture } from './fixture.ts'
import { signOnPair } from './sign-on-pair.ts'

async function addConnector(fixture: Fixture, groupName = 'default'): Promise<string> {
  const { db } = fixture.store
  const known = await connectorGroups.findConnectorGroupByName(db, groupName)
  const group = known ?? (await connectorGroups.createConnectorGroup(db, { name: groupName }, 1))!
  const id = randomUUID()
  const certificate = { serial: id, notAfterAt: 2 ** 42, publicKeyThumbprint: id }
  await connectors.createConnector(db, { id, name: id, groupId: group.id, certificate }, 1)
  return id
}

function publishKerberos(fixture: Fixture, more: object = {}): Published {
  return fixture.publish(`iwa${randomUUID().slice(0, 8)}`, {
    assignmentRequired: false,
    internalUrl: 'http://iwa.corp.example/',
    signOn: {
      method: 'kerberos',
      kerberosServicePrincipalName: 'HTTP/iwa.corp.example',
      kerberosSignOnMappingAttributeType: 'onPremisesSAMAccountName',
    },
    ...more,
  })
}

function read(token: string): { header: Record<string, unknown>; claims: Record<string, unknown> } {
  const [header, payload, signature] = token.split('.') as [string, string, string]
  const { publicKey } = new X509Certificate(signOnPair.certificatePem)
  assert.ok(
    verify(
      'sha256',
      Buffer.from(`${header}.${payload}`),
      { key: publicKey, dsaEncoding: 'ieee-p1363' },
      Buffer.from(signature, 'base64url'),
    ),
  )
  const decode = (part: string) => JSON.parse(Buffer.from(part, 'base64url').toString('utf8'))
  return { header: decode(header), claims: decode(payload) }
}

test('an assertion says who, where, for whom and until when, and how the domain calls the person', async (t) => {
  const fixture = await startFixture(t)
  const connectorId = await addConnector(fixture)
  await addConnector(fixture, 'elsewhere')
  const userId = await fixture.addUser('ana')
  await users.updateUser(
    fixture.store.db,
    userId,
    { onPremisesSamAccountName: 'alindqvist', onPremisesDomainName: 'corp.example' },
    1,
  )
  const iwa = publishKerberos(fixture)
  const { sessionId } = await signIn(fixture, fixture.browser(), fixture.hr, 'ana')
  const { token, expiresAt } = await fixture.identity.signOnAssertion({
    sessionId,
    applicationId: iwa.id,
    label: undefined,
  })
  const nowAt = fixture.time.nowAt
  assert.equal(expiresAt, nowAt + 300_000)
  const { header, claims } = read(token)
  assert.deepEqual(
    { ...header, x5c: undefined },
    { alg: 'ES256', typ: 'sallyport-sign-on+jwt', x5c: undefined },
  )
  assert.deepEqual(claims, {
    iss: loginOrigin,
    aud: [connectorId],
    sub: userId,
    sid: sessionId,
    app: iwa.id,
    origin: 'http://iwa.corp.example',
    validate: true,
    method: 'kerberos',
    login: { type: 'principal', name: 'alindqvist', realm: 'CORP.EXAMPLE' },
    spn: 'HTTP/iwa.corp.example',
    tokenFormat: 'spnego',
    sendToken: 'always',
    iat: Math.floor((nowAt - 60_000) / 1000),
    exp: Math.floor(expiresAt / 1000),
  })
})

test('no assertion outlives its session', async (t) => {
  const fixture = await startFixture(t)
  await fixture.addUser('ana')
  const iwa = publishKerberos(fixture, {
    signOn: { method: 'kerberos', kerberosServicePrincipalName: 'HTTP/iwa.corp.example' },
  })
  const { sessionId, absoluteExpiresAt } = await signIn(
    fixture,
    fixture.browser(),
    fixture.hr,
    'ana',
  )
  fixture.time.nowAt = absoluteExpiresAt - 10_000
  const request = { sessionId, applicationId: iwa.id, label: undefined }
  assert.equal((await fixture.identity.signOnAssertion(request)).expiresAt, absoluteExpiresAt)
  fixture.time.nowAt = absoluteExpiresAt
  await assert.rejects(fixture.identity.signOnAssertion(request), { code: 'SESSION_ENDED' })
})

test('nobody gets an assertion without a session that stands, an assignment and a name in the domain', async (t) => {
  const fixture = await startFixture(t)
  const userId = await fixture.addUser('ana')
  const iwa = publishKerberos(fixture)
  const assigned = publishKerberos(fixture, { assignmentRequired: true })
  const open = publishKerberos(fixture, { preAuthentication: 'identity', signOn: undefined })
  const { sessionId } = await signIn(fixture, fixture.browser(), fixture.hr, 'ana')
  const ask = (applicationId: string, label?: string, session = sessionId) =>
    fixture.identity.signOnAssertion({ sessionId: session, applicationId, label })
  await assert.rejects(ask(iwa.id), { code: 'SIGN_ON_NAME_MISSING' })
  await users.updateUser(fixture.store.db, userId, { onPremisesSamAccountName: 'ana' }, 1)
  await ask(iwa.id)
  await assert.rejects(ask(assigned.id), { code: 'SIGN_ON_REFUSED' })
  await assert.rejects(ask(open.id), { code: 'SIGN_ON_REFUSED' })
  await assert.rejects(ask(randomUUID()), { code: 'SIGN_ON_REFUSED' })
  await assert.rejects(ask(iwa.id, undefined, randomUUID()), { code: 'SESSION_ENDED' })
  await fixture.identity.endSession(sessionId, 'administrator')
  await assert.rejects(ask(iwa.id), { code: 'SESSION_ENDED' })
})

test('an assignment through a group of any depth is an assignment', async (t) => {
  const fixture = await startFixture(t)
  const { db } = fixture.store
  const userId = await fixture.addUser('ana')
  const outer = (await groups.createGroup(db, { name: 'staff' }, 1))!
  const iwa = publishKerberos(fixture, {
    assignmentRequired: true,
    principalIds: [outer.id],
    signOn: { method: 'kerberos', kerberosServicePrincipalName: 'HTTP/iwa.corp.example' },
  })
  const { sessionId } = await signIn(fixture, fixture.browser(), fixture.hr, 'ana')
  const request = { sessionId, applicationId: iwa.id, label: undefined }
  await assert.rejects(fixture.identity.signOnAssertion(request), { code: 'SIGN_ON_REFUSED' })
  await groups.addMember(db, outer.id, { kind: 'user', id: userId }, 1)
  await fixture.identity.signOnAssertion(request)
})

test('a wildcard is filled by one label, which is in origin and service principal name', async (t) => {
  const fixture = await startFixture(t)
  await fixture.addUser('ana')
  const iwa = fixture.publish('wild', {
    externalUrl: 'https://*.wild.example.test/',
    internalUrl: 'https://*.corp.example:8443/',
    assignmentRequired: false,
    signOn: { method: 'kerberos', kerberosServicePrincipalName: 'HTTP/*.corp.example' },
  })
  const { sessionId } = await signIn(fixture, fixture.browser(), fixture.hr, 'ana')
  const ask = (label: string | undefined) =>
    fixture.identity.signOnAssertion({ sessionId, applicationId: iwa.id, label })
  const { claims } = read((await ask('reports')).token)
  assert.equal(claims.origin, 'https://reports.corp.example:8443')
  assert.equal(claims.spn, 'HTTP/reports.corp.example')
  for (const label of [undefined, '', 'a.b', 'a/b', 'A', '-a', 'a@b', 'x'.repeat(64), '*'])
    await assert.rejects(ask(label), { code: 'SIGN_ON_REFUSED' })
})

test('a connector is told what it would be told with a request, and only of its own applications and their people', async (t) => {
  const fixture = await startFixture(t)
  const { db } = fixture.store
  const userId = await fixture.addUser('ana')
  await fixture.addUser('ben')
  await users.updateUser(db, userId, { onPremisesSamAccountName: 'alindqvist' }, 1)
  const iwa = publishKerberos(fixture, {
    assignmentRequired: true,
    principalIds: [userId],
    validateBackendCertificate: false,
  })
  const open = publishKerberos(fixture, { signOn: undefined })
  const elsewhere = publishKerberos(fixture, { connectorGroup: 'elsewhere' })
  fixture.publish('wild', {
    externalUrl: 'https://*.wild.example.test/',
    internalUrl: 'https://*.corp.example:8443/start/',
    assignmentRequired: false,
    signOn: { method: 'kerberos', kerberosServicePrincipalName: 'HTTP/*.corp.example' },
  })
  const nameOf = ({ id }: Published) => fixture.snapshot().findApplicationById(id)!.application.name
  const ask = (application: string, user = 'ana', label?: string) =>
    fixture.identity.signOnCheck({
      connectorId: 'c1',
      connectorGroup: 'default',
      application,
      user,
      label,
    })
  const answer = await ask(nameOf(iwa), 'ANA')
  assert.ok('token' in answer)
  const { header, claims } = read(answer.token)
  assert.equal(header.typ, 'sallyport-sign-on-check+jwt')
  const { iat, exp, iss, ...said } = claims
  assert.equal(iss, loginOrigin)
  assert.ok((exp as number) - (iat as number) <= 600)
  assert.deepEqual(said, {
    aud: ['c1'],
    sub: userId,
    app: iwa.id,
    origin: 'http://iwa.corp.example',
    method: 'kerberos',
    login: { type: 'principal', name: 'alindqvist' },
    spn: 'HTTP/iwa.corp.example',
    tokenFormat: 'spnego',
    sendToken: 'always',
    application: nameOf(iwa),
    user: 'ana',
    path: '/',
    validate: false,
  })
  const filled = await ask('wild', 'ben', 'reports')
  assert.ok('token' in filled)
  assert.equal(read(filled.token).claims.origin, 'https://reports.corp.example:8443')
  assert.equal(read(filled.token).claims.path, '/start/')

  const refusal = async (application: string, user = 'ana', label?: string) => {
    const refused = await ask(application, user, label)
    assert.ok('refused' in refused, JSON.stringify(refused))
    return refused
  }
  for (const [question, code] of [
    [['nothing', 'ana'], 'APPLICATION_UNKNOWN'],
    [[nameOf(elsewhere), 'ana'], 'APPLICATION_OF_ANOTHER_GROUP'],
    [[nameOf(open), 'ana'], 'APPLICATION_NOT_KERBEROS'],
    [['wild', 'ana'], 'HOST_LABEL_INVALID'],
    [['wild', 'ana', 'a.b'], 'HOST_LABEL_INVALID'],
    [[nameOf(iwa), 'ben'], 'USER_NOT_ASSIGNED'],
  ] as const)
    assert.equal(
      (await refusal(question[0], question[1], question[2])).refused,
      code,
      question.join(' '),
    )
  assert.doesNotMatch((await refusal(nameOf(elsewhere))).message, /elsewhere/)
  // Who is not assigned and who does not exist are told alike.
  const messageOf = async (user: string) =>
    (await refusal(nameOf(iwa), user)).message.replaceAll(user, '…')
  assert.equal(await messageOf('ben'), await messageOf('nobody'))
  await users.updateUser(db, userId, { onPremisesSamAccountName: null }, 1)
  assert.equal((await refusal(nameOf(iwa))).refused, 'USER_NAME_MISSING')
  await users.setEnabled(db, userId, false, 1)
  assert.equal((await refusal(nameOf(iwa))).refused, 'USER_NOT_ASSIGNED')
})
