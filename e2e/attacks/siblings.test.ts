import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import {
  type Client,
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

// Sibling hosts are one site to browsers: SameSite keeps nothing of this out. An application is the attacker here, in a real browser.
suite('attacks of an application on the hosts beside it', () => {
  const closers: (() => Promise<void> | void)[] = []
  const scope = lastFirst({ after: (close) => void closers.push(close) })
  let system: System
  let browser: Browser
  let attacker: Client

  before(async () => {
    system = await startSystem(scope, {
      applications: [
        { name: 'hr' },
        { name: 'wiki' },
        { name: 'evil', preAuthentication: 'passthrough' },
      ],
    })
    for (const name of ['hr', 'wiki', 'evil'])
      system.origin(name).handler = (_, response) => {
        response.setHeader('content-type', 'text/html')
        // What an origin sets, the gateway keeps on its host, and never under a name of ours.
        response.setHeader('set-cookie', `theirs=1; Domain=${system.domain}; Secure`)
        response.end(`<!doctype html><title>${name}</title><p>${name}</p>`)
      }
    attacker = await system.signIn('ben', 'hr')
    await attacker.open(system.url('wiki'))
    browser = await launchBrowser(scope, { domain: system.domain })
  })
  after(async () => {
    for (const close of closers.reverse()) await close()
  })

  async function victim(t: Scope): Promise<{ context: BrowserContext; page: Page }> {
    const context = await newProfile(t, browser)
    const page = await context.newPage()
    await page.goto(system.url('hr'))
    await signInOnPage(page, 'ana', password)
    await page.waitForURL(system.url('hr'))
    for (const name of ['wiki', 'apps']) await page.goto(system.url(name))
    return { context, page }
  }

  /** Whose session the browser has, everywhere. */
  async function whoIs(page: Page): Promise<string[]> {
    const found: string[] = []
    for (const name of ['hr', 'wiki']) {
      const recorded = system.nextRecord(
        ({ application, userName }) => application === name && userName !== undefined,
      )
      await page.goto(system.url(name))
      found.push((await recorded).userName!)
    }
    for (const url of [system.url('apps'), system.url('login', '/sessions')]) {
      await page.goto(url)
      const named = page.locator('.person .name')
      found.push((await named.count()) > 0 ? (await named.innerText()).trim() : 'nobody')
    }
    return found
  }

  const everywhere = (name: string) => [name, name, name, name]

  test('attacks 36 and 38: no cookie of ours that a sibling tosses is taken for ours', async (t) => {
    const { page } = await victim(t)
    const planted = ['hr', 'wiki', 'apps', 'login'].flatMap((name) => [
      ...(attacker.cookies.get(system.host(name)) ?? []),
    ])
    const names = new Set(planted.map(([name]) => name))
    for (const kind of ['-identity', '-browser', '-known', '-signin', ''])
      assert.ok(names.has(`__Host-sallyport${kind}-${system.port}`), `no cookie ${kind}`)
    const attributes = `; Path=/; Secure`
    const parent = `${attributes}; Domain=${system.domain}`
    for (const [name, value] of planted) {
      const spellings = [
        `${name}=${value}${parent}`,
        `${name}=${value}${attributes}; Domain=.${system.domain}`,
        `${name.toLowerCase()}=${value}${parent}`,
        `${name.replace('__Host-', '__Secure-')}=${value}${parent}`,
        `\u2000${name}=${value}${parent}`,
        `\u00a0${name}=${value}${parent}`,
        `$Version=1; ${name}=${value}${parent}`,
        `=${name}=${value}${parent}`,
        `"${name}"=${value}${parent}`,
        `a${name}=${value}${parent}`,
        `x=1,${name}=${value}${parent}`,
        `${name}=${value}; Path=/sign-in; Secure; Domain=${system.domain}`,
        `${name}=${value}; Path=/.sallyport; Secure; Domain=${system.domain}`,
        `${name} =${value}${parent}`,
      ]
      await page.goto(system.url('evil'))
      await page.evaluate(
        `for (const cookie of ${JSON.stringify(spellings)}) document.cookie = cookie`,
      )
      assert.deepEqual(await whoIs(page), everywhere('ana'), name)
    }
  })

  test('attack 36: what a sibling planted before the sign-in is worth nothing after it', async (t) => {
    const context = await newProfile(t, browser)
    const page = await context.newPage()
    await page.goto(system.url('evil'))
    const planted = [...attacker.cookies.get(system.host('login'))!].flatMap(([name, value]) => [
      `${name}=${value}; Path=/; Secure; Domain=${system.domain}`,
      `\u2000${name}=${value}; Path=/; Secure; Domain=${system.domain}`,
    ])
    await page.evaluate(`for (const cookie of ${JSON.stringify(planted)}) document.cookie = cookie`)
    await page.goto(system.url('hr'))
    await signInOnPage(page, 'ana', password)
    await page.waitForURL(system.url('hr'))
    assert.deepEqual(await whoIs(page), everywhere('ana'))
    const ours = (await context.cookies(system.url('login'))).filter(({ name }) =>
      name.startsWith('__Host-sallyport'),
    )
    for (const { value } of ours)
      for (const theirs of attacker.cookies.get(system.host('login'))!.values())
        assert.notEqual(value, theirs)
  })

  test('attack 37: no unsafe request of a sibling does anything, by script or by form', async (t) => {
    const { context, page } = await victim(t)
    const tenant = `/${system.service.control.tenantId}/oauth2/v2.0`
    // A second session of hers, which nobody ends either.
    const second = await system.signIn('ana', 'hr')
    const start = await system.client().open(system.url('hr'))
    const targets: [host: string, path: string, body: string][] = [
      ['hr', '/.sallyport/signout', ''],
      ['wiki', '/.sallyport/signout', ''],
      ['apps', '/.sallyport/signout', ''],
      ['apps', '/', 'x=1'],
      ['login', '/sessions', 'end=others'],
      ['login', `${tenant}/logout/confirm`, 'logout=yes&xsrf=x'],
      ['login', `${tenant}/logout`, ''],
      ['login', `${tenant}/authorize`, 'client_id=x'],
      ['login', new URL(start.url).pathname, `userName=ben&password=${password}`],
    ]
    for (const [host, path, body] of targets) {
      await page.goto(system.url('evil'))
      // Whatever may be answered, the page cannot read it.
      await page.evaluate(
        `fetch(${JSON.stringify(system.url(host, path))}, { method: 'POST', mode: 'no-cors', credentials: 'include', body: new URLSearchParams(${JSON.stringify(body)}) }).catch(() => {})`,
      )
      const answered = page.waitForResponse((response) => response.url() === system.url(host, path))
      const arrived = page.waitForURL((url) => url.href.split('?')[0] === system.url(host, path))
      await page.evaluate(
        `(() => { const form = document.createElement('form'); form.method = 'post'; form.action = ${JSON.stringify(system.url(host, path))};
        for (const [name, value] of new URLSearchParams(${JSON.stringify(body)})) { const input = document.createElement('input'); input.name = name; input.value = value; form.append(input) }
        document.body.append(form); form.submit() })()`,
      )
      const status = (await answered).status()
      // OpenID Connect lets applications ask by a form: it becomes a request by GET, which any link can make, and which asks.
      const isSentOn = path === `${tenant}/logout` || path === `${tenant}/authorize`
      // The portal has no form at all: there is nothing to post to.
      assert.equal(status, path === '/' ? 404 : isSentOn ? 303 : 403, `${host}${path}`)
      await arrived
    }
    assert.deepEqual(await whoIs(page), everywhere('ana'))
    assert.equal((await second.get(system.url('hr'))).status, 200)
    assert.equal(context.pages().length, 1)
  })

  test('attack 40: an application frames, reads and scripts no page of ours', async (t) => {
    const { page } = await victim(t)
    const tenant = `/${system.service.control.tenantId}`
    const targets = [
      system.url('apps'),
      system.url('login', '/sessions'),
      system.url('hr', '/.sallyport/signout'),
      system.url('hr', '/.sallyport/signed-in'),
      system.url('login', `${tenant}/oauth2/v2.0/logout`),
      system.url('admin'),
    ]
    await page.goto(system.url('evil'))
    assert.equal(await framedUrl(page, system.url('evil')), system.url('evil'), 'one may be framed')
    for (const url of [...targets, system.url('login', `${tenant}/oauth2/v2.0/token`)]) {
      const read = await page.evaluate(
        `fetch(${JSON.stringify(url)}, { credentials: 'include' }).then((answer) => answer.text(), (error) => 'refused ' + error.name)`,
      )
      assert.equal(read, 'refused TypeError', url)
    }
    for (const url of targets) {
      assert.match(await framedUrl(page, url), /^chrome-error:/, url)
      const opened = page.waitForEvent('popup')
      await page.evaluate(`window.other = open(${JSON.stringify(url)}, '_blank')`)
      const popup = await opened
      // Cross-Origin-Opener-Policy: the opener holds nothing of it.
      await page.waitForFunction('window.other.closed')
      await popup.close()
    }
    // No registration of a worker, and no claim, under the reserved path of its own host.
    const worker = await page.evaluate(
      `navigator.serviceWorker.register('/.sallyport/callback', { scope: '/' }).then(() => 'registered', (error) => error.name)`,
    )
    assert.notEqual(worker, 'registered')
  })
})

/** Puts a page into a frame. @returns what the frame shows: an error of the browser's own if it may not be there */
async function framedUrl(page: Page, url: string): Promise<string> {
  await page.evaluate(
    `new Promise((resolve) => { const frame = document.createElement('iframe'); frame.src = ${JSON.stringify(url)};
    frame.onload = () => resolve(); document.body.append(frame) })`,
  )
  const shown = page.frames().at(-1)!.url()
  await page.evaluate("document.querySelector('iframe').remove()")
  return shown
}
