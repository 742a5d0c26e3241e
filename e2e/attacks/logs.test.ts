import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { ResetCode } from '@sallyport/protocol'
import {
  connectTls,
  lastFirst,
  password,
  rawRequest,
  type System,
  startSystem,
  submitSignIn,
} from '@sallyport/testkit'
import { type HostileConnector, startHostileConnector } from './hostile-connector.ts'

// What strangers can make logs and lists say, and to whom the service listens on the same machine.
suite('attacks on logs and lists', () => {
  const closers: (() => Promise<void> | void)[] = []
  const scope = lastFirst({ after: (close) => void closers.push(close) })
  let system: System
  let hostile: HostileConnector

  before(async () => {
    system = await startSystem(scope, { applications: [{ name: 'app' }] })
    hostile = await startHostileConnector(scope, system)
  })
  after(async () => {
    for (const close of closers.reverse()) await close()
  })

  /** What `sallyport` prints, asked over the control socket. */
  async function printed(...args: string[]): Promise<string> {
    const config = join(system.dir, 'sallyport.yaml')
    writeFileSync(
      config,
      `baseDomain: ${system.domain}\ndataDir: ${JSON.stringify(join(system.dir, 'service'))}\nlisten: { port: ${system.port} }\n`,
    )
    const program = fileURLToPath(import.meta.resolve('@sallyport/cli')).replace(
      /index\.ts$/,
      'sallyport.ts',
    )
    const child = spawn(process.execPath, [program, '--config', config, ...args])
    const parts: Buffer[] = []
    child.stdout.on('data', (part: Buffer) => parts.push(part))
    const [code] = await once(child, 'close')
    assert.equal(code, 0)
    return Buffer.concat(parts).toString('utf8')
  }

  const isPlain = (text: string) =>
    assert.doesNotMatch(text, /[^\n\P{Cc}]|[\u2028\u2029\u202a-\u202e\u2066-\u2069]/u)

  test('attack 68: no control character of a stranger reaches the terminal of who reads a list', async () => {
    const client = system.client()
    const original = client.fetch.bind(client)
    // What a browser calls itself: C1 controls are bytes that HTTP lets through.
    client.fetch = (url, options) =>
      original(url, {
        ...options,
        headers: { ...options?.headers, 'user-agent': 'evil \x9b31m\x85red\x9d0;title\x9c' },
      })
    await system.signInWith(client, 'ana', 'app')
    const list = await printed('session', 'list')
    // The table has a name that we gave the browser; what it called itself is in the JSON.
    assert.match(list, /^ana .* An unknown browser /m)
    isPlain(list)
    const json = await printed('--json', 'session', 'list')
    isPlain(json)
    assert.match(JSON.stringify(JSON.parse(json)), /\u009b31m/)
  })

  test('attack 68: nothing that a stranger typed or showed moves the terminal of who reads the audit log', async () => {
    const client = system.client()
    const page = await client.open(system.url('app'))
    await submitSignIn(client, page, 'evil\u001b[31m\u009b31m\u202e', 'wrong')
    const lines = await printed('audit', 'list', '--action', 'sign-in-failed')
    assert.match(lines, /user-unknown/)
    assert.doesNotMatch(lines, /evil/, 'what nobody is called is not written down')
    isPlain(lines)
  })

  test('attack 70: each way in, refusal and way out leaves one event with its reason', async () => {
    const client = system.client()
    const page = await client.open(system.url('app'))
    await submitSignIn(client, page, 'ana', 'wrong')
    const again = await client.open(system.url('app'))
    await submitSignIn(client, again, 'ana', password)
    const answer = await client.fetch(system.url('app', '/.sallyport/signout'), {
      method: 'POST',
      headers: { origin: system.url('app').slice(0, -1), 'sec-fetch-site': 'same-origin' },
    })
    assert.ok(answer.status < 400, answer.body)
    const events = (await system.execute('audit.list', { user: 'ana', limit: 3 })) as {
      kind: string
      detail: Record<string, unknown>
    }[]
    assert.deepEqual(events.map(({ kind, detail }) => [kind, detail.reason]).reverse(), [
      ['sign-in-failed', 'password-wrong'],
      ['signed-in', undefined],
      ['signed-out', 'signed-out'],
    ])
    const all = JSON.stringify(await system.execute('audit.list', { limit: 1_000 }))
    assert.ok(!all.includes(password), 'no password')
    assert.doesNotMatch(all, /sp1\.|BEGIN|argon2/, 'no token, no key, no hash')
  })

  test('attack 68: one request is one line of the log, whatever it and the connector say', async () => {
    hostile.onStream = (stream) =>
      stream.reset(ResetCode.ORIGIN_UNREACHABLE, 'a\r\n{"at":0}\u001b[31m\u009b31m\u2028\u202ered')
    const before = system.records.length
    const answer = await rawRequest(system, 'hostile', [
      'GET /%22%7d%5cn{"at":0} HTTP/1.1',
      'User-Agent: \x9b31m',
      'Referer: https://x/"}\x85{"at":0}',
    ])
    assert.equal(answer.status, 502)
    assert.doesNotMatch(answer.text, /31m|red/)
    await rawRequest(system, 'app', ['GET /?secret=%0d%0a HTTP/1.1', 'Cookie: a="\x85{"'])
    await rawRequest(system, 'app', ['GE\x0bT / HTTP/1.1'])
    await rawRequest(system, 'app', ['GET / HTTP/1.1'], { host: 'evil"}\x85{"at":0}' })
    const own = system.records.slice(before)
    assert.equal(own.length, 4)
    const file = join(system.dir, 'service', 'access.log')
    const last = own.at(-1)!.id
    const lines = () => readFileSync(file, 'utf8').trimEnd().split('\n')
    while (!lines().at(-1)!.includes(last)) await new Promise((resolve) => setImmediate(resolve))
    for (const line of lines()) {
      isPlain(line)
      assert.equal(typeof JSON.parse(line).id, 'string')
    }
    assert.doesNotMatch(lines().join(''), /secret/)
  })

  test('attack 31: who connects to the control socket and says nothing does not keep the service up', async (t) => {
    const inner = lastFirst(t)
    const other = await startSystem(inner, { connectors: 0 })
    const path = join(other.dir, 'service', 'control.sock')
    const sockets = [connect(path), connect(path)]
    for (const socket of sockets) socket.on('error', () => socket.destroy())
    await Promise.all(sockets.map((socket) => once(socket, 'connect')))
    sockets[1]!.write('POST /v1/commands/status HTTP/1.1\r\nHost: x\r\n')
    const browser = await connectTls({
      port: other.port,
      ca: other.ca,
      host: other.host('login'),
    })
    browser.on('error', () => browser.destroy())
    const startedAt = performance.now()
    await other.service.close()
    assert.ok(performance.now() - startedAt < 10_000)
  })
})
