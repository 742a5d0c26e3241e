import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import { applicationSchema } from '@sallyport/domain'
import { applications, logoutNotices, users } from '@sallyport/store'
import { createLogoutFetch } from '../src/logout-request.ts'
import { type Fixture, loginOrigin, startFixture } from './fixture.ts'
import { RelyingParty, selfSigned } from './relying-party.ts'

async function start(t: TestContext, allow = ['127.0.0.1']) {
  const fixture = await startFixture(t)
  await fixture.addUser('ana')
  const certificate = selfSigned(t, 'DNS:rp.example.test')
  const party = await RelyingParty.start(t, fixture, certificate, (url) => publish(fixture, url))
  Object.assign(fixture.logout, {
    allow,
    authorities: [certificate.cert],
    resolve: async () => ['127.0.0.1'],
  })
  // As long as it waits before it tries again, at most.
  fixture.time.nowAt += 5_000
  await fixture.restart()
  return { fixture, party }
}

async function publish(fixture: Fixture, backChannelLogoutUrl: string) {
  const published = fixture.publish('rp', { backChannelLogoutUrl })
  const application = applicationSchema.parse({
    id: published.id,
    name: 'rp',
    displayName: 'rp',
    externalUrl: 'https://rp.example.test/',
    internalUrl: 'http://rp.internal/',
    backChannelLogoutUrl,
  })
  await applications.createApplication(fixture.store.db, application, 1)
  return published
}

test('signing out ends the session of a relying party that uses OpenID Connect itself', async (t) => {
  const { fixture, party } = await start(t)
  const browser = fixture.browser()
  const { sid, sub } = await party.signIn(browser, 'ana')
  assert.equal(party.sessions.get(String(sid)), sub)
  const other = fixture.browser()
  await party.signIn(other, 'ana')
  const asked = await browser.get('/common/oauth2/v2.0/logout')
  const xsrf = /name="xsrf" value="([^"]+)"/.exec(asked.body)![1]!
  await browser.post(`${loginOrigin}/common/oauth2/v2.0/logout/confirm`, { xsrf, logout: 'yes' })
  await party.until(() => party.received.length > 0)
  assert.deepEqual(party.errors, [])
  assert.deepEqual(
    party.accepted.map((token) => [token.sub, token.sid]),
    [[sub, sid]],
  )
  assert.match(party.received[0]!, /^POST \/logout\?a=b logout_token=[\w.-]+$/)
  assert.equal(party.sessions.size, 1, 'the session of the other browser stays')
  assert.equal(party.received.length, 1, 'told once')
})

for (const [what, end] of [
  ['an administrator ends the session', (f, id) => f.identity.endSession(id, 'administrator')],
  [
    'the user is disabled',
    async (f) => {
      const { id } = (await users.findUserByName(f.store.db, 'ana'))!
      f.store.feed.publishAll((await users.setEnabled(f.store.db, id, false, f.time.nowAt))!)
    },
  ],
  [
    'the password is reset',
    async (f) => {
      const { id } = (await users.findUserByName(f.store.db, 'ana'))!
      f.store.feed.publishAll((await users.setPassword(f.store.db, id, 'x', f.time.nowAt))!)
    },
  ],
  [
    'the user is deleted',
    async (f) => {
      const { id } = (await users.findUserByName(f.store.db, 'ana'))!
      f.store.feed.publishAll((await users.deleteUser(f.store.db, id, f.time.nowAt))!)
    },
  ],
] as [string, (fixture: Fixture, sessionId: string) => Promise<void>][])
  test(`a relying party is told when ${what}`, async (t) => {
    const { fixture, party } = await start(t)
    await party.signIn(fixture.browser(), 'ana')
    const row = await fixture.store.db.selectFrom('session').select('id').executeTakeFirstOrThrow()
    await end(fixture, row.id)
    await party.until(() => party.received.length > 0)
    assert.deepEqual(party.errors, [])
    assert.equal(party.sessions.size, 0)
  })

test('a relying party that is away is told after the service was started again', async (t) => {
  const { fixture, party } = await start(t)
  await party.signIn(fixture.browser(), 'ana')
  party.statusCode = 503
  const { id } = await fixture.store.db.selectFrom('session').select('id').executeTakeFirstOrThrow()
  await fixture.identity.endSession(id, 'administrator')
  await party.until(() => party.received.length > 0)
  await fixture.identity.close()
  assert.equal((await logoutNotices.listLogoutNotices(fixture.store.db)).length, 1)
  party.statusCode = 200
  // As long as it waits before it tries again, at most.
  fixture.time.nowAt += 5_000
  await fixture.restart()
  await party.until(() => party.accepted.length > 0)
  await fixture.identity.close()
  assert.deepEqual(await logoutNotices.listLogoutNotices(fixture.store.db), [])
  assert.equal((fixture.errors[0] as { application: string }).application, party.published.id)
})

test('one that is away for an hour is given up', async (t) => {
  const { fixture, party } = await start(t)
  await party.signIn(fixture.browser(), 'ana')
  party.statusCode = 500
  const { id } = await fixture.store.db.selectFrom('session').select('id').executeTakeFirstOrThrow()
  await fixture.identity.endSession(id, 'administrator')
  await party.until(() => party.received.length > 0)
  await fixture.identity.close()
  fixture.time.nowAt += 3_600_000
  // As long as it waits before it tries again, at most.
  fixture.time.nowAt += 5_000
  await fixture.restart()
  await party.until(() => party.received.length > 1)
  await fixture.identity.close()
  assert.deepEqual(await logoutNotices.listLogoutNotices(fixture.store.db), [])
})

test('attack 68: a logout token goes to no address inside that is not listed, and follows no redirect', async (t) => {
  const { fixture, party } = await start(t, [])
  await party.signIn(fixture.browser(), 'ana')
  const { id } = await fixture.store.db.selectFrom('session').select('id').executeTakeFirstOrThrow()
  await fixture.identity.endSession(id, 'administrator')
  await fixture.identity.close()
  assert.equal(party.received.length, 0)
  assert.match(String((fixture.errors[0] as { err: Error }).err), /list it in logoutAllow/)
  Object.assign(fixture.logout, { allow: ['127.0.0.0/8'] })
  party.statusCode = 302
  // As long as it waits before it tries again, at most.
  fixture.time.nowAt += 5_000
  await fixture.restart()
  await party.until(() => party.received.length > 0)
  await fixture.identity.close()
  assert.equal(party.received.length, 1)
  assert.equal((await logoutNotices.listLogoutNotices(fixture.store.db)).length, 1)
})

test('attack 68: whatever name an address has, only the internet and what is listed is dialled', async () => {
  const url = 'https://rp.example.test/'
  const init = { method: 'POST', body: 'x' }
  const reach = (addresses: string[], allow: string[] = [], target = url) =>
    createLogoutFetch({ allow, authorities: [], resolve: async () => addresses }, () => true)(
      target,
      // Given up before it is dialled: what is asked here is whether it would be.
      { ...init, signal: AbortSignal.abort() },
    )
  for (const address of [
    ...['127.0.0.1', '10.1.2.3', '172.31.0.1', '192.168.0.1', '169.254.169.254', '100.64.0.1'],
    ...['0.0.0.0', '224.0.0.1', '255.255.255.255', '::1', '::', 'fe80::1', 'fd00:ec2::254'],
    ...['::ffff:127.0.0.1', '::ffff:8.8.8.8', '64:ff9b::a00:1', '2002:7f00:1::', 'ff02::1'],
  ])
    await assert.rejects(reach([address]), /none of the internet/, address)
  await assert.rejects(reach([]), /no address/)
  await assert.rejects(reach([], [], 'https://127.0.0.1/'), /none of the internet/)
  await assert.rejects(reach([], [], 'https://[::1]/'), /none of the internet/)
  await assert.rejects(reach([], [], 'https://2130706433/'), /none of the internet/)
  for (const [addresses, allow] of [
    [['8.8.8.8'], []],
    [['127.0.0.1', '2606:4700::1111'], []],
    [['10.1.2.3'], ['10.0.0.0/8']],
    [['fd00::7'], ['fd00::/8']],
  ] as const)
    await assert.rejects(reach([...addresses], [...allow]), { name: 'AbortError' })
  const closed = createLogoutFetch({ allow: [], authorities: [] }, () => false)
  await assert.rejects(closed(url, init), /tried to reach/)
  const open = createLogoutFetch({ allow: [], authorities: [] }, () => true)
  await assert.rejects(open('http://rp.example.test/', init), /tried to reach/)
  await assert.rejects(open(url, { method: 'GET' }), /tried to reach/)
})

test('a party whose certificate is of nobody known, or of another name, is told nothing', async (t) => {
  const { fixture, party } = await start(t)
  await party.signIn(fixture.browser(), 'ana')
  const { id } = await fixture.store.db.selectFrom('session').select('id').executeTakeFirstOrThrow()
  const other = selfSigned(t, 'DNS:other.example.test')
  Object.assign(fixture.logout, { authorities: [other.cert] })
  // As long as it waits before it tries again, at most.
  fixture.time.nowAt += 5_000
  await fixture.restart()
  await fixture.identity.endSession(id, 'administrator')
  await fixture.identity.close()
  assert.equal(party.received.length, 0)
  assert.equal((await logoutNotices.listLogoutNotices(fixture.store.db)).length, 1)
})
