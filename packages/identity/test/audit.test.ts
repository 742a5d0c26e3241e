import assert from 'node:assert/strict'
import test from 'node:test'
import { audit, sessions, users } from '@sallyport/store'
import {
  type Fixture,
  newAttempt,
  openSignIn,
  password,
  signIn,
  startFixture,
  submitSignIn,
} from './fixture.ts'

/** What was recorded, oldest first. */
async function recorded({ store }: Fixture): Promise<audit.AuditEvent[]> {
  return (await audit.listAudit(store.db, { limit: 1_000 })).reverse()
}

test('each way to fail a sign-in is recorded with its reason, and no text that was typed', async (t) => {
  const fixture = await startFixture(t)
  const userId = await fixture.addUser('ana')
  const away = await fixture.addUser('away', false)
  const bare = await users.createUser(
    fixture.store.db,
    {
      userName: 'bare',
      displayName: 'Bare',
      mail: undefined,
      passwordHash: undefined,
      enabled: true,
    },
    1,
  )
  const browser = fixture.browser()
  const { url } = await openSignIn(fixture, browser, newAttempt(fixture.hr))
  await browser.post(url, { userName: 'Ana', password: 'a wrong one' })
  await browser.post(url, { userName: 'away', password })
  await browser.post(url, { userName: 'bare', password })
  await browser.post(url, { userName: 'my-secret-typed-too-early', password: '' })
  const events = await recorded(fixture)
  assert.deepEqual(
    events.map(({ kind, actor, subject, detail }) => [
      kind,
      actor,
      subject,
      detail.reason,
      detail.userId,
    ]),
    [
      ['sign-in-failed', 'ana', fixture.hr.id, 'password-wrong', userId],
      ['sign-in-failed', 'away', fixture.hr.id, 'user-disabled', away],
      ['sign-in-failed', 'bare', fixture.hr.id, 'password-missing', bare!.id],
      ['sign-in-failed', 'address:127.0.0.1', fixture.hr.id, 'user-unknown', undefined],
    ],
  )
  for (const { detail } of events) {
    assert.equal(detail.clientAddress, '127.0.0.1')
    assert.match(String(detail.correlationId), /^[0-9a-f-]{36}$/)
  }
  assert.doesNotMatch(JSON.stringify(events), /a wrong one|correct horse|typed-too-early/)
})

test('a sign-in names the session that it began, and its end names it again', async (t) => {
  const fixture = await startFixture(t)
  const userId = await fixture.addUser('ana')
  const browser = fixture.browser()
  const first = await signIn(fixture, browser, fixture.hr, 'ana')
  // The same browser again: the first session is replaced.
  const attempt = newAttempt(fixture.wiki)
  const page = await browser.get(fixture.identity.authorizeUrl({ ...attempt, prompt: 'login' }))
  await submitSignIn(browser, page.headers.location!, 'ana')
  const [second] = await sessions.listSessions(fixture.store.db, { liveAt: fixture.time.nowAt })
  await fixture.identity.endSession(second!.id, 'signed-out')
  await fixture.identity.endSession(second!.id, 'signed-out')
  const events = await recorded(fixture)
  assert.deepEqual(
    events.map(({ kind, actor, subject, detail }) => [
      kind,
      actor,
      subject,
      detail.sessionId ?? detail.reason,
    ]),
    [
      ['signed-in', 'ana', fixture.hr.id, first.sessionId],
      ['session-ended', 'ana', first.sessionId, 'replaced'],
      ['signed-in', 'ana', fixture.wiki.id, second!.id],
      ['signed-out', 'ana', second!.id, 'signed-out'],
    ],
  )
  assert.deepEqual(events[0]!.detail.methods, ['pwd'])
  for (const { detail } of events) assert.equal(detail.userId, userId)
})

test('guesses that are refused unread are counted, not written one by one', async (t) => {
  const fixture = await startFixture(t)
  await fixture.addUser('ana')
  const browser = fixture.browser()
  const { url } = await openSignIn(fixture, browser, newAttempt(fixture.hr))
  const guess = () => browser.post(url, { userName: 'ana', password: 'wrong' })
  for (let count = 0; count < 10; count++) assert.equal((await guess()).status, 422)
  for (let count = 0; count < 5; count++) assert.equal((await guess()).status, 429)
  const limited = async () =>
    (await recorded(fixture)).filter(({ detail }) => detail.reason === 'rate-limited')
  const [one, ...more] = await limited()
  assert.equal(one!.actor, 'ana')
  assert.deepEqual(more, [])
  fixture.time.nowAt += 61_000
  let status = 422
  while (status === 422) ({ status } = await guess())
  assert.deepEqual(
    (await limited()).map(({ detail }) => detail.repeated),
    [undefined, 4],
  )
})

test('a form from another site and a sign-in of another browser are recorded once a minute', async (t) => {
  const fixture = await startFixture(t)
  const browser = fixture.browser()
  const { url } = await openSignIn(fixture, browser, newAttempt(fixture.hr))
  for (let count = 0; count < 3; count++) {
    await browser.post(url, {}, { 'sec-fetch-site': 'same-site' })
    await fixture.browser().get(url)
  }
  assert.deepEqual(
    (await recorded(fixture)).map(({ kind, actor, detail }) => [kind, actor, detail.reason]),
    [
      ['sign-in-refused', 'address:127.0.0.1', 'cross-site'],
      ['sign-in-refused', 'address:127.0.0.1', 'sign-in-elsewhere'],
    ],
  )
})
