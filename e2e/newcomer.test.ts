import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, watch } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import {
  Client,
  findFreePort,
  lastFirst,
  launchBrowser,
  newContext,
  type Scope,
  signInOnPage,
  submitSignIn,
} from '@sallyport/testkit'

const domain = 'sallyport.localhost'
const root = join(import.meta.dirname, '..')

interface Ready {
  portal: string
  admin: string
  apps: { name: string; externalUrl: string }[]
  users: { userName: string; password: string }[]
  caFile: string
  pids: Record<string, number>
}

interface Demo {
  ready: Ready
  process: ChildProcess
  output(): string
  stop(): Promise<void>
}

/** `npm start`, until it says that everything answers. */
async function startDemo(t: Scope, dir: string, port: number): Promise<Demo> {
  const readyFile = join(dir, 'ready.json')
  rmSync(readyFile, { force: true })
  const child = spawn(
    process.execPath,
    [
      join(root, 'scripts/start.cjs'),
      '--port',
      String(port),
      '--data-dir',
      join(dir, 'data'),
      '--ready-file',
      readyFile,
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  )
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString()
  })
  child.stderr.on('data', (chunk: Buffer) => {
    output += chunk.toString()
  })
  const exited = once(child, 'exit')
  const stop = async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGINT')
    await exited
  }
  t.after(stop)
  await new Promise<void>((resolve, reject) => {
    const watcher = watch(dir, () => {
      if (existsSync(readyFile)) {
        watcher.close()
        resolve()
      }
    })
    void exited.then(([code]) => {
      watcher.close()
      reject(new Error(`npm start ended with ${code}:\n${output}`))
    })
  })
  return {
    ready: JSON.parse(readFileSync(readyFile, 'utf8')) as Ready,
    process: child,
    output: () => output,
    stop,
  }
}

function scratch(t: Scope): string {
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-demo-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

const externalUrl = (ready: Ready, name: string) =>
  ready.apps.find((app) => app.name === name)!.externalUrl
const passwordOf = (ready: Ready, userName: string) =>
  ready.users.find((user) => user.userName === userName)!.password

test('a newcomer starts the demo, signs in once and uses both samples', async (context) => {
  const t = lastFirst(context)
  const dir = scratch(t)
  const port = await findFreePort()
  const demo = await startDemo(t, dir, port)
  const { ready } = demo
  for (const text of [ready.portal, ready.caFile, '--resolve', passwordOf(ready, 'ana')])
    assert.ok(demo.output().includes(text), `printed: ${text}`)
  assert.equal(statSync(join(dir, 'data/demo.json')).mode & 0o777, 0o600)
  const browser = await launchBrowser(t, { domain })

  await context.test(
    'the portal is an entry, and a tile opens without a second sign-in',
    async () => {
      const profile = await newContext(browser)
      const page = await profile.newPage()
      await page.goto(ready.portal)
      await signInOnPage(page, 'ana', passwordOf(ready, 'ana'))
      await page.waitForURL(ready.portal)
      await page.getByRole('link', { name: /Intranet/ }).click()
      await page.waitForURL(externalUrl(ready, 'intranet'))
      assert.match((await page.textContent('body')) ?? '', /ana/)
      await profile.close()
    },
  )

  await context.test(
    'an external URL is an entry, and query and fragment survive sign-in',
    async () => {
      const profile = await newContext(browser)
      const page = await profile.newPage()
      const url = `${externalUrl(ready, 'intranet')}?a=1&b=%2F#/deep/link`
      await page.goto(url)
      assert.match(page.url(), /^https:\/\/login\./)
      await signInOnPage(page, 'ben', passwordOf(ready, 'ben'))
      await page.waitForURL(url)
      await profile.close()
    },
  )

  await context.test(
    'a flow is edited and deployed in Node-RED through its WebSocket',
    async () => {
      const profile = await newContext(browser, { viewport: { width: 1400, height: 900 } })
      const page = await profile.newPage()
      const sockets: string[] = []
      page.on('websocket', (socket) => sockets.push(socket.url()))
      await page.goto(externalUrl(ready, 'node-red'))
      await signInOnPage(page, 'ana', passwordOf(ready, 'ana'))
      await page.waitForSelector('#red-ui-workspace-chart', { timeout: 60_000 })
      // A node is imported as text is pasted, then deployed.
      const deployed = page.waitForResponse(
        (response) => response.url().endsWith('/flows') && response.request().method() === 'POST',
      )
      await page.evaluate(`(() => {
      RED.view.importNodes([{ id: 'f00d', type: 'comment', name: 'through the door', x: 200, y: 100 }], { generateIds: true })
    })()`)
      await page.mouse.click(500, 300)
      await page.click('#red-ui-header-button-deploy')
      assert.ok((await deployed).ok())
      const flows = await page.evaluate(`fetch('flows').then((response) => response.text())`)
      assert.match(String(flows), /through the door/)
      assert.ok(
        sockets.some((url) => url.includes('/comms')),
        'the editor has its WebSocket',
      )
      await profile.close()
    },
  )

  const ca = readFileSync(ready.caFile, 'utf8')
  const client = (t2: Scope) => {
    const made = new Client(port, ca)
    t2.after(() => made.close())
    return made
  }

  await context.test('a wrong password leads nowhere and says so', async (t2) => {
    const someone = client(t2)
    const page = await someone.open(externalUrl(ready, 'intranet'))
    const answer = await submitSignIn(someone, page, 'ana', 'wrong')
    assert.match(new URL(answer.url).hostname, /^login\./)
    assert.match(answer.body, /password/i)
  })

  await context.test(
    'somebody who is assigned to nothing is told who they are and what to do',
    async (t2) => {
      const eve = client(t2)
      const page = await eve.open(externalUrl(ready, 'intranet'))
      const answer = await submitSignIn(eve, page, 'eve', passwordOf(ready, 'eve'))
      assert.equal(answer.status, 403)
      assert.match(answer.body, /Eve/)
      assert.match(answer.body, /administrator/)
      assert.equal((await eve.open(ready.portal)).status, 200)
    },
  )

  await context.test('an unknown host is a plain 404', async (t2) => {
    const answer = await client(t2).open(`https://nothing.${domain}:${port}/`)
    assert.equal(answer.status, 404)
    assert.doesNotMatch(answer.body, /intranet|node-red/i)
  })

  await context.test(
    'a connector that is killed comes back, and so do the applications',
    async (t2) => {
      const ana = client(t2)
      const page = await ana.open(externalUrl(ready, 'intranet'))
      assert.equal((await submitSignIn(ana, page, 'ana', passwordOf(ready, 'ana'))).status, 200)
      process.kill(ready.pids.connector!, 'SIGKILL')
      const deadline = Date.now() + 20_000
      let answer = await ana.get(externalUrl(ready, 'intranet'))
      const statuses = new Set([answer.status])
      while (answer.status !== 200 || statuses.size === 1) {
        assert.ok(Date.now() < deadline, `never came back: ${[...statuses]}`)
        answer = await ana.get(externalUrl(ready, 'intranet'))
        statuses.add(answer.status)
      }
      statuses.delete(200)
      for (const status of statuses) assert.ok([502, 503].includes(status), String(status))
    },
  )

  const before = JSON.parse(readFileSync(join(dir, 'data/demo.json'), 'utf8')) as unknown
  await demo.stop()
  for (const pid of Object.values(ready.pids))
    assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' }, `process ${pid} is gone`)

  await context.test('a second start finds everything as it was', async (t2) => {
    const again = await startDemo(t2, dir, port)
    assert.deepEqual(again.ready.users, ready.users)
    assert.deepEqual(JSON.parse(readFileSync(join(dir, 'data/demo.json'), 'utf8')), before)
    const ana = client(t2)
    const page = await ana.open(externalUrl(again.ready, 'intranet'))
    assert.equal((await submitSignIn(ana, page, 'ana', passwordOf(ready, 'ana'))).status, 200)
    await again.stop()
  })
})

for (const [what, args, said] of [
  [
    'a busy port',
    (port: number, dir: string) => ['--port', String(port), '--data-dir', dir],
    /--port \d+: is in use/,
  ],
  [
    'a folder that cannot be made',
    (port: number) => ['--port', String(port), '--data-dir', join(import.meta.filename, 'data')],
    /--data-dir \/.*newcomer\.test\.ts\/data: cannot be written/,
  ],
  ['a port that is no number', () => ['--port', 'abc'], /must be a whole number/],
] as const)
  test(`${what} is one clear line`, async (context) => {
    const t = lastFirst(context)
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    t.after(() => void server.close())
    const { port } = server.address() as { port: number }
    const child = spawn(
      process.execPath,
      [join(root, 'scripts/start.cjs'), ...args(port, scratch(t))],
      {
        stdio: ['ignore', 'ignore', 'pipe'],
      },
    )
    let text = ''
    child.stderr.on('data', (chunk: Buffer) => {
      text += chunk.toString()
    })
    const [code] = (await once(child, 'close')) as [number]
    assert.notEqual(code, 0)
    assert.match(text, said)
    assert.doesNotMatch(text, /\n\s+at /, 'no stack')
  })
