import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import {
  findFreePort,
  lastFirst,
  launchBrowser,
  MellonApplication,
  newProfile,
  password,
  type Scope,
  type System,
  signInOnPage,
  startSystem,
} from '@sallyport/testkit'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { findViolations } from './support/look.ts'
import { readIdentityProviderMetadata, startServiceProvider } from './support/saml.ts'

/** mod_auth_mellon, published as an application. */
suite('sign-on by SAML in a browser', () => {
  let close: () => Promise<void>
  let system: System
  let browser: Browser
  let mellon: MellonApplication
  let payroll: string
  let portal: string
  let id: string

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
          name: 'payroll',
          internalUrl: `http://127.0.0.1:${port}/`,
          set: { hostHeader: 'external', assignmentRequired: true },
        },
      ],
      allow: [`127.0.0.1:${port}`],
    })
    payroll = system.url('payroll')
    portal = system.url('apps')
    mellon = await startServiceProvider(
      scope,
      system,
      { name: 'payroll', port },
      MellonApplication,
      { requireSignedRequests: true, attributes: [{ name: 'name', claim: 'displayName' }] },
    )
    ;({ id } = (await system.execute('app.show', { name: 'payroll' })) as { id: string })
    browser = await launchBrowser(scope, { domain: system.domain })
  })
  after(() => close())

  async function profile(t: Scope, options = {}): Promise<BrowserContext> {
    return newProfile(t, browser, options)
  }

  async function set(fields: Record<string, unknown>): Promise<void> {
    const { signOn } = (await system.execute('app.show', { name: 'payroll' })) as { signOn: object }
    await system.execute('app.update', {
      name: 'payroll',
      set: { signOn: { ...signOn, ...fields } },
    })
  }

  async function open(context: BrowserContext): Promise<Page> {
    const page = await context.newPage()
    await page.goto(payroll)
    await signInOnPage(page, 'ana', password)
    await page.getByRole('heading', { name: /^Payroll of / }).waitFor()
    return page
  }

  test('somebody who has signed in once is known to the application, and types nothing more', async (t) => {
    const page = await open(await profile(t))
    assert.equal(page.url(), payroll)
    await page.getByRole('heading', { name: 'Payroll of Ana Test' }).waitFor()
  })

  test('a tile of the portal signs on without being asked by the application', async (t) => {
    await set({ start: 'response' })
    const context = await profile(t)
    const page = await context.newPage()
    await page.goto(portal)
    await signInOnPage(page, 'ana', password)
    await page.getByRole('link', { name: /payroll/ }).click()
    await page.locator('#user', { hasText: /^ana$/ }).waitFor()
    await set({ start: 'application' })
  })

  test('the way on works without script, by a button', async (t) => {
    const context = await profile(t, { javaScriptEnabled: false })
    const page = await context.newPage()
    await page.goto(payroll)
    await signInOnPage(page, 'ana', password)
    await page.getByRole('heading', { name: 'Signing you in' }).waitFor()
    await page.getByRole('button', { name: 'Continue' }).click()
    await page.getByRole('heading', { name: /^Payroll of / }).waitFor()
  })

  async function mellonCookies(context: BrowserContext): Promise<string[]> {
    const cookies = await context.cookies(payroll)
    return cookies.filter(({ name }) => /mellon/i.test(name)).map(({ value }) => value)
  }

  for (const from of ['the portal', 'the application’s host', 'the sign-in service'])
    test(`signing out at ${from} ends the session in the application`, async (t) => {
      const context = await profile(t)
      const page = await open(context)
      const [cookie] = await mellonCookies(context)
      assert.match(cookie!, /^[0-9a-f]{32}/)
      if (from === 'the portal') {
        await page.goto(portal)
        await page.getByRole('link', { name: 'Sign out' }).click()
      } else if (from === 'the sign-in service')
        await page.goto(system.url('login', '/common/oauth2/v2.0/logout'))
      else await page.goto(`${payroll}.sallyport/signout`)
      await page.getByRole('button', { name: 'Sign out' }).click()
      await page.getByRole('heading', { name: 'You are signed out' }).waitFor()
      // Mellon forgets it, and its browser too.
      assert.notEqual((await mellonCookies(context))[0], cookie)
      // Somebody else at the same computer is nobody but themselves.
      await page.goto(payroll)
      await signInOnPage(page, 'ben', password)
      await page.getByRole('heading', { name: 'Payroll of Ben Test' }).waitFor()
    })

  test('logging out in the application ends the session everywhere', async (t) => {
    const context = await profile(t)
    const page = await open(context)
    await page.getByRole('link', { name: 'Log out' }).click()
    await page.getByLabel('User name').waitFor()
    await page.goto(portal)
    await page.getByLabel('User name').waitFor()
  })

  test('encrypted assertions are read, and everything is signed', async (t) => {
    const { signOn } = (await system.execute('app.show', { name: 'payroll' })) as {
      signOn: { requestCertificates: string[] }
    }
    for (const encryptionAlgorithm of ['aes256-cbc', 'aes256-gcm']) {
      await set({
        sign: 'both',
        encryptionCertificate: signOn.requestCertificates[0],
        encryptionAlgorithm,
      })
      const page = await open(await profile(t))
      await page.getByRole('heading', { name: 'Payroll of Ana Test' }).waitFor()
    }
    await set({
      sign: 'assertion',
      encryptionCertificate: undefined,
      encryptionAlgorithm: undefined,
    })
  })

  test('a key is changed without anybody noticing: announced, taken over, forgotten', async (t) => {
    const [old] = (await system.execute('app.certificate.list', { name: 'payroll' })) as {
      id: string
    }[]
    const made = (await system.execute('app.certificate.create', { name: 'payroll' })) as {
      id: string
    }
    const both = await readIdentityProviderMetadata(system, 'payroll')
    assert.equal(both.match(/<X509Certificate>/g)?.length, 2)
    await mellon.useMetadata(both)
    await open(await profile(t))
    await system.execute('app.certificate.activate', { name: 'payroll', id: made.id })
    await open(await profile(t))
    await assert.rejects(
      system.execute('app.certificate.delete', { name: 'payroll', id: made.id }),
      {
        code: 'CONFLICT',
      },
    )
    await system.execute('app.certificate.delete', { name: 'payroll', id: old!.id })
    assert.equal(
      (await readIdentityProviderMetadata(system, 'payroll')).match(/<X509Certificate>/g)?.length,
      1,
    )
    await open(await profile(t))
  })

  test('the page on the way has nothing that axe-core finds wrong', async (t) => {
    const context = await profile(t, { javaScriptEnabled: false })
    const page = await context.newPage()
    await page.goto(payroll)
    await signInOnPage(page, 'ana', password)
    await page.getByRole('heading', { name: 'Signing you in' }).waitFor()
    const html = await page.content()
    const look = await (await profile(t)).newPage()
    await look.setContent(html.replace('data-submit', ''))
    assert.deepEqual(await findViolations(look), [])
  })

  test('who is not assigned gets a page of ours, and the application nothing', async (t) => {
    await system.execute('user.create', { userName: 'eve', displayName: 'Eve Test', password })
    const context = await profile(t)
    const page = await context.newPage()
    await page.goto(system.url('login', `/common/saml2/start/${id}`))
    await signInOnPage(page, 'eve', password)
    await page.getByRole('heading', { name: 'You have no access to this application' }).waitFor()
    assert.deepEqual(await mellonCookies(context), [])
  })
})
