// How many single sign-ons a core does in a second. Alone: `node bench/src/sign-on.ts`.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { controlOf, type Execute, startServiceProcess } from '@sallyport/cli'
import { Client, navigation, submitSignIn } from '@sallyport/testkit'
import { cpuSeconds, findFreePorts, settledProcesses } from './processes.ts'

export interface SignOnRate {
  signOns: number
  /** For each second of user and system time of the service, all its threads. */
  perCoreSecond: number
  /** By the clock; the browsers had the other core. */
  perSecond: number
}

const DOMAIN = 'bench.localhost'
const HOST = `app.${DOMAIN}`
const USER = { userName: 'ana', password: 'nine small dogs and a cart' }
const BROWSERS = 16
// Identity lets one address begin 300 sign-ins at once, and then 20 in a second.
const PER_BROWSER = 140

/**
 * A person who is signed in opens an application that this browser has not seen: the gateway redirects to the authorize
 * endpoint, that answers with a code because the session lives, and the gateway redeems the code at the token endpoint.
 * All over TLS, against `sallyport serve` with its database on disk.
 *
 * @param folder keeps what the service writes
 * @throws Error when a sign-on does not end with a session on the application's host
 */
export async function measureSignOns(folder: string): Promise<SignOnRate> {
  const [port] = (await findFreePorts(1)) as [number]
  const dataDir = await mkdtemp(join(folder, 'sign-on-'))
  const configFile = join(dataDir, 'sallyport.yaml')
  await writeFile(
    configFile,
    `baseDomain: ${DOMAIN}
dataDir: .
logLevel: warn
listen: { address: 127.0.0.1, port: ${port} }
`,
  )
  const { child } = await startServiceProcess(configFile, {
    onErrorText: (text) => process.stderr.write(text),
  })
  const url = `https://${HOST}:${port}/`
  const browsers: Client[] = []
  try {
    await publish(controlOf(dataDir), url)
    const ca = await readFile(join(dataDir, 'web-ca.pem'), 'utf8')
    for (let index = 0; index <= BROWSERS; index += 1)
      browsers.push(new Client(port, ca, `127.0.0.${index + 1}`))
    const [first, ...others] = browsers as [Client, ...Client[]]
    await submitSignIn(first, await first.open(url), USER.userName, USER.password)
    for (const browser of others)
      for (const [host, jar] of first.cookies) browser.cookies.set(host, new Map(jar))
    // Code is compiled as it is used, and the first hundreds pay for that.
    await Promise.all(browsers.map((browser) => signOnTimes(browser, url, PER_BROWSER / 4)))
    const pids = await settledProcesses([child.pid])
    const cpuBefore = cpuSeconds(pids)
    const startedAt = performance.now()
    await Promise.all(others.map((browser) => signOnTimes(browser, url, PER_BROWSER)))
    const seconds = (performance.now() - startedAt) / 1000
    const signOns = BROWSERS * PER_BROWSER
    return {
      signOns,
      perCoreSecond: signOns / (cpuSeconds(pids) - cpuBefore),
      perSecond: signOns / seconds,
    }
  } finally {
    for (const browser of browsers) browser.close()
    await child.stop()
  }
}

export function signOnLine({ signOns, perCoreSecond, perSecond }: SignOnRate): string {
  return (
    `Single sign-on (authorize with a live session, and token): ${Math.round(perCoreSecond)} per second and core; ` +
    `${signOns.toLocaleString('en')} of them, ${Math.round(perSecond)} per second by the clock.`
  )
}

async function publish(execute: Execute, externalUrl: string): Promise<void> {
  await execute('user.create', { ...USER, displayName: 'Ana Bench', mail: 'ana@bench.localhost' })
  await execute('app.create', {
    name: 'app',
    displayName: 'Bench',
    externalUrl,
    // Nobody goes on to it: the bench turns back at the application's door.
    internalUrl: 'http://app.internal/',
  })
  await execute('app.assign', { name: 'app', user: USER.userName })
}

async function signOnTimes(browser: Client, url: string, times: number): Promise<void> {
  for (let count = 0; count < times; count += 1) await signOn(browser, url)
}

async function signOn(browser: Client, url: string): Promise<void> {
  browser.cookies.delete(HOST)
  const atApplication = await browser.get(url, { headers: navigation })
  const atAuthorize = await browser.get(atApplication.headers.location ?? '')
  const atCallback = await browser.get(atAuthorize.headers.location ?? '')
  const isSession = (line: string) => /^__Host-sallyport(-\d+)?=[^;]/.test(line)
  if (!atCallback.headers['set-cookie']?.some(isSession))
    throw new Error(`sign-on ended with ${atCallback.status} at ${atCallback.url.split('?')[0]}`)
}

if (import.meta.main) {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-bench-'))
  try {
    console.log(signOnLine(await measureSignOns(folder)))
  } finally {
    await rm(folder, { recursive: true })
  }
}
