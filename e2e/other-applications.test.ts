import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import {
  lastFirst,
  launchBrowser,
  newProfile,
  Origin,
  password,
  type Scope,
  type System,
  signInOnPage,
  startSystem,
} from '@sallyport/testkit'
import type { Browser, Page } from 'playwright-core'
import { FormApplication } from './support/form-application.ts'

/** Applications that are not signed on to: those elsewhere, and those with a sign-in of their own. */
suite('applications that look after themselves', () => {
  let close: () => Promise<void>
  let system: System
  let browser: Browser
  let own: FormApplication
  let elsewhere: Origin

  before(async () => {
    const scope = lastFirst({
      after: (run) => {
        close = async () => run()
      },
    })
    own = await FormApplication.start(scope)
    // A look for its icon would begin another sign-in.
    own.intercept = ({ url }, response) => {
      if (url === '/favicon.ico') response.writeHead(404).end()
      return url === '/favicon.ico'
    }
    own.accounts.set('ana.l', 'secret of the application')
    elsewhere = await Origin.start()
    scope.after(() => elsewhere.close())
    system = await startSystem(scope, {
      applications: [{ name: 'own', internalUrl: own.url, assigned: ['ana'] }],
      allow: [`127.0.0.1:${own.port}`],
    })
    await system.execute('app.create-linked', {
      name: 'saas',
      displayName: 'Payroll elsewhere',
      linkedUrl: `http://localhost:${elsewhere.port}/start?from=tile`,
    })
    await system.execute('app.assign', { name: 'saas', user: 'ana' })
    browser = await launchBrowser(scope, { domain: system.domain })
  })
  after(() => close())

  async function signedIn(t: Scope, userName: string): Promise<Page> {
    const context = await newProfile(t, browser)
    const page = await context.newPage()
    await page.goto(system.url('apps'))
    await signInOnPage(page, userName, password)
    await page.getByRole('heading', { name: 'Your applications' }).waitFor()
    return page
  }

  const tiles = (page: Page) => page.locator('a.tile b').allTextContents()

  test('a linked application is a tile for those to whom it is assigned, and leads there with nothing of ours', async (t) => {
    const ben = await signedIn(t, 'ben')
    assert.deepEqual(await tiles(ben), [])
    const ana = await signedIn(t, 'ana')
    assert.deepEqual(await tiles(ana), ['own', 'Payroll elsewhere'])
    const recordsBefore = system.records.length
    await ana.getByRole('link', { name: 'Payroll elsewhere' }).click()
    await ana.waitForURL(`http://localhost:${elsewhere.port}/start?from=tile`)
    assert.equal(await ana.textContent('body'), 'ok')
    const [seen] = elsewhere.requests
    assert.equal(seen!.headers.referer, undefined)
    assert.equal(seen!.headers.cookie, undefined)
    assert.equal(await ana.evaluate('window.opener'), null)
    assert.equal(await ana.evaluate('document.referrer'), '')
    assert.equal(system.records.length, recordsBefore, 'nothing of it went through the service')
  })

  test('no host of the service answers for a linked application', async () => {
    const ana = await system.signIn('ana')
    const count = elsewhere.requests.length
    for (const path of ['/', '/start?from=tile', '/.sallyport/signin'])
      assert.equal((await ana.get(system.url('saas', path))).status, 404)
    assert.equal(elsewhere.requests.length, count)
  })

  test('a tile goes with its assignment', async (t) => {
    await system.execute('app.assign', { name: 'saas', user: 'ben' })
    const ben = await signedIn(t, 'ben')
    assert.deepEqual(await tiles(ben), ['Payroll elsewhere'])
    await system.execute('app.unassign', { name: 'saas', user: 'ben' })
    await ben.reload()
    assert.deepEqual(await tiles(ben), [])
  })

  test('an application with a sign-in of its own keeps it, and hears of nobody from the service', async (t) => {
    const page = await signedIn(t, 'ana')
    await page.getByRole('link', { name: 'own' }).click()
    await page.locator('input[name=login]').fill('ana.l')
    await page.locator('input[name=pass]').fill('secret of the application')
    await page.getByRole('button', { name: 'Sign in' }).click()
    await page.getByRole('heading', { name: 'Hello ana.l' }).waitFor()
    await page.goto(system.url('own', '/reports?year=1'))
    await page.getByRole('heading', { name: 'Hello ana.l' }).waitFor()
    assert.equal(await page.evaluate("fetch('/data').then((answer) => answer.status)"), 200)
    // Its own sign-out ends its own session and no more.
    await page.goto(system.url('own', '/logout'))
    await page.locator('input[name=login]').waitFor()
    assert.deepEqual(own.attempts, [
      {
        userName: 'ana.l',
        password: 'secret of the application',
        contentType: 'application/x-www-form-urlencoded',
      },
    ])
    const names = new Set(own.requests.flatMap(({ headers }) => Object.keys(headers)))
    for (const name of names)
      assert.doesNotMatch(name, /^(?:sallyport-|authorization|remote|x-user|x-ms-|.*email)/)
    const sent = JSON.stringify(own.requests)
    for (const fact of ['__Host-sallyport', 'ana@example.test', 'Ana Test'])
      assert.ok(!sent.includes(fact), fact)
    const count = own.requests.length
    const ben = await system.signIn('ben', 'own')
    assert.equal((await ben.get(system.url('own'))).status, 403)
    assert.equal(own.requests.length, count)
  })
})
