import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { resealFor } from '@sallyport/connector'
import {
  lastFirst,
  launchBrowser,
  navigation,
  newContext,
  password,
  type Scope,
  type System,
  signInOnPage,
  startSystem,
} from '@sallyport/testkit'
import { type Logger, pino } from 'pino'
import { FormApplication } from './support/form-application.ts'
import { findViolations, sidewaysScroll } from './support/look.ts'
import { announced, enterPassword, trustKey } from './support/passwords.ts'

const wrong = 'a wrong password'
const right = 'p&ss wörd = right'

async function startForm(
  t: TestContext,
  options: { connectors?: number; set?: Record<string, unknown>; log?: Logger } = {},
): Promise<{ system: System; application: FormApplication; scope: Scope }> {
  const scope = lastFirst(t)
  const application = await FormApplication.start(scope)
  application.accounts.set('ana.inside', right)
  const system = await startSystem(scope, {
    connectors: options.connectors ?? 1,
    ...(options.log ? { log: options.log } : {}),
    allow: [`127.0.0.1:${application.port}`],
    applications: [
      {
        name: 'forms',
        internalUrl: application.url,
        set: { signOn: { method: 'password', kind: 'form', signInPage: '/login' }, ...options.set },
      },
    ],
  })
  for (const connector of system.connectors) await trustKey(system, connector)
  return { system, application, scope }
}

test('a person enters a password once, and is signed in to the application from then on', async (t) => {
  const { system, application } = await startForm(t)
  const ana = await system.signIn('ana')
  const asked = await ana.open(system.url('forms', '/deep?a=1'))
  assert.match(asked.url, /^https:\/\/login\..*\/passwords\?app=forms/)
  assert.match(asked.body, /To open forms, enter what you use there/)
  assert.deepEqual(application.requests, [])

  const kept = await enterPassword(ana, system, 'forms', 'ana.inside', right)
  assert.match(kept.body, /Your password is kept/)
  const page = await ana.open(system.url('forms', '/deep?a=1'))
  assert.equal(page.status, 200)
  assert.match(page.body, /Hello ana\.inside/)
  assert.match(page.body, /\/deep/)
  assert.deepEqual(application.attempts, [
    {
      userName: 'ana.inside',
      password: right,
      contentType: 'application/x-www-form-urlencoded',
    },
  ])
  // The browser has the application's cookie on the application's own host, and nothing else signs it in.
  assert.ok(ana.cookies.get(system.host('forms'))?.get('session'))
  assert.equal((await ana.get(system.url('forms', '/data'))).body, '{"ok":true}')
  await ana.open(system.url('forms', '/other'))
  assert.equal(application.attempts.length, 1)
})

test('the sign-in is done again when the session of the application has ended', async (t) => {
  const { system, application } = await startForm(t)
  const ana = await system.signIn('ana')
  await enterPassword(ana, system, 'forms', 'ana.inside', right)
  await ana.open(system.url('forms'))
  application.endSessions()
  const page = await ana.open(system.url('forms', '/deep'))
  assert.match(page.body, /Hello ana\.inside<\/h1><p>\/deep/)
  assert.equal(application.attempts.length, 2)
})

test('whoever opens the sign-in page, or signs out of the application, comes to its start page', async (t) => {
  const { system } = await startForm(t)
  const ana = await system.signIn('ana')
  await enterPassword(ana, system, 'forms', 'ana.inside', right)
  const page = await ana.open(system.url('forms', '/login'))
  assert.equal(page.url, system.url('forms', '/'))
  assert.match(page.body, /Hello ana\.inside/)
  assert.equal((await ana.open(system.url('forms', '/logout'))).url, system.url('forms', '/'))
})

test('attack 64: a password that was refused is sent once and never again, until it is changed', async (t) => {
  const { system, application } = await startForm(t, { connectors: 2 })
  const ana = await system.signIn('ana')
  await enterPassword(ana, system, 'forms', 'ana.inside', wrong)
  const refused = await ana.open(system.url('forms'))
  assert.match(refused.url, /\/passwords\?app=forms/)
  assert.match(refused.body, /The application did not take it/)
  for (const path of ['/', '/a', '/login'])
    assert.match((await ana.open(system.url('forms', path))).url, /\/passwords\?app=forms/)
  const program = await ana.get(system.url('forms', '/data'))
  assert.equal(program.status, 403)
  assert.equal(JSON.parse(program.body).error.code, 'CREDENTIAL_REFUSED')
  assert.equal(application.attempts.length, 1)

  await enterPassword(ana, system, 'forms', 'ana.inside', right)
  assert.match((await ana.open(system.url('forms'))).body, /Hello ana\.inside/)
  assert.equal(application.attempts.length, 2)
})

for (const [what, typed] of [
  ['right', right],
  ['wrong', wrong],
] as const)
  test(`attack 64: first requests at once make one attempt in each session with a ${what} password, and one in all with a wrong one`, async (t) => {
    const { system, application } = await startForm(t, { connectors: 2 })
    const browsers = [await system.signIn('ana', 'forms'), await system.signIn('ana', 'forms')]
    await enterPassword(browsers[0]!, system, 'forms', 'ana.inside', typed)
    const pages = await Promise.all(
      browsers.flatMap((browser) =>
        ['/1', '/2', '/3'].map((path) => browser.open(system.url('forms', path))),
      ),
    )
    for (const { url, body } of pages)
      if (typed === right) assert.match(body, /Hello ana\.inside/)
      else assert.match(url, /\/passwords\?app=forms/)
    assert.equal(application.attempts.length, typed === right ? 2 : 1)
  })

test('attack 64: the password goes to the pinned action of the pinned origin, whatever the page says', async (t) => {
  const { system, application } = await startForm(t)
  const thief = createServer((request, response) => {
    stolen.push(request.url!)
    response.end()
  })
  const stolen: string[] = []
  await new Promise<void>((resolve) => thief.listen(0, '127.0.0.1', resolve))
  t.after(() => thief.close())
  const { port } = thief.address() as AddressInfo
  const ana = await system.signIn('ana')
  await enterPassword(ana, system, 'forms', 'ana.inside', right)
  for (const action of [`http://127.0.0.1:${port}/login`, '/comment', '//evil.example/login']) {
    application.form = (token) =>
      `<form action="${action}" method="post"><input type="hidden" name="token" value="${token}"><input name="login"><input type="password" name="pass"></form>`
    const answer = await ana.open(system.url('forms'))
    assert.equal(answer.status, 502, action)
    const record = await system.recordOf(
      ({ host, statusCode }) => host === system.host('forms') && statusCode === 502,
    )
    assert.match(record.detail!, /FORM_ACTION_DIFFERS/)
  }
  application.form = undefined
  application.intercept = (request, response) => {
    if (request.method !== 'POST') return false
    response.writeHead(307, { location: `http://127.0.0.1:${port}/login` }).end()
    return true
  }
  assert.equal((await ana.open(system.url('forms'))).status, 502)
  assert.deepEqual(stolen, [])
  assert.equal(
    application.requests.some(({ url }) => url === '/comment'),
    false,
  )
})

test('attack 64: redirects of the sign-in are dialled only where the allow-list permits', async (t) => {
  const { system, application } = await startForm(t)
  const metadata = createServer((request, response) => {
    seen.push(request.url!)
    response.end()
  })
  const seen: string[] = []
  await new Promise<void>((resolve) => metadata.listen(0, '127.0.0.1', resolve))
  t.after(() => metadata.close())
  const { port } = metadata.address() as AddressInfo
  application.intercept = (request, response) => {
    if (!request.url!.startsWith('/login')) return false
    response.writeHead(302, { location: `http://127.0.0.1:${port}/latest/meta-data` }).end()
    return true
  }
  const ana = await system.signIn('ana')
  await enterPassword(ana, system, 'forms', 'ana.inside', right)
  assert.equal((await ana.open(system.url('forms'))).status, 502)
  assert.deepEqual(seen, [])
})

test('attack 64: no command, page or database gives a password back, and none stands in a log', async (t) => {
  const lines: string[] = []
  const log = pino({ level: 'trace' }, { write: (line: string) => lines.push(line) })
  const { system, application } = await startForm(t, { log })
  const ana = await system.signIn('ana')
  await enterPassword(ana, system, 'forms', 'ana.inside', wrong)
  await ana.open(system.url('forms'))
  await enterPassword(ana, system, 'forms', 'ana.inside', right)
  assert.match((await ana.open(system.url('forms'))).body, /Hello ana\.inside/)
  // What fails is logged most.
  application.endSessions()
  application.form = () =>
    `<form method="post" action="/other"><input name="login"><input type="password" name="pass"></form>`
  assert.equal((await ana.open(system.url('forms'))).status, 502)
  assert.ok(lines.some((line) => line.includes('FORM_ACTION_DIFFERS')))
  const everything = [
    lines.join(''),
    JSON.stringify(await system.execute('credential.list', {})),
    JSON.stringify(await system.execute('audit.list', {})),
    (await ana.open(`https://login.${system.domain}:${system.port}/passwords`)).body,
    JSON.stringify(await system.service.store.db.selectFrom('credential').selectAll().execute()),
    JSON.stringify(
      await system.service.store.db.selectFrom('sealedCredential').selectAll().execute(),
    ),
    JSON.stringify(await system.service.store.db.selectFrom('auditEvent').selectAll().execute()),
    JSON.stringify(system.records),
  ]
  for (const text of everything) {
    assert.ok(!text.includes('ana.inside'), text.slice(0, 200))
    for (const spelling of [right, wrong].flatMap((one) => [
      one,
      encodeURIComponent(one),
      Buffer.from(one).toString('base64'),
    ]))
      assert.ok(!text.includes(spelling), text.slice(0, 200))
  }
})

test('attack 65: a key that no administrator has compared gets no password', async (t) => {
  const scope = lastFirst(t)
  const application = await FormApplication.start(scope)
  application.accounts.set('ana.inside', right)
  const system = await startSystem(scope, {
    allow: [`127.0.0.1:${application.port}`],
    applications: [
      {
        name: 'forms',
        internalUrl: application.url,
        set: { signOn: { method: 'password', kind: 'form', signInPage: '/login' } },
      },
    ],
  })
  const ana = await system.signIn('ana')
  const page = await ana.open(`https://login.${system.domain}:${system.port}/passwords`)
  assert.match(page.body, /an administrator has to approve a connector/)
  assert.doesNotMatch(page.body, /type="password"/)
  await assert.rejects(
    system.execute('credential.set', {
      application: 'forms',
      user: 'ana',
      userName: 'a',
      password: 'b',
    }),
    { code: 'CONFLICT' },
  )
  await assert.rejects(
    system.execute('connector.trust-key', {
      connector: 'connector-1',
      fingerprint: 'x'.repeat(43),
    }),
    { code: 'CONFLICT' },
  )
  await trustKey(system, system.connectors[0]!)
  // Whoever can write to the database cannot approve a key of his own.
  await system.service.store.db
    .updateTable('connector')
    .set({ sealingKey: Buffer.alloc(32, 9).toString('base64url') })
    .execute()
  await assert.rejects(
    system.execute('credential.set', {
      application: 'forms',
      user: 'ana',
      userName: 'a',
      password: 'b',
    }),
    { code: 'CONFLICT' },
  )
})

test('attack 65: a connector of another group is given no password, also when it is moved into the group afterwards', async (t) => {
  const { system, application } = await startForm(t)
  await system.execute('connector-group.create', { name: 'far' })
  const far = await system.startConnector({
    name: 'far',
    connectorGroup: 'far',
    allow: [`127.0.0.1:${application.port}`],
  })
  await trustKey(system, far)
  const ana = await system.signIn('ana', 'forms')
  await enterPassword(ana, system, 'forms', 'ana.inside', right)
  await system.execute('connector.move', { connector: 'far', connectorGroup: 'default' })
  const { passwords } = (await system.execute('connector.show', { connector: 'far' })) as {
    passwords: number
  }
  assert.equal(passwords, 0)
  await system.connectors[0]!.close()
  const { status } = await ana.get(system.url('forms'), { headers: { accept: 'text/html' } })
  assert.equal(status, 503)
  assert.deepEqual(application.attempts, [])
})

test('a password that a group shares signs its members in, and one of their own goes before it', async (t) => {
  const { system, application } = await startForm(t)
  application.accounts.set('team', 'team password')
  await system.execute('group.create', { name: 'finance' })
  await system.execute('group.add-member', { group: 'finance', user: 'ana' })
  await system.execute('credential.set', {
    application: 'forms',
    group: 'finance',
    userName: 'team',
    password: 'team password',
  })
  const ana = await system.signIn('ana')
  assert.match((await ana.open(system.url('forms'))).body, /Hello team/)
  const ben = await system.signIn('ben')
  assert.match((await ben.open(system.url('forms'))).url, /\/passwords/)
  await enterPassword(ana, system, 'forms', 'ana.inside', right)
  application.endSessions()
  assert.match((await ana.open(system.url('forms'))).body, /Hello ana\.inside/)
})

test('a password is kept for one address: when the application moves, it opens no more', async (t) => {
  const { system, application, scope } = await startForm(t)
  const ana = await system.signIn('ana')
  await enterPassword(ana, system, 'forms', 'ana.inside', right)
  const other = await FormApplication.start(scope)
  await system.execute('app.update', { name: 'forms', set: { internalUrl: other.url } })
  const moved = await ana.open(system.url('forms'))
  assert.match(moved.body, /The application has moved/)
  assert.deepEqual([...application.attempts, ...other.attempts], [])
})

test('HTTP Basic: the connector sends the password, the browser never sees it or its challenge', async (t) => {
  const scope = lastFirst(t)
  const tried: (string | undefined)[] = []
  const origin = createServer((request, response) => {
    tried.push(request.headers.authorization)
    const expected = `Basic ${Buffer.from(`ana:${right}`).toString('base64')}`
    if (request.headers.authorization !== expected)
      return void response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end()
    response.writeHead(200, { 'x-echo': request.headers.authorization }).end('inside')
  })
  await new Promise<void>((resolve) => origin.listen(0, '127.0.0.1', resolve))
  scope.after(() => {
    origin.closeAllConnections()
    origin.close()
  })
  const { port } = origin.address() as AddressInfo
  const system = await startSystem(scope, {
    connectors: 2,
    allow: [`127.0.0.1:${port}`],
    applications: [
      {
        name: 'basic',
        internalUrl: `http://127.0.0.1:${port}/`,
        set: { signOn: { method: 'password', kind: 'basic' } },
      },
    ],
  })
  for (const connector of system.connectors) await trustKey(system, connector)
  const ana = await system.signIn('ana', 'basic')
  await enterPassword(ana, system, 'basic', 'ana', wrong)
  const answers = await Promise.all(
    ['/1', '/2', '/3'].map((path) => ana.get(system.url('basic', path), { headers: navigation })),
  )
  for (const { status, headers } of answers) {
    assert.equal(status, 302)
    assert.match(headers.location!, /\/passwords\?app=basic/)
    assert.equal(headers['www-authenticate'], undefined)
  }
  assert.equal(tried.length, 1)

  const invalid = await enterPassword(ana, system, 'basic', 'ana:x', right)
  assert.equal(invalid.status, 400)
  assert.match(invalid.body, /must not hold a colon/)
  await enterPassword(ana, system, 'basic', 'ana', right)
  const page = await ana.get(system.url('basic'), {
    headers: { ...navigation, authorization: 'Basic b3RoZXI6b3RoZXI=' },
  })
  assert.equal(page.body, 'inside')
  assert.equal(page.headers['x-echo'], undefined)
})

test('attack 65: a connector that joins opens what is kept only after both sides have approved its key', async (t) => {
  const { system, application } = await startForm(t)
  const [first] = system.connectors
  const ana = await system.signIn('ana', 'forms')
  await enterPassword(ana, system, 'forms', 'ana.inside', right)
  const second = await system.startConnector({
    name: 'connector-2',
    allow: [`127.0.0.1:${application.port}`],
  })
  const stateDir = join(system.dir, 'connector-1')
  const resolve = async () => ['127.0.0.1']
  const log = pino({ level: 'silent' })
  const { fingerprint } = second.status().sealingKey
  await announced(second)
  await assert.rejects(resealFor({ stateDir, fingerprint, log, resolve }), {
    serviceCode: 'SEALING_KEY_NOT_APPROVED',
  })
  await trustKey(system, second)
  await assert.rejects(resealFor({ stateDir, fingerprint: 'x'.repeat(43), log, resolve }), {
    serviceCode: 'SEALING_KEY_UNKNOWN',
  })
  assert.deepEqual(await resealFor({ stateDir, fingerprint, log, resolve }), {
    name: 'connector-2',
    added: 1,
  })
  assert.equal((await resealFor({ stateDir, fingerprint, log, resolve })).added, 0)
  const { connectorId } = first!.status()
  await first!.close()
  assert.deepEqual(await system.execute('connector.revoke', { connector: connectorId }), {
    lostPasswords: 0,
  })
  assert.match((await ana.open(system.url('forms'))).body, /Hello ana\.inside/)
  // With the last one that can open it, it is lost; the page has said so.
  const page = await ana.open(`https://login.${system.domain}:${system.port}/passwords`)
  assert.match(page.body, /Only one connector can open it/)
  assert.deepEqual(
    await system.execute('connector.revoke', { connector: second.status().connectorId }),
    { lostPasswords: 1 },
  )
  assert.match((await ana.open(system.url('forms'))).body, /It is lost/)
})

test('attack 65: a connector that was moved gives nothing of its former group to one of its new group', async (t) => {
  const { system } = await startForm(t)
  const ana = await system.signIn('ana', 'forms')
  await enterPassword(ana, system, 'forms', 'ana.inside', right)
  const second = await system.startConnector({ name: 'connector-2', allow: ['127.0.0.1:1'] })
  await announced(second)
  await system.execute('connector-group.create', { name: 'branch' })
  for (const connector of [system.connectors[0]!, second])
    await system.execute('connector.move', {
      connector: connector.status().connectorId,
      connectorGroup: 'branch',
    })
  await trustKey(system, second)
  const given = await resealFor({
    stateDir: join(system.dir, 'connector-1'),
    fingerprint: second.status().sealingKey.fingerprint,
    log: pino({ level: 'silent' }),
    resolve: async () => ['127.0.0.1'],
  })
  assert.deepEqual(given, { name: 'connector-2', added: 0 })
})

test('in a browser without script a person enters a password, by keyboard and in light and dark', async (t) => {
  const { system, scope } = await startForm(t)
  const browser = await launchBrowser(scope, { domain: system.domain })
  for (const colorScheme of ['light', 'dark'] as const) {
    const look = await newContext(browser, { colorScheme })
    const page = await look.newPage()
    await page.goto(system.url('apps'))
    await signInOnPage(page, 'ana', password)
    await page.getByRole('link', { name: 'Your passwords' }).click()
    assert.deepEqual(await findViolations(page), [])
    assert.equal(await sidewaysScroll(page), 0)
    await page.setViewportSize({ width: 320, height: 640 })
    assert.equal(await sidewaysScroll(page), 0)
    await look.close()
  }
  const context = await newContext(browser, { javaScriptEnabled: false })
  const page = await context.newPage()
  await page.goto(system.url('forms', '/deep'))
  await signInOnPage(page, 'ana', password)
  assert.match(page.url(), /\/passwords\?app=forms/)
  await page.getByLabel('User name in forms').fill('ana.inside')
  await page.keyboard.press('Tab')
  await page.keyboard.type(wrong)
  await Promise.all([page.waitForURL(/done=kept/), page.keyboard.press('Enter')])
  await page.getByRole('link', { name: 'Open forms' }).click()
  await page.waitForURL(/\/passwords\?app=forms/)
  assert.ok(await page.getByText('The application did not take it.').isVisible())
  await page.getByLabel('User name in forms').fill('ana.inside')
  await page.getByLabel('Password in forms').fill(right)
  await page.getByRole('button', { name: 'Keep', exact: true }).click()
  await page.getByRole('link', { name: 'Open forms' }).click()
  assert.ok(await page.getByRole('heading', { name: 'Hello ana.inside' }).isVisible())
  await page.goto(`https://login.${system.domain}:${system.port}/passwords`)
  await page.getByText('Change or forget').click()
  await page.getByRole('button', { name: 'Forget the password for forms' }).click()
  assert.ok(await page.getByText('Your password is forgotten.').isVisible())
})
