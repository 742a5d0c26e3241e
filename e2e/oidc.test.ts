import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import {
  findFreePort,
  lastFirst,
  launchBrowser,
  newProfile,
  OpenidcApplication,
  password,
  type Scope,
  type System,
  signInOnPage,
  startSystem,
} from '@sallyport/testkit'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { findViolations } from './support/look.ts'
import { OpenidApplication } from './support/openid-application.ts'
import { cookieFor } from './support/walk.ts'

/** Relying parties behind a connector: mod_auth_openidc with a secret, and openid-client with PKCE and refresh tokens, once with a secret. */
suite('sign-on by OpenID Connect in a browser', () => {
  let close: () => Promise<void>
  let system: System
  let browser: Browser
  let apache: OpenidcApplication
  let wages: string
  let desk: string
  let application: OpenidApplication
  let notes: string
  let confidential: OpenidApplication
  let portal: string
  let port: number
  let secret: { id: string; clientId: string; secret: string }

  before(async () => {
    const scope = lastFirst({
      after: (run) => {
        close = async () => run()
      },
    })
    port = await findFreePort()
    system = await startSystem(scope, {
      applications: [
        {
          name: 'wages',
          internalUrl: `http://127.0.0.1:${port}/`,
          set: { hostHeader: 'external', assignmentRequired: true },
        },
        { name: 'desk' },
        { name: 'notes' },
      ],
      allow: [`127.0.0.1:${port}`],
    })
    wages = system.url('wages')
    portal = system.url('apps')
    await system.execute('app.update', {
      name: 'wages',
      set: {
        signOn: {
          method: 'oidc',
          // As an administrator inside would write it.
          redirectUris: [`http://127.0.0.1:${port}/oidc/callback`],
          postLogoutRedirectUris: [wages],
          backChannelLogoutUri: `http://127.0.0.1:${port}/oidc/callback?logout=backchannel`,
          claims: [{ name: 'groups', claim: 'groups' }],
        },
      },
    })
    await system.execute('group.create', { name: 'clerks' })
    await system.execute('group.add-member', { group: 'clerks', user: 'ana' })
    secret = (await system.execute('app.secret.create', { name: 'wages' })) as typeof secret
    const facts = (await system.execute('app.oidc.show', { name: 'wages' })) as Record<
      string,
      string
    >
    assert.equal(facts.clientId, secret.clientId)
    apache = await OpenidcApplication.start(scope, {
      port,
      externalUrl: wages,
      metadataUrl: facts.discovery!,
      ca: system.ca,
      clientId: secret.clientId,
      clientSecret: secret.secret,
    })
    desk = system.url('desk')
    await system.execute('app.update', {
      name: 'desk',
      set: {
        signOn: {
          method: 'oidc',
          redirectUris: [`${desk}callback`],
          postLogoutRedirectUris: [desk],
          backChannelLogoutUri: `${desk}backchannel`,
          initiateLoginUri: `${desk}start`,
          tokenEndpointAuthMethod: 'none',
          refreshTokens: true,
        },
      },
    })
    const { issuer, clientId } = (await system.execute('app.oidc.show', {
      name: 'desk',
    })) as Record<string, string>
    application = await OpenidApplication.start(system, system.origin('desk'), {
      externalUrl: desk,
      issuer: issuer!,
      clientId: clientId!,
    })
    notes = system.url('notes')
    await system.execute('app.update', {
      name: 'notes',
      set: {
        signOn: { method: 'oidc', redirectUris: [`${notes}callback`], refreshTokens: true },
      },
    })
    const own = (await system.execute('app.secret.create', { name: 'notes' })) as typeof secret
    confidential = await OpenidApplication.start(system, system.origin('notes'), {
      externalUrl: notes,
      issuer: issuer!,
      clientId: own.clientId,
      secret: own.secret,
    })
    browser = await launchBrowser(scope, { domain: system.domain })
  })
  after(() => close())

  async function profile(t: Scope, options = {}): Promise<BrowserContext> {
    return newProfile(t, browser, options)
  }

  async function open(context: BrowserContext, userName = 'ana'): Promise<Page> {
    const page = await context.newPage()
    await page.goto(wages)
    await signInOnPage(page, userName, password)
    await page.getByRole('heading', { name: `Wages of ${userName}` }).waitFor()
    return page
  }

  /** Resolves when the application has been told of the end of a session. */
  async function told(name: string): Promise<void> {
    const record = await system.nextRecord(
      ({ decision, application }) => decision === 'own' && application === name,
    )
    assert.equal(record.statusCode, 200, `${record.detail} ${apache.log}`)
  }

  /** Whether Apache itself knows the session of its cookie, past the gateway. */
  async function isOpenInside(context: BrowserContext): Promise<boolean> {
    const cookie = await cookieFor(context, wages)
    assert.match(cookie, /mod_auth_openidc_session=/)
    return apache.isOpenTo(cookie)
  }

  test('somebody who has signed in once is known to both applications, and types nothing more', async (t) => {
    const context = await profile(t)
    const page = await open(context)
    assert.equal(page.url(), wages)
    assert.equal(await page.locator('#name').textContent(), 'Ana Test')
    assert.equal(await page.locator('#groups').textContent(), 'clerks')
    assert.equal(await isOpenInside(context), true)
    await page.goto(desk)
    await page.getByRole('heading', { name: 'Desk of ana' }).waitFor()
    const events = (await system.execute('audit.list', {})) as { kind: string; actor: string }[]
    assert.equal(events.filter(({ kind }) => kind === 'oidc-signed-on').length, 2)
  })

  test('a tile of the portal lets the application begin the sign-in', async (t) => {
    const page = await (await profile(t)).newPage()
    await page.goto(portal)
    await signInOnPage(page, 'ana', password)
    const tile = page.getByRole('link', { name: /desk/ })
    assert.match((await tile.getAttribute('href'))!, /\/start\?iss=https/)
    await tile.click()
    await page.getByRole('heading', { name: 'Desk of ana' }).waitFor()
    assert.equal(page.url(), desk)
  })

  test('tokens are refreshed as long as the session stands', async (t) => {
    const page = await (await profile(t)).newPage()
    await page.goto(desk)
    await signInOnPage(page, 'ana', password)
    for (const count of ['1', '2']) {
      await page.getByRole('link', { name: 'Refresh' }).click()
      await page.locator('#refreshes', { hasText: count }).waitFor()
    }
    assert.deepEqual(application.errors, [])
  })

  for (const [kind, url, other, revoker] of [
    ['a secret', () => notes, () => desk, () => confidential],
    ['no secret', () => desk, () => notes, () => application],
  ] as const)
    test(`an application with ${kind} that revokes its refresh token cannot use it again, and another one can`, async (t) => {
      const page = await (await profile(t)).newPage()
      await page.goto(other())
      await signInOnPage(page, 'ana', password)
      await page.getByRole('heading', { name: 'Desk of ana' }).waitFor()
      await page.goto(url())
      await page.getByRole('link', { name: 'Revoke' }).click()
      await page.getByRole('link', { name: 'Refresh' }).click()
      await page.getByText('failed').waitFor()
      const [error, ...more] = revoker().errors.splice(0) as { error?: string }[]
      assert.equal(error?.error, 'invalid_grant')
      assert.deepEqual(more, [])
      await page.goto(other())
      await page.getByRole('link', { name: 'Refresh' }).click()
      await page.locator('#refreshes', { hasText: '1' }).waitFor()
    })

  for (const from of ['the portal', 'the application’s host', 'the sign-in service'])
    test(`signing out at ${from} ends the sessions in the applications`, async (t) => {
      const context = await profile(t)
      const page = await open(context)
      await page.goto(desk)
      await page.getByRole('heading', { name: 'Desk of ana' }).waitFor()
      const before = application.sessions.size
      const both = Promise.all([told('wages'), told('desk')])
      if (from === 'the portal') {
        await page.goto(portal)
        await page.getByRole('link', { name: 'Sign out' }).click()
      } else if (from === 'the sign-in service')
        await page.goto(system.url('login', '/common/oauth2/v2.0/logout'))
      else await page.goto(`${wages}.sallyport/signout`)
      await page.getByRole('button', { name: 'Sign out' }).click()
      await page.getByRole('heading', { name: 'You are signed out' }).waitFor()
      await both
      assert.equal(await isOpenInside(context), false)
      assert.equal(application.sessions.size, before - 1)
      // Somebody else at the same computer is nobody but themselves.
      await page.goto(wages)
      await signInOnPage(page, 'ben', password)
      await page.getByRole('heading', { name: 'Wages of ben' }).waitFor()
    })

  test('a session that an administrator ends is over in the application too', async (t) => {
    const context = await profile(t)
    await open(context)
    const [session] = (await system.execute('session.list', { user: 'ana' })) as { id: string }[]
    const heard = told('wages')
    await system.execute('session.end', { sessionId: session!.id })
    await heard
    assert.equal(await isOpenInside(context), false)
  })

  for (const [name, open] of [
    ['wages', () => wages],
    ['desk', () => desk],
  ] as const)
    test(`logging out in ${name} ends the session everywhere, and asks nothing`, async (t) => {
      const context = await profile(t)
      const page = await context.newPage()
      await page.goto(portal)
      await signInOnPage(page, 'ana', password)
      await page.goto(wages)
      await page.getByRole('heading', { name: 'Wages of ana' }).waitFor()
      await page.goto(desk)
      await page.getByRole('heading', { name: 'Desk of ana' }).waitFor()
      await page.goto(open())
      const both = Promise.all([told('wages'), told('desk')])
      await page.getByRole('link', { name: 'Log out' }).click()
      await page.getByLabel('User name').waitFor()
      await both
      assert.equal(new URL(page.url()).origin, new URL(system.url('login')).origin)
      await page.goto(portal)
      await page.getByLabel('User name').waitFor()
      assert.deepEqual(application.errors, [])
    })

  test('the page on the way out works without script, and has nothing that axe-core finds wrong', async (t) => {
    const context = await profile(t, { javaScriptEnabled: false })
    const page = await open(context)
    await page.getByRole('link', { name: 'Log out' }).click()
    await page.getByRole('heading', { name: 'Signing you out' }).waitFor()
    const html = await page.content()
    await page.getByRole('button', { name: 'Continue' }).click()
    await page.getByLabel('User name').waitFor()
    const look = await (await profile(t)).newPage()
    await look.setContent(html.replace('data-submit', ''))
    assert.deepEqual(await findViolations(look), [])
  })

  test('a code that comes by a form finds the session on the host of the application', async (t) => {
    await apache.restart({ responseMode: 'form_post' })
    const page = await open(await profile(t))
    assert.equal(page.url(), wages)
    const byHand = await (await profile(t, { javaScriptEnabled: false })).newPage()
    await byHand.goto(wages)
    await signInOnPage(byHand, 'ana', password)
    await byHand.getByRole('heading', { name: 'Signing you in' }).waitFor()
    await byHand.getByRole('button', { name: 'Continue' }).click()
    await byHand.getByRole('heading', { name: 'Wages of ana' }).waitFor()
  })

  test('a secret is changed without anybody noticing: made, taken over, forgotten', async (t) => {
    const made = (await system.execute('app.secret.create', { name: 'wages' })) as typeof secret
    await open(await profile(t))
    await assert.rejects(system.execute('app.secret.create', { name: 'wages' }), {
      code: 'CONFLICT',
    })
    await apache.restart({ clientSecret: made.secret })
    await open(await profile(t))
    await system.execute('app.secret.delete', { name: 'wages', id: secret.id })
    await open(await profile(t))
    const listed = (await system.execute('app.secret.list', { name: 'wages' })) as object[]
    assert.deepEqual(
      listed.map((each) => Object.keys(each)),
      [['id', 'createdAt', 'lastUsedAt']],
    )
    const said = JSON.stringify([
      listed,
      await system.execute('audit.list', {}),
      await system.execute('app.show', { name: 'wages' }),
      await system.execute('objects.export', {}),
      system.records,
    ])
    for (const each of [made.secret, secret.secret]) assert.ok(!said.includes(each))
  })

  test('who is not assigned gets a page of ours, and the application nothing', async (t) => {
    await system.execute('user.create', { userName: 'eve', displayName: 'Eve Test', password })
    const context = await profile(t)
    const page = await context.newPage()
    const url = new URL(system.url('login', '/common/oauth2/v2.0/authorize'))
    for (const [name, value] of Object.entries({
      client_id: secret.clientId,
      response_type: 'code',
      redirect_uri: `${wages}oidc/callback`,
      scope: 'openid',
      state: 'x',
    }))
      url.searchParams.set(name, value)
    await page.goto(url.href)
    await signInOnPage(page, 'eve', password)
    await page.getByRole('heading', { name: 'You have no access to this application' }).waitFor()
    assert.deepEqual(await findViolations(page), [])
    assert.deepEqual(await context.cookies(wages), [])
  })
})
