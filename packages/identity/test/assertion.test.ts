import assert from 'node:assert/strict'
import type { KeyObject } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { groups, users } from '@sallyport/store'
import { createLocalJWKSet, decodeJwt, type JWTPayload, jwtVerify, SignJWT } from 'jose'
import {
  type Fixture,
  loginOrigin,
  makeAssertionRing,
  nest,
  type Published,
  signIn,
  startFixture,
} from './fixture.ts'

const keysUrl = `${loginOrigin}/.well-known/jwks.json`
const groupsUrl = `${loginOrigin}/assertion/groups`

interface Setting {
  fixture: Fixture
  crm: Published
  userId: string
  sessionId: string
  make(): Promise<string>
  /** As an origin does it: by what is published. */
  verify(token: string, audience?: string): Promise<JWTPayload>
  askGroups(token?: string): Promise<{ status: number; body: string; authenticate?: string }>
}

/** Somebody is signed in to an application that takes assertions; everybody may use it. */
async function start(t: TestContext): Promise<Setting> {
  const fixture = await startFixture(t)
  const crm = fixture.publish('crm', { jwtAssertion: true, assignmentRequired: false })
  const userId = await fixture.addUser('ana')
  const { sessionId } = await signIn(fixture, fixture.browser(), crm, 'ana')
  return {
    fixture,
    crm,
    userId,
    sessionId,
    async make() {
      const made = await fixture.identity.assertion({ sessionId, applicationId: crm.id })
      return made!.token
    },
    async verify(token, audience = crm.id) {
      const { body } = await fixture.browser().get(keysUrl)
      const { payload } = await jwtVerify(token, createLocalJWKSet(JSON.parse(body)), {
        issuer: loginOrigin,
        audience,
        algorithms: ['ES256'],
        typ: 'JWT',
        currentDate: new Date(fixture.time.nowAt),
        requiredClaims: ['sub', 'jti', 'exp', 'iat'],
      })
      return payload
    },
    async askGroups(token) {
      const answer = await fixture.browser().get(groupsUrl, {
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      })
      return {
        status: answer.status,
        body: answer.body,
        authenticate: answer.headers['www-authenticate']!,
      }
    },
  }
}

test('an assertion says who the person is, to one application, for five minutes', async (t) => {
  const { fixture, crm, userId, sessionId, make, verify } = await start(t)
  await nest(fixture.store, userId, 'staff', 'all')
  const payload = await verify(await make())
  const { jti, iat, exp, auth_time, ...rest } = payload
  assert.deepEqual(rest, {
    iss: loginOrigin,
    aud: crm.id,
    sub: userId,
    sid: sessionId,
    amr: ['pwd'],
    preferred_username: 'ana',
    name: 'Person ana',
    email: 'ana@mail.test',
    groups: (payload.groups as string[]).toSorted(),
  })
  assert.deepEqual(new Set(payload.groups as string[]), new Set(['staff', 'all']))
  assert.equal(iat, Math.floor(fixture.time.nowAt / 1000))
  assert.equal(exp! - iat!, 300)
  assert.ok((auth_time as number) <= iat!)
  assert.notEqual(jti, (await verify(await make())).jti)
  const token = await make()
  fixture.time.nowAt += 299_000
  await verify(token)
  fixture.time.nowAt += 1_000
  await assert.rejects(verify(token), { code: 'ERR_JWT_EXPIRED' })
})

test('what changed in the directory is in the next assertion', async (t) => {
  const { fixture, userId, make } = await start(t)
  assert.deepEqual(decodeJwt(await make()).groups, [])
  await nest(fixture.store, userId, 'staff')
  assert.deepEqual(decodeJwt(await make()).groups, ['staff'])
})

test('attack 43: no assertion is made of a session that has ended, or of a disabled user', async (t) => {
  const { fixture, crm, sessionId, userId } = await start(t)
  const request = { sessionId, applicationId: crm.id }
  await users.setEnabled(fixture.store.db, userId, false, fixture.time.nowAt)
  assert.equal(await fixture.identity.assertion(request), undefined)
  await users.setEnabled(fixture.store.db, userId, true, fixture.time.nowAt)
  assert.equal(await fixture.identity.assertion(request), undefined, 'its epoch is older')
  const again = await signIn(fixture, fixture.browser(), crm, 'ana')
  const made = await fixture.identity.assertion({ ...request, sessionId: again.sessionId })
  assert.ok(made)
  await fixture.identity.endSession(again.sessionId, 'signed-out')
  assert.equal(
    await fixture.identity.assertion({ ...request, sessionId: again.sessionId }),
    undefined,
  )
  assert.equal(await fixture.identity.assertion({ ...request, sessionId: 'x' }), undefined)
})

test('attack 46: identity itself checks application and assignment, whoever asks', async (t) => {
  const { fixture, sessionId } = await start(t)
  const refused = { code: 'ASSERTION_REFUSED' }
  const ask = (applicationId: string) => fixture.identity.assertion({ sessionId, applicationId })
  await assert.rejects(ask(fixture.hr.id), refused, 'it takes none')
  await assert.rejects(ask('00000000-0000-4000-8000-000000000000'), refused)
  const open = fixture.publish('open', { preAuthentication: 'passthrough', jwtAssertion: true })
  await assert.rejects(ask(open.id), refused)
  const strict = fixture.publish('strict', { jwtAssertion: true })
  await assert.rejects(ask(strict.id), refused, 'nobody is assigned')
})

test('attack 22: many groups are told by reference, and the reference leads to them', async (t) => {
  const { fixture, userId, make, verify, askGroups } = await start(t)
  const names: string[] = []
  for (let count = 0; count < 101; count += 1) {
    names.push(`group ${count}`)
    const { id } = (await groups.createGroup(fixture.store.db, { name: names.at(-1)! }, 1))!
    await groups.addMember(fixture.store.db, id, { id: userId, kind: 'user' }, 1)
  }
  const token = await make()
  const payload = await verify(token)
  assert.equal(payload.groups, undefined)
  assert.deepEqual(payload._claim_names, { groups: 'directory' })
  assert.deepEqual(payload._claim_sources, { directory: { endpoint: groupsUrl } })
  assert.ok(token.length < 1_500, `${token.length}`)
  const { status, body } = await askGroups(token)
  assert.equal(status, 200)
  assert.deepEqual((JSON.parse(body) as { groups: string[] }).groups.toSorted(), names.toSorted())
})

test('attack 22: few groups with long names are told by reference too', async (t) => {
  const { fixture, userId, make } = await start(t)
  const lengthOf = async () => (await make()).length
  for (let count = 0; count < 20; count += 1) {
    const name = `${count} ${'ß'.repeat(120)}`
    const { id } = (await groups.createGroup(fixture.store.db, { name }, 1))!
    await groups.addMember(fixture.store.db, id, { id: userId, kind: 'user' }, 1)
    assert.ok((await lengthOf()) < 5_500)
  }
  assert.ok(decodeJwt(await make())._claim_names)
})

test('attack 46: groups are told to whoever has a good assertion, and to nobody else', async (t) => {
  const { fixture, userId, sessionId, make, askGroups } = await start(t)
  await nest(fixture.store, userId, 'staff')
  const token = await make()
  assert.deepEqual(await askGroups(token), {
    status: 200,
    body: '{"groups":["staff"]}',
    authenticate: undefined,
  })
  const none = await askGroups()
  assert.deepEqual([none.status, none.authenticate], [401, 'Bearer'])
  const [head, body, signature] = token.split('.') as [string, string, string]
  const foreign = makeAssertionRing()
  const claims = decodeJwt(token)
  const forge = (alg: string, kid: string, changes: object, key: KeyObject | Uint8Array) =>
    new SignJWT({ ...claims, ...changes }).setProtectedHeader({ alg, typ: 'JWT', kid }).sign(key)
  const own = fixture.assertionKeys.ring.signing
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const ownKey = own.privateKey
  const foreignKey = foreign.signing.privateKey
  const bad: [what: string, token: string][] = [
    ['no signature', `${head}.${body}.`],
    ['two parts', `${head}.${body}`],
    ['four parts', `${token}.x`],
    ['garbage', 'x'],
    ['alg none', `${part({ alg: 'none' })}.${body}.${signature}`],
    ['alg none of our kid', `${part({ alg: 'none', typ: 'JWT', kid: own.kid })}.${body}.x`],
    ['other claims', `${head}.${part({ ...claims, sub: 'x' })}.${signature}`],
    ['foreign key, its kid', await forge('ES256', foreign.signing.kid, {}, foreignKey)],
    ['foreign key, our kid', await forge('ES256', own.kid, {}, foreignKey)],
    [
      'HS256 with the public key',
      await forge(
        'HS256',
        own.kid,
        {},
        Buffer.from(part(fixture.assertionKeys.ring.published[0]!)),
      ),
    ],
    ['other issuer', await forge('ES256', own.kid, { iss: 'https://evil.test' }, ownKey)],
    ['other person', await forge('ES256', own.kid, { sub: 'x' }, ownKey)],
    ['other session', await forge('ES256', own.kid, { sid: 'x' }, ownKey)],
    ['other application', await forge('ES256', own.kid, { aud: fixture.hr.id }, ownKey)],
    [
      'expired',
      await forge('ES256', own.kid, { exp: Math.floor(fixture.time.nowAt / 1000) }, ownKey),
    ],
    ['without an end', await forge('ES256', own.kid, { exp: undefined }, ownKey)],
  ]
  for (const [what, value] of bad) {
    const { status, body, authenticate } = await askGroups(value)
    assert.equal(status, 401, what)
    assert.equal(authenticate, 'Bearer error="invalid_token"', what)
    assert.doesNotMatch(body, /staff/, what)
  }
  assert.equal((await askGroups(await forge('ES256', own.kid, {}, ownKey))).status, 200)
  await fixture.identity.endSession(sessionId, 'signed-out')
  assert.equal((await askGroups(token)).status, 401)
})

test('attack 47: one application does not take the assertion of another, nor anybody an ID token in its place', async (t) => {
  const { fixture, make, verify } = await start(t)
  await assert.rejects(verify(await make(), fixture.hr.id), {
    code: 'ERR_JWT_CLAIM_VALIDATION_FAILED',
  })
  const keys = await fixture.browser().get(`${loginOrigin}/common/discovery/v2.0/keys`)
  const kids = (body: string) =>
    (JSON.parse(body) as { keys: { kid: string }[] }).keys.map(({ kid }) => kid)
  const ours = kids((await fixture.browser().get(keysUrl)).body)
  assert.ok(!ours.some((kid) => kids(keys.body).includes(kid)), 'no key signs both')
})

test('attack 47: keys are published for caches, public halves alone, and overlap while they change', async (t) => {
  const { fixture, make, verify } = await start(t)
  const answer = await fixture.browser().get(keysUrl)
  assert.equal(answer.headers['cache-control'], 'public, max-age=300')
  assert.match(answer.headers['content-type']!, /^application\/jwk-set\+json/)
  assert.doesNotMatch(answer.body, /"d"/)
  const old = await make()
  const first = fixture.assertionKeys.ring
  fixture.assertionKeys.ring = makeAssertionRing(first)
  assert.equal(fixture.identity.assertionKeyId(), fixture.assertionKeys.ring.signing.kid)
  const fresh = await make()
  await verify(old)
  await verify(fresh)
  fixture.assertionKeys.ring = {
    ...fixture.assertionKeys.ring,
    published: [fixture.assertionKeys.ring.published[0]!],
  }
  await assert.rejects(verify(old), { code: 'ERR_JWKS_NO_MATCHING_KEY' })
  await verify(fresh)
})
