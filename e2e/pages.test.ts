import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import test from 'node:test'
import {
  alreadySignedInPage,
  errorPage,
  notSignedInPage,
  passwordsPage,
  portalPage,
  securityHeaders,
  sessionsPage,
  signedOutPage,
  signInAgainPage,
  signInDonePage,
  signInPage,
  signOutPage,
} from '@sallyport/domain'
import { startIntranet } from '@sallyport/example-intranet'
import { launchBrowser, type Scope } from '@sallyport/testkit'
import { Eye, findFaintText, findViolations, sidewaysScroll, walkByTab } from './support/look.ts'

const correlationId = '01930f5c-8f0e-7c11-9a51-3c5f0f6f2b11'
const person = { displayName: 'Maximiliane Freifrau von Rothenburg', userName: 'max@example.test' }
const endless = 'Donaudampfschifffahrtselektrizitaetenhauptbetriebswerkbauunterbeamtengesellschaft'
const tiles = ['HR', 'Kundenverwaltung', 'Wiki', 'CI', 'Grafana', 'Files', 'Zeit', endless].map(
  (displayName, index) => ({
    name: `app-${index}`,
    displayName,
    externalUrl: `https://a-rather-long-application-host-name-${index}.example.test:8443/`,
  }),
)
const portalLink = { href: 'https://apps.example.test/', label: 'Your applications' }

/** Every kind of page there is, with short facts and with the longest, and where Tab stops on it. */
const pages: Record<string, [text: string, stops: string[]]> = {
  'sign-in': [
    signInPage({ applicationName: 'Human Resources' }),
    ['User name', 'Password', 'Sign in'],
  ],
  'sign-in-hinted': [
    signInPage({ applicationName: endless, userName: endless }),
    ['User name', 'Password', 'Sign in'],
  ],
  'sign-in-wrong': [
    signInPage({ applicationName: 'HR', userName: 'ana', problem: 'invalid' }),
    ['User name', 'Password', 'Sign in'],
  ],
  'sign-in-limited': [
    signInPage({ userName: 'ana', problem: 'limited', retryAfterSeconds: 29 }),
    ['User name', 'Password', 'Sign in'],
  ],
  'sign-in-busy': [
    signInPage({ userName: 'ana', problem: 'busy' }),
    ['User name', 'Password', 'Sign in'],
  ],
  'sign-in-done': [signInDonePage(), ['Open the application here']],
  'sign-in-already': [alreadySignedInPage({ portalUrl: portalLink.href }), ['Your applications']],
  'sign-in-for-form': [
    signInAgainPage({ applicationName: 'HR', signInUrl: '/.sallyport/signin', correlationId }),
    ['Sign in (new tab)', 'Reload and send', 'Copy correlation ID'],
  ],
  'sign-out': [signOutPage(), ['Sign out', 'Stay signed in']],
  'sign-out-person': [signOutPage({ person, stayUrl: '/' }), ['Sign out', 'Stay signed in']],
  'signed-out': [signedOutPage({ signInUrl: '/' }), ['Sign in again']],
  'not-signed-in': [notSignedInPage({ portalUrl: portalLink.href }), ['Your applications']],
  portal: [
    portalPage({
      ...person,
      applications: tiles,
      notice: 'The address was too long to come back to.',
      sessionsUrl: 'https://login.example.test/sessions',
      signOutUrl: '/.sallyport/signout',
    }),
    ['Your sessions', 'Sign out', ...tiles.map(({ displayName }) => displayName)],
  ],
  'portal-empty': [
    portalPage({
      displayName: endless,
      userName: endless,
      applications: [],
      sessionsUrl: 'https://login.example.test/sessions',
      signOutUrl: '/.sallyport/signout',
    }),
    ['Your sessions', 'Sign out'],
  ],
  sessions: [
    sessionsPage({
      ...person,
      nowAt: 1_800_000_000_000,
      notice: 'One session has ended.',
      sessions: [0, 1, 2].map((index) => ({
        handle: `handle-${index}`,
        userAgent: ['Chrome/1 Linux', 'Firefox/1 Windows', undefined][index],
        clientAddress: ['192.0.2.1', '2001:db8:1234:5678:9abc:def0:1234:5678', undefined][index],
        signedInAt: 1_799_990_000_000,
        lastUsedAt: 1_799_999_990_000 - index * 3_600_000,
        isCurrent: index === 0,
      })),
      portalUrl: portalLink.href,
      signOutUrl: '/.sallyport/signout',
    }),
    [
      'Your applications',
      'Sign out',
      'Sign out here',
      'Sign out Firefox on Windows',
      'Sign out An unknown browser',
      'Sign out everywhere else',
    ],
  ],
  'sessions-one': [
    sessionsPage({
      displayName: endless,
      userName: endless,
      nowAt: 1_800_000_000_000,
      sessions: [
        {
          handle: 'handle',
          userAgent: 'Firefox/1 Windows',
          clientAddress: '192.0.2.1',
          signedInAt: 1_799_990_000_000,
          lastUsedAt: 1_799_990_000_000,
          isCurrent: true,
        },
      ],
      portalUrl: portalLink.href,
      signOutUrl: '/.sallyport/signout',
    }),
    ['Your applications', 'Sign out', 'Sign out here'],
  ],
  passwords: [
    passwordsPage({
      ...person,
      passwords: (['usable', 'missing', 'moved', 'lost', 'refused'] as const).map(
        (state, index) => ({
          name: `app-${index}`,
          displayName: ['Wiki', endless, 'Zeit', 'Files', 'HR'][index]!,
          externalUrl: tiles[index]!.externalUrl,
          state,
          isShared: state === 'usable',
          updatedAt: state === 'missing' ? undefined : 1_799_990_000_000,
          keepers: state === 'lost' ? 0 : 1 + index,
          outcome:
            state === 'missing'
              ? { kind: 'needed' }
              : state === 'refused'
                ? {
                    kind: 'invalid',
                    problems: [{ path: 'password', message: 'must not be empty' }],
                    userName: endless,
                  }
                : undefined,
        }),
      ),
      portalUrl: portalLink.href,
      signOutUrl: '/.sallyport/signout',
    }),
    [
      ...['Your applications', 'Sign out'],
      ...['example.test', 'Enter one of your own for Wiki'],
      ...['example.test', 'User name in', 'Password in', 'Keep'],
      ...['example.test', 'User name in Zeit', 'Password in Zeit', 'Keep', 'Forget the password'],
      'example.test',
      ...['example.test', 'User name in HR', 'Password in HR', 'Keep', 'Forget the password'],
    ],
  ],
  'passwords-none': [
    passwordsPage({
      ...person,
      passwords: [],
      portalUrl: portalLink.href,
      signOutUrl: '/.sallyport/signout',
    }),
    ['Your applications', 'Sign out'],
  ],
  'error-denied': [
    errorPage({
      statusCode: 403,
      code: 'USER_NOT_ASSIGNED',
      title: 'You do not have access to this application',
      explanation: 'You are signed in, but this application has not been assigned to you.',
      remedy: 'Ask your administrator to assign it to you.',
      correlationId,
      applicationName: endless,
      signedInAs: `${person.displayName} (${person.userName})`,
      links: [portalLink, { href: '/.sallyport/signout', label: 'Sign out' }],
    }),
    ['Your applications', 'Sign out', 'Copy correlation ID'],
  ],
  'error-transient': [
    errorPage({
      statusCode: 502,
      code: 'ORIGIN_CONNECTION_REFUSED',
      title: 'The application is not running',
      explanation: 'The server that it runs on turned the connection down.',
      remedy: 'Try again in a moment.',
      correlationId,
      links: [portalLink],
      retry: true,
    }),
    ['Try again', 'Your applications', 'Copy correlation ID'],
  ],
  'error-anonymous': [
    errorPage({
      statusCode: 404,
      code: 'APPLICATION_NOT_FOUND',
      title: 'There is nothing here',
      explanation: 'No page is published at this address.',
      correlationId,
      anonymous: true,
    }),
    ['Copy correlation ID'],
  ],
}

/** The pages, each under its name, with the fields that go with them. */
async function servePages(t: Scope): Promise<string> {
  const server = createServer((request, response) => {
    const fields = securityHeaders()
    for (let index = 0; index < fields.length; index += 2)
      response.setHeader(fields[index]!, fields[index + 1]!)
    response.setHeader('content-type', 'text/html; charset=utf-8')
    response.end(pages[request.url!.slice(1)]![0])
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
}

for (const colorScheme of ['light', 'dark'] as const)
  test(`every page is accessible, legible in ${colorScheme} colours, and fits 320 to 1920 pixels`, async (t) => {
    const intranet = await startIntranet()
    t.after(() => intranet.close())
    const url = await servePages(t)
    const browser = await launchBrowser(t, { domain: 'example.test' })
    const context = await browser.newContext({ colorScheme, reducedMotion: 'reduce' })
    const eye = await Eye.open(context)
    const page = await context.newPage()
    const complaints: string[] = []
    page.on('console', (message) => {
      // A page of the intranet that is not there says so itself.
      if (message.type() === 'error' && !/404 \(Not Found\)/.test(message.text()))
        complaints.push(message.text())
    })
    const addresses = [
      ...Object.keys(pages).map((name) => url + name),
      ...['/', '/form', '/cookies', '/not/there'].map((path) => intranet.url + path),
    ]
    for (const address of addresses) {
      const where = `${address}, ${colorScheme}`
      await page.setViewportSize({ width: 320, height: 800 })
      await page.goto(address)
      await page.evaluate(
        `for (const folded of document.querySelectorAll('details')) folded.open = true`,
      )
      assert.deepEqual(await findFaintText(page, eye), [], where)
      for (const width of [320, 375, 768, 1920]) {
        await page.setViewportSize({ width, height: 800 })
        assert.ok((await sidewaysScroll(page)) <= 0, `${where}, ${width} px`)
        if (width === 320 || width === 1920)
          assert.deepEqual(await findViolations(page), [], `${where}, ${width} px`)
      }
      assert.deepEqual(complaints, [], where)
    }
  })

test('every page can be used by keyboard alone, in the order in which it is read', async (t) => {
  const url = await servePages(t)
  const browser = await launchBrowser(t, { domain: 'example.test' })
  const page = await browser.newPage()
  for (const [name, [, stops]] of Object.entries(pages)) {
    await page.goto(url + name)
    const found = await walkByTab(page)
    assert.deepEqual(
      found.map((stop, index) => (stop.name.includes(stops[index]!) ? stops[index] : stop.name)),
      stops,
      name,
    )
    for (const stop of found) assert.ok(stop.ring >= 2, `${name}: ${stop.name} shows the focus`)
  }
})

test('the sign-in page puts the cursor where typing begins', async (t) => {
  const url = await servePages(t)
  const browser = await launchBrowser(t, { domain: 'example.test' })
  const page = await browser.newPage()
  for (const [name, field] of [
    ['sign-in', 'userName'],
    ['sign-in-hinted', 'password'],
    ['sign-in-wrong', 'password'],
  ] as const) {
    await page.goto(url + name)
    // Chromium puts it there when it has drawn the page.
    await page.waitForFunction(`document.activeElement.name === '${field}'`)
  }
})

test('what needs script appears with it only, and what it does is there without it', async (t) => {
  const url = await servePages(t)
  const browser = await launchBrowser(t, { domain: 'example.test' })
  for (const javaScriptEnabled of [true, false]) {
    const context = await browser.newContext({ javaScriptEnabled })
    const page = await context.newPage()
    await page.goto(`${url}sign-in-for-form`)
    const reload = page.getByRole('button', { name: 'Reload and send' })
    const copy = page.getByRole('button', { name: 'Copy correlation ID' })
    assert.equal(await reload.isVisible(), javaScriptEnabled)
    assert.equal(await copy.isVisible(), javaScriptEnabled)
    assert.ok(await page.getByText('Reload this page').isVisible())
    // One click takes the whole ID, for those who copy by hand.
    await page.getByText(correlationId).click()
    assert.equal(await page.evaluate('getSelection().toString()'), correlationId)
    await page.goto(`${url}error-transient#part`)
    await page.getByRole('link', { name: 'Try again' }).click()
    await page.waitForLoadState('load')
    // Without script the fragment is lost: a link to the same page has none.
    assert.equal(page.url(), `${url}error-transient${javaScriptEnabled ? '#part' : ''}`)
    await context.close()
  }
})

test('a portal that the Back button revives is asked for again, and a form that was sent is not', async (t) => {
  const url = await servePages(t)
  const browser = await launchBrowser(t, { domain: 'example.test' })
  const page = await browser.newPage()
  const revive = `dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))`
  const loads: string[] = []
  page.on('request', (request) => {
    if (request.isNavigationRequest()) loads.push(new URL(request.url()).pathname)
  })
  await page.goto(`${url}sign-in-for-form`)
  await page.evaluate(revive)
  await page.goto(`${url}portal`)
  await Promise.all([page.waitForEvent('load'), page.evaluate(revive)])
  assert.deepEqual(loads, ['/sign-in-for-form', '/portal', '/portal'])
})

test('the correlation ID is copied by one press, or selected where copying is not allowed', async (t) => {
  const url = await servePages(t)
  const browser = await launchBrowser(t, { domain: 'example.test' })
  for (const allowed of [true, false]) {
    const context = await browser.newContext({ permissions: [] })
    if (allowed) await context.grantPermissions(['clipboard-read', 'clipboard-write'])
    const page = await context.newPage()
    await page.goto(`${url}error-denied`)
    if (!allowed)
      await page.evaluate(
        `navigator.clipboard.writeText = () => Promise.reject(new Error('not allowed'))`,
      )
    await page.getByRole('button', { name: 'Copy correlation ID' }).press('Enter')
    await page
      .getByRole('status')
      .getByText(allowed ? 'Copied' : 'Selected')
      .waitFor()
    assert.equal(
      await page.evaluate(allowed ? 'navigator.clipboard.readText()' : 'getSelection().toString()'),
      correlationId,
    )
    await context.close()
  }
})
