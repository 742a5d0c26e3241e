import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import {
  type Answer,
  type Client,
  findFreePort,
  lastFirst,
  launchBrowser,
  MellonApplication,
  navigation,
  newProfile,
  OpenidcApplication,
  otherDomain,
  password,
  readForm,
  type Scope,
  type System,
  signInOnPage,
  startSystem,
  submitSignIn,
} from '@sallyport/testkit'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { startServiceProvider } from './support/saml.ts'

/** mod_auth_mellon and mod_auth_openidc, published on a domain that has nothing in common with that of the service. */
suite('sign-on on another site, in a browser', () => {
  let close: () => Promise<void>
  let system: System
  let browser: Browser
  let crm: string
  let wages: string
  let portal: string

  before(async () => {
    const scope = lastFirst({
      after: (run) => {
        close = async () => run()
      },
    })
    const ports = { crm: await findFreePort(), wages: await findFreePort() }
    const published = (name: keyof typeof ports) => ({
      name,
      onOtherSite: true,
      internalUrl: `http://127.0.0.1:${ports[name]}/`,
      set: { hostHeader: 'external' },
    })
    system = await startSystem(scope, {
      applications: [published('crm'), published('wages')],
      allow: Object.values(ports).map((port) => `127.0.0.1:${port}`),
    })
    crm = system.url('crm')
    wages = system.url('wages')
    portal = system.url('apps')
    await startServiceProvider(scope, system, { name: 'crm', port: ports.crm }, MellonApplication, {
      requireSignedRequests: true,
      attributes: [{ name: 'name', claim: 'displayName' }],
    })
    const redirectUris = [`${wages}oidc/callback`]
    await system.execute('app.update', {
      name: 'wages',
      set: { signOn: { method: 'oidc', redirectUris, claims: [] } },
    })
    const { clientId, secret } = (await system.execute('app.secret.create', { name: 'wages' })) as {
      clientId: string
      secret: string
    }
    const { discovery } = (await system.execute('app.oidc.show', { name: 'wages' })) as {
      discovery: string
    }
    await OpenidcApplication.start(scope, {
      port: ports.wages,
      externalUrl: wages,
      metadataUrl: discovery,
      ca: system.ca,
      clientId,
      clientSecret: secret,
      responseMode: 'form_post',
    })
    browser = await launchBrowser(scope, { domain: [system.domain, otherDomain] })
  })
  after(() => close())

  async function profile(t: Scope, options = {}): Promise<BrowserContext> {
    return newProfile(t, browser, options)
  }

  async function set(fields: Record<string, unknown>): Promise<void> {
    const { signOn } = (await system.execute('app.show', { name: 'crm' })) as { signOn: object }
    await system.execute('app.update', { name: 'crm', set: { signOn: { ...signOn, ...fields } } })
  }

  async function open(context: BrowserContext): Promise<Page> {
    const page = await context.newPage()
    await page.goto(crm)
    await signInOnPage(page, 'ana', password)
    await page.getByRole('heading', { name: 'Payroll of Ana Test' }).waitFor()
    return page
  }

  test('somebody who has signed in once is known to the application, and types nothing more', async (t) => {
    const context = await profile(t)
    const page = await context.newPage()
    await page.goto(portal)
    assert.ok(new URL(page.url()).hostname.endsWith(`.${system.domain}`))
    await signInOnPage(page, 'ana', password)
    await page.goto(`${crm}?week=12`)
    await page.getByRole('heading', { name: 'Payroll of Ana Test' }).waitFor()
    // RelayState has brought the person to where they wanted to be.
    assert.equal(page.url(), `${crm}?week=12`)
    assert.ok(new URL(crm).hostname.endsWith(`.${otherDomain}`))
    const forms = system.records.filter(({ path }) => path === '/.sallyport/form')
    assert.deepEqual(
      forms.map(({ statusCode }) => statusCode),
      [200],
    )
  })

  test('a tile of the portal signs on without being asked by the application', async (t) => {
    await set({ start: 'response' })
    const page = await (await profile(t)).newPage()
    await page.goto(portal)
    await signInOnPage(page, 'ana', password)
    await page.getByRole('link', { name: /crm/ }).click()
    await page.locator('#user', { hasText: /^ana$/ }).waitFor()
    await set({ start: 'application' })
  })

  test('the way on works without script, by a button, and is gone when it was used', async (t) => {
    const page = await (await profile(t, { javaScriptEnabled: false })).newPage()
    await page.goto(crm)
    await signInOnPage(page, 'ana', password)
    await page.getByRole('heading', { name: 'Signing you in' }).waitFor()
    assert.equal(new URL(page.url()).hostname, system.host('crm'))
    await page.getByRole('button', { name: 'Continue' }).click()
    await page.getByRole('heading', { name: 'Payroll of Ana Test' }).waitFor()
    await page.goBack()
    await page.getByRole('heading', { name: 'You are signed in already' }).waitFor()
  })

  test('signing out ends the session in the application', async (t) => {
    const context = await profile(t)
    const page = await open(context)
    const cookieOf = async () =>
      (await context.cookies(crm)).find(({ name }) => /mellon/i.test(name))?.value
    const cookie = await cookieOf()
    assert.match(cookie!, /^[0-9a-f]{32}/)
    await page.goto(portal)
    await page.getByRole('link', { name: 'Sign out' }).click()
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.getByRole('heading', { name: 'You are signed out' }).waitFor()
    assert.notEqual(await cookieOf(), cookie)
  })

  test('logging out in the application ends the session everywhere', async (t) => {
    const page = await open(await profile(t))
    await page.getByRole('link', { name: 'Log out' }).click()
    await page.getByLabel('User name').waitFor()
    await page.goto(portal)
    await page.getByLabel('User name').waitFor()
  })

  test('a code of OpenID Connect that comes by a form finds the session, too', async (t) => {
    const page = await (await profile(t)).newPage()
    await page.goto(wages)
    await signInOnPage(page, 'ana', password)
    await page.getByRole('heading', { name: 'Wages of ana' }).waitFor()
    assert.equal(page.url(), wages)
  })
})

/** As browsers go about SameSite=Lax: a form of another site brings no cookie. */
suite('sign-on by SAML on another site', () => {
  const scope = lastFirst({ after })
  let system: System
  let crm: string

  before(async () => {
    system = await startSystem(scope, {
      applications: [{ name: 'crm', onOtherSite: true }, { name: 'hr' }],
    })
    crm = system.url('crm')
    await system.execute('app.update', {
      name: 'crm',
      set: {
        signOn: {
          method: 'saml',
          entityId: 'urn:crm',
          assertionConsumerServices: [{ url: `${crm}acs` }],
          relayState: 'r&d',
          singleLogoutService: { url: `${crm}logout`, binding: 'post' },
        },
      },
    })
  })

  const isSibling = (url: string) => new URL(url).hostname.endsWith(`.${system.domain}`)

  async function sendForm(client: Client, page: Answer): Promise<Answer> {
    const { action, fields } = readForm(page.body)
    const isSameSite = isSibling(page.url) === isSibling(action)
    return client.fetch(action, {
      method: 'POST',
      headers: {
        ...navigation,
        'sec-fetch-site': isSameSite ? 'same-origin' : 'cross-site',
        origin: new URL(page.url).origin,
        'content-type': 'application/x-www-form-urlencoded',
        ...(isSameSite ? {} : { cookie: '' }),
      },
      body: new URLSearchParams(fields).toString(),
    })
  }

  async function startUrl(): Promise<string> {
    const { id } = (await system.execute('app.show', { name: 'crm' })) as { id: string }
    return system.url('login', `/common/saml2/start/${id}`)
  }

  /** The address of the form that a browser is sent to, which has not been opened. */
  async function formUrl(client: Client): Promise<string> {
    const { status, headers } = await client.get(await startUrl(), { headers: navigation })
    assert.equal(status, 303)
    return headers.location!
  }

  test('a response reaches the application with the session, and the session’s person', async () => {
    const client = await system.signIn('ana')
    // The host of the application has not been visited yet: it gets a session on the way.
    const page = await client.open(await startUrl())
    assert.equal(new URL(page.url).origin, new URL(crm).origin)
    const answer = await sendForm(client, page)
    assert.equal(answer.status, 200, answer.body)
    const seen = system.origin('crm').requests.at(-1)!
    assert.equal(`${seen.method} ${seen.url}`, 'POST /acs')
    const form = new URLSearchParams(seen.body)
    assert.equal(form.get('RelayState'), 'r&d')
    const xml = Buffer.from(form.get('SAMLResponse')!, 'base64').toString()
    assert.match(xml, /status:Success/)
    const record = await system.recordOf(({ path }) => path === '/acs')
    assert.equal(record.userName, 'ana')
    const [event] = (await system.execute('audit.list', { kind: 'saml-signed-on' })) as {
      actor: string
    }[]
    assert.equal(event!.actor, 'ana')
  })

  const countPosts = () =>
    system.origin('crm').requests.filter(({ method }) => method === 'POST').length

  test('attack 37: a form of somebody else’s sign-on is not shown in any other session', async () => {
    const eve = await system.signIn('ben', 'crm')
    const trap = await formUrl(eve)
    const sent = countPosts()
    const ana = await system.signIn('ana', 'crm')
    const visited = await ana.open(trap)
    assert.equal(visited.status, 400)
    assert.doesNotMatch(visited.body, /SAMLResponse/)
    const nobody = await system.client().open(trap)
    assert.match(nobody.body, /name="password"/)
    const signedIn = await submitSignIn(system.client(), nobody, 'ana', password)
    assert.doesNotMatch(signedIn.body, /SAMLResponse/)
    assert.equal(countPosts(), sent)
    // It was not used up by that, and is by this.
    assert.match((await eve.open(trap)).body, /SAMLResponse/)
    assert.doesNotMatch((await eve.open(trap)).body, /SAMLResponse/)
  })

  test('a message of sign-out by a form needs no session, on another site either', async () => {
    const ana = await system.signIn('ana', 'crm')
    await sendForm(ana, await ana.open(await startUrl()))
    const asked = await ana.open(system.url('crm', '/.sallyport/signout'))
    const page = await ana.fetch(asked.url, {
      method: 'POST',
      follow: true,
      headers: {
        ...navigation,
        origin: new URL(asked.url).origin,
        'sec-fetch-site': 'same-origin',
        'content-length': '0',
      },
    })
    assert.equal(new URL(page.url).hostname, system.host('login'))
    const answer = await sendForm(ana, page)
    assert.equal(answer.status, 200, answer.body)
    const seen = system.origin('crm').requests.at(-1)!
    assert.equal(`${seen.method} ${seen.url}`, 'POST /logout')
    assert.ok(new URLSearchParams(seen.body).has('SAMLRequest'))
  })

  test('attack 20: neither a response nor the way to it is in a log', async () => {
    const ana = await system.signIn('ana', 'crm')
    const url = await formUrl(ana)
    const id = new URL(url).searchParams.get('id')!
    const page = await ana.open(url)
    assert.equal((await sendForm(ana, page)).status, 200)
    const response = readForm(page.body).fields.SAMLResponse!
    const said = JSON.stringify([system.records, await system.execute('audit.list', {})])
    for (const secret of [id, response.slice(0, 200)]) assert.ok(!said.includes(secret))
    const toApplication = JSON.stringify(system.origin('crm').requests)
    assert.ok(!toApplication.includes(id))
  })

  test('a cookie on the host that is older than the session is renewed on the way', async () => {
    const ana = await system.signIn('ana', 'crm')
    const host = system.host('crm')
    const old = new Map(ana.cookies.get(host))
    // Signed in again, as on another tab whose cookies on `login.` were removed: both sessions live.
    ana.cookies.delete(system.host('login'))
    ana.cookies.delete(host)
    await system.signInWith(ana, 'ana', 'hr')
    ana.cookies.set(host, old)
    const page = await ana.open(await startUrl())
    assert.equal((await sendForm(ana, page)).status, 200)
  })
})
