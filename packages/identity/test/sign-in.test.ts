import assert from 'node:assert/strict'
import test from 'node:test'
import { users } from '@sallyport/store'
import {
  codeOf,
  loginOrigin,
  nest,
  newAttempt,
  openSignIn,
  password,
  signIn,
  signOn,
  startFixture,
  submitSignIn,
} from './fixture.ts'

test('a right password leads to a code, and the code to a session with claims', async (t) => {
  const fixture = await startFixture(t)
  const { identity, store } = fixture
  const userId = await fixture.addUser('ana@example.test')
  const groupIds = await nest(store, userId, 'staff', 'everybody')
  const browser = fixture.browser()
  const attempt = newAttempt(fixture.hr)

  const { url, answer } = await openSignIn(fixture, browser, attempt)
  assert.equal(answer.status, 200)
  assert.match(answer.body, /to continue to <strong>The hr<\/strong>/)
  assert.match(answer.body, /<form class="fields" method="post">/)

  const done = await submitSignIn(browser, url, '  Ana@Example.TEST ')
  const code = codeOf(done, attempt)
  assert.equal(done.status, 303)
  const session = await identity.redeem({ ...attempt, code, clientAddress: '192.0.2.1' })
  assert.deepEqual(session, {
    sessionId: session.sessionId,
    userId,
    signInEpoch: 1,
    methods: ['pwd'],
    signedInAt: fixture.time.nowAt,
    absoluteExpiresAt: fixture.time.nowAt + 12 * 3_600_000,
    claims: {
      objectId: userId,
      userName: 'ana@example.test',
      displayName: 'Person ana@example.test',
      mail: 'ana@example.test@mail.test',
      groups: [
        { id: groupIds[1], name: 'everybody' },
        { id: groupIds[0], name: 'staff' },
      ],
    },
  })
  assert.deepEqual(await identity.readSession(session.sessionId), session)
  assert.deepEqual(fixture.errors, [])
})

test('a second application needs no second password and shares the session', async (t) => {
  const fixture = await startFixture(t)
  await fixture.addUser('ana')
  const browser = fixture.browser()
  const first = await signIn(fixture, browser, fixture.hr, 'ana')
  assert.deepEqual(await signOn(fixture, browser, fixture.wiki), first)
})

test('an application published while the service runs can sign people in at once', async (t) => {
  const fixture = await startFixture(t)
  await fixture.addUser('ana')
  const late = fixture.publish('late')
  assert.equal((await signIn(fixture, fixture.browser(), late, 'ana')).methods[0], 'pwd')
})

test('wrong password, unknown, disabled and passwordless users get the same answer', async (t) => {
  const fixture = await startFixture(t)
  await fixture.addUser('ana')
  await fixture.addUser('ben', false)
  await users.createUser(fixture.store.db, { userName: 'cid', displayName: 'Cid' }, 1)
  const answers: string[] = []
  for (const [userName, typed] of [
    ['ana', 'wrong'],
    ['ben', password],
    ['cid', password],
    ['nobody', password],
    ['ana', ''],
  ] as const) {
    const browser = fixture.browser()
    const { url } = await openSignIn(fixture, browser, newAttempt(fixture.hr))
    const answer = await submitSignIn(browser, url, userName, typed)
    assert.equal(answer.status, 422, userName)
    assert.equal(answer.headers['set-cookie'], undefined)
    answers.push(answer.body.replace(`value="${userName}"`, 'value=""'))
  }
  assert.equal(new Set(answers).size, 1)
  assert.match(answers[0]!, /role="alert"/)
})

test('after a wrong password the same page takes the right one', async (t) => {
  const fixture = await startFixture(t)
  await fixture.addUser('ana')
  const browser = fixture.browser()
  const attempt = newAttempt(fixture.hr)
  const { url } = await openSignIn(fixture, browser, attempt)
  assert.equal((await submitSignIn(browser, url, 'ana', 'wrong')).status, 422)
  codeOf(await submitSignIn(browser, url, 'ana'), attempt)
})

test('several tabs may sign in at once, each to its own application', async (t) => {
  const fixture = await startFixture(t)
  await fixture.addUser('ana')
  const browser = fixture.browser()
  const one = newAttempt(fixture.hr)
  const two = newAttempt(fixture.wiki)
  const first = await openSignIn(fixture, browser, one)
  const second = await openSignIn(fixture, browser, two)
  const codeOne = codeOf(await submitSignIn(browser, first.url, 'ana'), one)
  await fixture.identity.redeem({ ...one, code: codeOne, clientAddress: '' })
  const codeTwo = codeOf(await submitSignIn(browser, second.url, 'ana'), two)
  await fixture.identity.redeem({ ...two, code: codeTwo, clientAddress: '' })
})

test('names and passwords survive a restart, and so do sessions and the signing key', async (t) => {
  const fixture = await startFixture(t)
  await fixture.addUser('ana')
  const browser = fixture.browser()
  const session = await signIn(fixture, browser, fixture.hr, 'ana')
  const keys = async () => (await browser.get(`/common/discovery/v2.0/keys`)).body
  const before = await keys()
  assert.doesNotMatch(before, /"d":/)
  await fixture.restart()
  assert.equal(await keys(), before)
  assert.deepEqual(await signOn(fixture, browser, fixture.wiki), session)
})

test('a password hashed with older parameters is hashed again when it is used', async (t) => {
  const fixture = await startFixture(t)
  const { hash } = await import('@node-rs/argon2')
  const old = await hash(password, { memoryCost: 8_192, timeCost: 1, parallelism: 1 })
  await users.createUser(
    fixture.store.db,
    { userName: 'old', displayName: 'Old', passwordHash: old },
    1,
  )
  const session = await signIn(fixture, fixture.browser(), fixture.hr, 'old')
  const { passwordHash } = (await users.findCredentials(fixture.store.db, 'old'))!
  assert.match(passwordHash!, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$/)
  assert.ok(await fixture.identity.readSession(session.sessionId))
})

test('a silent request without a session is told so, and shows nothing', async (t) => {
  const fixture = await startFixture(t)
  const attempt = newAttempt(fixture.hr)
  const url = fixture.identity.authorizeUrl({ ...attempt, prompt: 'none' })
  const answer = await fixture.browser().get(url)
  const to = new URL(answer.headers.location!)
  assert.equal(to.searchParams.get('error'), 'login_required')
  assert.equal(to.origin, 'https://hr.example.test')
})

test('prompt login and an old sign-in ask for the password again', async (t) => {
  const fixture = await startFixture(t)
  await fixture.addUser('ana')
  const browser = fixture.browser()
  await signIn(fixture, browser, fixture.hr, 'ana')
  const attempt = newAttempt(fixture.hr)
  for (const more of [{ prompt: 'login' as const }, { maxAgeSeconds: 0 }]) {
    if ('maxAgeSeconds' in more) {
      // The provider counts whole seconds of its own clock.
      const sessionRow = fixture.store.db
        .updateTable('oidcModel')
        .set((eb) => ({
          payload: eb.fn<string>('json_set', [
            'payload',
            eb.val('$.loginTs'),
            eb.val(Math.floor(Date.now() / 1000) - 5),
          ]),
        }))
        .where('model', '=', 'Session')
      await sessionRow.execute()
    }
    const answer = await browser.get(fixture.identity.authorizeUrl({ ...attempt, ...more }))
    assert.match(answer.headers.location ?? '', /^https:\/\/login\.example\.test\/sign-in\//)
    codeOf(await submitSignIn(browser, answer.headers.location!, 'ana'), attempt)
  }
})

test('a hint fills in the user name', async (t) => {
  const fixture = await startFixture(t)
  const browser = fixture.browser()
  const attempt = { ...newAttempt(fixture.hr), loginHint: '"><script>' }
  const { answer } = await openSignIn(fixture, browser, attempt)
  assert.match(answer.body, /value="&quot;&gt;&lt;script&gt;"/)
})

test('every answer forbids framing, sniffing and script that is not ours', async (t) => {
  const fixture = await startFixture(t)
  const browser = fixture.browser()
  const { url, answer } = await openSignIn(fixture, browser, newAttempt(fixture.hr))
  for (const { headers } of [
    answer,
    await browser.get('/nothing/here'),
    await browser.get(`/${'common'}/oauth2/v2.0/authorize`),
    await browser.post(url, {}, {}),
  ]) {
    assert.match(
      String(headers['content-security-policy']),
      /default-src 'none'.*frame-ancestors 'none'/,
    )
    assert.equal(headers['x-content-type-options'], 'nosniff')
    assert.equal(headers['cross-origin-opener-policy'], 'same-origin')
    assert.match(headers['cache-control']!, /no-store/)
  }
})

test('a sign-in that waits in another tab goes on by the session of the first', async (t) => {
  const fixture = await startFixture(t)
  await fixture.addUser('ana')
  const browser = fixture.browser()
  const second = newAttempt(fixture.wiki)
  const waiting = await openSignIn(fixture, browser, second)
  const session = await signIn(fixture, browser, fixture.hr, 'ana')
  const answer = await browser.get(waiting.url)
  assert.equal(answer.status, 303)
  const code = codeOf(await browser.get(answer.headers.location!), second)
  assert.deepEqual(await fixture.identity.redeem({ ...second, code, clientAddress: '' }), session)

  // After the session has ended, another sign-in in the same browser brings the next.
  await fixture.identity.endSession(session.sessionId, 'signed-out')
  const third = newAttempt(fixture.wiki)
  const again = await openSignIn(fixture, browser, third)
  const fourth = newAttempt(fixture.hr)
  const next = await openSignIn(fixture, browser, fourth)
  const done = codeOf(await submitSignIn(browser, next.url, 'ana'), fourth)
  const { sessionId } = await fixture.identity.redeem({ ...fourth, code: done, clientAddress: '' })
  const resumed = await browser.get((await browser.get(again.url)).headers.location!)
  const last = await fixture.identity.redeem({
    ...third,
    code: codeOf(resumed, third),
    clientAddress: '',
  })
  assert.equal(last.sessionId, sessionId)
})

test('a sign-in that was asked for although there is a session waits for the password', async (t) => {
  const fixture = await startFixture(t)
  await fixture.addUser('ana')
  const browser = fixture.browser()
  await signIn(fixture, browser, fixture.hr, 'ana')
  for (const more of [{ prompt: 'login' as const }, { maxAgeSeconds: 0 }]) {
    const attempt = { ...newAttempt(fixture.hr), ...more }
    const { answer } = await openSignIn(fixture, browser, attempt)
    assert.equal(answer.status, 200)
    assert.match(answer.body, /<form/)
  }
})

test('who comes back to a sign-in that is done reads so, and who is signed out does not', async (t) => {
  const fixture = await startFixture(t)
  await fixture.addUser('ana')
  const browser = fixture.browser()
  const attempt = newAttempt(fixture.hr)
  const { url } = await openSignIn(fixture, browser, attempt)
  const code = codeOf(await submitSignIn(browser, url, 'ana'), attempt)
  const { sessionId } = await fixture.identity.redeem({ ...attempt, code, clientAddress: '' })
  const back = await browser.get(url)
  assert.equal(back.status, 200)
  assert.match(back.body, /You are signed in already/)
  assert.match(back.body, /href="https:\/\/apps\.example\.test\/"/)
  await fixture.identity.endSession(sessionId, 'signed-out')
  const over = await browser.get(url)
  assert.equal(over.status, 400)
  assert.match(over.body, /SIGN_IN_EXPIRED/)
})

test('the root of the sign-in host leads to the portal', async (t) => {
  const fixture = await startFixture(t)
  const answer = await fixture.browser().get(`${loginOrigin}/`)
  assert.equal(answer.headers.location, 'https://apps.example.test/')
})
