import assert from 'node:assert/strict'
import test from 'node:test'
import { groups, oidcModel, sessions, users } from '@sallyport/store'
import { nest, newAttempt, openSignIn, signIn, signOn, startFixture } from './fixture.ts'

test('a session that is ended is gone, for the next authorize too', async (t) => {
  const fixture = await startFixture(t)
  await fixture.addUser('ana')
  const browser = fixture.browser()
  const { sessionId } = await signIn(fixture, browser, fixture.hr, 'ana')
  await fixture.identity.endSession(sessionId, 'administrator')
  assert.equal(await fixture.identity.readSession(sessionId), undefined)
  await openSignIn(fixture, browser, newAttempt(fixture.hr))
  await fixture.identity.endSession(sessionId, 'administrator')
  assert.deepEqual(fixture.events, [{ kind: 'session-ended', sessionId, at: fixture.time.nowAt }])
})

test('ending one session leaves the others of the same person alone', async (t) => {
  const fixture = await startFixture(t)
  await fixture.addUser('ana')
  const [laptop, phone] = [fixture.browser(), fixture.browser()]
  const one = await signIn(fixture, laptop, fixture.hr, 'ana')
  const two = await signIn(fixture, phone, fixture.hr, 'ana')
  await fixture.identity.endSession(one.sessionId, 'administrator')
  assert.deepEqual(await signOn(fixture, phone, fixture.wiki), two)
})

for (const [what, change] of [
  ['disabled', (db, id) => users.setEnabled(db, id, false, 2)],
  [
    'disabled and enabled again',
    async (db, id) => {
      await users.setEnabled(db, id, false, 2)
      await users.setEnabled(db, id, true, 3)
    },
  ],
  ['given a new password', (db, id) => users.setPassword(db, id, 'x', 2)],
  ['signed out everywhere', (db, id) => users.endAllSessions(db, id, 2)],
  ['deleted', (db, id) => users.deleteUser(db, id, 2)],
] as [string, (db: Parameters<typeof users.setEnabled>[0], id: string) => Promise<unknown>][])
  test(`no session is left of a user who is ${what}`, async (t) => {
    const fixture = await startFixture(t)
    const userId = await fixture.addUser('ana')
    const browser = fixture.browser()
    const { sessionId } = await signIn(fixture, browser, fixture.hr, 'ana')
    await change(fixture.store.db, userId)
    assert.equal(await fixture.identity.readSession(sessionId), undefined)
    assert.equal(await sessions.isLiveSession(fixture.store.db, sessionId, 2), false)
    await openSignIn(fixture, browser, newAttempt(fixture.hr))
  })

test("a single sign-on writes the provider's session only if something in it has changed", async (t) => {
  // A second that ends between two looks at the clock would be a change.
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
  const fixture = await startFixture(t)
  await fixture.addUser('ana')
  const browser = fixture.browser()
  const { sessionId } = await signIn(fixture, browser, fixture.hr, 'ana')
  const read = () =>
    fixture.store.db
      .selectFrom('oidcModel')
      .selectAll()
      .where('model', '=', 'Session')
      .where('uid', '=', sessionId)
      .executeTakeFirstOrThrow()
  const first = await read()
  fixture.time.nowAt += 5_000
  await signOn(fixture, browser, fixture.hr)
  assert.deepEqual(await read(), first)
  await signOn(fixture, browser, fixture.wiki)
  const second = await read()
  assert.deepEqual(
    Object.keys(JSON.parse(second.payload).authorizations).sort(),
    [fixture.hr.id, fixture.wiki.id].sort(),
  )
  assert.equal(second.expiresAt, first.expiresAt! + 5_000)
  await signOn(fixture, browser, fixture.hr)
  assert.deepEqual(await read(), second)
})

test('nothing prolongs a session past twelve hours', async (t) => {
  const fixture = await startFixture(t)
  await fixture.addUser('ana')
  const browser = fixture.browser()
  const { sessionId, absoluteExpiresAt } = await signIn(fixture, browser, fixture.hr, 'ana')
  fixture.time.nowAt = absoluteExpiresAt - 1
  assert.equal((await signOn(fixture, browser, fixture.wiki)).absoluteExpiresAt, absoluteExpiresAt)
  fixture.time.nowAt = absoluteExpiresAt
  assert.equal(await fixture.identity.readSession(sessionId), undefined)
  assert.ok(await fixture.identity.readSession(sessionId, absoluteExpiresAt - 1))
  await openSignIn(fixture, browser, newAttempt(fixture.hr))
})

test('a session is read with the claims of now', async (t) => {
  const fixture = await startFixture(t)
  const { db } = fixture.store
  const userId = await fixture.addUser('ana')
  const { sessionId } = await signIn(fixture, fixture.browser(), fixture.hr, 'ana')
  const [, top] = await nest(fixture.store, userId, 'bottom', 'top')
  await users.updateUser(db, userId, { displayName: 'Ana B', mail: null }, 5)
  const { claims } = (await fixture.identity.readSession(sessionId))!
  assert.deepEqual([claims.displayName, claims.mail], ['Ana B', undefined])
  assert.deepEqual(
    claims.groups.map(({ name }) => name),
    ['bottom', 'top'],
  )
  await groups.deleteGroup(db, top!, 6)
  const later = (await fixture.identity.readSession(sessionId))!
  assert.deepEqual(
    later.claims.groups.map(({ name }) => name),
    ['bottom'],
  )
})

test('what has expired is swept, what is live stays', async (t) => {
  const fixture = await startFixture(t)
  await fixture.addUser('ana')
  const { db } = fixture.store
  await signIn(fixture, fixture.browser(), fixture.hr, 'ana')
  await openSignIn(fixture, fixture.browser(), newAttempt(fixture.hr))
  const models = async () => {
    const rows = await db.selectFrom('oidcModel').select('model').distinct().execute()
    return rows.map(({ model }) => model).sort()
  }
  assert.deepEqual(await models(), [
    'AccessToken',
    'AuthorizationCode',
    'BrowserBinding',
    'Grant',
    'Interaction',
    'Session',
  ])
  await oidcModel.deleteOidcModelsBefore(db, fixture.time.nowAt + 3 * 3_600_000)
  assert.deepEqual(await models(), ['Grant', 'Session'])
})

test('a limit on the age of the sign-in asks for the password when that is older', async (t) => {
  const fixture = await startFixture(t)
  await fixture.addUser('ana')
  const browser = fixture.browser()
  await signIn(fixture, browser, fixture.hr, 'ana')
  const attempt = newAttempt(fixture.wiki)
  const fresh = await browser.get(fixture.identity.authorizeUrl({ ...attempt, maxAgeSeconds: 600 }))
  assert.ok(fresh.headers.location!.startsWith(attempt.redirectUri))
  await openSignIn(fixture, browser, { ...attempt, maxAgeSeconds: 0 } as typeof attempt)
})
