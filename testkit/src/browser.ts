import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core'
import type { Scope } from './scope.ts'

const executables = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']

/** Debian's Chromium, headless; every host below `domain` is looked for at `address`. */
export async function launchBrowser(
  scope: Scope,
  options: { domain: string | readonly string[]; address?: string; namespace?: string },
): Promise<Browser> {
  const executable = executables.find((file) => existsSync(file))
  if (!executable) throw new Error('no Chromium: install the Debian package chromium')
  let executablePath = executable
  if (options.namespace !== undefined) {
    const dir = mkdtempSync(join(tmpdir(), 'sallyport-chromium-'))
    executablePath = join(dir, 'chromium')
    writeFileSync(
      executablePath,
      `#!/bin/sh\nexec ip netns exec ${options.namespace} ${executable} "$@"\n`,
      { mode: 0o755 },
    )
    scope.after(() => rmSync(dir, { recursive: true, force: true }))
  }
  const browser = await chromium.launch({
    executablePath,
    args: [
      // Tests run as root in containers, where Chromium's own sandbox cannot.
      ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      `--host-resolver-rules=${[options.domain]
        .flat()
        .map((domain) => `MAP *.${domain} ${options.address ?? '127.0.0.1'}`)
        .join()}`,
    ],
  })
  scope.after(() => browser.close())
  return browser
}

/** A fresh profile. The certificate authority of a test is not in any trust store. */
export function newContext(
  browser: Browser,
  options: Parameters<Browser['newContext']>[0] = {},
): Promise<BrowserContext> {
  return browser.newContext({ ignoreHTTPSErrors: true, ...options })
}

/** A browser profile of its own, closed with the scope. */
export async function newProfile(
  scope: Scope,
  browser: Browser,
  options?: Parameters<Browser['newContext']>[0],
): Promise<BrowserContext> {
  const context = await newContext(browser, options)
  scope.after(() => context.close())
  return context
}

/** Fills in the sign-in page as a person would. */
export async function signInOnPage(page: Page, userName: string, secret: string): Promise<void> {
  await page.getByLabel('User name').fill(userName)
  await page.getByLabel('Password', { exact: true }).fill(secret)
  await Promise.all([
    page.waitForLoadState('load'),
    page.getByRole('button', { name: 'Sign in' }).click(),
  ])
}
