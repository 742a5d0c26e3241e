import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import test, { type TestContext } from 'node:test'
import { sessions, users } from '@sallyport/store'
import {
  type Answer,
  type Attempt,
  type Browser,
  codeOf,
  type Fixture,
  loginOrigin,
  newAttempt,
  openSignIn,
  password,
  signIn,
  signOn,
  startFixture,
  submitSignIn,
  tenantId,
} from './fixture.ts'

const sessionCookie = '__Host-sallyport-identity'
const browserCookie = '__Host-sallyport-browser'
const tokenUrl = `/${tenantId}/oauth2/v2.0/token`

async function withAna(t: TestContext): Promise<Fixture> {
  const fixture = await startFixture(t)
  await fixture.addUser('ana')
  return fixture
}

async function getCode(fixture: Fixture, browser: Browser, attempt: Attempt): Promise<string> {
  const { url } = await openSignIn(fixture, browser, attempt)
  return codeOf(await submitSignIn(browser, url, 'ana'), attempt)
}

/** The token request as a foreign client would make it. */
function tokenForm(attempt: Attempt, code: string) {
  const secret = createHmac('sha256', Buffer.alloc(32, 7)).update(attempt.applicationId)
  return {
    grant_type: 'authorization_code',
    client_id: attempt.applicationId,
    client_secret: secret.digest('base64url'),
    redirect_uri: attempt.redirectUri,
    code,
    code_verifier: attempt.codeVerifier,
  }
}

function errorOf(answer: Answer): string {
  return (JSON.parse(answer.body) as { error: string }).error
}

const machine = { accept: 'application/json' }

test('of thirty redemptions of one code at the same moment exactly one succeeds', async (t) => {
  const fixture = await withAna(t)
  for (let round = 0; round < 3; round += 1) {
    const browser = fixture.browser()
    const attempt = newAttempt(fixture.hr)
    const code = await getCode(fixture, browser, attempt)
    const form = tokenForm(attempt, code)
    const answers = await Promise.all(
      Array.from({ length: 30 }, () => browser.post(tokenUrl, form, machine)),
    )
    assert.equal(answers.filter(({ status }) => status === 200).length, 1)
    for (const answer of answers)
      if (answer.status !== 200) assert.equal(errorOf(answer), 'invalid_grant')
  }
})

test('of thirty in-process redemptions exactly one gets the session', async (t) => {
  const fixture = await withAna(t)
  const attempt = newAttempt(fixture.hr)
  const code = await getCode(fixture, fixture.browser(), attempt)
  const results = await Promise.allSettled(
    Array.from({ length: 30 }, () =>
      fixture.identity.redeem({ ...attempt, code, clientAddress: '192.0.2.1' }),
    ),
  )
  assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 1)
  for (const result of results)
    if (result.status === 'rejected') assert.equal(result.reason.code, 'CODE_REJECTED')
})

test('attack 34: a replayed code is refused and takes the tokens of the first with it', async (t) => {
  const fixture = await withAna(t)
  const browser = fixture.browser()
  const attempt = newAttempt(fixture.hr)
  const form = tokenForm(attempt, await getCode(fixture, browser, attempt))
  assert.equal((await browser.post(tokenUrl, form, machine)).status, 200)
  const tokens = fixture.store.db.selectFrom('oidcModel').selectAll()
  assert.equal((await tokens.where('model', '=', 'AccessToken').execute()).length, 1)
  assert.equal(errorOf(await browser.post(tokenUrl, form, machine)), 'invalid_grant')
  assert.equal((await tokens.where('model', '=', 'AccessToken').execute()).length, 0)
})

test('attack 34: a code whose session ends is worth nothing, also one that was stored while it ended', async (t) => {
  const fixture = await withAna(t)
  const browser = fixture.browser()
  const attempt = newAttempt(fixture.hr)
  const form = tokenForm(attempt, await getCode(fixture, browser, attempt))
  const { db } = fixture.store
  const [session] = await sessions.listSessions(db)
  // The provider stored code, grant and its own session just after all of them were removed.
  await sessions.endSession(db, session!.id, 'administrator', fixture.time.nowAt)
  const answer = await browser.post(tokenUrl, form, machine)
  assert.equal(errorOf(answer), 'invalid_grant')
  assert.doesNotMatch(answer.body, /id_token|access_token/)
})

test('attack 34: PKCE is required, S256 only, and the verifier must fit', async (t) => {
  const fixture = await withAna(t)
  const browser = fixture.browser()
  const attempt = newAttempt(fixture.hr)
  const authorize = new URL(fixture.identity.authorizeUrl(attempt))
  const requestError = async (change: (parameters: URLSearchParams) => void) => {
    const url = new URL(authorize)
    change(url.searchParams)
    const { location } = (await browser.get(url.href)).headers
    return new URL(location!).searchParams.get('error')
  }
  for (const change of [
    (p: URLSearchParams) => {
      p.delete('code_challenge')
      p.delete('code_challenge_method')
    },
    (p: URLSearchParams) => p.delete('code_challenge_method'),
    (p: URLSearchParams) => p.delete('code_challenge'),
    (p: URLSearchParams) => p.set('code_challenge_method', 'plain'),
    (p: URLSearchParams) => p.set('code_challenge', ''),
  ])
    assert.equal(await requestError(change), 'invalid_request')

  const code = await getCode(fixture, browser, attempt)
  const form = tokenForm(attempt, code)
  const without = Object.fromEntries(Object.entries(form).filter(([k]) => k !== 'code_verifier'))
  for (const wrong of [
    { ...form, code_verifier: 'x'.repeat(43) },
    { ...form, code_verifier: '' },
    { ...form, code_verifier: attempt.codeChallenge },
    without,
  ])
    assert.equal(errorOf(await browser.post(tokenUrl, wrong, machine)), 'invalid_grant')
})

test('attack 34: a code is good for its client, its secret and its redirect URI only', async (t) => {
  const fixture = await withAna(t)
  const browser = fixture.browser()
  const attempt = newAttempt(fixture.hr)
  const code = await getCode(fixture, browser, attempt)
  const form = tokenForm(attempt, code)
  const other = tokenForm(newAttempt(fixture.wiki), code)
  const statusAndError = async (changed: Record<string, string>) => {
    const answer = await browser.post(tokenUrl, changed, machine)
    return `${answer.status} ${errorOf(answer)}`
  }
  assert.equal(
    await statusAndError({
      ...form,
      client_id: other.client_id,
      client_secret: other.client_secret,
    }),
    '400 invalid_grant',
  )
  assert.equal(await statusAndError({ ...form, client_secret: 'x' }), '401 invalid_client')
  assert.equal(
    await statusAndError({ ...form, client_secret: other.client_secret }),
    '401 invalid_client',
  )
  const { client_secret: _, ...rest } = form
  assert.equal(await statusAndError(rest), '401 invalid_client')
  assert.equal(
    await statusAndError({ ...form, redirect_uri: fixture.wiki.redirectUri }),
    '400 invalid_grant',
  )
  await assert.rejects(
    fixture.identity.redeem({ ...attempt, code: 'made-up', clientAddress: '' }),
    { code: 'CODE_REJECTED' },
  )
  await assert.rejects(
    fixture.identity.redeem({ ...attempt, code, nonce: 'other', clientAddress: '' }),
    { code: 'NONCE_MISMATCH' },
  )
})

test('attack 34: other flows, response modes and request objects do not exist', async (t) => {
  const fixture = await withAna(t)
  const browser = fixture.browser()
  const ask = async (changes: Record<string, string>) => {
    const url = new URL(fixture.identity.authorizeUrl(newAttempt(fixture.hr)))
    for (const [name, value] of Object.entries(changes)) url.searchParams.set(name, value)
    const answer = await browser.get(url.href)
    const to = new URL(answer.headers.location ?? 'about:blank')
    const query = to.searchParams.get('error')
    return query ?? new URLSearchParams(to.hash.slice(1)).get('error') ?? answer.status
  }
  for (const response_type of ['token', 'id_token', 'code id_token', 'none', ''])
    assert.match(String(await ask({ response_type })), /^(invalid_request|unsupported_\w+|400)$/)
  for (const response_mode of ['fragment', 'form_post', 'web_message', 'jwt'])
    assert.match(String(await ask({ response_mode })), /^(invalid_request|unsupported_\w+|400)$/)
  assert.equal(await ask({ request: 'eyJhbGciOiJub25lIn0.e30.' }), 'request_not_supported')
  assert.equal(await ask({ request_uri: 'https://evil.test/' }), 'request_uri_not_supported')
  assert.equal(await ask({ client_id: tenantId }), 400)
})

test('attack 32: nothing but a redirect URI of the application is ever redirected to', async (t) => {
  const fixture = await withAna(t)
  const browser = fixture.browser()
  await signIn(fixture, browser, fixture.hr, 'ana')
  const good = fixture.hr.redirectUri
  const corpus = [
    '//evil.test',
    '/\\evil.test',
    '/%5cevil.test',
    'https:evil.test',
    'https:/evil.test/.sallyport/callback',
    'https://hr.example.test@evil.test/.sallyport/callback',
    'https://hr.example.test.evil.test/.sallyport/callback',
    'https://evil.test/.sallyport/callback',
    'https://user@hr.example.test/.sallyport/callback',
    'javascript:alert(1)',
    'data:text/html,x',
    'https://hr.example.test/.sallyport/\tcallback',
    'https://hr.example.test/.sallyport/callback\n',
    '\thttps://hr.example.test/.sallyport/callback',
    'https://hr.example.test%2f%2fevil.test/.sallyport/callback',
    'https://hr.example.test/.sallyport/callback/../../evil',
    'https://hr.example.test/.sallyport/callback?x=1',
    'https://hr.example.test/.sallyport/callback#x',
    'https://hr.example.test/.sallyport%2fcallback',
    'https://hr.example.test/',
    fixture.wiki.redirectUri,
    'https://hr.example.test:8443/.sallyport/callback',
    'https://hr.example.test:443/.sallyport/callback',
    'http://hr.example.test/.sallyport/callback',
    'https://HR.example.test/.sallyport/callback',
    'https://hr.example.test./.sallyport/callback',
    'https://login.example.test/.sallyport/callback',
    'https://apps.example.test/.sallyport/callback',
    `${good}${'x'.repeat(10_000)}`,
    '',
  ]
  for (const redirectUri of corpus)
    for (const more of [{}, { codeChallenge: 'x' }, { prompt: 'none' as const }]) {
      const attempt = { ...newAttempt(fixture.hr), redirectUri, ...more }
      const answer = await browser.get(fixture.identity.authorizeUrl(attempt))
      assert.equal(answer.status, 400, redirectUri)
      assert.equal(answer.headers.location, undefined, redirectUri)
      assert.doesNotMatch(answer.body, /evil|alert\(1\)/, redirectUri)
    }
  const twice = new URL(fixture.identity.authorizeUrl(newAttempt(fixture.hr)))
  twice.searchParams.append('redirect_uri', 'https://evil.test/')
  assert.equal((await browser.get(twice.href)).headers.location, undefined)
})

test('attack 33: sign-out goes nowhere but to our own page', async (t) => {
  const fixture = await withAna(t)
  const browser = fixture.browser()
  await signIn(fixture, browser, fixture.hr, 'ana')
  const url = new URL(`${loginOrigin}/common/oauth2/v2.0/logout`)
  url.searchParams.set('post_logout_redirect_uri', 'https://evil.test/')
  url.searchParams.set('state', 'x')
  const named = new URL(url)
  named.searchParams.set('client_id', fixture.hr.id)
  assert.equal((await browser.get(named.href)).status, 400)
  const page = await browser.get(url.href)
  assert.equal(page.status, 200)
  assert.doesNotMatch(page.body, /evil/)
  const done = await browser.post(...confirmation(page))
  assert.equal(new URL(done.headers.location!).origin, loginOrigin)
  assert.equal(new URL(done.headers.location!).search, '')
})

test('attack 36: no id from before the sign-in is worth anything after it', async (t) => {
  const fixture = await withAna(t)
  const attacker = fixture.browser()
  await signIn(fixture, attacker, fixture.hr, 'ana')
  const planted = attacker.cookies.get(sessionCookie)!
  // The attacker's cookie is in the victim's browser while she signs in.
  await fixture.addUser('bea')
  const victim = fixture.browser()
  victim.cookies.set(sessionCookie, planted)
  const attempt = { ...newAttempt(fixture.wiki), prompt: 'login' as const }
  const { url } = await openSignIn(fixture, victim, attempt)
  const code = codeOf(await submitSignIn(victim, url, 'bea'), attempt)
  const session = await fixture.identity.redeem({ ...attempt, code, clientAddress: '' })
  assert.equal(session.claims.userName, 'bea')
  assert.notEqual(victim.cookies.get(sessionCookie), planted)
  const { location } = (await attacker.get(fixture.identity.authorizeUrl(attempt))).headers
  assert.match(location!, /\/sign-in\//)
  await openSignIn(fixture, attacker, newAttempt(fixture.hr))
})

test('attack 36: signing in again begins a new session and ends the old one', async (t) => {
  const fixture = await withAna(t)
  const browser = fixture.browser()
  const first = await signIn(fixture, browser, fixture.hr, 'ana')
  const cookie = browser.cookies.get(sessionCookie)
  const attempt = { ...newAttempt(fixture.hr), prompt: 'login' as const }
  const { url } = await openSignIn(fixture, browser, attempt)
  assert.ok(await fixture.identity.readSession(first.sessionId), 'asking alone ends nothing')
  const code = codeOf(await submitSignIn(browser, url, 'ana'), attempt)
  const second = await fixture.identity.redeem({ ...attempt, code, clientAddress: '' })
  assert.notEqual(second.sessionId, first.sessionId)
  assert.notEqual(browser.cookies.get(sessionCookie), cookie)
  assert.equal(await fixture.identity.readSession(first.sessionId), undefined)
  assert.deepEqual(
    fixture.events.map((event) => event.kind === 'session-ended' && event.sessionId),
    [first.sessionId],
  )
  const [row] = (await sessions.listSessions(fixture.store.db)).filter((s) => s.endedAt)
  assert.equal(row!.endReason, 'replaced')
})

test('attack 37: a pending sign-in cannot be carried to another browser, at any step', async (t) => {
  const fixture = await withAna(t)
  const attacker = fixture.browser()
  const victim = fixture.browser()
  const attempt = newAttempt(fixture.hr)
  const { url } = await openSignIn(fixture, attacker, attempt)
  for (const browser of [victim, await bound(fixture)]) {
    assert.equal((await browser.get(url)).status, 400)
    assert.match((await browser.get(url)).body, /SIGN_IN_ELSEWHERE/)
    assert.equal((await browser.post(url, { userName: 'ana', password })).status, 400)
  }
  const answer = await attacker.post(url, { userName: 'ana', password })
  const resume = answer.headers.location!
  assert.match(resume, /\/authorize\/[\w-]+$/)
  for (const browser of [victim, await bound(fixture)]) {
    const refused = await browser.get(resume)
    assert.equal(refused.status, 400)
    assert.match(refused.body, /SIGN_IN_ELSEWHERE/)
    assert.equal(browser.cookies.has(sessionCookie), false)
  }
  codeOf(await attacker.get(resume), attempt)
  const again = await attacker.get(resume)
  assert.equal(again.status, 400)
  assert.match(again.body, /SIGN_IN_EXPIRED/)
})

/** Another browser with a pending sign-in of its own. */
async function bound(fixture: Fixture): Promise<Browser> {
  const browser = fixture.browser()
  await openSignIn(fixture, browser, newAttempt(fixture.hr))
  assert.ok(browser.cookies.has(browserCookie))
  return browser
}

test('attack 37: forms from anywhere else do nothing', async (t) => {
  const fixture = await withAna(t)
  const browser = fixture.browser()
  const session = await signIn(fixture, browser, fixture.hr, 'ana')
  const attempt = { ...newAttempt(fixture.hr), prompt: 'login' as const }
  const { url } = await openSignIn(fixture, browser, attempt)
  const page = await browser.get(`/${tenantId}/oauth2/v2.0/logout`)
  const [signOutUrl, signOutForm] = confirmation(page)
  for (const headers of [
    {},
    { 'sec-fetch-site': 'same-site', origin: 'https://hr.example.test' },
    { 'sec-fetch-site': 'cross-site', origin: 'https://evil.test' },
    { 'sec-fetch-site': 'same-site', origin: loginOrigin },
    { 'sec-fetch-site': 'none' },
    { origin: 'null' },
    { origin: `${loginOrigin}.evil.test` },
    { origin: 'http://login.example.test' },
    { referer: `${loginOrigin}/` },
  ] as Record<string, string>[]) {
    const refused = await browser.post(url, { userName: 'ana', password }, headers)
    assert.equal(refused.status, 403, JSON.stringify(headers))
    assert.match(refused.body, /CROSS_SITE/)
    assert.equal((await browser.post(signOutUrl, signOutForm, headers)).status, 403)
  }
  assert.ok(await fixture.identity.readSession(session.sessionId))
  for (const method of ['PUT', 'DELETE', 'PATCH'])
    assert.ok((await browser.send(method, url, '', {})).status >= 400)
  const old = await browser.post(url, { userName: 'ana', password }, { origin: loginOrigin })
  assert.equal(old.status, 303)
})

test('attack 37: sign-out asks first, and then ends everything', async (t) => {
  const fixture = await withAna(t)
  const browser = fixture.browser()
  const session = await signIn(fixture, browser, fixture.hr, 'ana')
  await signOn(fixture, browser, fixture.wiki)
  const page = await browser.get('/example.test/oauth2/v2.0/logout')
  assert.match(page.body, /signed in as <strong>Person ana<\/strong> \(ana\)/)
  assert.ok(await fixture.identity.readSession(session.sessionId))
  const [url, form] = confirmation(page)
  const done = await browser.post(url, { ...form, xsrf: 'guessed' })
  assert.equal(done.status, 400)
  assert.ok(await fixture.identity.readSession(session.sessionId))

  const signedOut = await browser.post(
    ...confirmation(await browser.get(url.replace('/confirm', ''))),
  )
  assert.match((await browser.get(signedOut.headers.location!)).body, /You are signed out/)
  assert.equal(await fixture.identity.readSession(session.sessionId), undefined)
  assert.equal(browser.cookies.has(sessionCookie), false)
  assert.deepEqual(fixture.events, [
    { kind: 'session-ended', sessionId: session.sessionId, at: fixture.time.nowAt },
  ])
  const left = await fixture.store.db.selectFrom('oidcModel').select('model').execute()
  assert.deepEqual(
    left.map(({ model }) => model).filter((model) => /Session|Grant|Code|Token/.test(model)),
    [],
  )
  await openSignIn(fixture, browser, newAttempt(fixture.hr))
})

test('who is not signed in is told so by sign-out, and leaves no trace', async (t) => {
  const fixture = await startFixture(t)
  const browser = fixture.browser()
  const answer = await browser.get('/common/oauth2/v2.0/logout')
  assert.match((await browser.get(answer.headers.location!)).body, /You are signed out/)
  assert.equal(browser.cookies.size, 0)
  assert.deepEqual(await fixture.store.db.selectFrom('oidcModel').selectAll().execute(), [])
})

/** URL and hidden fields of the sign-out page's form. */
function confirmation({ body }: Answer): [string, Record<string, string>] {
  const action = /<form[^>]* action="([^"]+)"/.exec(body)
  const fields = [...body.matchAll(/<input type="hidden" name="(\w+)" value="([^"]*)">/g)]
  assert.ok(action && fields.length === 2, body)
  return [action[1]!, Object.fromEntries(fields.map(([, name, value]) => [name!, value!]))]
}

test('attack 38: a forged, doubled or look-alike session cookie is no session', async (t) => {
  const fixture = await withAna(t)
  const browser = fixture.browser()
  await signIn(fixture, browser, fixture.hr, 'ana')
  const good = browser.cookies.get(sessionCookie)!
  const bare = good.slice(0, good.lastIndexOf('.'))
  const url = fixture.identity.authorizeUrl(newAttempt(fixture.hr))
  const signedIn = async (cookie: string) => {
    const answer = await fixture.browser().get(url, { cookie })
    return answer.headers.location!.startsWith('https://hr.example.test/')
  }
  assert.equal(await signedIn(`a=b; ${sessionCookie}=${good}; c=d`), true)
  for (const cookie of [
    `${sessionCookie}=${good}; ${sessionCookie}=${good}`,
    `${sessionCookie}=x; ${sessionCookie}=${good}`,
    `\u00a0${sessionCookie}=${good}`,
    `$Version=1; "${sessionCookie}"=${good}`,
    `${sessionCookie}="${good}"`,
    `${sessionCookie.toUpperCase()}=${good}`,
    `${sessionCookie}=${bare}`,
    `${sessionCookie}=${bare}.`,
    `${sessionCookie}=${bare}.${'A'.repeat(43)}`,
    `${sessionCookie}=x${good}`,
    `${sessionCookie}=`,
    sessionCookie,
  ])
    assert.equal(await signedIn(Buffer.from(cookie).toString('latin1')), false, cookie)
})

test('attack 38: what the database holds is no cookie', async (t) => {
  const fixture = await withAna(t)
  await signIn(fixture, fixture.browser(), fixture.hr, 'ana')
  const rows = await fixture.store.db.selectFrom('oidcModel').selectAll().execute()
  const { id } = rows.find(({ model }) => model === 'Session')!
  const thief = fixture.browser()
  thief.cookies.set(sessionCookie, id)
  await openSignIn(fixture, thief, newAttempt(fixture.hr))
})

test('attack 41: guessing is slowed down by name and by address, whether or not the name exists', async (t) => {
  const fixture = await withAna(t)
  for (const userName of ['ana', 'nobody']) {
    const browser = fixture.browser()
    const { url } = await openSignIn(fixture, browser, newAttempt(fixture.hr))
    for (let guess = 0; guess < 10; guess += 1)
      assert.equal((await submitSignIn(browser, url, userName, `guess ${guess}`)).status, 422)
    const limited = await submitSignIn(browser, url, userName.toUpperCase())
    assert.equal(limited.status, 429)
    assert.equal(limited.headers['retry-after'], '30')
    assert.match(limited.body, /Wait 30 seconds/)
  }
  fixture.time.nowAt += 30_000
  const browser = fixture.browser()
  const attempt = newAttempt(fixture.hr)
  const { url } = await openSignIn(fixture, browser, attempt)
  codeOf(await submitSignIn(browser, url, 'ana'), attempt)
})

test('attack 41: no address that a client says of itself gives it new attempts', async (t) => {
  const fixture = await withAna(t)
  const browser = fixture.browser()
  const { url } = await openSignIn(fixture, browser, newAttempt(fixture.hr))
  const statuses: number[] = []
  for (let guess = 0; guess < 11; guess += 1) {
    const spoofed = `203.0.113.${guess}`
    const { status } = await browser.post(
      url,
      { userName: 'ana', password: `guess ${guess}` },
      {
        origin: loginOrigin,
        'sec-fetch-site': 'same-origin',
        forwarded: `for=${spoofed}`,
        'x-forwarded-for': spoofed,
        'x-real-ip': spoofed,
        'true-client-ip': spoofed,
        'cf-connecting-ip': spoofed,
      },
    )
    statuses.push(status)
  }
  assert.deepEqual(statuses, [...Array(10).fill(422), 429])
})

test('attack 41: many names from one address are slowed down too', async (t) => {
  const fixture = await withAna(t)
  const browser = fixture.browser()
  const { url } = await openSignIn(fixture, browser, newAttempt(fixture.hr))
  const statuses: number[] = []
  for (let guess = 0; guess < 61; guess += 1)
    statuses.push((await submitSignIn(browser, url, `user${guess}`, 'x')).status)
  assert.deepEqual(new Set(statuses.slice(0, 60)), new Set([422]))
  assert.equal(statuses[60], 429)
})

test('attack 41: guesses from elsewhere do not lock a person out of a browser that is known', async (t) => {
  const fixture = await withAna(t)
  const hers = fixture.browser()
  await signIn(fixture, hers, fixture.hr, 'ana')
  const attacker = fixture.browser()
  const { url } = await openSignIn(fixture, attacker, newAttempt(fixture.hr))
  for (let guess = 0; guess < 11; guess += 1) await submitSignIn(attacker, url, 'ana', 'x')
  assert.equal((await submitSignIn(attacker, url, 'ana')).status, 429)
  hers.cookies.delete(sessionCookie)
  await signIn(fixture, hers, fixture.wiki, 'ana')
  // The proof is bound to the browser and to the name.
  const copied = fixture.browser()
  // She comes from the address that the guesses came from.
  const known = '__Host-sallyport-known'
  copied.cookies.set(known, hers.cookies.get(known)!)
  const pending = await openSignIn(fixture, copied, newAttempt(fixture.hr))
  assert.equal((await submitSignIn(copied, pending.url, 'ana')).status, 429)
})

test('attack 41: guesses from one address lock nobody out at another', async (t) => {
  const fixture = await withAna(t)
  const attacker = fixture.browser('127.0.0.66')
  const pending = await openSignIn(fixture, attacker, newAttempt(fixture.hr))
  for (let guess = 0; guess < 200; guess += 1) await submitSignIn(attacker, pending.url, 'ana', 'x')
  assert.equal((await submitSignIn(attacker, pending.url, 'ana')).status, 429)
  await signIn(fixture, fixture.browser('127.0.0.2'), fixture.hr, 'ana')
})

test('attack 41: guesses from many addresses are slowed down together, and lock nobody out where she was before', async (t) => {
  const fixture = await withAna(t)
  const familiar = '127.0.0.7'
  await signIn(fixture, fixture.browser(familiar), fixture.hr, 'ana')
  const statuses: number[] = []
  for (let address = 100; address < 112; address += 1) {
    const attacker = fixture.browser(`127.0.0.${address}`)
    const { url } = await openSignIn(fixture, attacker, newAttempt(fixture.hr))
    for (let guess = 0; guess < 5; guess += 1)
      statuses.push((await submitSignIn(attacker, url, 'ana', 'x')).status)
  }
  assert.deepEqual(statuses.slice(0, 50), Array(50).fill(422))
  assert.deepEqual(statuses.slice(50), Array(10).fill(429))
  // Not even the right password goes through from a new place, which is the price of it.
  const stranger = fixture.browser('127.0.0.120')
  const pending = await openSignIn(fixture, stranger, newAttempt(fixture.hr))
  assert.equal((await submitSignIn(stranger, pending.url, 'ana')).status, 429)
  // A new browser at her own place does.
  await signIn(fixture, fixture.browser(familiar), fixture.wiki, 'ana')
  // And somebody else is not concerned.
  await fixture.addUser('ben')
  await signIn(fixture, fixture.browser('127.0.0.120'), fixture.hr, 'ben')
})

test('attack 41: unknown, wrong, disabled and locked are answered alike, after the same work', async (t) => {
  const fixture = await withAna(t)
  await fixture.addUser('gone', false)
  await users.createUser(fixture.store.db, { userName: 'fresh', displayName: 'Fresh' }, 1)
  const kinds = [
    ['ana', 'wrong'],
    ['nobody', 'wrong'],
    ['gone', password],
    ['fresh', 'wrong'],
  ] as const
  const asked = []
  for (const [index, [userName, typed]] of kinds.entries()) {
    const browser = fixture.browser(`127.0.0.${20 + index}`)
    const { url } = await openSignIn(fixture, browser, newAttempt(fixture.hr))
    asked.push({ browser, url, userName, typed, texts: [] as string[], leastMs: Number.MAX_VALUE })
  }
  // In turns, so that what else the machine does meets all alike.
  for (let guess = 0; guess < 12; guess += 1)
    for (const one of asked) {
      const startedAt = performance.now()
      const answer = await submitSignIn(one.browser, one.url, one.userName, one.typed)
      const ms = performance.now() - startedAt
      // The last ones are turned away before their password is looked at.
      if (answer.status !== 429) one.leastMs = Math.min(one.leastMs, ms)
      const { date, ...headers } = answer.headers
      assert.ok(date)
      const text = `${answer.status} ${JSON.stringify(headers)} ${answer.body.replaceAll(one.userName, 'NAME')}`
      one.texts.push(text.replace(/"content-length":"\d+",?/, ''))
    }
  const [first, ...others] = asked
  for (const { texts } of others)
    for (const [guess, text] of texts.entries())
      assert.ok(text === first!.texts[guess], `guess ${guess} is answered another way`)
  // A hash takes 10 ms and more, whatever the machine; an answer without one a fraction of it. The fastest of each is
  // what the work takes; slower ones waited for others.
  const least = asked.map(({ leastMs }) => leastMs)
  assert.ok(
    Math.max(...least) < 2.5 * Math.min(...least),
    `at least ${least.map((ms) => ms.toFixed(1)).join(', ')} ms`,
  )
})

test('attack 46: a token of one kind is worth nothing where another is asked for', async (t) => {
  const fixture = await withAna(t)
  const browser = fixture.browser()
  const attempt = newAttempt(fixture.hr)
  const form = tokenForm(attempt, await getCode(fixture, browser, attempt))
  const tokens = JSON.parse((await browser.post(tokenUrl, form, machine)).body) as {
    access_token: string
    id_token: string
  }
  const session = browser.cookies.get(sessionCookie)!
  const other = newAttempt(fixture.hr)
  for (const code of [tokens.access_token, tokens.id_token, session, session.split('.')[0]!])
    await assert.rejects(fixture.identity.redeem({ ...other, code, clientAddress: '' }), {
      code: 'CODE_REJECTED',
    })
  for (const id of [tokens.access_token, session.split('.')[0]!, form.code])
    assert.equal(await fixture.identity.readSession(id), undefined)
})

test('a password changed between the right password and the code leaves the session dead', async (t) => {
  const fixture = await startFixture(t)
  const userId = await fixture.addUser('ana')
  const browser = fixture.browser()
  const attempt = newAttempt(fixture.hr)
  const { url } = await openSignIn(fixture, browser, attempt)
  const answer = await browser.post(url, { userName: 'ana', password })
  await users.setPassword(fixture.store.db, userId, 'another hash', fixture.time.nowAt)
  const resumed = await browser.get(answer.headers.location!)
  assert.match(resumed.headers.location!, /\/sign-in\//)
})

test('a session that ended before its code was redeemed is not handed out', async (t) => {
  const fixture = await startFixture(t)
  const userId = await fixture.addUser('ana')
  const attempt = newAttempt(fixture.hr)
  const code = await getCode(fixture, fixture.browser(), attempt)
  await fixture.store.db
    .updateTable('user')
    .set({ signInEpoch: 2 })
    .where('id', '=', userId)
    .execute()
  await assert.rejects(fixture.identity.redeem({ ...attempt, code, clientAddress: '' }), {
    code: 'CODE_REJECTED',
  })
})

test('another host, an over-long form and nonsense get a page and nothing else', async (t) => {
  const fixture = await withAna(t)
  const browser = fixture.browser()
  const { url } = await openSignIn(fixture, browser, newAttempt(fixture.hr))
  assert.equal((await browser.get('/', { host: 'hr.example.test' })).status, 421)
  assert.equal((await browser.post(url, { userName: 'x'.repeat(20_000) })).status, 413)
  const json = { origin: loginOrigin, 'content-type': 'application/json' }
  assert.equal((await browser.send('POST', url, '{}', json)).status, 400)
  for (const path of [
    '/%',
    '/sign-in/',
    `/sign-in/${'x'.repeat(65)}`,
    '/sign-in/%2e%2e',
    `/${tenantId}/oauth2/v2.0/authorize/`,
    `/${tenantId}/oauth2/v2.0/authorize/x/y`,
    '/other.test/oauth2/v2.0/authorize',
    `/${tenantId}%2foauth2/v2.0/authorize`,
    `/${tenantId}/oauth2/v2.0/devicecode`,
    '/.well-known/openid-configuration',
  ])
    assert.ok([400, 404].includes((await browser.get(path)).status), path)
  assert.deepEqual(fixture.errors, [])
})
