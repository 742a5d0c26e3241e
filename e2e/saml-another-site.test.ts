import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import {
  findFreePort,
  lastFirst,
  launchBrowser,
  MellonApplication,
  newContext,
  otherDomain,
  password,
  type Scope,
  type System,
  signInOnPage,
  startSystem,
} from '@sallyport/testkit'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { startServiceProvider } from './support/saml.ts'

/** mod_auth_mellon, published on a domain that has nothing in common with that of the service. */
suite('sign-on by SAML on another site, in a browser', () => {
  let close: () => Promise<void>
  let system: System
  let browser: Browser
  let crm: string

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
          name: 'crm',
          onOtherSite: true,
          internalUrl: `http://127.0.0.1:${port}/`,
          set: { hostHeader: 'external' },
        },
      ],
      allow: [`127.0.0.1:${port}`],
    })
    crm = system.url('crm')
    await startServiceProvider(scope, system, { name: 'crm', port }, MellonApplication, {
      requireSignedRequests: true,
      attributes: [{ name: 'name', claim: 'displayName' }],
    })
    browser = await launchBrowser(scope, { domain: [system.domain, otherDomain] })
  })
  after(() => close())

  async function profile(t: Scope, options = {}): Promise<BrowserContext> {
    const context = await newContext(browser, options)
    t.after(() => context.close())
    return context
  }

  async function open(context: BrowserContext): Promise<Page> {
    const page = await context.newPage()
    await page.goto(crm)
    await signInOnPage(page, 'ana', password)
    await page.getByRole('heading', { name: 'Payroll of Ana Test' }).waitFor()
    return page
  }

  test('somebody who has signed in once is known to the application, and types nothing more', async (t) => {
    const page = await open(await profile(t))
    assert.equal(page.url(), crm)
    assert.equal(new URL(crm).hostname, 'crm.example.org')
  })
})
