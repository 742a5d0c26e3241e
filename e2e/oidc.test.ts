import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import {
  findFreePort,
  lastFirst,
  launchBrowser,
  newContext,
  OpenidcApplication,
  password,
  type Scope,
  type System,
  signInOnPage,
  startSystem,
} from '@sallyport/testkit'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { findViolations } from './support/look.ts'

/** mod_auth_openidc, published as an application. */
suite('sign-on by OpenID Connect in a browser', () => {
  let close: () => Promise<void>
  let system: System
  let browser: Browser
  let apache: OpenidcApplication
  let wages: string
  let portal: string
  let secret: { id: string; clientId: string; secret: string }

  before(async () => {
    const scope = lastFirst({
      after: (run) => {
        close = async () => run()
      },
    })
    const port = await findFreePort()
    system = await startSystem(scope, {
      applications: [
        {
          name: 'wages',
          internalUrl: `http://127.0.0.1:${port}/`,
          set: { hostHeader: 'external', assignmentRequired: true },
        },
        { name: 'wiki' },
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
    browser = await launchBrowser(scope, { domain: system.domain })
  })
  after(() => close())

  async function profile(t: Scope, options = {}): Promise<BrowserContext> {
    const context = await newContext(browser, options)
    t.after(() => context.close())
    return context
  }

  async function open(context: BrowserContext, userName = 'ana'): Promise<Page> {
    const page = await context.newPage()
    await page.goto(wages)
    await signInOnPage(page, userName, password)
    await page.getByRole('heading', { name: `Wages of ${userName}` }).waitFor()
    return page
  }

  test('somebody who has signed in once is known to the application, and types nothing more', async (t) => {
    const page = await open(await profile(t))
    assert.equal(page.url(), wages)
    assert.equal(await page.locator('#name').textContent(), 'Ana Test')
    assert.equal(await page.locator('#groups').textContent(), 'clerks')
  })
})
