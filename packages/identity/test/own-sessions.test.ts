import assert from 'node:assert/strict'
import test from 'node:test'
import { audit, sessions, users } from '@sallyport/store'
import { type Browser, type Fixture, loginOrigin, signIn, signOn, startFixture } from './fixture.ts'

const url = `${loginOrigin}/sessions`

async function handlesOf(browser: Browser): Promise<string[]> {
  const { body } = await browser.get(url)
  return [...body.matchAll(/name="end" value="([\w-]{22})"/g)].map((match) => match[1]!)
}

async function threeOfAna(fixture: Fixture) {
  await fixture.addUser('ana')
  const browsers = [1, 2, 3].map(() => fixture.browser())
  const ids: string[] = []
  for (const browser of browsers) {
    const { sessionId } = await signIn(fixture, browser, fixture.hr, 'ana')
    ids.push(sessionId)
    fixture.time.nowAt += 60_000
  }
  return { browsers, ids }
}

test('a person sees every session of hers, and ends one of them', async (t) => {
  const fixture = await startFixture(t)
  const { browsers, ids } = await threeOfAna(fixture)
  await fixture.addUser('ben')
  const ben = await signIn(fixture, fixture.browser(), fixture.hr, 'ben')
  const [laptop, phone] = browsers as [Browser, Browser, Browser]
  const page = await laptop.get(url)
  assert.equal(page.status, 200)
  assert.match(page.body, /Person ana/)
  assert.equal(page.body.match(/<li class="row">/g)!.length, 3)
  assert.equal(page.body.match(/This browser/g)!.length, 1)
  assert.match(page.body, /From 127\.0\.0\.1\. Signed in <time datetime=/)
  for (const id of [...ids, ben.sessionId]) assert.ok(!page.body.includes(id), 'no ids')
  const handles = await handlesOf(laptop)
  assert.equal(handles.length, 2)
  // The newest comes first: the last browser.
  const answer = await laptop.post(url, { end: handles[0]! })
  assert.equal(answer.status, 303)
  assert.equal(answer.headers.location, '/sessions?ended=1')
  assert.match((await laptop.get(`${url}?ended=1`)).body, /One session has ended/)
  assert.equal(await fixture.identity.readSession(ids[2]!), undefined)
  assert.ok(await fixture.identity.readSession(ids[1]!))
  assert.ok(await fixture.identity.readSession(ben.sessionId))
  assert.deepEqual(fixture.events.at(-1), {
    kind: 'session-ended',
    sessionId: ids[2],
    at: fixture.time.nowAt,
  })
  assert.equal((await signOn(fixture, phone, fixture.wiki)).sessionId, ids[1])
  const [event] = await audit.listAudit(fixture.store.db, { subject: ids[2]! })
  assert.deepEqual([event!.kind, event!.actor], ['session-ended', 'ana'])
  const again = await laptop.post(url, { end: handles[0]! })
  assert.equal(again.headers.location, '/sessions?ended=0')
})

test('all other sessions end at once, and the one that asks stays', async (t) => {
  const fixture = await startFixture(t)
  const { browsers, ids } = await threeOfAna(fixture)
  const answer = await browsers[1]!.post(url, { end: 'others' })
  assert.equal(answer.headers.location, '/sessions?ended=2')
  const live = await Promise.all(ids.map((id) => fixture.identity.readSession(id)))
  assert.deepEqual(
    live.map((session) => session !== undefined),
    [false, true, false],
  )
  const page = await browsers[1]!.get(url)
  assert.doesNotMatch(page.body, /everywhere else/)
  assert.match((await browsers[0]!.get(url)).body, /You are not signed in here/)
})

test("attack 45: nobody ends, or sees, another person's session by whatever name", async (t) => {
  const fixture = await startFixture(t)
  const { browsers, ids } = await threeOfAna(fixture)
  await fixture.addUser('ben')
  const ben = fixture.browser()
  await signIn(fixture, ben, fixture.hr, 'ben')
  const foreign = await handlesOf(browsers[0]!)
  const count = fixture.events.length
  for (const end of [...foreign, ...ids, '', '*', 'others ', "' or 1=1", '__proto__'])
    assert.equal((await ben.post(url, { end })).headers.location, '/sessions?ended=0', end)
  const many = await ben.send('POST', url, `end=x&end=${foreign[0]}`, {
    'content-type': 'application/x-www-form-urlencoded',
    'sec-fetch-site': 'same-origin',
  })
  assert.equal(many.headers.location, '/sessions?ended=0')
  assert.equal(fixture.events.length, count)
  const stranger = fixture.browser()
  assert.equal((await stranger.post(url, { end: 'others' })).headers.location, '/sessions?ended=0')
  assert.doesNotMatch((await stranger.get(url)).body, /Person/)
  assert.equal(await handlesOf(ben).then(({ length }) => length), 0)
})

test('attack 37: the page itself ends sessions, and no other site, sibling or link', async (t) => {
  const fixture = await startFixture(t)
  const { browsers, ids } = await threeOfAna(fixture)
  for (const headers of [
    {},
    { 'sec-fetch-site': 'same-site', origin: 'https://hr.example.test' },
    { 'sec-fetch-site': 'cross-site', origin: 'https://evil.test' },
    { origin: 'null' },
  ] as Record<string, string>[])
    assert.equal((await browsers[0]!.post(url, { end: 'others' }, headers)).status, 403)
  assert.equal((await browsers[0]!.get(`${url}?end=others`)).status, 200)
  assert.equal(
    (await browsers[0]!.get(`${url}?ended=<script>`)).body.includes('<script>alert'),
    false,
  )
  for (const id of ids) assert.ok(await fixture.identity.readSession(id))
  assert.equal((await browsers[0]!.post(url, {})).status, 400)
})

test('the page is nobody else: not after the session ended, nor for a user who is disabled', async (t) => {
  const fixture = await startFixture(t)
  const { browsers, ids } = await threeOfAna(fixture)
  await fixture.identity.endSession(ids[0]!, 'administrator')
  assert.doesNotMatch((await browsers[0]!.get(url)).body, /Person ana/)
  assert.equal(
    (await browsers[0]!.post(url, { end: 'others' })).headers.location,
    '/sessions?ended=0',
  )
  const { id } = (await users.findUserByName(fixture.store.db, 'ana'))!
  await users.setEnabled(fixture.store.db, id, false, fixture.time.nowAt)
  assert.doesNotMatch((await browsers[1]!.get(url)).body, /Person ana/)
})

test('use is noted, never backwards, for many sessions at once', async (t) => {
  const fixture = await startFixture(t)
  const { ids } = await threeOfAna(fixture)
  const { nowAt } = fixture.time
  const unknown = Array.from({ length: 1_200 }, (_, index) => `unknown ${index}`)
  await fixture.identity.noteUse([...unknown, ids[0]!], nowAt)
  await fixture.identity.noteUse([ids[0]!], nowAt - 5_000)
  const rows = await sessions.listSessions(fixture.store.db)
  const row = (id: string) => rows.find((each) => each.id === id)!
  assert.equal(row(ids[0]!).lastUsedAt, nowAt)
  assert.equal(row(ids[1]!).lastUsedAt, row(ids[1]!).signedInAt)
})
