import assert from 'node:assert/strict'
import { createHash, createHmac } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { audit, sessions } from '@sallyport/store'
import { age, codeOf, newAttempt, password, signIn, startFixture, tenantId } from './fixture.ts'
import { logoutUrl, OidcParty, tokenPath } from './oidc-party.ts'

const verifier = 'v'.repeat(43)
const challenge = createHash('sha256').update(verifier).digest('base64url')
const pkce = { code_challenge: challenge, code_challenge_method: 'S256' }

async function start(t: TestContext, signOn: Record<string, unknown> = {}) {
  const fixture = await startFixture(t)
  await fixture.addUser('ana')
  const party = await OidcParty.publish(fixture, 'payroll', {
    postLogoutRedirectUris: ['https://payroll.example.test/bye'],
    refreshTokens: true,
    ...signOn,
  })
  const other = await OidcParty.publish(fixture, 'other', { refreshTokens: true })
  return { fixture, party, other, browser: fixture.browser() }
}

const corpus = (good: string) => [
  '',
  '//evil.test/callback',
  '/\\evil.test/callback',
  '/%5cevil.test',
  '/callback',
  'https:evil.test/callback',
  'https:/payroll.example.test/callback',
  'https:\\\\payroll.example.test\\callback',
  'https://payroll.example.test@evil.test/callback',
  'https://user@payroll.example.test/callback',
  'https://user:x@payroll.example.test/callback',
  'https://payroll.example.test.evil.test/callback',
  'https://payroll.example.test./callback',
  'https://payroll.example.test:443/callback',
  'https://payroll.example.test:8443/callback',
  'https://PAYROLL.example.test/callback',
  'https://other.example.test/callback',
  'https://login.example.test/callback',
  'https://payroll.example.test/callback/',
  'https://payroll.example.test/Callback',
  'https://payroll.example.test//callback',
  'https://payroll.example.test/%63allback',
  'https://payroll.example.test/callback/../callback',
  'https://payroll.example.test/x/..%2fcallback',
  'https://payroll.example.test/callback;x',
  'https://payroll.example.test/.sallyport/callback',
  'http://payroll.internal/callback',
  'http://payroll.example.test/callback',
  'javascript:alert(1)',
  'data:text/html,x',
  `${good}#x`,
  `${good}?x=1`,
  `${good}\n`,
  `\t${good}`,
  `${good}%0d%0aLocation:x`,
  'https://payroll.example.test%2fevil.test/callback',
  `${good}${'x'.repeat(10_000)}`,
]

test('attack 32: a code goes to a redirect URI that is named letter by letter, and nowhere else', async (t) => {
  const { party, browser } = await start(t)
  await party.signIn(browser)
  for (const redirect_uri of corpus(party.redirectUri)) {
    const { status, headers, body } = await browser.get(party.authorizeUrl({ redirect_uri }))
    assert.equal(headers.location, undefined, redirect_uri)
    assert.ok(status === 400 || status === 414 || status === 431, `${status} ${redirect_uri}`)
    assert.doesNotMatch(body, /evil\.test/)
  }
  const twice = `${party.authorizeUrl()}&redirect_uri=https://evil.test/`
  assert.equal((await browser.get(twice)).headers.location, undefined)
})

test('attack 32: an error goes nowhere else either', async (t) => {
  const { party, other, browser } = await start(t)
  for (const changes of [
    { redirect_uri: other.redirectUri, response_type: 'token' },
    { redirect_uri: 'https://evil.test/', prompt: 'none' },
    { redirect_uri: 'https://evil.test/', response_mode: 'form_post', scope: '' },
    { client_id: 'oidc.nobody' },
  ]) {
    const { headers, status, body } = await browser.get(party.authorizeUrl(changes))
    assert.equal(headers.location, undefined)
    assert.equal(status, 400)
    assert.doesNotMatch(body, /evil\.test|<form/)
  }
})

test('attack 33: after signing out nobody goes where no administrator has said', async (t) => {
  const { party, other, browser } = await start(t)
  const { id_token } = await party.tokens(browser)
  const good = 'https://payroll.example.test/bye'
  const signedOut = party.fixture.browser()
  // None at all is a question whether to sign out.
  const uris = [...corpus(good), party.redirectUri, other.redirectUri, 'https://evil.test/']
  for (const uri of uris.filter((each) => each !== '')) {
    for (const hint of [{ id_token_hint: id_token }, { client_id: party.clientId }]) {
      const query = new URLSearchParams({ ...hint, post_logout_redirect_uri: uri })
      const { headers, status, body } = await browser.get(`${logoutUrl}?${query}`)
      assert.equal(headers.location, undefined)
      assert.notEqual(status, 200, uri)
      assert.doesNotMatch(body, /evil\.test/)
      const { headers: out } = await signedOut.get(`${logoutUrl}?${query}`)
      assert.ok(out.location === undefined || out.location === `${logoutUrl}/success`, uri)
    }
  }
  for (const query of [
    { post_logout_redirect_uri: good },
    { post_logout_redirect_uri: good, client_id: other.clientId },
    { post_logout_redirect_uri: good, client_id: party.id },
  ]) {
    const { headers } = await signedOut.get(`${logoutUrl}?${new URLSearchParams(query)}`)
    assert.equal(headers.location, `${logoutUrl}/success`)
  }
})

test('attack 34: a code is worth something once; used again, it takes with it what came of it', async (t) => {
  const { party, browser } = await start(t)
  const code = await party.signIn(browser)
  const first = await party.token({ code })
  assert.equal(first.status, 200)
  assert.equal((await party.token({ code })).tokens.error, 'invalid_grant')
  assert.equal((await party.userinfo(first.tokens.access_token)).status, 401)
  const refreshed = await party.refresh(first.tokens.refresh_token!)
  assert.equal(refreshed.tokens.error, 'invalid_grant')
  // At the same moment.
  const again = await party.signIn(browser)
  const all = await Promise.all(Array.from({ length: 20 }, () => party.token({ code: again })))
  assert.ok(all.filter(({ status }) => status === 200).length <= 1)
})

test('attack 34: what one application is given is worth nothing at another', async (t) => {
  const { party, other, browser } = await start(t)
  const refused = async (answer: Promise<{ status: number; tokens: { error?: string } }>) => {
    const { status, tokens } = await answer
    assert.ok(status === 400 || status === 401)
    assert.match(tokens.error!, /^invalid_(grant|client|request)$/)
  }
  const code = await party.signIn(browser)
  const { refresh_token } = await party.tokens(browser)
  await refused(other.token({ code }))
  await refused(other.token({ code, redirect_uri: party.redirectUri }))
  await refused(party.token({ code, client_secret: other.secret }))
  await refused(party.token({ code, client_id: other.clientId }))
  await refused(party.token({ code, client_id: party.id }))
  await refused(party.token({ code, client_secret: undefined }))
  await refused(party.token({ code, redirect_uri: other.redirectUri }))
  await refused(party.token({ code, redirect_uri: undefined }))
  await refused(other.refresh(refresh_token!))
  await refused(party.refresh(refresh_token!, { client_secret: undefined }))
  await refused(party.refresh(refresh_token!, { client_secret: other.secret }))
  // Two ways at once.
  const basic = Buffer.from(`${party.clientId}:${party.secret}`).toString('base64')
  await refused(party.token({ code }, { authorization: `Basic ${basic}` }))
  // All that failed has used nothing up.
  assert.equal((await party.token({ code })).status, 200)
  assert.equal((await party.refresh(refresh_token!)).status, 200)
})

test('attack 34: the client of the gateway and that of the application are two', async (t) => {
  const { fixture, party, browser } = await start(t)
  const gateway = {
    id: party.id,
    redirectUri: 'https://payroll.example.test/.sallyport/callback',
  }
  await signIn(fixture, browser, gateway, 'ana')
  // A code of the gateway's at the application's client.
  const attempt = newAttempt(gateway)
  const code = codeOf(await browser.get(fixture.identity.authorizeUrl(attempt)), attempt)
  const stolen = await party.token({
    code,
    code_verifier: attempt.codeVerifier,
    redirect_uri: gateway.redirectUri,
  })
  assert.equal(stolen.tokens.error, 'invalid_grant')
  // The application's secret, and no secret, at the gateway's client.
  for (const client_secret of [party.secret, undefined]) {
    const answer = await party.token({
      code,
      client_id: party.id,
      client_secret,
      code_verifier: attempt.codeVerifier,
      redirect_uri: gateway.redirectUri,
    })
    assert.equal(answer.status, 401)
  }
  // A code of the application's at the gateway.
  await assert.rejects(
    fixture.identity.redeem({
      ...newAttempt(gateway),
      code: await party.signIn(browser, 'ana', pkce),
      codeVerifier: verifier,
      clientAddress: '192.0.2.1',
    }),
    { code: 'CODE_REJECTED' },
  )
  // Neither client goes where the other one does.
  for (const changes of [{ client_id: party.id, ...pkce }, { redirect_uri: gateway.redirectUri }])
    assert.equal((await browser.get(party.authorizeUrl(changes))).status, 400)
  // What the gateway's sign-in leaves is no key to userinfo.
  const secret = createHmac('sha256', Buffer.alloc(32, 7)).update(party.id).digest('base64url')
  const answer = await fixture.browser().post(
    tokenPath,
    {
      grant_type: 'authorization_code',
      client_id: party.id,
      client_secret: secret,
      redirect_uri: gateway.redirectUri,
      code,
      code_verifier: attempt.codeVerifier,
    },
    { accept: 'application/json' },
  )
  const { access_token } = JSON.parse(answer.body) as { access_token: string }
  assert.equal((await party.userinfo(access_token)).status, 401)
})

test('attack 34: PKCE that was begun is gone through with, and plain is none', async (t) => {
  const { party, browser } = await start(t)
  for (const code_verifier of [undefined, '', 'v'.repeat(42), 'w'.repeat(43), challenge]) {
    const code = await party.signIn(browser, 'ana', pkce)
    const { status } = await party.token({ code, code_verifier })
    assert.equal(status, 400, String(code_verifier))
  }
  const code = await party.signIn(browser)
  assert.equal((await party.token({ code, code_verifier: verifier })).status, 400)
  for (const changes of [
    { code_challenge: verifier, code_challenge_method: 'plain' },
    { code_challenge: verifier },
    { code_challenge_method: 'S256' },
    { code_challenge: '', code_challenge_method: 'S256' },
    { code_challenge: 'short', code_challenge_method: 'S256' },
  ]) {
    const { headers } = await browser.get(party.authorizeUrl(changes))
    const url = new URL(headers.location!)
    assert.equal(url.searchParams.get('error'), 'invalid_request', JSON.stringify(changes))
    assert.equal(url.searchParams.get('code'), null)
  }
})

test('attack 34: who keeps no secret does not get by without PKCE, nor with a secret that is made up', async (t) => {
  const { party, browser } = await start(t, { tokenEndpointAuthMethod: 'none' })
  await party.signIn(browser, 'ana', pkce)
  const { headers } = await browser.get(party.authorizeUrl())
  assert.equal(new URL(headers.location!).searchParams.get('error'), 'invalid_request')
  const code = await party.signIn(browser, 'ana', pkce)
  for (const client_secret of ['x', party.secret])
    assert.notEqual(
      (await party.token({ code, client_secret, code_verifier: verifier })).status,
      200,
    )
  const elsewhere = await party.token(
    { code, client_secret: undefined, code_verifier: verifier },
    { origin: 'https://other.example.test' },
  )
  assert.equal(elsewhere.status, 400)
  assert.equal(elsewhere.headers['access-control-allow-origin'], undefined)
})

test('attack 34: other flows, modes, prompts and request objects do not exist', async (t) => {
  const { party, browser } = await start(t)
  await party.signIn(browser)
  const ask = async (changes: Record<string, string | undefined>) => {
    const { headers, status, body } = await browser.get(party.authorizeUrl(changes))
    assert.doesNotMatch(`${headers.location} ${body}`, /[?&#]code=|name="code"/)
    const url = new URL(headers.location ?? 'about:blank')
    return (
      url.searchParams.get('error') ??
      new URLSearchParams(url.hash.slice(1)).get('error') ??
      /name="error" value="(\w+)"/.exec(body)?.[1] ??
      status
    )
  }
  for (const response_type of ['token', 'id_token', 'code id_token', 'code token', 'none', ''])
    assert.match(String(await ask({ response_type })), /^(invalid_request|unsupported_\w+|400)$/)
  for (const response_mode of ['fragment', 'web_message', 'jwt', 'query.jwt', 'x'])
    assert.match(String(await ask({ response_mode })), /^(invalid_request|unsupported_\w+|400)$/)
  for (const prompt of ['consent', 'select_account', 'create', 'login none', 'access'])
    assert.equal(await ask({ prompt }), 'invalid_request', prompt)
  assert.equal(await ask({ request: 'eyJhbGciOiJub25lIn0.e30.' }), 'request_not_supported')
  assert.equal(await ask({ request_uri: 'https://evil.test/' }), 'request_uri_not_supported')
  assert.equal(await ask({ registration: '{}' }), 'registration_not_supported')
  for (const max_age of ['-1', 'x', '1.5']) assert.equal(await ask({ max_age }), 'invalid_request')
  for (const grant_type of ['password', 'client_credentials', 'implicit', ''])
    assert.equal((await party.token({ grant_type, username: 'ana', password: 'x' })).status, 400)
})

test('attack 34: an application gets no claim by asking for it', async (t) => {
  const { party, browser } = await start(t)
  const code = await party.signIn(browser, 'ana', {
    scope: 'openid offline_access admin groups',
    claims: '{"userinfo":{"groups":null,"email":{"essential":true},"oid":null}}',
  })
  const { tokens } = await party.token({ code })
  assert.equal(tokens.scope, 'openid')
  const { claims } = await party.userinfo(tokens.access_token)
  assert.deepEqual(Object.keys(claims).sort(), ['sub'])
  const more = await party.refresh(tokens.refresh_token!, { scope: 'openid email' })
  assert.equal(more.tokens.error, 'invalid_scope')
})

test('attack 34: no token that is forged, or of another kind, signs anybody out unasked', async (t) => {
  const { fixture, party, other, browser } = await start(t)
  const { id_token, access_token } = await party.tokens(browser)
  const [head, body, signature] = id_token.split('.') as [string, string, string]
  const claims = JSON.parse(Buffer.from(body, 'base64url').toString()) as Record<string, unknown>
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const { keys } = JSON.parse((await browser.get('/common/discovery/v2.0/keys')).body)
  const unsigned = `${encode({ alg: 'HS256', typ: 'JWT' })}.${body}`
  const mac = createHmac('sha256', JSON.stringify(keys[0])).update(unsigned).digest('base64url')
  for (const hint of [
    `${encode({ alg: 'none' })}.${body}.`,
    `${unsigned}.${mac}`,
    `${head}.${encode({ ...claims, sub: 'somebody' })}.${signature}`,
    `${head}.${encode({ ...claims, aud: other.clientId })}.${signature}`,
    `${head}.${encode({ ...claims, aud: [party.clientId, other.clientId] })}.${signature}`,
    `${encode({ alg: 'RS256', kid: 'x' })}.${body}.${signature}`,
    access_token,
    'x',
    'a.b.c',
  ]) {
    const page = await browser.get(`${logoutUrl}?${new URLSearchParams({ id_token_hint: hint })}`)
    assert.doesNotMatch(page.body, /<form[^>]*data-submit/, hint)
  }
  const query = new URLSearchParams({ id_token_hint: id_token, client_id: other.clientId })
  assert.doesNotMatch((await browser.get(`${logoutUrl}?${query}`)).body, /<form[^>]*data-submit/)
  const live = await sessions.listSessions(fixture.store.db, { liveAt: fixture.time.nowAt })
  assert.equal(live.length, 1)
})

test('attack 34: a token of an earlier session signs nobody out unasked, of whatever application it is', async (t) => {
  const { fixture, party, browser } = await start(t)
  const { id_token } = await party.tokens(browser)
  const [first] = await sessions.listSessions(fixture.store.db, { liveAt: fixture.time.nowAt })
  await fixture.identity.endSession(first!.id, 'administrator')
  const { id_token: own } = await party.tokens(browser)
  const pageFor = async (hint: string) =>
    (await browser.get(`${logoutUrl}?${new URLSearchParams({ id_token_hint: hint })}`)).body
  assert.doesNotMatch(await pageFor(id_token), /<form[^>]*data-submit/)
  assert.match(await pageFor(own), /<form[^>]*data-submit/)
})

test('attack 34: what is no token of ours breaks nothing for who is signed out already', async (t) => {
  const { fixture, browser } = await start(t)
  for (const payload of ['null', '1', '"x"', '[]', '{}', '{', '{"aud":null}', '{"aud":["x"]}']) {
    const query = new URLSearchParams({
      id_token_hint: `x.${Buffer.from(payload).toString('base64url')}.x`,
      post_logout_redirect_uri: 'https://evil.test/',
    })
    const { headers } = await browser.get(`${logoutUrl}?${query}`)
    assert.equal(headers.location, `${logoutUrl}/success`, payload)
  }
  assert.deepEqual(fixture.errors, [])
})

test('attack 37: an application that signs somebody in as another person changes nothing for the first', async (t) => {
  const { fixture, party, browser } = await start(t)
  await fixture.addUser('eva')
  const tokens = await party.tokens(browser)
  // The pending sign-in of a stranger, carried to this browser.
  const stranger = fixture.browser()
  const { headers } = await stranger.get(party.authorizeUrl())
  assert.equal((await browser.get(headers.location!)).status, 400)
  assert.equal((await party.userinfo(tokens.access_token)).status, 200)
})

test('attack 32: a redirect URI that is removed while somebody signs in gets no code', async (t) => {
  const { fixture, party, browser } = await start(t)
  const { headers } = await browser.get(party.authorizeUrl())
  const { signOn } = fixture.snapshot().findApplicationById(party.id)!.application
  const redirectUris = ['https://payroll.example.test/another']
  fixture.change(party.id, { signOn: { ...signOn, redirectUris } as typeof signOn })
  const { headers: typed } = await browser.post(headers.location!, { userName: 'ana', password })
  const answer = await browser.get(typed.location!)
  assert.equal(answer.status, 400)
  assert.equal(answer.headers.location, undefined)
  assert.doesNotMatch(answer.body, /code=|payroll\.example\.test/)
  const [event] = await audit.listAudit(fixture.store.db, {})
  assert.equal(event?.detail.reason, 'sign-in-request-invalid')
  assert.match(String(event?.detail.explanation), /invalid_redirect_uri/)
})

test('attack 34: a code that was used takes with it what came of it when it is used after its time too', async (t) => {
  const { fixture, party, browser } = await start(t)
  const [used, unused] = [await party.signIn(browser), await party.signIn(browser)]
  const { tokens } = await party.token({ code: used })
  await age(fixture, 'AuthorizationCode', 120)
  // What was not used is over, and takes nothing with it.
  assert.equal((await party.token({ code: unused })).tokens.error, 'invalid_grant')
  assert.equal((await party.userinfo(tokens.access_token)).status, 200)
  assert.equal((await party.token({ code: used })).tokens.error, 'invalid_grant')
  assert.equal((await party.userinfo(tokens.access_token)).status, 401)
  assert.equal((await party.refresh(tokens.refresh_token!)).tokens.error, 'invalid_grant')
})

test('attack 34: prompt and max_age are not got round by going on without signing in', async (t) => {
  const { party, browser } = await start(t)
  await party.signIn(browser)
  for (const changes of [{ prompt: 'login' }, { max_age: '0' }]) {
    const { headers } = await browser.get(party.authorizeUrl(changes))
    const uid = headers.location!.split('/').at(-1)
    const again = await browser.get(`/${tenantId}/oauth2/v2.0/authorize/${uid}`)
    assert.doesNotMatch(`${again.headers.location} ${again.body}`, /[?&]code=/)
  }
})

test('attack 34: a hint that is of somebody else, of another application, or none at all, signs nobody on unasked', async (t) => {
  const { fixture, party, other, browser } = await start(t)
  await fixture.addUser('eva')
  const { id_token } = await party.tokens(browser)
  const { id_token: theirs } = await other.tokens(browser)
  const { id_token: of } = await party.tokens(fixture.browser(), 'eva')
  const ask = async (id_token_hint: string) => {
    const { headers } = await browser.get(party.authorizeUrl({ id_token_hint, prompt: 'none' }))
    const { searchParams } = new URL(headers.location!)
    return searchParams.get('error') ?? (searchParams.has('code') ? 'code' : '')
  }
  assert.equal(await ask(id_token), 'code')
  assert.equal(await ask(of), 'login_required')
  for (const hint of [theirs, 'x', `${id_token}x`, `${id_token.split('.', 2).join('.')}.`])
    assert.equal(await ask(hint), 'invalid_request', hint.slice(-20))
})

test('attack 46: a token of one kind is worth nothing where another is asked for', async (t) => {
  const { party, browser } = await start(t)
  const { access_token, refresh_token, id_token } = await party.tokens(browser)
  const code = await party.signIn(browser)
  for (const token of [refresh_token!, id_token, code, party.secret, '', 'x'.repeat(43)])
    assert.ok([400, 401].includes((await party.userinfo(token)).status))
  for (const token of [access_token, id_token, code, ''])
    assert.equal((await party.refresh(token)).status, 400)
  for (const token of [access_token, id_token, refresh_token!])
    assert.equal((await party.token({ code: token })).status, 400)
  const inQuery = await browser.get(
    `/${tenantId}/oauth2/v2.0/userinfo?${new URLSearchParams({ access_token })}`,
    { accept: 'application/json' },
  )
  assert.equal(inQuery.status, 400)
})

test('attack 59: no secret, code or token is in what is written down', async (t) => {
  const { fixture, party, browser } = await start(t)
  const code = await party.signIn(browser)
  const { tokens } = await party.token({ code })
  await party.token({ code })
  await party.token({ code: 'made up', client_secret: 'made up too' })
  await party.refresh(`${tokens.refresh_token}x`)
  await party.userinfo(`${tokens.access_token}x`)
  const written = JSON.stringify([
    await audit.listAudit(fixture.store.db, {}),
    fixture.errors,
    await fixture.store.db.selectFrom('oidcClientSecret').selectAll().execute(),
  ])
  for (const secret of [
    code,
    party.secret,
    tokens.access_token,
    tokens.refresh_token!,
    tokens.id_token,
    'made up too',
  ])
    assert.ok(!written.includes(secret), secret)
})
