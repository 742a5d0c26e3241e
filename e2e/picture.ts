// `npm run picture`: walks through one sign-in (one-sign-in.test.ts) and writes what is seen on the way to docs/images, light and dark.
import { statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { launchBrowser, newContext, password, type Scope, signInOnPage } from '@sallyport/testkit'
import type { Browser, Page } from 'playwright-core'
import { startWalk, type Walk } from './support/walk.ts'

const folder = join(import.meta.dirname, '../docs/images')
/** Of each page that is seen; the sheet shows three beside each other. */
const viewport = { width: 700, height: 466 }
const columns = 3

interface Shot {
  title: string
  note: string
  png: Buffer
}

async function takeShots(
  { system, applications }: Walk,
  browser: Browser,
  colorScheme: 'light' | 'dark',
): Promise<Shot[]> {
  const context = await newContext(browser, { viewport, colorScheme, deviceScaleFactor: 1.5 })
  const page = await context.newPage()
  const shots: Shot[] = []
  const shoot = async (title: string, note: string) => {
    // Nothing half drawn, and no caret.
    await page.evaluate('document.fonts.ready')
    await page.waitForLoadState('networkidle')
    shots.push({ title, note, png: await page.screenshot({ animations: 'disabled' }) })
  }
  await page.goto(system.url('apps'))
  await page.getByLabel('User name').fill('ana')
  await page.getByLabel('Password', { exact: true }).fill(password)
  await shoot('Sign in once', 'The only password')
  await signInOnPage(page, 'ana', password)
  await shoot('Portal', 'A tile for each application')
  for (const { displayName, signOn, url, opened } of applications) {
    await page.goto(url)
    await opened(page)
    await shoot(displayName, signOn)
  }
  if (shots.length % columns !== 0) {
    await page.goto(system.url('apps'))
    await page.getByRole('link', { name: 'Sign out' }).click()
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.getByRole('heading', { name: 'You are signed out' }).waitFor()
    await shoot('Sign out once', 'All of them closed')
  }
  await context.close()
  return shots
}

const css = `:root{color-scheme:light dark;--page:#eef0f5;--card:#fff;--text:#161a23;--muted:#545c6c;--line:#d7dbe3;--bar:#f4f5f8;--step:#1d2f5e;--on-step:#fff;--key:#b45309}
@media(prefers-color-scheme:dark){:root{--page:#0b0d13;--card:#171b26;--text:#eceff5;--muted:#a4acbc;--line:#2a3040;--bar:#1d222f;--step:#b4c6ff;--on-step:#0f1a38;--key:#f5a524}}
*{box-sizing:border-box}body{margin:0;padding:14px;background:var(--page);color:var(--text);font:13px/1.35 "Liberation Sans",sans-serif}
ol{display:grid;grid-template-columns:repeat(${columns},1fr);gap:18px 14px;margin:0;padding:0;list-style:none}
figure{margin:0}figcaption{display:flex;align-items:center;gap:8px;margin-bottom:7px}
i{flex:none;width:20px;height:20px;border-radius:50%;background:var(--step);color:var(--on-step);font:bold 11px/20px "Liberation Sans",sans-serif;text-align:center}
b{font-size:13px;white-space:nowrap}span{margin-left:auto;color:var(--muted);font-size:11px;white-space:nowrap}
li:first-child span{color:var(--key);font-weight:bold}
.window{overflow:hidden;border:1px solid var(--line);border-radius:9px;background:var(--card);box-shadow:0 6px 18px -8px #0005}
.window::before{content:'';display:block;height:15px;background:radial-gradient(circle at 11px 7.5px,#ec6a5e 2.6px,#0000 3.1px),radial-gradient(circle at 21px 7.5px,#f4bf4f 2.6px,#0000 3.1px),radial-gradient(circle at 31px 7.5px,#61c554 2.6px,#0000 3.1px),var(--bar);border-bottom:1px solid var(--line)}
img{display:block;width:100%}`

async function drawSheet(page: Page, shots: readonly Shot[]): Promise<Buffer> {
  const cells = shots.map(
    ({ title, note, png }, index) =>
      `<li><figure><figcaption><i>${index + 1}</i><b>${title}</b><span>${note}</span></figcaption><div class="window"><img src="data:image/png;base64,${png.toString('base64')}"></div></figure></li>`,
  )
  await page.setContent(
    `<!doctype html><meta charset="utf-8"><style>${css}</style><ol>${cells.join('')}</ol>`,
  )
  await page.evaluate('Promise.all([...document.images].map((image) => image.decode()))')
  return page.screenshot({ fullPage: true })
}

const closers: (() => Promise<void> | void)[] = []
const scope: Scope = { after: (close) => void closers.push(close) }
try {
  const walk = await startWalk(scope)
  const browser = await launchBrowser(scope, { domain: walk.system.domain })
  for (const colorScheme of ['light', 'dark'] as const) {
    const shots = await takeShots(walk, browser, colorScheme)
    const page = await browser.newPage({
      colorScheme,
      viewport: { width: 780, height: 600 },
      deviceScaleFactor: 1.8,
    })
    const file = join(folder, `one-sign-in-${colorScheme}.png`)
    writeFileSync(file, await drawSheet(page, shots))
    console.log(`${file}: ${statSync(file).size} bytes`)
  }
} finally {
  for (const close of closers.reverse()) await close()
}
