import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash, createPrivateKey, sign } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { deflateRawSync, inflateRawSync } from 'node:zlib'
import { type ApplicationInput, compileSnapshot, splitLogoutPass } from '@sallyport/domain'
import { parseLogoutRequest, readPost, verifyMessage } from '@sallyport/sso/saml'
import {
  applications,
  audit,
  groups,
  logoutNotices,
  oidcModel,
  saml,
  users,
} from '@sallyport/store'
import { FormHandOver } from '../src/form-hand-over.ts'
import type { DeliveryRequest } from '../src/index.ts'
import {
  type Answer,
  type Browser,
  type Fixture,
  loginOrigin,
  type Published,
  password,
  signIn,
  startFixture,
  tenantId,
} from './fixture.ts'

const service = `${loginOrigin}/${tenantId}/saml2`
const entityId = 'https://payroll.example.test/saml'
const acs = 'https://payroll.example.test/saml/acs'
const slo = 'https://payroll.example.test/saml/logout'
const names =
  'xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion"'

function makeKey(): { keyPem: string; certificatePem: string } {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-saml-'))
  try {
    const [key, cert] = [join(folder, 'key'), join(folder, 'cert')]
    const options = `req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=saml -keyout ${key} -out ${cert}`
    execFileSync('openssl', options.split(' '), { stdio: 'ignore' })
    return { keyPem: readFileSync(key, 'utf8'), certificatePem: readFileSync(cert, 'utf8') }
  } finally {
    rmSync(folder, { recursive: true })
  }
}
const sp = makeKey()
const idp = makeKey()

/** An application that signs people on by SAML, with what control makes for it. */
async function publish(
  fixture: Fixture,
  more: Record<string, unknown> = {},
  fields: Partial<ApplicationInput> = {},
  name = 'payroll',
): Promise<Published> {
  const signOn = {
    method: 'saml',
    entityId: entityId.replace('payroll', name),
    assertionConsumerServices: [
      { url: acs.replace('payroll', name), index: 3 },
      { url: `http://${name}.internal/second`, index: 4 },
    ],
    singleLogoutService: { url: slo.replace('payroll', name) },
    requestCertificates: [sp.certificatePem],
    ...more,
  } as ApplicationInput['signOn']
  const published = fixture.publish(name, { signOn, assignmentRequired: false, ...fields })
  const application = fixture.snapshot().findApplicationById(published.id)!.application
  await applications.createApplication(fixture.store.db, application, 1)
  await saml.addCertificate(fixture.store.db, {
    id: `key of ${name}`,
    applicationId: published.id,
    certificate: idp.certificatePem,
    // As the fixture opens it.
    sealedKey: createPrivateKey(idp.keyPem)
      .export({ type: 'pkcs8', format: 'der' })
      .toString('base64'),
    createdAt: 1,
    notAfterAt: fixture.time.nowAt + 1e9,
    active: true,
  })
  return published
}

async function start(t: TestContext, more = {}, fields = {}) {
  const fixture = await startFixture(t)
  await fixture.addUser('ana')
  return { fixture, payroll: await publish(fixture, more, fields), browser: fixture.browser() }
}

function authnRequest(fixture: Fixture, attributes = '', content = '', issuer = entityId): string {
  return `<samlp:AuthnRequest ${names} ID="_r1" Version="2.0" IssueInstant="${new Date(fixture.time.nowAt).toISOString()}"${attributes}><saml:Issuer>${issuer}</saml:Issuer>${content}</samlp:AuthnRequest>`
}

function logoutRequest(fixture: Fixture, nameId: string, index: string, issuer = entityId): string {
  return `<samlp:LogoutRequest ${names} ID="_l1" Version="2.0" IssueInstant="${new Date(fixture.time.nowAt).toISOString()}" Destination="${service}"><saml:Issuer>${issuer}</saml:Issuer><saml:NameID>${nameId}</saml:NameID><samlp:SessionIndex>${index}</samlp:SessionIndex></samlp:LogoutRequest>`
}

function redirectUrl(
  xml: string,
  { signed = true, name = 'SAMLRequest', relayState = '' } = {},
): string {
  let query = `${name}=${encodeURIComponent(deflateRawSync(xml).toString('base64'))}`
  if (relayState !== '') query += `&RelayState=${encodeURIComponent(relayState)}`
  if (!signed) return `${service}?${query}`
  query += `&SigAlg=${encodeURIComponent('http://www.w3.org/2001/04/xmldsig-more#rsa-sha256')}`
  const value = sign('sha256', Buffer.from(query), sp.keyPem).toString('base64')
  return `${service}?${query}&Signature=${encodeURIComponent(value)}`
}

interface Posted {
  action: string
  xml: string
  relayState: string | undefined
}

/** The form that the page would send. */
function formOf({ status, body }: Answer): Posted {
  const field = (name: string) => new RegExp(`name="${name}" value="([^"]*)"`).exec(body)?.[1]
  const action = /<form[^>]* action="([^"]*)"/.exec(body)?.[1]
  const message = field('SAMLResponse')
  if (action === undefined || message === undefined) throw new Error(`no form: ${status} ${body}`)
  return {
    action,
    xml: Buffer.from(message, 'base64').toString(),
    relayState: field('RelayState')?.replaceAll('&amp;', '&'),
  }
}

function messageOf(location: string | undefined, name: string): string {
  const value = new URL(location!).searchParams.get(name)
  return inflateRawSync(Buffer.from(value!, 'base64')).toString()
}

/** Takes the pass off an address, as the gateway does. @returns the digest of the body that it is for */
function takePass(
  { identity }: Fixture,
  applicationId: string,
  method: 'GET' | 'POST',
  address: string,
): string | undefined {
  const { origin, pathname, search } = new URL(address)
  const { query, pass } = splitLogoutPass(search)!
  return identity.takeLogoutPass(pass, { applicationId, method, url: origin + pathname + query })
}

function digestOf(body: string): string {
  return createHash('sha256').update(body).digest('base64url')
}

/** Follows redirects on the sign-in host, typing the password when asked. */
async function walk(browser: Browser, url: string, userName = 'ana'): Promise<Answer> {
  let at = url
  let answer = await browser.get(at)
  for (let hops = 0; answer.status === 303 && hops < 10; hops += 1) {
    if (!answer.headers.location!.startsWith(`${loginOrigin}/`)) return answer
    at = answer.headers.location!
    answer = await browser.get(at)
    if (at.includes('/sign-in/') && answer.body.includes('name="password"'))
      answer = await browser.post(at, { userName, password })
  }
  return answer
}

async function events(fixture: Fixture, kind: string) {
  const all = await audit.listAudit(fixture.store.db, {})
  return all.filter((event) => event.kind === kind)
}

test('a request leads over sign-in to a response for it, with RelayState as it was', async (t) => {
  const { fixture, payroll, browser } = await start(t)
  const url = redirectUrl(authnRequest(fixture), { relayState: 'https://payroll/?a=1&b=2' })
  const { action, xml, relayState } = formOf(await walk(browser, url))
  assert.equal(action, acs)
  assert.equal(relayState, 'https://payroll/?a=1&b=2')
  assert.match(xml, /InResponseTo="_r1"/)
  assert.match(xml, /<saml:NameID[^>]*>ana<\/saml:NameID>/)
  const [event] = await events(fixture, 'saml-signed-on')
  assert.equal(event?.subject, payroll.id)
  assert.equal(event?.detail.startedBy, 'application')
  // The second time nothing is typed.
  assert.match(formOf(await browser.get(url)).xml, /Success/)
})

test('the page lets its form go to the application, and says from where', async (t) => {
  const { fixture, browser } = await start(t)
  const answer = await walk(browser, redirectUrl(authnRequest(fixture)))
  assert.doesNotMatch(String(answer.headers['content-security-policy']), /form-action/)
  assert.match(String(answer.headers['content-security-policy']), /default-src 'none'/)
  assert.equal(answer.headers['referrer-policy'], 'strict-origin')
  assert.equal(answer.headers['cache-control'], 'no-store')
})

test('a request that comes by a form from another site is kept, and goes on with our cookie', async (t) => {
  const { fixture, browser } = await start(t)
  const SAMLRequest = Buffer.from(authnRequest(fixture)).toString('base64')
  const answer = await browser.post(
    service,
    { SAMLRequest, RelayState: 'x' },
    { origin: 'https://payroll.example.test', 'sec-fetch-site': 'cross-site' },
  )
  assert.equal(answer.status, 303)
  assert.equal(formOf(await walk(browser, answer.headers.location!)).relayState, 'x')
  // It is used up, and who comes back by the Back button is told that nothing is left to do.
  const again = await browser.get(answer.headers.location!)
  assert.match(again.body, /signed in already/)
})

const crm = {
  externalUrl: 'https://crm.example.org/',
  acs: 'https://crm.example.org/saml/acs',
  origin: 'https://crm.example.org',
}

/** An application on another site than the sign-in host, and a response on its way there. */
async function startElsewhere(t: TestContext, attributes = '') {
  const { fixture, payroll, browser } = await start(
    t,
    { assertionConsumerServices: [{ url: crm.acs }] },
    { externalUrl: crm.externalUrl },
  )
  const respond = async (by = browser) => {
    const url = redirectUrl(authnRequest(fixture, attributes), { relayState: 'r&d' })
    const answer = await walk(by, url)
    const [, id] = /^https:\/\/crm\.example\.org\/\.sallyport\/form\?id=([\w-]{43})$/.exec(
      answer.headers.location ?? '',
    )!
    assert.doesNotMatch(answer.body, /SAMLResponse/)
    return id!
  }
  return { fixture, payroll, browser, respond }
}

test('a response to another site leaves by the application’s own host, once, for the session that it is for', async (t) => {
  const { fixture, browser, respond } = await startElsewhere(t)
  const { sessionId } = await signIn(fixture, browser, fixture.hr, 'ana')
  const id = await respond()
  // Whoever reads the database reads no response.
  const kept = await oidcModel.findOidcModel(fixture.store.db, { model: 'FormHandOver', id })
  assert.deepEqual(Object.keys(kept!), ['sealed'])
  // Another process is asked.
  await fixture.restart()
  const asked = { id, origin: crm.origin, sessionId }
  const found = await fixture.identity.takeForm(asked)
  assert.equal(found.kind, 'form')
  const { form } = found as Extract<typeof found, { kind: 'form' }>
  assert.equal(form.actionUrl, crm.acs)
  assert.equal(form.purpose, 'sign-on')
  assert.deepEqual(Object.keys(form.fields), ['SAMLResponse', 'RelayState'])
  assert.equal(form.fields.RelayState, 'r&d')
  const xml = Buffer.from(form.fields.SAMLResponse!, 'base64').toString()
  assert.match(xml, /status:Success/)
  assert.match(xml, /Destination="https:\/\/crm\.example\.org\/saml\/acs"/)
  assert.deepEqual(await fixture.identity.takeForm(asked), { kind: 'gone' })
  assert.equal((await events(fixture, 'saml-signed-on')).length, 1)
})

test('attack 35: nobody takes a response that is for another session or host, twice, or late', async (t) => {
  const { fixture, browser, respond } = await startElsewhere(t)
  const { identity } = fixture
  await fixture.addUser('eve')
  const { sessionId } = await signIn(fixture, browser, fixture.hr, 'ana')
  const eve = await signIn(fixture, fixture.browser(), fixture.hr, 'eve')
  const again = await signIn(fixture, fixture.browser(), fixture.hr, 'ana')
  const { origin } = crm
  const id = await respond()
  // Neither somebody else, nor the same person elsewhere; and whoever tries uses nothing up.
  for (const other of [eve.sessionId, again.sessionId, '', 'x'])
    assert.deepEqual(await identity.takeForm({ id, origin, sessionId: other }), {
      kind: 'other-session',
    })
  for (const foreign of [
    'https://hr.example.test',
    'http://crm.example.org',
    'https://crm.example.org:8443',
    'https://crm.example.org.',
    'https://CRM.example.org',
  ])
    assert.equal((await identity.takeForm({ id, origin: foreign, sessionId })).kind, 'gone')
  for (const wrong of ['', id.slice(1), `${id}x`, id.toLowerCase()])
    assert.equal((await identity.takeForm({ id: wrong, origin, sessionId })).kind, 'gone')
  const kinds = await Promise.all(
    Array.from({ length: 8 }, () => identity.takeForm({ id, origin, sessionId })),
  )
  assert.equal(kinds.filter(({ kind }) => kind === 'form').length, 1)

  const late = await respond()
  fixture.time.nowAt += 60_000
  assert.equal((await identity.takeForm({ id: late, origin, sessionId })).kind, 'gone')
  const ended = await respond()
  await identity.endSession(sessionId, 'administrator')
  assert.equal((await identity.takeForm({ id: ended, origin, sessionId })).kind, 'gone')
})

test('a refusal that says nothing of anybody is for whoever has a session on the host', async (t) => {
  const { fixture, browser, respond } = await startElsewhere(t, ' IsPassive="true"')
  // The cookie of one that has ended is nobody's.
  const { userId } = await signIn(fixture, browser, fixture.hr, 'ana')
  for (const enabled of [false, true])
    await users.setEnabled(fixture.store.db, userId, enabled, fixture.time.nowAt)
  const id = await respond()
  const { origin } = crm
  const { identity } = fixture
  assert.equal((await identity.takeForm({ id, origin, sessionId: 'x' })).kind, 'gone')
  const { sessionId } = await signIn(fixture, fixture.browser(), fixture.hr, 'ana')
  const found = await identity.takeForm({ id, origin, sessionId })
  const { form } = found as Extract<typeof found, { kind: 'form' }>
  const xml = Buffer.from(form.fields.SAMLResponse!, 'base64').toString()
  assert.match(xml, /status:NoPassive/)
  assert.doesNotMatch(xml, /Assertion/)
})

for (const [what, fields, url] of [
  ['below the base domain', {}, acs],
  [
    'that asks for no sign-in',
    { externalUrl: crm.externalUrl, preAuthentication: 'passthrough' },
    crm.acs,
  ],
  ['that Sallyport does not publish', {}, 'https://elsewhere.example.org/acs'],
  [
    'of another port than the external URL',
    { externalUrl: crm.externalUrl },
    'https://crm.example.org:8443/acs',
  ],
] as const)
  test(`a response to an address ${what} goes by a page of the sign-in host`, async (t) => {
    const { fixture, browser } = await start(t, { assertionConsumerServices: [{ url }] }, fields)
    assert.equal(formOf(await walk(browser, redirectUrl(authnRequest(fixture)))).action, url)
  })

test('below a base domain of one label every host is a site of its own', async (t) => {
  const fixture = await startFixture(t)
  const { application } = fixture.snapshot().findApplicationById(fixture.hr.id)!
  const actionUrl = 'https://hr.internal/acs'
  const form = { purpose: 'sign-on', applicationName: 'HR', actionUrl, fields: {} } as const
  const snapshot = compileSnapshot({
    applications: [
      { application: { ...application, externalUrl: 'https://hr.internal/' }, principalIds: [] },
    ],
    baseDomain: 'internal',
    port: 443,
    version: 1,
  })
  const handOver = new FormHandOver({
    db: fixture.store.db,
    snapshot: () => snapshot,
    seal: (_, bytes) => bytes.toString('base64'),
    open: (_, sealed) => Buffer.from(sealed, 'base64'),
    clock: () => fixture.time.nowAt,
  })
  const compiled = snapshot.findApplicationById(application.id)!
  assert.match(
    (await handOver.begin(compiled, form, 'x'))!,
    /^https:\/\/hr\.internal\/\.sallyport\/form\?id=/,
  )
})

test('ForceAuthn asks for the password again, and only then is there a response', async (t) => {
  const { fixture, browser } = await start(t)
  await signIn(fixture, browser, fixture.hr, 'ana')
  fixture.time.nowAt += 60_000
  const url = redirectUrl(authnRequest(fixture, ' ForceAuthn="true"'))
  const first = await browser.get(url)
  const state = new URL(first.headers.location!).searchParams.get('state')!
  // Going back to where the sign-in would end proves nothing.
  const early = await browser.get(`${service}/resume?state=${state}`)
  assert.equal(early.status, 303)
  const { xml } = formOf(await walk(browser, url))
  assert.ok(xml.includes(`AuthnInstant="${new Date(fixture.time.nowAt).toISOString()}"`))
})

test('IsPassive shows nothing: without a session the answer is NoPassive', async (t) => {
  const { fixture, browser } = await start(t)
  const url = redirectUrl(authnRequest(fixture, ' IsPassive="true"'))
  const { xml } = formOf(await browser.get(url))
  assert.match(xml, /status:NoPassive/)
  assert.doesNotMatch(xml, /Assertion/)
  await signIn(fixture, browser, fixture.hr, 'ana')
  assert.match(formOf(await browser.get(url)).xml, /status:Success/)
})

for (const [what, content, status] of [
  [
    'a kind of sign-in that nobody has done',
    '<samlp:RequestedAuthnContext><saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:X509</saml:AuthnContextClassRef></samlp:RequestedAuthnContext>',
    'NoAuthnContext',
  ],
  [
    'a name that nobody has',
    '<samlp:NameIDPolicy Format="urn:oasis:names:tc:SAML:2.0:nameid-format:kerberos"/>',
    'InvalidNameIDPolicy',
  ],
  [
    'a mail address where people are called by their user names',
    '<samlp:NameIDPolicy Format="urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"/>',
    'InvalidNameIDPolicy',
  ],
] as const)
  test(`who asks for ${what} hears ${status}`, async (t) => {
    const { fixture, browser } = await start(t)
    const { xml } = formOf(await walk(browser, redirectUrl(authnRequest(fixture, '', content))))
    assert.match(xml, new RegExp(`status:${status}`))
    assert.doesNotMatch(xml, /<saml:Assertion/)
  })

test('somebody who is not assigned gets a page, no response, and an audit event', async (t) => {
  const { fixture, browser } = await start(t, {}, { assignmentRequired: true })
  const answer = await walk(browser, redirectUrl(authnRequest(fixture)))
  assert.equal(answer.status, 403)
  assert.match(answer.body, /USER_NOT_ASSIGNED/)
  assert.doesNotMatch(answer.body, /SAMLResponse/)
  const [event] = await events(fixture, 'saml-sign-on-refused')
  assert.equal(event?.detail.reason, 'user-not-assigned')
})

test('attack 22: somebody in more groups than an assertion can hold gets a page, no response, and an audit event', async (t) => {
  const { fixture, browser } = await start(t, { attributes: [{ name: 'g', claim: 'groups' }] })
  const { db } = fixture.store
  const ana = (await users.findUserByName(db, 'ana'))!
  await db.transaction().execute(async (db) => {
    for (let count = 0; count <= 1_000; count += 1) {
      const group = (await groups.createGroup(db, { name: `group ${count}` }, 1))!
      await groups.addMember(db, group.id, { id: ana.id, kind: 'user' }, 1)
    }
  })
  const answer = await walk(browser, redirectUrl(authnRequest(fixture)))
  assert.equal(answer.status, 403)
  assert.match(answer.body, /SAML_ATTRIBUTES_TOO_MANY/)
  assert.doesNotMatch(answer.body, /SAMLResponse/)
  const [event] = await events(fixture, 'saml-sign-on-refused')
  assert.equal(event?.detail.reason, 'saml-attributes-too-many')
})

const transforms = Array(2).fill({
  transform: 'regexReplace',
  pattern: '.',
  replacement: 'x'.repeat(99),
})

for (const [what, settings, claim] of [
  ['an attribute', { attributes: [{ name: 'badge', claim: 'displayName', transforms }] }, 'badge'],
  ['the name', { nameId: { format: 'unspecified', claim: 'userName', transforms } }, 'NameID'],
] as const)
  test(`${what} that a transform makes too long gives a page and an audit event that say which it is`, async (t) => {
    const { fixture, payroll, browser } = await start(t, settings)
    const answer = await walk(browser, redirectUrl(authnRequest(fixture)))
    assert.equal(answer.status, 403)
    for (const text of ['CLAIM_TOO_LONG', 'The payroll', claim, 'Person ana (ana)'])
      assert.ok(answer.body.includes(text), text)
    const [event] = await events(fixture, 'saml-sign-on-refused')
    assert.equal(event?.subject, payroll.id)
    assert.equal(event?.detail.reason, 'claim-too-long')
    assert.equal(event?.detail.claim, claim)
    assert.match(String(event?.detail.explanation), /regexReplace makes more than 4096 characters/)
  })

test('a session that has ended gives no response', async (t) => {
  const { fixture, browser } = await start(t)
  const { sessionId } = await signIn(fixture, browser, fixture.hr, 'ana')
  await fixture.identity.endSession(sessionId, 'administrator')
  const answer = await browser.get(redirectUrl(authnRequest(fixture)))
  assert.equal(answer.status, 303)
  assert.match(answer.headers.location!, /\/oauth2\/v2\.0\/authorize\?/)
})

test('a response goes where the request wants, of the places that are known; an internal address by its external one', async (t) => {
  const { fixture, browser } = await start(t)
  await signIn(fixture, browser, fixture.hr, 'ana')
  const ask = async (attributes: string) =>
    formOf(await browser.get(redirectUrl(authnRequest(fixture, attributes))))
  assert.equal((await ask(` AssertionConsumerServiceURL="${acs}"`)).action, acs)
  for (const attributes of [
    ' AssertionConsumerServiceURL="http://payroll.internal/second"',
    ' AssertionConsumerServiceIndex="4"',
  ]) {
    const { action, xml } = await ask(attributes)
    assert.equal(action, 'https://payroll.example.test/second')
    // The application knows itself by the address that it wrote.
    assert.match(xml, /Recipient="http:\/\/payroll\.internal\/second"/)
  }
})

for (const [what, more] of [
  ['its consumers', { assertionConsumerServices: [{ url: `${acs}/new` }] }],
  ['its entity ID', { entityId: `${entityId}/new` }],
] as const)
  test(`a sign-on that was asked for before an application lost ${what} goes nowhere`, async (t) => {
    const { fixture, payroll, browser } = await start(t)
    const first = await browser.get(redirectUrl(authnRequest(fixture)))
    const { signOn } = fixture.snapshot().findApplicationById(payroll.id)!.application
    fixture.change(payroll.id, { signOn: { ...signOn, ...more } as ApplicationInput['signOn'] })
    const answer = await walk(browser, first.headers.location!)
    assert.doesNotMatch(answer.body, /SAMLResponse/)
    assert.match(answer.body, /SIGN_IN_EXPIRED/)
    assert.deepEqual(await events(fixture, 'saml-signed-on'), [])
  })

test('a request that nobody has signed is kept in a few kilobytes', async (t) => {
  const { fixture, browser } = await start(t)
  const long = 'x'.repeat(20_000)
  for (const [attributes, content] of [
    ['', `<samlp:NameIDPolicy Format="urn:${long}"/>`],
    [` AssertionConsumerServiceURL="http://payroll.internal/${'./'.repeat(10_000)}second"`, ''],
  ] as const) {
    const SAMLRequest = Buffer.from(authnRequest(fixture, attributes, content)).toString('base64')
    const headers = { origin: 'https://payroll.example.test', 'sec-fetch-site': 'cross-site' }
    assert.equal((await browser.post(service, { SAMLRequest }, headers)).status, 400)
  }
})

const refused: [name: string, url: (fixture: Fixture) => string][] = [
  [
    'another consumer',
    (f) => redirectUrl(authnRequest(f, ' AssertionConsumerServiceURL="https://evil.test/acs"')),
  ],
  [
    'a consumer that begins like ours',
    (f) => redirectUrl(authnRequest(f, ` AssertionConsumerServiceURL="${acs}.evil.test/"`)),
  ],
  [
    'the consumer of another user part',
    (f) =>
      redirectUrl(
        authnRequest(
          f,
          ' AssertionConsumerServiceURL="https://payroll.example.test@evil.test/saml/acs"',
        ),
      ),
  ],
  [
    'a script for a consumer',
    (f) => redirectUrl(authnRequest(f, ' AssertionConsumerServiceURL="javascript:alert(1)"')),
  ],
  [
    'a consumer by an index that there is not',
    (f) => redirectUrl(authnRequest(f, ' AssertionConsumerServiceIndex="9"')),
  ],
  ['an unknown application', (f) => redirectUrl(authnRequest(f, '', '', 'https://evil.test/'))],
  ['no signature where one must be', (f) => redirectUrl(authnRequest(f), { signed: false })],
  [
    'another Destination',
    (f) => redirectUrl(authnRequest(f, ' Destination="https://login.evil.test/saml2"')),
  ],
  [
    'a document type',
    (f) => redirectUrl(`<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>${authnRequest(f)}`),
  ],
  ['a request as a response', (f) => redirectUrl(authnRequest(f), { name: 'SAMLResponse' })],
  ['nothing', () => service],
]

for (const [name, url] of refused)
  test(`attack 35: a request is answered to nobody: ${name}`, async (t) => {
    const { fixture, browser } = await start(t, { requireSignedRequests: true })
    await signIn(fixture, browser, fixture.hr, 'ana')
    const answer = await browser.get(url(fixture))
    assert.equal(answer.status, 400)
    assert.match(answer.body, /SAML_MESSAGE_INVALID/)
    assert.doesNotMatch(answer.body, /evil|SAMLResponse|passwd/)
    const [event] = await events(fixture, 'sign-in-refused')
    assert.equal(event?.detail.reason, 'saml-message-invalid')
    assert.equal(typeof event?.detail.explanation, 'string')
  })

test('attack 35: a message of one application, signed by its key, says nothing for another', async (t) => {
  const { fixture, browser } = await start(t)
  await publish(
    fixture,
    { requestCertificates: [makeKey().certificatePem], requireSignedRequests: true },
    {},
    'wages',
  )
  await signIn(fixture, browser, fixture.hr, 'ana')
  const request = authnRequest(fixture, '', '', entityId.replace('payroll', 'wages'))
  assert.equal((await browser.get(redirectUrl(request))).status, 400)
})

test('a sign-on that nobody asked for goes to the first consumer with the configured RelayState', async (t) => {
  const { fixture, payroll, browser } = await start(t, { relayState: '/start' })
  const { action, xml, relayState } = formOf(
    await walk(browser, `${service}/start/${payroll.id}?RelayState=https://evil.test/`),
  )
  assert.deepEqual([action, relayState], [acs, '/start'])
  assert.doesNotMatch(xml, /InResponseTo/)
  assert.equal((await browser.get(`${service}/start/${fixture.hr.id}`)).status, 404)
})

test('metadata is there in both places with all certificates, and for SAML applications only', async (t) => {
  const { fixture, payroll, browser } = await start(t)
  const { db } = fixture.store
  await saml.addCertificate(db, {
    ...(await saml.listCertificates(db, payroll.id))[0]!,
    id: 'next',
    certificate: sp.certificatePem,
    active: false,
  })
  for (const path of [
    `/common/federationmetadata/2007-06/federationmetadata.xml?appid=${payroll.id}`,
    `/${tenantId}/FederationMetadata/2007-06/FederationMetadata.xml?appid=${payroll.id}`,
    `/example.test/saml2/metadata/${payroll.id}`,
  ]) {
    const { status, headers, body } = await browser.get(loginOrigin + path)
    assert.equal(status, 200)
    assert.equal(headers['content-type'], 'application/samlmetadata+xml')
    assert.ok(body.includes(`entityID="${loginOrigin}/${tenantId}/"`))
    assert.equal(body.match(/<X509Certificate>/g)?.length, 2)
    assert.ok(body.includes(`Location="${service}"`))
  }
  for (const path of [
    `/common/saml2/metadata/${fixture.hr.id}`,
    '/common/saml2/metadata/x',
    `/evil/saml2/metadata/${payroll.id}`,
  ])
    assert.equal((await browser.get(loginOrigin + path)).status, 404)
})

test('who signs out takes all SAML applications along, one after the other', async (t) => {
  const { fixture, browser, payroll } = await start(t)
  const wages = await publish(
    fixture,
    { singleLogoutService: { url: 'https://wages.example.test/out', binding: 'post' } },
    {},
    'wages',
  )
  const { sessionId } = await signIn(fixture, browser, fixture.hr, 'ana')
  for (const name of ['payroll', 'wages']) {
    const request = authnRequest(fixture, '', '', entityId.replace('payroll', name))
    formOf(await browser.get(redirectUrl(request)))
    fixture.time.nowAt += 1
  }
  const url = await fixture.identity.endSession(sessionId, 'signed-out')
  assert.equal(await fixture.identity.readSession(sessionId), undefined)
  const first = await browser.get(url!)
  assert.ok(first.headers.location!.startsWith(`${slo}?SAMLRequest=`))
  assert.equal(takePass(fixture, payroll.id, 'GET', first.headers.location!), digestOf(''))
  const asked = messageOf(first.headers.location, 'SAMLRequest')
  assert.match(asked, /<saml:NameID[^>]*>ana<\/saml:NameID><samlp:SessionIndex>_[0-9a-f]{32}</)
  const answer = (id: string, issuer = entityId, status = 'Success') =>
    `<samlp:LogoutResponse ${names} ID="_a" Version="2.0" IssueInstant="${new Date(fixture.time.nowAt).toISOString()}" Destination="${service}" InResponseTo="${id}"><saml:Issuer>${issuer}</saml:Issuer><samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:${status}"/></samlp:Status></samlp:LogoutResponse>`
  const id = / ID="([^"]+)"/.exec(asked)![1]!
  // The application learns the ID of the round with that, and nothing by it of what others call the person.
  const [, state] = /^_([\w-]{43})\./.exec(id)!
  const stranger = await fixture.browser().get(`${service}/logout?state=${state}`)
  assert.equal(stranger.headers.location, undefined)
  assert.doesNotMatch(stranger.body, /SAMLRequest/)
  // An answer to something else, or by somebody else, moves nothing on.
  for (const wrong of [
    answer('_other'),
    answer(id, entityId.replace('payroll', 'wages')),
    answer(id.replace(/\d$/, '9')),
  ])
    assert.equal((await browser.get(redirectUrl(wrong, { name: 'SAMLResponse' }))).status, 400)
  const back = await browser.get(redirectUrl(answer(id), { name: 'SAMLResponse' }))
  const second = await browser.get(back.headers.location!)
  const action = /action="(https:\/\/wages\.example\.test\/out\?[^"]+)"/.exec(second.body)![1]!
  const post = Buffer.from(
    /name="SAMLRequest" value="([^"]*)"/.exec(second.body)![1]!,
    'base64',
  ).toString()
  assert.match(post, /<ds:Signature/)
  const form = new URLSearchParams({ SAMLRequest: Buffer.from(post).toString('base64') })
  assert.equal(takePass(fixture, wages.id, 'POST', action), digestOf(form.toString()))
  const last = answer(
    / ID="([^"]+)"/.exec(post)![1]!,
    entityId.replace('payroll', 'wages'),
    'Responder',
  )
  const done = await walk(browser, redirectUrl(last, { name: 'SAMLResponse' }))
  assert.match(done.body, /You are signed out/)
  assert.equal(await fixture.identity.endSession(sessionId, 'signed-out'), undefined)
})

test('an application that signs out ends the session, and gets its answer', async (t) => {
  const { fixture, browser } = await start(t)
  const { sessionId } = await signIn(fixture, browser, fixture.hr, 'ana')
  const { xml } = formOf(await browser.get(redirectUrl(authnRequest(fixture))))
  const index = /SessionIndex="([^"]+)"/.exec(xml)![1]!
  const answer = await browser.get(
    redirectUrl(logoutRequest(fixture, 'ana', index), { relayState: 'r' }),
  )
  assert.equal(new URL(answer.headers.location!).searchParams.get('RelayState'), 'r')
  const response = messageOf(answer.headers.location, 'SAMLResponse')
  assert.match(response, /InResponseTo="_l1"/)
  assert.match(response, /status:Success/)
  assert.equal(await fixture.identity.readSession(sessionId), undefined)
  assert.equal((await events(fixture, 'signed-out')).length, 1)
})

const soapUrl = 'https://payroll.example.test/soap'

for (const [what, end] of [
  [
    'an administrator ends the session',
    (f: Fixture, id: string) => f.identity.endSession(id, 'administrator'),
  ],
  [
    'the user is disabled',
    async (f: Fixture) => {
      const { id } = (await users.findUserByName(f.store.db, 'ana'))!
      f.store.feed.publishAll((await users.setEnabled(f.store.db, id, false, f.time.nowAt))!)
    },
  ],
  [
    'the user is deleted',
    async (f: Fixture) => {
      const { id } = (await users.findUserByName(f.store.db, 'ana'))!
      f.store.feed.publishAll((await users.deleteUser(f.store.db, id, f.time.nowAt))!)
    },
  ],
] as const)
  test(`an application is told by SOAP, in a signed request, when ${what}`, async (t) => {
    const { fixture, browser, payroll } = await start(t, { logoutSoapUrl: soapUrl })
    const { sessionId } = await signIn(fixture, browser, fixture.hr, 'ana')
    const { xml } = formOf(await browser.get(redirectUrl(authnRequest(fixture))))
    const { deliveries } = fixture
    await end(fixture, sessionId)
    await deliveries.until(() => deliveries.requests.length > 0)
    const [{ body, ...delivery }] = deliveries.requests as [DeliveryRequest]
    assert.deepEqual(delivery, {
      applicationId: payroll.id,
      url: soapUrl,
      contentType: 'text/xml; charset=utf-8',
      timeoutMs: 10_000,
    })
    const [, inside] = /^<soap:Envelope [^>]*><soap:Body>(.*)<\/soap:Body><\/soap:Envelope>$/s.exec(
      body,
    )!
    const form = new URLSearchParams({ SAMLRequest: Buffer.from(inside!).toString('base64') })
    const root = verifyMessage(readPost(form), [idp.certificatePem], true)
    const request = parseLogoutRequest(root, soapUrl, fixture.time.nowAt)
    assert.equal(request.nameId.value, 'ana')
    assert.deepEqual(request.sessionIndexes, [/SessionIndex="([^"]+)"/.exec(xml)![1]])
  })

test('an application that does not answer by SOAP is told again; one whose browser brings the message is not told twice', async (t) => {
  const { fixture, browser } = await start(t, { logoutSoapUrl: soapUrl })
  const { deliveries, identity, store } = fixture
  const open = async () => {
    const { sessionId } = await signIn(fixture, fixture.browser(), fixture.hr, 'ana')
    return sessionId
  }
  const { sessionId } = await signIn(fixture, browser, fixture.hr, 'ana')
  formOf(await browser.get(redirectUrl(authnRequest(fixture))))
  assert.ok(await identity.endSession(sessionId, 'signed-out'))
  // Nor one that the application took no part in.
  await identity.endSession(await open(), 'administrator')
  assert.deepEqual(await logoutNotices.listLogoutNotices(store.db), [])

  const second = fixture.browser()
  const again = await signIn(fixture, second, fixture.hr, 'ana')
  formOf(await second.get(redirectUrl(authnRequest(fixture))))
  deliveries.statusCode = 500
  await identity.endSession(again.sessionId, 'administrator')
  await deliveries.until(() => deliveries.requests.length > 0)
  await identity.close()
  const [notice] = await logoutNotices.listLogoutNotices(store.db)
  assert.equal(notice!.attempts, 1)
  assert.equal((await events(fixture, 'back-channel-logout-failed')).length, 1)
  deliveries.statusCode = 200
  fixture.time.nowAt += 5_000
  await fixture.restart()
  await deliveries.until(() => deliveries.requests.length > 1)
})

test('attack 37: a logout request that is not signed, or means somebody else, ends nothing', async (t) => {
  const { fixture, browser } = await start(t)
  const { sessionId } = await signIn(fixture, browser, fixture.hr, 'ana')
  const { xml } = formOf(await browser.get(redirectUrl(authnRequest(fixture))))
  const index = /SessionIndex="([^"]+)"/.exec(xml)![1]!
  const unsigned = await browser.get(
    redirectUrl(logoutRequest(fixture, 'ana', index), { signed: false }),
  )
  assert.equal(unsigned.status, 400)
  for (const [nameId, session] of [
    ['ben', index],
    ['ana', '_other'],
  ] as const) {
    const answer = await browser.get(redirectUrl(logoutRequest(fixture, nameId, session)))
    assert.match(messageOf(answer.headers.location, 'SAMLResponse'), /UnknownPrincipal/)
  }
  assert.ok(await fixture.identity.readSession(sessionId))
})

test('a pending sign-on survives a restart', async (t) => {
  const { fixture, browser } = await start(t)
  const first = await browser.get(redirectUrl(authnRequest(fixture)))
  await fixture.restart()
  assert.match(formOf(await walk(browser, first.headers.location!)).xml, /Success/)
})
