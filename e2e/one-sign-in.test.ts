// The promise of the whole: one sign-in opens every kind of application, and one sign-out closes them all.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { lastFirst, launchBrowser, newContext, password, signInOnPage } from '@sallyport/testkit'
import type { BrowserContext } from 'playwright-core'
import { cookieFor, startWalk } from './support/walk.ts'

/** What asks for a secret in a browser, and what is sent that holds one. */
async function watchForSecrets(context: BrowserContext) {
  const asked: string[] = []
  const sent: string[] = []
  await context.exposeFunction('secretAskedFor', (url: string) => void asked.push(url))
  await context.addInitScript(`document.addEventListener('DOMContentLoaded', () => {
    if (document.querySelector('input[type=password]')) secretAskedFor(location.origin)
  })`)
  context.on('request', (request) => {
    if (request.postDataBuffer()?.includes(encodeURIComponent(password).replaceAll('%20', '+')))
      sent.push(new URL(request.url()).origin)
  })
  context.on('response', (response) => {
    if (response.status() === 401) asked.push(new URL(response.url()).origin)
  })
  return { asked, sent }
}

test('whoever signs in once opens applications of every kind with no second password, and none of them after signing out', async (t) => {
  const scope = lastFirst(t)
  const { system, applications } = await startWalk(scope)
  const browser = await launchBrowser(scope, { domain: system.domain })
  const context = await newContext(browser)
  const { asked, sent } = await watchForSecrets(context)
  const login = system.url('login').slice(0, -1)
  const page = await context.newPage()

  await page.goto(system.url('apps'))
  await signInOnPage(page, 'ana', password)
  await page.getByRole('heading', { name: 'Your applications' }).waitFor()

  for (const { displayName, opened, url } of applications) {
    await page.goto(system.url('apps'))
    await page.getByRole('link', { name: displayName }).click()
    await opened(page)
    assert.equal(new URL(page.url()).origin, new URL(url).origin)
  }
  assert.deepEqual([asked, sent], [[login], [login]], 'asked for a password, and told one, once')

  const told = applications.flatMap(({ isOpenTo, url }) => (isOpenTo ? [{ isOpenTo, url }] : []))
  const cookies = await Promise.all(told.map(({ url }) => cookieFor(context, url)))
  const areOpen = () => Promise.all(told.map(({ isOpenTo }, at) => isOpenTo(cookies[at]!)))
  assert.deepEqual(await areOpen(), [true, true])

  await page.goto(system.url('apps'))
  await page.getByRole('link', { name: 'Sign out' }).click()
  await page.getByRole('button', { name: 'Sign out' }).click()
  await page.getByRole('heading', { name: 'You are signed out' }).waitFor()

  for (const { told } of applications) await told?.(system)
  assert.deepEqual(
    await areOpen(),
    [false, false],
    'who is told of a sign-out has forgotten the session',
  )
  for (const { name, url } of applications) {
    asked.length = 0
    const record = system.nextRecord(({ host }) => host === system.host(name))
    await page.goto(url)
    await page.getByLabel('User name').waitFor()
    assert.deepEqual(asked, [login])
    assert.equal((await record).decision, 'sign-in')
  }
})
