import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { loginOrigin, signIn, startFixture } from './fixture.ts'

const page = `${loginOrigin}/passwords`
const typed = { application: 'forum', userName: 'ana.inside', password: 'inside 1', action: 'keep' }
const signOn = { method: 'password', kind: 'basic' } as const

async function start(t: TestContext) {
  const fixture = await startFixture(t)
  const userId = await fixture.addUser('ana')
  const forum = fixture.publish('forum', { signOn, assignmentRequired: false })
  const browser = fixture.browser()
  const { sessionId } = await signIn(fixture, browser, forum, 'ana')
  return { fixture, browser, userId, forum, sessionId }
}

test('a person keeps a password for themselves, whatever the form says of whose it is', async (t) => {
  const { fixture, browser, userId, forum } = await start(t)
  const answer = await browser.post(page, { ...typed, userId: 'somebody', applicationId: 'other' })
  assert.equal(answer.status, 303)
  assert.deepEqual(fixture.kept, [
    { applicationId: forum.id, userId, userName: 'ana.inside', password: 'inside 1' },
  ])
  assert.doesNotMatch(answer.headers.location! + answer.body, /inside/)
})

test('attack 37: no form of another site, or of a sibling, enters a password', async (t) => {
  const { fixture, browser } = await start(t)
  for (const headers of [
    {},
    { 'sec-fetch-site': 'cross-site', origin: 'https://evil.test' },
    { 'sec-fetch-site': 'same-site', origin: 'https://forum.example.test' },
    { 'sec-fetch-site': 'same-site', origin: loginOrigin },
    { 'sec-fetch-site': 'none' },
    { origin: 'null' },
    { origin: `${loginOrigin}.evil.test` },
  ])
    assert.equal((await browser.post(page, typed, headers)).status, 403, JSON.stringify(headers))
  // The link that leads here from an application enters none either.
  const query = new URLSearchParams(typed).toString()
  assert.equal((await browser.get(`${page}?${query}`)).status, 200)
  assert.deepEqual(fixture.kept, [])
})

test('a password is kept only for applications that the person may use, and that want one', async (t) => {
  const { fixture, browser, sessionId } = await start(t)
  fixture.publish('closed', { signOn })
  fixture.publish('open', { preAuthentication: 'passthrough', assignmentRequired: false })
  for (const application of ['closed', 'open', 'hr', '', 'nothing'])
    assert.equal((await browser.post(page, { ...typed, application })).status, 400, application)
  await fixture.identity.endSession(sessionId, 'administrator')
  assert.equal((await browser.post(page, typed)).status, 400)
  assert.equal((await fixture.browser().post(page, typed)).status, 400)
  assert.deepEqual(fixture.kept, [])
})

test('attack 41: nobody guesses passwords of an application through the page, one try after another', async (t) => {
  const { fixture, browser } = await start(t)
  const statuses: number[] = []
  for (let count = 0; count < 30; count += 1)
    statuses.push((await browser.post(page, { ...typed, password: `guess ${count}` })).status)
  assert.deepEqual(new Set(statuses.slice(0, 20)), new Set([303]))
  assert.deepEqual(new Set(statuses.slice(20)), new Set([429]))
  assert.equal(fixture.kept.length, 20)
  // Others are not held up, nor is the person for long.
  await fixture.addUser('ben')
  const other = fixture.browser()
  await signIn(fixture, other, fixture.hr, 'ben')
  assert.equal((await other.post(page, typed)).status, 303)
  fixture.time.nowAt += 30_000
  assert.equal((await browser.post(page, typed)).status, 303)
  assert.equal((await browser.post(page, typed)).status, 429)
})
