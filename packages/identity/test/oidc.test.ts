import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { audit, logoutNotices, oidcModel, oidcSecrets, sessions, users } from '@sallyport/store'
import { age, type Fixture, loginOrigin, nest, startFixture } from './fixture.ts'
import { issuer, logoutUrl, OidcParty, tokenPath, userinfoPath, walk } from './oidc-party.ts'

async function start(
  t: TestContext,
  signOn: Record<string, unknown> = {},
  more: Parameters<typeof OidcParty.publish>[3] = {},
) {
  const fixture = await startFixture(t)
  const ana = await fixture.addUser('ana')
  const party = await OidcParty.publish(fixture, 'payroll', signOn, more)
  return { fixture, ana, party, browser: fixture.browser() }
}

async function events(fixture: Fixture, kind: string) {
  const all = await audit.listAudit(fixture.store.db, {})
  return all.filter((event) => event.kind === kind)
}

function pkceOf(verifier: string): Record<string, string> {
  return {
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
  }
}

async function endSession(fixture: Fixture): Promise<void> {
  const [row] = await sessions.listSessions(fixture.store.db, { liveAt: fixture.time.nowAt })
  await fixture.identity.endSession(row!.id, 'administrator')
}

test('who has signed in once is known to the application without typing anything more', async (t) => {
  const { fixture, party, browser } = await start(t)
  const first = await party.authorize(browser)
  const url = new URL(first.headers.location!)
  assert.equal(url.searchParams.get('state'), 's t&ä')
  assert.equal(url.searchParams.get('iss'), issuer)
  const { tokens } = await party.token({ code: url.searchParams.get('code')! })
  assert.equal(tokens.token_type, 'Bearer')
  assert.equal(tokens.refresh_token, undefined)
  const { payload, protectedHeader } = await party.verify(tokens.id_token)
  assert.equal(protectedHeader.alg, 'RS256')
  assert.equal(payload.nonce, 'n')
  assert.equal(payload.name, 'Person ana')
  assert.equal(payload.preferred_username, 'ana')
  assert.equal(payload.email, 'ana@mail.test')
  assert.equal(payload.oid, undefined)
  assert.ok(typeof payload.auth_time === 'number')
  const { status, claims } = await party.userinfo(tokens.access_token)
  assert.equal(status, 200)
  assert.equal(claims.sub, payload.sub)
  assert.equal(claims.name, 'Person ana')
  // The second time, and at another application, nothing is typed.
  const other = await OidcParty.publish(fixture, 'other')
  for (const each of [party, other]) {
    const answer = await browser.get(each.authorizeUrl())
    assert.ok(answer.headers.location?.startsWith(`${each.redirectUri}?code=`))
  }
  const [event] = await events(fixture, 'oidc-signed-on')
  assert.equal(event?.actor, 'ana')
  assert.equal((await events(fixture, 'oidc-signed-on')).length, 3)
})

test('a name for the person differs from application to application, or is the object ID', async (t) => {
  const { fixture, party, browser, ana } = await start(t)
  const same = await OidcParty.publish(fixture, 'same', { subject: 'objectId' })
  const other = await OidcParty.publish(fixture, 'other')
  const subjects = new Map<OidcParty, unknown>()
  for (const each of [party, same, other]) {
    const { id_token } = await each.tokens(browser)
    subjects.set(each, (await each.verify(id_token)).payload.sub)
  }
  assert.equal(new Set(subjects.values()).size, 3)
  assert.equal(subjects.get(same), ana)
  assert.match(String(subjects.get(party)), /^[\w-]{43}$/)
  await fixture.restart()
  const { id_token } = await party.tokens(fixture.browser())
  assert.equal((await party.verify(id_token)).payload.sub, subjects.get(party))
})

test('claims of the application are told whatever scope it asks for, transformed', async (t) => {
  const { fixture, party, browser, ana } = await start(t, {
    claims: [
      { name: 'preferred_username', claim: 'mail', transforms: [{ transform: 'toUppercase' }] },
      { name: 'groups', claim: 'groups' },
      { name: 'first_group', claim: 'groups', multivalued: false },
      { name: 'group_list', claim: 'groups', separator: ',' },
      { name: 'email_verified', value: true },
      { name: 'nobody', claim: 'mail', transforms: [{ transform: 'extractAfter', text: '!' }] },
      { name: 'https://example.com/site', value: 'north' },
    ],
  })
  await nest(fixture.store, ana, 'nurses', 'staff')
  const code = await party.signIn(browser, 'ana', { scope: 'openid' })
  const { tokens } = await party.token({ code })
  const { payload } = await party.verify(tokens.id_token)
  const { claims } = await party.userinfo(tokens.access_token)
  for (const told of [payload, claims]) {
    assert.equal(told.preferred_username, 'ANA@MAIL.TEST')
    assert.deepEqual((told.groups as string[]).toSorted(), ['nurses', 'staff'])
    assert.equal(typeof told.first_group, 'string')
    assert.match(String(told.group_list), /^(nurses,staff|staff,nurses)$/)
    assert.equal(told.email_verified, true)
    assert.equal(told['https://example.com/site'], 'north')
    assert.ok(!('nobody' in told))
    assert.ok(!('name' in told))
  }
})

test('an answer comes by a form where the application asks for that, on a page of ours', async (t) => {
  const { party, browser } = await start(t)
  const answer = await party.authorize(browser, 'ana', { response_mode: 'form_post' })
  assert.equal(answer.status, 200)
  assert.match(answer.body, /<form[^>]* action="https:\/\/payroll\.example\.test\/callback"/)
  assert.match(answer.body, /name="state" value="s t&amp;ä"/)
  assert.match(String(answer.headers['content-security-policy']), /default-src 'none'/)
  assert.doesNotMatch(String(answer.headers['content-security-policy']), /form-action/)
  assert.equal(answer.headers['referrer-policy'], 'strict-origin')
  const code = /name="code" value="([^"]+)"/.exec(answer.body)![1]!
  assert.equal((await party.token({ code })).status, 200)
  const failed = await browser.get(
    party.authorizeUrl({ response_mode: 'form_post', scope: 'profile', prompt: 'none' }),
  )
  assert.match(failed.body, /name="error"/)
})

test('a code by a form to another site leaves by the application’s own host, for the session that it is for', async (t) => {
  const redirectUri = 'https://crm.example.org/callback'
  const { fixture, party, browser } = await start(
    t,
    { redirectUris: [redirectUri] },
    { externalUrl: 'https://crm.example.org/' },
  )
  const idOf = (location: string | undefined) =>
    /^https:\/\/crm\.example\.org\/\.sallyport\/form\?id=([\w-]{43})$/.exec(location ?? '')![1]!
  const by = { response_mode: 'form_post', redirect_uri: redirectUri }
  const id = idOf((await party.authorize(browser, 'ana', by)).headers.location)
  const [session] = await sessions.listSessions(fixture.store.db, { liveAt: fixture.time.nowAt })
  const { identity } = fixture
  const origin = 'https://crm.example.org'
  const { kind } = await identity.takeForm({ id, origin, sessionId: 'x' })
  assert.equal(kind, 'other-session')
  const found = await identity.takeForm({ id, origin, sessionId: session!.id })
  const { form } = found as Extract<typeof found, { kind: 'form' }>
  assert.equal(form.actionUrl, redirectUri)
  assert.equal(form.fields.state, 's t&ä')
  const answer = await party.token({ code: form.fields.code!, redirect_uri: redirectUri })
  assert.equal(answer.status, 200)

  const failed = await browser.get(party.authorizeUrl({ ...by, scope: 'profile', prompt: 'none' }))
  const said = await identity.takeForm({
    id: idOf(failed.headers.location),
    origin,
    sessionId: session!.id,
  })
  assert.ok((said as Extract<typeof said, { kind: 'form' }>).form.fields.error)
})

test('prompt and max_age mean what the standard says', async (t) => {
  const { fixture, party, browser } = await start(t)
  const errorOf = async (changes: Record<string, string>) => {
    const { headers } = await browser.get(party.authorizeUrl(changes))
    return new URL(headers.location!).searchParams.get('error')
  }
  assert.equal(await errorOf({ prompt: 'none' }), 'login_required')
  await party.signIn(browser)
  assert.equal(await errorOf({ prompt: 'none' }), null)
  const asked = await browser.get(party.authorizeUrl({ prompt: 'login' }))
  assert.ok(asked.headers.location?.startsWith(`${loginOrigin}/sign-in/`))
  await party.signIn(browser, 'ana', { prompt: 'login' })
  assert.equal((await sessions.listSessions(fixture.store.db)).length, 2)
  assert.equal(await errorOf({ prompt: 'none', max_age: '3600' }), null)
  assert.equal(await errorOf({ prompt: 'login none' }), 'invalid_request')
})

test('of two secrets each is good, one that was deleted is not, and the list says which is in use', async (t) => {
  const { fixture, party, browser } = await start(t)
  const second = 'b'.repeat(64)
  const id = await party.addSecret(second)
  const redeem = async (client_secret: string) =>
    (await party.token({ code: await party.signIn(browser), client_secret })).status
  assert.equal(await redeem(party.secret), 200)
  assert.equal(await redeem(second), 200)
  const used = await oidcSecrets.listOidcSecrets(fixture.store.db, party.id)
  assert.deepEqual(
    used.map(({ lastUsedAt }) => lastUsedAt),
    [fixture.time.nowAt, fixture.time.nowAt],
  )
  await oidcSecrets.deleteOidcSecret(fixture.store.db, id)
  assert.equal(await redeem(second), 401)
  assert.equal(await redeem(''), 401)
  assert.equal(await redeem('kept as a hash, and compared in the store'), 401)
  assert.equal(await redeem(party.secret), 200)
  const [event] = await events(fixture, 'sign-in-refused')
  assert.match(String(event?.detail.explanation), /invalid_client/)
  assert.ok(!JSON.stringify(event).includes(second))
})

test('the secret may come by HTTP Basic too', async (t) => {
  const { party, browser } = await start(t)
  const basic = Buffer.from(`${party.clientId}:${party.secret}`).toString('base64')
  const { status } = await party.token(
    { code: await party.signIn(browser), client_id: undefined, client_secret: undefined },
    { authorization: `Basic ${basic}` },
  )
  assert.equal(status, 200)
})

test('refresh tokens are given where an administrator has said so, and end with the session', async (t) => {
  const { fixture, party, browser } = await start(t, { refreshTokens: true })
  const { refresh_token, access_token } = await party.tokens(browser)
  const { status, tokens } = await party.refresh(refresh_token!)
  assert.equal(status, 200)
  assert.equal((await party.verify(tokens.id_token)).payload.preferred_username, 'ana')
  assert.equal((await party.userinfo(tokens.access_token)).status, 200)
  await endSession(fixture)
  assert.equal((await party.refresh(refresh_token!)).tokens.error, 'invalid_grant')
  for (const token of [access_token, tokens.access_token])
    assert.equal((await party.userinfo(token)).status, 401)
})

test('an application that keeps no secret uses PKCE, and each refresh token once', async (t) => {
  const { party, browser } = await start(t, {
    tokenEndpointAuthMethod: 'none',
    refreshTokens: true,
  })
  const verifier = 'v'.repeat(43)
  const code = await party.signIn(browser, 'ana', pkceOf(verifier))
  const origin = 'https://payroll.example.test'
  const asked = await browser.send('OPTIONS', tokenPath, undefined, {
    origin,
    'access-control-request-method': 'POST',
  })
  assert.equal(asked.status, 204)
  assert.equal(asked.headers['access-control-allow-origin'], origin)
  assert.equal(asked.headers['access-control-allow-credentials'], undefined)
  const first = await party.token(
    { code, code_verifier: verifier, client_secret: undefined },
    { origin },
  )
  assert.equal(first.status, 200)
  assert.equal(first.headers['access-control-allow-origin'], origin)
  const again = await party.refresh(first.tokens.refresh_token!, { client_secret: undefined })
  assert.equal(again.status, 200)
  assert.notEqual(again.tokens.refresh_token, first.tokens.refresh_token)
  // Somebody has used it who should not have it: none of what came of it is worth anything now.
  const stolen = await party.refresh(first.tokens.refresh_token!, { client_secret: undefined })
  assert.equal(stolen.tokens.error, 'invalid_grant')
  assert.equal((await party.userinfo(again.tokens.access_token)).status, 401)
})

test('an application with a secret keeps one refresh token for the whole session', async (t) => {
  const { fixture, party, browser } = await start(t, { refreshTokens: true })
  const { refresh_token } = await party.tokens(browser)
  await age(fixture, 'RefreshToken', 11 * 3_600)
  for (let count = 0; count < 2; count += 1) {
    const { status, tokens } = await party.refresh(refresh_token!)
    assert.equal(status, 200)
    assert.equal(tokens.refresh_token, refresh_token)
  }
})

for (const [what, end] of [
  ['the session is ended', ({ fixture }) => endSession(fixture)],
  [
    'the user is disabled',
    async ({ fixture, ana }) => {
      const { db, feed } = fixture.store
      feed.publishAll((await users.setEnabled(db, ana, false, fixture.time.nowAt))!)
    },
  ],
  [
    'the password is reset',
    async ({ fixture, ana }) => {
      const { db, feed } = fixture.store
      feed.publishAll((await users.setPassword(db, ana, 'x', fixture.time.nowAt))!)
    },
  ],
  [
    'the session is over',
    async ({ fixture }) => {
      fixture.time.nowAt += 12 * 3_600_000
    },
  ],
] as [string, (started: Awaited<ReturnType<typeof start>>) => Promise<void>][])
  test(`nothing that an application holds is worth anything when ${what}`, async (t) => {
    const started = await start(t, { refreshTokens: true })
    const { party, browser } = started
    const { access_token, refresh_token } = await party.tokens(browser)
    const code = await party.signIn(browser)
    await end(started)
    assert.equal((await party.token({ code })).tokens.error, 'invalid_grant')
    assert.equal((await party.refresh(refresh_token!)).tokens.error, 'invalid_grant')
    assert.equal((await party.userinfo(access_token)).status, 401)
  })

test('who is not assigned gets a page of ours, and the application hears nothing', async (t) => {
  const { fixture, party, browser } = await start(t, {}, { assignmentRequired: true })
  const page = await party.authorize(browser)
  assert.equal(page.status, 403)
  assert.match(page.body, /You have no access to this application/)
  assert.match(page.body, /The payroll/)
  assert.match(page.body, /Person ana \(ana\)/)
  const [event] = await events(fixture, 'oidc-sign-on-refused')
  assert.equal(event?.detail.reason, 'user-not-assigned')
  assert.ok(page.body.includes(String(event?.detail.correlationId)))
  // Who asked for no page is told by the protocol.
  const silent = await browser.get(party.authorizeUrl({ prompt: 'none' }))
  assert.equal(new URL(silent.headers.location!).searchParams.get('error'), 'access_denied')
  // Somebody else may sign in instead.
  const again = await browser.get(party.authorizeUrl({ prompt: 'login' }))
  assert.ok(again.headers.location?.startsWith(`${loginOrigin}/sign-in/`))
})

test('who loses the application loses what it holds of them', async (t) => {
  const fixture = await startFixture(t)
  const ana = await fixture.addUser('ana')
  const principalIds = [ana]
  const party = await OidcParty.publish(
    fixture,
    'payroll',
    { refreshTokens: true },
    { assignmentRequired: true, principalIds },
  )
  const browser = fixture.browser()
  const { access_token, refresh_token } = await party.tokens(browser)
  const code = await party.signIn(browser)
  principalIds.length = 0
  fixture.publish('anything')
  assert.equal((await party.token({ code })).tokens.error, 'invalid_grant')
  assert.equal((await party.refresh(refresh_token!)).tokens.error, 'invalid_grant')
  assert.equal((await party.userinfo(access_token)).status, 401)
})

/** What a transform makes too long of each name that is not empty. */
const tooLong = {
  name: 'badge"',
  claim: 'displayName',
  transforms: Array(2).fill({
    transform: 'regexReplace',
    pattern: '.',
    replacement: 'x'.repeat(99),
  }),
}

test('who an application cannot be told of gets a page that says which claim it is, and so does the audit log', async (t) => {
  const { fixture, party, browser } = await start(t, { ...withLogout, claims: [tooLong] })
  const page = await party.authorize(browser)
  assert.equal(page.status, 403)
  for (const text of ['CLAIM_TOO_LONG', 'The payroll', 'badge&quot;', 'Person ana (ana)'])
    assert.ok(page.body.includes(text), text)
  const [event] = await events(fixture, 'oidc-sign-on-refused')
  assert.equal(event?.subject, party.id)
  assert.equal(event?.actor, 'ana')
  assert.equal(event?.detail.name, 'payroll')
  assert.equal(event?.detail.reason, 'claim-too-long')
  assert.equal(event?.detail.claim, 'badge"')
  assert.match(String(event?.detail.explanation), /regexReplace makes more than 4096 characters/)
  assert.ok(page.body.includes(String(event?.detail.correlationId)))
  // Who asked for no page is told by the protocol, in letters that it allows (RFC 6749 section 4.1.2.1).
  const silent = await browser.get(party.authorizeUrl({ prompt: 'none' }))
  const { searchParams } = new URL(silent.headers.location!)
  assert.equal(searchParams.get('error'), 'access_denied')
  assert.match(searchParams.get('error_description')!, /^[ !#-[\]-~]+$/)
  assert.match(searchParams.get('error_description')!, /badge.*payroll/)
  // It was told nothing, so that it is not told of the end either.
  const [session] = await sessions.listSessions(fixture.store.db)
  await oidcModel.deleteOidcSession(fixture.store.db, session!.id, fixture.time.nowAt)
  assert.deepEqual(await logoutNotices.listLogoutNotices(fixture.store.db), [])
  assert.deepEqual(fixture.errors, [])
})

test('an application whose claim becomes too long later is told so in place of tokens and claims, and loses nothing for good', async (t) => {
  const { fixture, party, browser } = await start(t, { refreshTokens: true })
  const { access_token, refresh_token } = await party.tokens(browser)
  const code = await party.signIn(browser)
  const { signOn } = fixture.snapshot().findApplicationById(party.id)!.application
  fixture.change(party.id, { signOn: { ...signOn, claims: [tooLong] } as typeof signOn })
  const told = /badge.*payroll.*4096/
  for (const { status, tokens } of [
    await party.token({ code }),
    await party.refresh(refresh_token!),
    await party.refresh(refresh_token!),
  ]) {
    assert.equal(status, 400)
    assert.equal(tokens.error, 'invalid_grant')
    assert.match(tokens.error_description!, told)
  }
  const { status, claims } = await party.userinfo(access_token)
  assert.equal(status, 401)
  assert.equal(claims.error, 'invalid_token')
  assert.match(String(claims.error_description), told)
  // Its server asks again and again, which is one thing to write down.
  const [event, more] = await events(fixture, 'oidc-sign-on-refused')
  assert.equal(more, undefined)
  assert.equal(event?.subject, party.id)
  assert.equal(event?.actor, 'ana')
  assert.equal(event?.detail.claim, 'badge"')
  assert.deepEqual(await events(fixture, 'sign-in-refused'), [])
  assert.deepEqual(fixture.errors, [])
  fixture.change(party.id, { signOn })
  assert.equal((await party.refresh(refresh_token!)).status, 200)
  assert.equal((await party.userinfo(access_token)).status, 200)
})

const withLogout = {
  postLogoutRedirectUris: ['https://payroll.example.test/bye'],
  backChannelLogoutUri: 'http://payroll.internal/callback?logout=backchannel',
}

test('an application is told through its connector when a session ends, once', async (t) => {
  const { fixture, party, browser } = await start(t, withLogout)
  const other = await OidcParty.publish(fixture, 'other')
  const { id_token } = await party.tokens(browser)
  await party.signIn(browser)
  await other.signIn(browser)
  const { payload } = await party.verify(id_token)
  await endSession(fixture)
  await fixture.deliveries.until(() => fixture.deliveries.requests.length > 0)
  await fixture.identity.close()
  const [request, more] = fixture.deliveries.requests
  assert.equal(more, undefined)
  assert.equal(request!.applicationId, party.id)
  assert.equal(request!.url, 'https://payroll.example.test/callback?logout=backchannel')
  const token = new URLSearchParams(request!.body).get('logout_token')!
  await fixture.restart()
  const logout = await party.verify(token)
  assert.equal(logout.protectedHeader.typ, 'logout+jwt')
  assert.equal(logout.payload.sub, payload.sub)
  assert.equal(logout.payload.sid, payload.sid)
  assert.ok(logout.payload.jti)
  assert.ok(!('nonce' in logout.payload))
  assert.deepEqual(logout.payload.events, {
    'http://schemas.openid.net/event/backchannel-logout': {},
  })
})

test('applications that sign somebody on at the same moment are all told when the session ends', async (t) => {
  const { fixture, party, browser } = await start(t, withLogout)
  const parties = [party]
  for (const name of ['one', 'two', 'three'])
    parties.push(
      await OidcParty.publish(fixture, name, {
        backChannelLogoutUri: `https://${name}.example.test/out`,
      }),
    )
  await party.signIn(browser)
  // Each of them twice: tabs of a browser that was started again.
  const codes = await Promise.all(
    [...parties, ...parties].map(async (each) => ({ each, code: await each.signIn(browser) })),
  )
  const sids = await Promise.all(
    codes.map(async ({ each, code }) => {
      const { tokens } = await each.token({ code })
      return (await each.verify(tokens.id_token)).payload.sid
    }),
  )
  await fixture.identity.close()
  const [session] = await sessions.listSessions(fixture.store.db)
  await oidcModel.deleteOidcSession(fixture.store.db, session!.id, fixture.time.nowAt)
  const notices = await logoutNotices.listLogoutNotices(fixture.store.db)
  assert.deepEqual(notices.map(({ sid }) => sid).sort(), [...new Set(sids)].sort())
  assert.equal(notices.length, parties.length)
})

test('who was not let into an application is nobody that it is told of', async (t) => {
  const { fixture, party, browser } = await start(t, withLogout, { assignmentRequired: true })
  const { status } = await party.authorize(browser)
  assert.equal(status, 403)
  await fixture.identity.close()
  const [session] = await sessions.listSessions(fixture.store.db)
  await oidcModel.deleteOidcSession(fixture.store.db, session!.id, fixture.time.nowAt)
  assert.deepEqual(await logoutNotices.listLogoutNotices(fixture.store.db), [])
  assert.deepEqual(
    await fixture.store.db
      .selectFrom('oidcModel')
      .select('id')
      .where('model', '=', 'Grant')
      .execute(),
    [],
  )
})

test('an application is told of a session whose time is over', async (t) => {
  const { fixture, party, browser } = await start(t, withLogout)
  await party.tokens(browser)
  const { db } = fixture.store
  // Its time is the provider's, which has the clock of the machine.
  const laterAt = Date.now() + 13 * 3_600_000
  await oidcModel.endExpiredOidcSessions(db, laterAt - 7_200_000)
  assert.equal((await logoutNotices.listLogoutNotices(db)).length, 0)
  await oidcModel.endExpiredOidcSessions(db, laterAt)
  assert.equal((await logoutNotices.listLogoutNotices(db)).length, 1)
})

test('an application that cannot be told is told later, and given up after an hour', async (t) => {
  const { fixture, party, browser } = await start(t, withLogout)
  await party.tokens(browser)
  fixture.deliveries.statusCode = undefined
  await endSession(fixture)
  await fixture.deliveries.until(() => fixture.deliveries.requests.length > 0)
  await fixture.identity.close()
  const [notice] = await logoutNotices.listLogoutNotices(fixture.store.db)
  assert.equal(notice?.attempts, 1)
  const [failed] = await events(fixture, 'back-channel-logout-failed')
  assert.equal(failed?.subject, party.id)
  assert.match(String(failed?.detail.reason), /no connector/)
  // Not yet.
  await fixture.restart()
  await fixture.identity.close()
  assert.equal(fixture.deliveries.requests.length, 1)
  fixture.time.nowAt += 3_600_000
  await fixture.restart()
  await fixture.deliveries.until(() => fixture.deliveries.requests.length > 1)
  await fixture.identity.close()
  assert.deepEqual(await logoutNotices.listLogoutNotices(fixture.store.db), [])
  assert.equal((await events(fixture, 'back-channel-logout-given-up')).length, 1)
})

test('an application that does not answer holds up nobody else', async (t) => {
  const { fixture, party, browser } = await start(t, withLogout)
  const other = await OidcParty.publish(fixture, 'other', {
    backChannelLogoutUri: 'https://other.example.test/out',
  })
  const { gates, requests } = fixture.deliveries
  const { promise, resolve: release } = Promise.withResolvers<void>()
  gates.set(party.id, promise)
  for (let count = 0; count < 3; count += 1) await party.signIn(fixture.browser())
  for (let count = 0; count < 3; count += 1) await endSession(fixture)
  const sentTo = ({ id }: OidcParty) => requests.filter((each) => each.applicationId === id).length
  await fixture.deliveries.until(() => sentTo(party) > 0)
  const waitedFor = sentTo(party)
  await other.signIn(browser)
  await endSession(fixture)
  await fixture.deliveries.until(() => sentTo(other) === 1)
  assert.equal(sentTo(party), waitedFor)
  release()
  await fixture.deliveries.until(() => sentTo(party) === 3)
})

test('what one service has taken to tell, another does not', async (t) => {
  const { fixture, party, browser } = await start(t, withLogout)
  const { db } = fixture.store
  await party.tokens(browser)
  await fixture.identity.close()
  const session = await db.selectFrom('session').select('id').executeTakeFirstOrThrow()
  await oidcModel.deleteOidcSession(db, session.id, 1_000)
  const taken = await Promise.all(
    [1, 2].map(() => logoutNotices.takeLogoutNotices(db, 1_000, 2_000, 8)),
  )
  assert.equal(taken.flat().length, 1)
  // Its process has died.
  assert.equal((await logoutNotices.takeLogoutNotices(db, 2_000, 3_000, 8)).length, 1)
})

test('signing out in the application ends everything, without asking again', async (t) => {
  const { fixture, party, browser } = await start(t, withLogout)
  const { id_token } = await party.tokens(browser)
  const url = new URL(logoutUrl)
  url.searchParams.set('id_token_hint', id_token)
  url.searchParams.set('post_logout_redirect_uri', 'https://payroll.example.test/bye')
  url.searchParams.set('state', 'z')
  const page = await browser.get(url.href)
  assert.match(page.body, /Signing you out/)
  assert.match(page.body, /data-submit/)
  const xsrf = /name="xsrf" value="([^"]+)"/.exec(page.body)![1]!
  const answer = await browser.post(`${logoutUrl}/confirm`, { xsrf, logout: 'yes' })
  assert.equal(answer.headers.location, 'https://payroll.example.test/bye?state=z')
  assert.deepEqual(
    await sessions.listSessions(fixture.store.db, { liveAt: fixture.time.nowAt }),
    [],
  )
  await fixture.deliveries.until(() => fixture.deliveries.requests.length > 0)
  // Who is signed out already is sent on too.
  const again = await browser.get(url.href)
  assert.equal(again.headers.location, 'https://payroll.example.test/bye?state=z')
  assert.deepEqual(await events(fixture, 'signed-out').then((all) => all.length), 1)
})

test('without a token of this session, people are asked whether they want to sign out', async (t) => {
  const { fixture, party, browser } = await start(t, withLogout)
  const other = fixture.browser()
  const { id_token: old } = await party.tokens(other)
  await party.tokens(browser)
  for (const parameters of [{}, { id_token_hint: old }, { client_id: party.clientId }]) {
    const page = await browser.get(`${logoutUrl}?${new URLSearchParams(parameters)}`)
    assert.equal(page.status, 200)
    assert.doesNotMatch(page.body, /<form[^>]*data-submit/)
    assert.match(page.body, /Sign out/)
  }
})

test('requests may come by a form from another site, and find the session all the same', async (t) => {
  const { party, browser } = await start(t, withLogout)
  const { id_token } = await party.tokens(browser)
  const fromElsewhere = {
    origin: 'https://payroll.example.test',
    'sec-fetch-site': 'cross-site',
    'sec-fetch-mode': 'navigate',
  }
  const { origin, pathname, searchParams } = new URL(party.authorizeUrl())
  // The cookie is not sent with it.
  const stranger = party.fixture.browser()
  const form = Object.fromEntries(searchParams)
  const sent = await stranger.post(`${origin}${pathname}`, form, fromElsewhere)
  assert.equal(sent.status, 303)
  const answer = await browser.get(sent.headers.location!)
  assert.equal(new URL(answer.headers.location!).searchParams.get('state'), 's t&ä')
  const out = await stranger.post(logoutUrl, { id_token_hint: id_token }, fromElsewhere)
  assert.match((await browser.get(out.headers.location!)).body, /Signing you out/)
  const large = await stranger.post(logoutUrl, { state: 'x'.repeat(17_000) }, fromElsewhere)
  assert.equal(large.status, 413)
  // The confirmation is a page of ours.
  const confirmed = await browser.post(`${logoutUrl}/confirm`, { logout: 'yes' }, fromElsewhere)
  assert.equal(confirmed.status, 403)
})

test('a form that would become a longer request than is taken is refused, in whatever bytes it comes', async (t) => {
  const { browser } = await start(t)
  const path = new URL(logoutUrl).pathname
  const send = (body: string) =>
    browser.send('POST', path, body, {
      'content-type': 'application/x-www-form-urlencoded',
      'sec-fetch-site': 'cross-site',
    })
  for (const body of [`state=${'x'.repeat(16_384)}`, `state=${'ÿ'.repeat(4_000)}`])
    assert.equal((await send(body)).status, 413)
  const { status, headers } = await send('state=ÿ')
  assert.equal(status, 303)
  assert.equal(new URL(headers.location!).searchParams.get('state'), 'ÿ')
})

test('discovery says what is true', async (t) => {
  const { fixture } = await start(t)
  const { body } = await fixture.browser().get('/common/v2.0/.well-known/openid-configuration')
  const facts = JSON.parse(body) as Record<string, unknown>
  assert.equal(facts.issuer, issuer)
  assert.equal(facts.userinfo_endpoint, `${loginOrigin}${userinfoPath}`)
  assert.deepEqual(facts.response_types_supported, ['code'])
  assert.deepEqual(facts.response_modes_supported, ['query', 'form_post'])
  assert.deepEqual((facts.grant_types_supported as string[]).toSorted(), [
    'authorization_code',
    'refresh_token',
  ])
  assert.deepEqual((facts.subject_types_supported as string[]).toSorted(), ['pairwise', 'public'])
  assert.deepEqual(facts.code_challenge_methods_supported, ['S256'])
  assert.deepEqual((facts.token_endpoint_auth_methods_supported as string[]).toSorted(), [
    'client_secret_basic',
    'client_secret_post',
    'none',
  ])
  assert.deepEqual(facts.id_token_signing_alg_values_supported, ['RS256'])
  assert.equal(facts.backchannel_logout_supported, true)
  assert.equal(facts.backchannel_logout_session_supported, true)
  assert.equal(facts.claims_parameter_supported, false)
  assert.equal(facts.request_parameter_supported ?? false, false)
  assert.equal(facts.registration_endpoint, undefined)
  for (const endpoint of ['authorization', 'userinfo', 'end_session'])
    assert.notEqual(
      (await fixture.browser().get(String(facts[`${endpoint}_endpoint`]))).status,
      404,
      endpoint,
    )
  assert.equal((await fixture.browser().post(String(facts.token_endpoint), {})).status, 400)
})

test('what an application is told of its request is written down for its administrator', async (t) => {
  const { fixture, party, browser } = await start(t, { tokenEndpointAuthMethod: 'none' })
  // To ask whether somebody is signed in is no mistake.
  const asked = await browser.get(party.authorizeUrl({ ...pkceOf('v'.repeat(43)), prompt: 'none' }))
  assert.match(asked.headers.location!, /error=login_required/)
  assert.deepEqual(await events(fixture, 'sign-in-refused'), [])
  const { headers } = await browser.get(party.authorizeUrl())
  assert.match(headers.location!, /error=invalid_request/)
  const [event, more] = await events(fixture, 'sign-in-refused')
  assert.equal(more, undefined)
  assert.equal(event?.detail.reason, 'sign-in-request-invalid')
  assert.match(String(event?.detail.explanation), /invalid_request: .*PKCE/)
  assert.match(String(event?.detail.explanation), new RegExp(party.clientId))
})

test('a request that is not valid gets a page of ours with its correlation ID, and is written down', async (t) => {
  const { fixture, party, browser } = await start(t)
  const page = await walk(browser, party.authorizeUrl({ redirect_uri: 'https://evil.test/' }))
  assert.equal(page.status, 400)
  assert.match(page.body, /This sign-in request is not valid/)
  const [event] = await events(fixture, 'sign-in-refused')
  assert.match(String(event?.detail.explanation), /redirect_uri/)
  assert.match(String(event?.detail.explanation), new RegExp(party.clientId))
  assert.ok(page.body.includes(String(event?.detail.correlationId)))
})
