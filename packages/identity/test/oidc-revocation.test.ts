import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { audit, logoutNotices, oidcModel, sessions } from '@sallyport/store'
import { loginOrigin, startFixture, tenantId } from './fixture.ts'
import { OidcParty } from './oidc-party.ts'

const revocationPath = `/${tenantId}/oauth2/v2.0/revoke`

async function start(t: TestContext, signOn: Record<string, unknown> = {}) {
  const fixture = await startFixture(t)
  await fixture.addUser('ana')
  const party = await OidcParty.publish(fixture, 'payroll', {
    refreshTokens: true,
    backChannelLogoutUri: 'https://payroll.example.test/out',
    ...signOn,
  })
  const other = await OidcParty.publish(fixture, 'other', { refreshTokens: true })
  return { fixture, party, other, browser: fixture.browser() }
}

/** As the application's server would: no cookie, no browser. */
async function revoke(
  { fixture, clientId, secret }: OidcParty,
  form: Record<string, string | undefined>,
  headers: Record<string, string> = {},
) {
  const all = { client_id: clientId, client_secret: secret, ...form }
  const fields = Object.fromEntries(
    Object.entries(all).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  )
  const answer = await fixture
    .browser()
    .post(revocationPath, fields, { accept: 'application/json', ...headers })
  const { error } = JSON.parse(answer.body || '{}') as { error?: string }
  return { ...answer, error }
}

test('discovery names the revocation endpoint', async (t) => {
  const { fixture } = await start(t)
  const { body } = await fixture.browser().get('/common/v2.0/.well-known/openid-configuration')
  const facts = JSON.parse(body) as Record<string, unknown>
  assert.equal(facts.revocation_endpoint, `${loginOrigin}${revocationPath}`)
  assert.equal(facts.introspection_endpoint, undefined)
})

test('an application revokes what it holds of a session, and nobody else notices', async (t) => {
  const { party, other, browser, fixture } = await start(t)
  const mine = await party.tokens(browser)
  const theirs = await other.tokens(browser)
  const elsewhere = await party.tokens(fixture.browser())
  for (const hint of ['refresh_token', 'access_token', 'made_up', undefined]) {
    const { status, body } = await revoke(party, {
      token: mine.refresh_token!,
      token_type_hint: hint,
    })
    assert.equal(status, 200)
    assert.equal(body, '')
    assert.equal((await party.refresh(mine.refresh_token!)).tokens.error, 'invalid_grant')
    assert.equal((await party.userinfo(mine.access_token)).status, 401)
  }
  // Of another application, and of the same one in another browser.
  for (const [each, tokens] of [
    [other, theirs],
    [party, elsewhere],
  ] as const) {
    assert.equal((await each.userinfo(tokens.access_token)).status, 200)
    assert.equal((await each.refresh(tokens.refresh_token!)).status, 200)
  }
  // The person is signed in as before, and the application may have them signed on again.
  const again = await party.authorize(browser, 'ana', { prompt: 'none' })
  const code = new URL(again.headers.location!).searchParams.get('code')!
  const { tokens } = await party.token({ code })
  assert.equal((await party.refresh(tokens.refresh_token!)).status, 200)
  assert.equal((await party.refresh(mine.refresh_token!)).tokens.error, 'invalid_grant')
  assert.deepEqual(fixture.errors, [])
})

test('an access token is revoked too, and the application is still told when the session ends', async (t) => {
  const { party, browser, fixture } = await start(t)
  const { access_token } = await party.tokens(browser)
  assert.equal((await revoke(party, { token: access_token })).status, 200)
  assert.equal((await party.userinfo(access_token)).status, 401)
  const { refresh_token } = await party.tokens(browser)
  await revoke(party, { token: refresh_token! })
  await fixture.identity.close()
  const [session] = await sessions.listSessions(fixture.store.db)
  await oidcModel.deleteOidcSession(fixture.store.db, session!.id, fixture.time.nowAt)
  assert.equal((await logoutNotices.listLogoutNotices(fixture.store.db)).length, 1)
})

test('attack 34: nobody revokes what was given to another application, nor without its secret', async (t) => {
  const { party, other, browser, fixture } = await start(t)
  const { access_token, refresh_token, id_token } = await party.tokens(browser)
  for (const token of [access_token, refresh_token!]) {
    assert.equal((await revoke(other, { token })).error, 'invalid_request')
    for (const form of [
      { client_secret: other.secret },
      { client_secret: '' },
      { client_secret: undefined },
      // The gateway's client, whose secret nobody has.
      { client_id: party.id },
      { client_id: party.id, client_secret: undefined },
      { client_id: undefined, client_secret: undefined },
      { client_id: 'oidc.nobody' },
    ]) {
      const { status } = await revoke(party, { token, ...form })
      assert.ok(status === 400 || status === 401, JSON.stringify(form))
    }
    // A cookie is no secret, and a query is no form.
    const query = new URLSearchParams({ token, client_id: party.clientId })
    assert.equal((await browser.get(`${revocationPath}?${query}`)).status, 404)
    const { status } = await browser.post(`${revocationPath}?${query}`, {})
    assert.equal(status, 400)
  }
  // What it does not know is as good as revoked (RFC 7009 section 2.2); an ID token is never.
  assert.equal((await revoke(party, { token: 'made up' })).status, 200)
  assert.equal((await revoke(party, { token: id_token })).error, 'unsupported_token_type')
  assert.equal((await revoke(party, { token: undefined })).error, 'invalid_request')
  assert.equal((await party.userinfo(access_token)).status, 200)
  assert.equal((await party.refresh(refresh_token!)).status, 200)
  const written = JSON.stringify(await audit.listAudit(fixture.store.db, {}))
  assert.match(written, /token-request-invalid/)
  for (const token of [access_token, refresh_token!, party.secret])
    assert.ok(!written.includes(token))
})

test('who keeps no secret revokes its own tokens from its own pages, and learns nothing of others', async (t) => {
  const { fixture, other, browser } = await start(t)
  const desk = await OidcParty.publish(fixture, 'desk', {
    tokenEndpointAuthMethod: 'none',
    refreshTokens: true,
  })
  const verifier = 'v'.repeat(43)
  const code = await desk.signIn(browser, 'ana', {
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
  })
  const { tokens } = await desk.token({ code, code_verifier: verifier, client_secret: undefined })
  const theirs = await other.tokens(browser)
  const client_secret = undefined
  const stranger = await revoke(desk, { token: theirs.refresh_token!, client_secret })
  assert.equal(stranger.status, 200)
  assert.equal((await other.refresh(theirs.refresh_token!)).status, 200)
  const foreign = { origin: 'https://other.example.test' }
  const refused = await revoke(desk, { token: tokens.refresh_token!, client_secret }, foreign)
  assert.equal(refused.headers['access-control-allow-origin'], undefined)
  assert.equal(refused.status, 400)
  assert.equal((await desk.userinfo(tokens.access_token)).status, 200)
  const own = { origin: 'https://desk.example.test' }
  const answer = await revoke(desk, { token: tokens.refresh_token!, client_secret }, own)
  assert.equal(answer.status, 200)
  assert.equal(answer.headers['access-control-allow-origin'], own.origin)
  const { tokens: refreshed } = await desk.refresh(tokens.refresh_token!, { client_secret })
  assert.equal(refreshed.error, 'invalid_grant')
  assert.equal((await desk.userinfo(tokens.access_token)).status, 401)
})

test('attack 34: a token that is refreshed while it is revoked is worth nothing afterwards', async (t) => {
  const { party, browser } = await start(t)
  const { refresh_token } = await party.tokens(browser)
  const [revoked, ...refreshed] = await Promise.all([
    revoke(party, { token: refresh_token! }),
    ...Array.from({ length: 10 }, () => party.refresh(refresh_token!)),
  ])
  assert.equal(revoked.status, 200)
  for (const { tokens } of refreshed.filter(({ status }) => status === 200)) {
    assert.equal((await party.userinfo(tokens.access_token)).status, 401)
    assert.equal((await party.refresh(tokens.refresh_token!)).tokens.error, 'invalid_grant')
  }
})
