import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import { startIntranet } from '@sallyport/example-intranet'
import {
  findFreePort,
  lastFirst,
  launchBrowser,
  newProfile,
  password,
  type Scope,
  type System,
  signInOnPage,
  startSystem,
} from '@sallyport/testkit'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { findViolations } from './support/look.ts'

suite('what people live through in a browser', () => {
  let close: () => Promise<void>
  let system: System
  let browser: Browser
  let intranet: string
  let portal: string

  before(async () => {
    const scope = lastFirst({
      after: (run) => {
        close = async () => run()
      },
    })
    const origin = await startIntranet()
    scope.after(() => origin.close())
    const closedPort = await findFreePort()
    system = await startSystem(scope, {
      applications: [
        { name: 'intranet', internalUrl: origin.url },
        { name: 'locked', internalUrl: origin.url, assigned: ['ben'] },
        { name: 'stopped', internalUrl: `http://127.0.0.1:${closedPort}/` },
        { name: 'slow', internalUrl: origin.url, set: { backendTimeoutMs: 300 } },
        { name: 'far', internalUrl: 'http://10.255.255.1/' },
      ],
      allow: [`127.0.0.1:${new URL(origin.url).port}`, `127.0.0.1:${closedPort}`],
    })
    await system.execute('connector-group.create', { name: 'nobody' })
    await system.execute('app.create', {
      name: 'lonely',
      displayName: 'lonely',
      externalUrl: system.url('lonely'),
      internalUrl: origin.url,
      connectorGroup: 'nobody',
      visible: false,
    })
    await system.execute('app.assign', { name: 'lonely', user: 'ana' })
    browser = await launchBrowser(scope, { domain: system.domain })
    intranet = system.url('intranet')
    portal = system.url('apps')
  })
  after(() => close())

  async function profile(t: Scope): Promise<BrowserContext> {
    return newProfile(t, browser)
  }

  async function signedIn(context: BrowserContext, url: string): Promise<Page> {
    const page = await context.newPage()
    await page.goto(url)
    await signInOnPage(page, 'ana', password)
    await page.waitForURL(url)
    return page
  }

  async function signOut(page: Page): Promise<void> {
    await page.goto(portal)
    await page.getByRole('link', { name: 'Sign out' }).click()
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.getByRole('heading', { name: 'You are signed out' }).waitFor()
  }

  const press = async (page: Page, ...keys: string[]) => {
    for (const key of keys) await page.keyboard.press(key)
  }

  test('signing in, opening an application and signing out need no mouse', async (t) => {
    const page = await (await profile(t)).newPage()
    await page.goto(portal)
    // Nothing is sent without a name and a password.
    await press(page, 'Enter')
    await page.keyboard.type('ana')
    await press(page, 'Tab')
    await page.keyboard.type('wrong')
    await press(page, 'Enter')
    await page.getByRole('alert').waitFor()
    await page.keyboard.type(password)
    await press(page, 'Enter')
    await page.waitForURL(portal)
    await press(page, 'Tab', 'Tab', 'Tab', 'Tab', 'Enter')
    await page.waitForURL(intranet)
    await page.goBack()
    await page.waitForURL(portal)
    await page.getByRole('link', { name: 'Sign out' }).focus()
    await press(page, 'Enter')
    await page.getByRole('heading', { name: 'Sign out of everything?' }).waitFor()
    await press(page, 'Tab', 'Enter')
    await page.getByRole('heading', { name: 'You are signed out' }).waitFor()
    await press(page, 'Tab', 'Enter')
    await page.getByLabel('User name').waitFor()
  })

  test('somebody sees from the portal where else she is signed in, and ends it, without script', async (t) => {
    const other = await signedIn(await profile(t), intranet)
    const context = await newProfile(t, browser, { javaScriptEnabled: false })
    const page = await signedIn(context, portal)
    await page.getByRole('link', { name: 'Your sessions' }).click()
    await page.getByRole('heading', { name: 'Where you are signed in' }).waitFor()
    const rows = page.locator('.row')
    const count = await rows.count()
    assert.ok(count >= 2)
    assert.match(await rows.first().innerText(), /Chrome on Linux\s*This browser/)
    assert.match(
      await rows.nth(1).innerText(),
      /From 127\.0\.0\.1\. Signed in .* UTC, last used just now/,
    )
    await rows.nth(1).getByRole('button').click()
    await page.getByText('One session has ended.').waitFor()
    assert.equal(await page.locator('.row').count(), count - 1)
    if (count > 2) {
      await page.getByRole('button', { name: 'Sign out everywhere else' }).click()
      await page.getByText('ended.').waitFor()
    }
    assert.equal(await page.locator('.row').count(), 1)
    assert.equal(await page.getByRole('button').count(), 0)
    // The other browser is asked for the password, this one is not.
    await other.goto(intranet)
    await other.getByLabel('User name').waitFor()
    await page.goto(portal)
    await page.getByRole('heading', { name: 'Your applications' }).waitFor()
    await page.goto(`${system.url('login')}sessions`)
    await page.getByRole('link', { name: 'Sign out here' }).click()
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.getByRole('heading', { name: 'You are signed out' }).waitFor()
  })

  for (const javaScriptEnabled of [true, false])
    test(`a form that was sent after the session had ended is sent again${javaScriptEnabled ? '' : ', without script'}`, async (t) => {
      const context = await newProfile(t, browser, { javaScriptEnabled })
      const page = await signedIn(context, `${intranet}form`)
      await page.getByLabel('First day').fill('2030-06-01')
      await page.getByLabel('Reason').fill('Grüße & <b>sun</b>')
      await signOut(await context.newPage())
      await page.getByRole('button', { name: 'Send request' }).click()
      await page.getByRole('heading', { name: 'You are not signed in' }).waitFor()
      const [tab] = await Promise.all([
        context.waitForEvent('page'),
        page.getByRole('link', { name: 'Sign in (new tab)' }).click(),
      ])
      await signInOnPage(tab, 'ana', password)
      await tab.getByRole('heading', { name: 'You are signed in' }).waitFor()
      await tab.close()
      if (javaScriptEnabled) await page.getByRole('button', { name: 'Reload and send' }).click()
      else await page.reload()
      await page.getByText('Grüße & <b>sun</b>').waitFor()
      assert.equal(page.url(), `${intranet}form`)
    })

  test('several tabs sign in at once: one password opens all, and none loses its place', async (t) => {
    const context = await profile(t)
    const urls = [`${intranet}form?a=1#x`, `${intranet}cookies`, portal]
    const tabs = await Promise.all(urls.map(() => context.newPage()))
    for (const [index, tab] of tabs.entries()) await tab.goto(urls[index]!)
    await signInOnPage(tabs[0]!, 'ana', password)
    await tabs[0]!.waitForURL(urls[0]!)
    await tabs[1]!.reload()
    await tabs[1]!.waitForURL(urls[1]!)
    // Whoever types the password again gets in just as well, and the other tabs stay signed in.
    await signInOnPage(tabs[2]!, 'ana', password)
    await tabs[2]!.waitForURL(urls[2]!)
    await tabs[0]!.reload()
    await tabs[0]!.waitForURL(urls[0]!)
    await tabs[0]!.getByRole('heading', { name: 'Request for leave' }).waitFor()
  })

  test('Back and reload find no error, in the browser that signed in', async (t) => {
    const context = await profile(t)
    const page = await context.newPage()
    const callbacks: string[] = []
    page.on('request', (request) => {
      if (request.url().includes('/.sallyport/callback')) callbacks.push(request.url())
    })
    await page.goto(`${intranet}form`)
    const form = page.url()
    await signInOnPage(page, 'ana', password)
    await page.waitForURL(`${intranet}form`)
    await page.goto(callbacks[0]!)
    assert.equal(page.url(), `${intranet}form`)
    await page.goto(form)
    await page.getByRole('heading', { name: 'You are signed in already' }).waitFor()
    await page.getByRole('link', { name: 'Your applications' }).click()
    await page.waitForURL(portal)
  })

  test('a sign-in that is carried to another browser ends there, and another can begin', async (t) => {
    const context = await profile(t)
    const page = await context.newPage()
    const callbacks: string[] = []
    page.on('request', (request) => {
      if (request.url().includes('/.sallyport/callback')) callbacks.push(request.url())
    })
    await page.goto(`${intranet}form`)
    const form = page.url()
    const other = await (await profile(t)).newPage()
    await other.goto(form)
    await other.getByRole('heading', { name: 'This sign-in cannot go on' }).waitFor()
    assert.deepEqual(await findViolations(other), [])
    await signInOnPage(page, 'ana', password)
    await page.waitForURL(`${intranet}form`)
    await other.goto(callbacks[0]!)
    await other.getByRole('heading', { name: 'Sign-in could not be completed' }).waitFor()
    await other.getByRole('link', { name: 'Open the application' }).click()
    await other.getByLabel('User name').waitFor()
  })

  test('who signs out where no session is learns that others may be open', async (t) => {
    const page = await signedIn(await profile(t), portal)
    await page.goto(system.url('intranet', '/.sallyport/signout'))
    await page.getByRole('heading', { name: 'You are not signed in here' }).waitFor()
    await page.getByRole('link', { name: 'Your applications' }).click()
    await page.waitForURL(portal)
    await signOut(page)
    await page.goBack()
    assert.equal(await page.getByRole('button', { name: 'Sign out' }).count(), 0)
  })

  test('every page of an error is accessible, says who asked, and leads on', async (t) => {
    const context = await profile(t)
    const page = await signedIn(context, portal)
    const id = page.getByRole('definition').filter({ has: page.getByRole('button') })
    for (const [url, statusCode, code, links] of [
      [system.url('locked'), 403, 'USER_NOT_ASSIGNED', ['Your applications', 'Sign out']],
      [system.url('stopped'), 502, 'ORIGIN_CONNECTION_REFUSED', ['Try again', 'Your applications']],
      [
        system.url('slow', '/slow?ms=5000'),
        504,
        'ORIGIN_TIMEOUT',
        ['Try again', 'Your applications'],
      ],
      [system.url('far'), 502, 'DESTINATION_FORBIDDEN', ['Try again', 'Your applications']],
      [system.url('lonely'), 503, 'NO_CONNECTOR', ['Try again', 'Your applications']],
      [
        `${intranet}%2esallyport/x`,
        400,
        'REQUEST_INVALID',
        ['Open the application', 'Your applications'],
      ],
      [
        `${intranet}.sallyport/x`,
        404,
        'RESERVED_PATH',
        ['Open the application', 'Your applications'],
      ],
      [`${portal}nothing`, 404, 'NOT_FOUND', ['Your applications']],
      [system.url('login', '/nothing'), 404, 'NOT_FOUND', ['Your applications']],
      [system.url('unknown'), 404, 'APPLICATION_NOT_FOUND', []],
    ] as [string, number, string, string[]][]) {
      const response = await page.goto(url)
      assert.equal(response!.status(), statusCode, url)
      await page.getByText(code, { exact: true }).waitFor()
      assert.deepEqual(await page.getByRole('link').allTextContents(), links, url)
      assert.deepEqual(await findViolations(page), [], url)
      const shown = (await id.locator('code').textContent())!
      assert.ok(shown.length > 8, url)
      if (!url.startsWith(system.url('login')))
        assert.equal(
          (await system.recordOf((record) => record.id === shown)).statusCode,
          statusCode,
        )
    }
    await page.goto(system.url('locked'))
    assert.match((await page.textContent('main'))!, /Ana Test \(ana\)/)
    await page.getByRole('link', { name: 'Your applications' }).click()
    await page.waitForURL(portal)
  })

  test('the administration host says how to administer, and leads on from everywhere', async (t) => {
    const page = await (await profile(t)).newPage()
    for (const path of ['/', '/nothing']) {
      await page.goto(system.url('admin', path))
      assert.deepEqual(await findViolations(page), [], path)
      assert.equal(await page.getByRole('link').count(), 1)
    }
  })
})
