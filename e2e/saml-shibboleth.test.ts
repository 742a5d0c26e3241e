// Another real service provider: mod_shib, with its daemon, published as an application.
import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import {
  findFreePort,
  lastFirst,
  launchBrowser,
  newProfile,
  password,
  type Scope,
  ShibbolethApplication,
  type System,
  signInOnPage,
  startSystem,
} from '@sallyport/testkit'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { startServiceProvider } from './support/saml.ts'
import { cookieFor } from './support/walk.ts'

suite('sign-on by SAML to mod_shib', () => {
  let close: () => Promise<void>
  let system: System
  let browser: Browser
  let library: ShibbolethApplication
  let url: string

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
          name: 'library',
          internalUrl: `http://127.0.0.1:${port}/`,
          set: { hostHeader: 'external' },
        },
      ],
      allow: [`127.0.0.1:${port}`],
    })
    url = system.url('library')
    const nameFormat = 'uri'
    library = await startServiceProvider(
      scope,
      system,
      { name: 'library', port },
      ShibbolethApplication,
      {
        attributes: [
          { name: 'urn:oid:0.9.2342.19200300.100.1.1', nameFormat, claim: 'userName' },
          { name: 'urn:oid:2.16.840.1.113730.3.1.241', nameFormat, claim: 'displayName' },
        ],
      },
    )
    browser = await launchBrowser(scope, { domain: system.domain })
  })
  after(() => close())

  async function open(t: Scope): Promise<{ context: BrowserContext; page: Page; cookie: string }> {
    const context = await newProfile(t, browser)
    const page = await context.newPage()
    await page.goto(url)
    await signInOnPage(page, 'ana', password)
    await page.getByRole('heading', { name: 'Loans of Ana Test' }).waitFor()
    const cookie = await cookieFor(context, url)
    assert.equal(await library.isOpenTo(cookie), true)
    return { context, page, cookie }
  }

  test('its metadata is enough to sign people on, in assertions that are encrypted for it', async (t) => {
    const { page } = await open(t)
    assert.equal(await page.locator('#user').textContent(), 'ana')
    const { signOn } = (await system.execute('app.show', { name: 'library' })) as {
      signOn: { encryptionCertificate?: string; singleLogoutService: { binding: string } }
    }
    assert.ok(signOn.encryptionCertificate)
    assert.equal(signOn.singleLogoutService.binding, 'redirect')
    // Or what is said of this session would be taken for what later tests wait for.
    const told = system.nextRecord(({ decision }) => decision === 'own')
    await system.execute('session.end-all', { userName: 'ana' })
    await told
  })

  test('signing out at the portal ends its session', async (t) => {
    const { page, cookie } = await open(t)
    await page.goto(system.url('apps'))
    await page.getByRole('link', { name: 'Sign out' }).click()
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.getByRole('heading', { name: 'You are signed out' }).waitFor()
    assert.equal(await library.isOpenTo(cookie), false)
  })

  for (const [what, end] of [
    [
      'an administrator ends the session',
      () => system.execute('session.end-all', { userName: 'ana' }),
    ],
    ['the user is disabled', () => system.execute('user.disable', { userName: 'ana' })],
  ] as const)
    test(`when ${what} it is told by SOAP, with no browser`, async (t) => {
      const { cookie } = await open(t)
      const told = system.nextRecord(({ decision }) => decision === 'own')
      await end()
      const { path, statusCode } = await told
      assert.deepEqual([path, statusCode], ['/Shibboleth.sso/SLO/SOAP', 200])
      assert.equal(await library.isOpenTo(cookie), false)
      if (what === 'the user is disabled') await system.execute('user.enable', { userName: 'ana' })
    })

  test('logging out in it ends the session everywhere', async (t) => {
    const { page, cookie } = await open(t)
    await page.getByRole('link', { name: 'Log out' }).click()
    await page.getByLabel('User name').waitFor()
    assert.equal(await library.isOpenTo(cookie), false)
    await page.goto(system.url('apps'))
    await page.getByLabel('User name').waitFor()
  })
})
