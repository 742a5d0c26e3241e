// Sign-on by password to products as Debian ships them, which know nothing of Sallyport.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { lastFirst, type Scope, type System, startSystem } from '@sallyport/testkit'
import { enterPassword, trustKey } from './support/passwords.ts'
import {
  productPassword as password,
  startBasicApplication,
  startDokuWiki,
  startMediaWiki,
} from './support/products.ts'

async function publish(
  scope: Scope,
  port: number,
  signOn: Record<string, unknown>,
  set: Record<string, unknown> = {},
): Promise<System> {
  const system = await startSystem(scope, {
    allow: [`127.0.0.1:${port}`],
    applications: [
      {
        name: 'product',
        internalUrl: `http://127.0.0.1:${port}/`,
        set: { signOn: { method: 'password', ...signOn }, ...set },
      },
    ],
  })
  for (const connector of system.connectors) await trustKey(system, connector)
  return system
}

test('DokuWiki from Debian: its form is found, filled in with its token, and done again after signing out', async (t) => {
  const scope = lastFirst(t)
  const port = await startDokuWiki(scope)
  const system = await publish(scope, port, {
    kind: 'form',
    signInPage: '/doku.php?id=start&do=login',
  })
  const ana = await system.signIn('ana')
  await enterPassword(ana, system, 'product', 'ana', password)
  const page = await ana.open(system.url('product', '/doku.php?id=start'))
  assert.match(page.body, /Inside the wiki\./)
  assert.match(page.body, /Ana Inside/)
  assert.doesNotMatch(page.body, /type="password"/)

  ana.cookies.get(system.host('product'))?.forEach((_, name, all) => {
    if (!name.startsWith('__Host-sallyport')) all.set(name, 'ended')
  })
  const again = await ana.open(system.url('product', '/doku.php?id=start'))
  assert.match(again.body, /Ana Inside/)
})

test('DokuWiki from Debian: a wrong password leads to "Your passwords", and is tried once', async (t) => {
  const scope = lastFirst(t)
  const port = await startDokuWiki(scope)
  const system = await publish(scope, port, {
    kind: 'form',
    signInPage: '/doku.php?id=start&do=login',
  })
  const ana = await system.signIn('ana')
  await enterPassword(ana, system, 'product', 'ana', 'wrong')
  assert.match((await ana.open(system.url('product'))).body, /The application did not take it/)
})

test('MediaWiki from Debian: its form is found among others, and deep links survive the sign-in', async (t) => {
  const scope = lastFirst(t)
  const port = await startMediaWiki(scope)
  const system = await publish(scope, port, {
    kind: 'form',
    signInPage: '/index.php/Special:UserLogin',
  })
  const ana = await system.signIn('ana')
  await enterPassword(ana, system, 'product', 'Ana', password)
  const page = await ana.open(system.url('product', '/index.php?title=Special:Version'))
  assert.match(page.body, /<title>Version/)
  assert.match(page.body, /"wgUserName":"Ana"/)
  const wrong = await system.signIn('ben')
  await enterPassword(wrong, system, 'product', 'Ana', 'not this one')
  assert.match((await wrong.open(system.url('product'))).body, /The application did not take it/)
})

test('Apache from Debian with mod_auth_basic: everybody comes in as who they are there', async (t) => {
  const scope = lastFirst(t)
  const port = await startBasicApplication(scope)
  const system = await publish(scope, port, { kind: 'basic' })
  const ana = await system.signIn('ana')
  await enterPassword(ana, system, 'product', 'ana', password)
  const page = await ana.open(system.url('product'))
  assert.match(page.body, /<h1>Stock, counted by ana<\/h1>/)
  assert.equal(page.headers['x-user'], 'ana')
  await enterPassword(ana, system, 'product', 'ana', 'wrong')
  const refused = await ana.open(system.url('product'))
  assert.match(refused.body, /The application did not take it/)
})
