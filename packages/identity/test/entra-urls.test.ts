import assert from 'node:assert/strict'
import test from 'node:test'
import { PORTAL_APPLICATION_ID } from '@sallyport/domain'
import { parseProviderPath, tenantNames } from '../src/tenant-path.ts'
import {
  codeOf,
  loginOrigin,
  newAttempt,
  openSignIn,
  signIn,
  startFixture,
  submitSignIn,
  tenantId,
} from './fixture.ts'

test('every name of the tenant, in any case, is answered with GUID endpoints', async (t) => {
  const fixture = await startFixture(t)
  const browser = fixture.browser()
  const bodies = new Set<string>()
  for (const tenant of [
    tenantId,
    tenantId.toUpperCase(),
    'example.test',
    'COMMON',
    'organizations',
  ])
    for (const path of [
      '/v2.0/.well-known/openid-configuration',
      '/V2.0/.Well-Known/OpenID-Configuration',
    ]) {
      const answer = await browser.get(`/${tenant}${path}`)
      assert.equal(answer.status, 200, tenant)
      bodies.add(answer.body)
    }
  assert.equal(bodies.size, 1)
  const authority = `${loginOrigin}/${tenantId}`
  const found = JSON.parse([...bodies][0]!) as Record<string, unknown>
  assert.deepEqual(
    [
      found.issuer,
      found.authorization_endpoint,
      found.token_endpoint,
      found.end_session_endpoint,
      found.jwks_uri,
      found.response_types_supported,
      found.code_challenge_methods_supported,
    ],
    [
      `${authority}/v2.0`,
      `${authority}/oauth2/v2.0/authorize`,
      `${authority}/oauth2/v2.0/token`,
      `${authority}/oauth2/v2.0/logout`,
      `${authority}/discovery/v2.0/keys`,
      ['code'],
      ['S256'],
    ],
  )
  assert.equal((await browser.get('/other.test/v2.0/.well-known/openid-configuration')).status, 404)
})

test('a client that lies about its host and scheme gets our endpoints all the same', async (t) => {
  const fixture = await startFixture(t)
  const answer = await fixture.browser().get('/common/v2.0/.well-known/openid-configuration', {
    'x-forwarded-host': 'evil.test',
    'x-forwarded-proto': 'http',
    forwarded: 'host=evil.test',
  })
  assert.doesNotMatch(answer.body, /evil|http:/)
})

test('a whole sign-in works under an alias in another case', async (t) => {
  const fixture = await startFixture(t)
  await fixture.addUser('ana')
  const browser = fixture.browser()
  const attempt = newAttempt(fixture.hr)
  const url = fixture.identity.authorizeUrl(attempt).replace(tenantId, 'COMMON')
  const first = await browser.get(url.replace('/authorize', '/Authorize'))
  const code = codeOf(await submitSignIn(browser, first.headers.location!, 'ana'), attempt)
  await fixture.identity.redeem({ ...attempt, code, clientAddress: '' })
})

test('the portal is a client like any other', async (t) => {
  const fixture = await startFixture(t)
  await fixture.addUser('ana')
  const portal = {
    id: PORTAL_APPLICATION_ID,
    redirectUri: 'https://apps.example.test/.sallyport/callback',
  }
  const browser = fixture.browser()
  const { answer } = await openSignIn(fixture, browser, newAttempt(portal))
  assert.match(answer.body, /Use your work account/)
  const session = await signIn(fixture, browser, portal, 'ana')
  const page = fixture.identity.portalAnswer({
    ...session,
    expiresAt: session.absoluteExpiresAt,
    principalIds: [session.userId],
  })
  assert.equal(page.statusCode, 200)
  assert.match(page.body, /No applications yet/)
})

test('paths are read exactly: nothing decoded, nothing trimmed', () => {
  const tenants = tenantNames(tenantId, 'example.test')
  const parse = (target: string) => parseProviderPath(target, tenants, tenantId)
  assert.deepEqual(parse('/Example.test/oauth2/v2.0/authorize/aB-_9?x=1'), {
    endpoint: 'resume',
    url: '/oauth2/v2.0/authorize/aB-_9?x=1',
    originalUrl: `/${tenantId}/oauth2/v2.0/authorize/aB-_9?x=1`,
    interactionUid: 'aB-_9',
  })
  for (const target of [
    '/common/oauth2/v2.0/token/',
    '//common/oauth2/v2.0/token',
    '/common//oauth2/v2.0/token',
    '/common/oauth2/v2.0/%74oken',
    '/common/oauth2/v2.0/../v2.0/token',
    '/common/oauth2/v2.0/authorize/',
    '/common/oauth2/v2.0/authorize/a%2fb',
    '/comm%6fn/oauth2/v2.0/token',
    '/common',
    '',
    '*',
    'https://login.example.test/common/oauth2/v2.0/token',
  ])
    assert.equal(parse(target), undefined, target)
})
