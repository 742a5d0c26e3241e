import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import test from 'node:test'
import {
  errorPage,
  portalPage,
  securityHeaders,
  signedOutPage,
  signInAgainPage,
  signInDonePage,
  signInPage,
  signOutPage,
} from '@sallyport/domain'
import { launchBrowser } from '@sallyport/testkit'

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const correlationId = '01930f5c-8f0e-7c11-9a51-3c5f0f6f2b11'
const person = { displayName: 'Maximiliane Freifrau von Rothenburg', userName: 'max@example.test' }
const tiles = ['HR', 'Kundenverwaltung', 'Wiki', 'CI', 'Grafana', 'Files', 'Zeit', 'Remote'].map(
  (displayName, index) => ({
    name: `app-${index}`,
    displayName,
    externalUrl: `https://a-rather-long-application-host-name-${index}.example.test:8443/`,
  }),
)

const pages: Record<string, string> = {
  'sign-in': signInPage({ applicationName: 'Human Resources' }),
  'sign-in-again': signInPage({ applicationName: 'HR', userName: 'ana', problem: 'invalid' }),
  'sign-out': signOutPage({ person, stayUrl: '/' }),
  'signed-out': signedOutPage({ signInUrl: '/' }),
  portal: portalPage({
    ...person,
    applications: tiles,
    notice: 'The address was too long to come back to.',
    signOutUrl: '/.sallyport/signout',
  }),
  'empty-portal': portalPage({ ...person, applications: [], signOutUrl: '/.sallyport/signout' }),
  error: errorPage({
    statusCode: 503,
    code: 'no-connector',
    title: 'The application cannot be reached',
    explanation: 'No connector that serves this application is connected.',
    remedy: 'Please try again in a few minutes.',
    correlationId,
    signedInAs: person.userName,
    links: [{ href: '/', label: 'Your applications' }],
    retry: true,
  }),
  'form-again': signInAgainPage({ signInUrl: '/.sallyport/signin', correlationId }),
  done: signInDonePage(),
}

test('every page is accessible, fits 320 to 1920 pixels, light and dark, and breaks no policy of its own', async (t) => {
  const server = createServer((request, response) => {
    const fields = securityHeaders()
    for (let index = 0; index < fields.length; index += 2)
      response.setHeader(fields[index]!, fields[index + 1]!)
    response.setHeader('content-type', 'text/html; charset=utf-8')
    response.end(pages[request.url!.slice(1)])
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  const browser = await launchBrowser(t, { domain: 'example.test' })
  for (const [width, colorScheme] of [
    [320, 'light'],
    [768, 'dark'],
    [1920, 'light'],
    [1920, 'dark'],
  ] as const) {
    const context = await browser.newContext({ viewport: { width, height: 800 }, colorScheme })
    const page = await context.newPage()
    const complaints: string[] = []
    page.on('console', (message) => {
      if (message.type() === 'error') complaints.push(message.text())
    })
    for (const name of Object.keys(pages)) {
      const where = `${name}, ${width} px, ${colorScheme}`
      await page.goto(`http://127.0.0.1:${port}/${name}`)
      assert.ok(
        (await page.evaluate<number>('document.documentElement.scrollWidth')) <= width,
        where,
      )
      const found = await page.evaluate<string[]>(`(async () => {
        ${axe}
        const { violations } = await axe.run(document)
        return violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => id + ' ' + html))
      })()`)
      assert.deepEqual(found, [], where)
      assert.deepEqual(complaints, [], where)
    }
    await context.close()
  }
})

test('buttons that need script appear with it, and what they do is said without it', async (t) => {
  const server = createServer((_, response) => {
    const fields = securityHeaders()
    for (let index = 0; index < fields.length; index += 2)
      response.setHeader(fields[index]!, fields[index + 1]!)
    response.setHeader('content-type', 'text/html; charset=utf-8')
    response.end(pages['form-again'])
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  const browser = await launchBrowser(t, { domain: 'example.test' })
  for (const javaScriptEnabled of [true, false]) {
    const context = await browser.newContext({ javaScriptEnabled })
    const page = await context.newPage()
    await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
    const again = page.getByText('Send again', { exact: true })
    assert.equal(await again.isVisible(), javaScriptEnabled)
    assert.ok(await page.getByText('Reload this page').isVisible())
    await context.close()
  }
})
