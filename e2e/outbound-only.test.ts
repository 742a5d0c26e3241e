import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import {
  Child,
  connectorOnline,
  controlOf,
  enrollConnectorProcess,
  spawnConnector,
  startChild,
  startServiceProcess,
} from '@sallyport/cli'
import {
  lastFirst,
  launchBrowser,
  link,
  Namespace,
  newContext,
  password,
  type Scope,
  signInOnPage,
} from '@sallyport/testkit'

const domain = 'sallyport.test'
const outside = '10.203.1.1'
const port = 8443

/** A service outside, an intranet inside, and whatever way there is between them. */
async function startOutside(t: Scope, namespace: Namespace, dir: string) {
  const configFile = join(dir, 'sallyport.yaml')
  writeFileSync(
    configFile,
    `baseDomain: ${domain}\ndataDir: service\nlisten: { address: ${outside}, port: ${port} }\nlogLevel: warn\n`,
  )
  const { child } = await startServiceProcess(configFile, {
    launcher: (command, args) => namespace.wrap(command, args),
  })
  t.after(() => child.stop())
  const execute = controlOf(join(dir, 'service'))
  await execute('user.create', { userName: 'ana', displayName: 'Ana Test', password })
  return execute
}

async function startInside(t: Scope, namespace: Namespace) {
  const { child, ready } = await startChild(
    {
      name: 'intranet',
      command: process.execPath,
      args: [join(import.meta.dirname, '../examples/intranet/src/main.ts')],
      launcher: (command, args) => namespace.wrap(command, args),
    },
    'url',
  )
  t.after(() => child.stop())
  return new URL(ready.url as string)
}

async function useIntranet(t: Scope, namespace: Namespace) {
  const browser = await launchBrowser(t, { domain, address: outside, namespace: namespace.name })
  const page = await (await newContext(browser)).newPage()
  await page.goto(`https://intranet.${domain}:${port}/#top`)
  await signInOnPage(page, 'ana', password)
  await page.waitForURL(`https://intranet.${domain}:${port}/#top`)
  assert.match((await page.textContent('body')) ?? '', /ana/)
  // The clock ticks through a WebSocket.
  const ticked = await page.evaluate(
    `new Promise((resolve, reject) => {
      const socket = new WebSocket(location.origin.replace('https', 'wss') + '/clock')
      socket.onmessage = (event) => resolve(event.data)
      socket.onerror = () => reject(new Error('WebSocket failed'))
    })`,
  )
  assert.match(String(ticked), /now/)
}

function scratch(t: Scope): string {
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-netns-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

async function publishIntranet(
  execute: Awaited<ReturnType<typeof startOutside>>,
  internalUrl: URL,
): Promise<void> {
  await execute('app.create', {
    name: 'intranet',
    displayName: 'Intranet',
    externalUrl: `https://intranet.${domain}:${port}/`,
    internalUrl: internalUrl.href,
    signOn: { method: 'headers', headers: [{ name: 'X-User', claim: 'userName' }] },
  })
  await execute('app.assign', { name: 'intranet', user: 'ana' })
}

test('an application is used from outside while every inbound connection to its side is dropped', async (context) => {
  const t = lastFirst(context)
  const dir = scratch(t)
  const out = Namespace.create(t, 'o', [])
  const inside = Namespace.create(t, 'i', [`${outside} connect.${domain}`])
  link(out, `${outside}/24`, inside, '10.203.1.2/24')
  inside.dropInbound()
  const execute = await startOutside(t, out, dir)
  const intranet = await startInside(t, inside)
  await publishIntranet(execute, intranet)
  const launcher = (command: string, args: readonly string[]) => inside.wrap(command, args)
  const stateDir = join(dir, 'connector')
  await enrollConnectorProcess({
    execute,
    service: `https://connect.${domain}:${port}`,
    stateDir,
    name: 'inside',
    args: ['--allow', intranet.host],
    launcher,
  })
  const connector = spawnConnector(stateDir, { launcher })
  t.after(() => connector.stop())
  await connectorOnline(stateDir, connector)

  await useIntranet(t, out)

  const listening = inside.listening()
  assert.equal(listening.length, 1, `only the intranet listens: ${listening.join('\n')}`)
  assert.match(listening[0]!, new RegExp(`127\\.0\\.0\\.1:${intranet.port}\\b`))
  // The other direction is closed: nothing outside reaches the inside.
  assert.throws(() =>
    out.run('curl', '-sS', '--max-time', '2', `http://10.203.1.2:${intranet.port}/`),
  )
})

test('the only way out is an HTTP proxy that asks for credentials', async (context) => {
  const t = lastFirst(context)
  const dir = scratch(t)
  const out = Namespace.create(t, 'o', [])
  const middle = Namespace.create(t, 'm', [`${outside} connect.${domain}`])
  // The inside does not even know the service's address: the proxy does.
  const inside = Namespace.create(t, 'i', [])
  link(out, `${outside}/24`, middle, '10.203.1.2/24')
  link(middle, '10.203.2.1/24', inside, '10.203.2.2/24')
  inside.dropInbound()
  await startSquid(t, middle, dir)
  const execute = await startOutside(t, out, dir)
  const intranet = await startInside(t, inside)
  await publishIntranet(execute, intranet)
  const launcher = (command: string, args: readonly string[]) => inside.wrap(command, args)
  const service = `https://connect.${domain}:${port}`
  const stateDir = join(dir, 'connector')
  await assert.rejects(
    enrollConnectorProcess({
      execute,
      service,
      stateDir,
      name: 'inside',
      args: ['--allow', intranet.host, '--proxy', 'http://10.203.2.1:3128'],
      launcher,
    }),
    /proxy/i,
  )
  const proxyFile = join(dir, 'proxy')
  writeFileSync(proxyFile, 'http://agent:s3cret%20word@10.203.2.1:3128\n', { mode: 0o600 })
  await enrollConnectorProcess({
    execute,
    service,
    stateDir,
    name: 'inside',
    args: ['--allow', intranet.host, '--proxy-file', proxyFile],
    launcher,
  })
  const connector = spawnConnector(stateDir, { launcher })
  t.after(() => connector.stop())
  await connectorOnline(stateDir, connector)
  assert.throws(() => inside.run('curl', '-sS', '--max-time', '2', `https://${outside}:${port}/`))
  await useIntranet(t, out)
})

async function startSquid(t: Scope, namespace: Namespace, dir: string): Promise<void> {
  // Squid insists on a user of its own, who must be able to read and write here.
  chmodSync(dir, 0o711)
  const home = join(dir, 'squid')
  mkdirSync(home)
  chmodSync(home, 0o777)
  const helper = join(home, 'check-password.sh')
  // Squid's basic authentication protocol: a line "user password", answered OK or ERR.
  writeFileSync(
    helper,
    '#!/bin/sh\nwhile read -r user password; do [ "$user $password" = "agent s3cret%20word" ] && echo OK || echo ERR; done\n',
    { mode: 0o755 },
  )
  const config = join(dir, 'squid.conf')
  writeFileSync(
    config,
    `visible_hostname proxy.inside
http_port 10.203.2.1:3128
pid_filename ${home}/squid.pid
cache_log ${home}/squid.log
access_log none
cache deny all
netdb_filename none
auth_param basic program ${helper}
auth_param basic children 1
acl signed_in proxy_auth REQUIRED
acl tls port ${port}
http_access deny !signed_in
http_access allow CONNECT tls
http_access deny all
`,
  )
  const squid = new Child({
    name: 'squid',
    command: 'squid',
    args: ['-N', '-n', `sallyport${process.pid}`, '-f', config],
    launcher: (command, args) => namespace.wrap(command, args),
  })
  t.after(() => squid.stop())
  for (;;) {
    if (namespace.listening().some((line) => line.includes('10.203.2.1:3128'))) return
    assert.equal(squid.process.exitCode, null, `squid ended: ${squid.errorText}`)
    await new Promise((resolve) => setImmediate(resolve))
  }
}
