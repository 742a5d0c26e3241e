import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import {
  type Client,
  lastFirst,
  navigation,
  password,
  type System,
  startSystem,
  submitSignIn,
} from '@sallyport/testkit'

/** How soon access must have ended everywhere. */
const limitMs = 2_000

suite('attacks with what one has got honestly', () => {
  const closers: (() => Promise<void> | void)[] = []
  const scope = lastFirst({ after: (close) => void closers.push(close) })
  let system: System
  let tenant: string

  before(async () => {
    system = await startSystem(scope, {
      applications: [{ name: 'hr' }, { name: 'wiki', assigned: ['ben'] }],
      users: ['ana', 'ben', 'eva'],
    })
    tenant = `/${system.service.control.tenantId}`
  })
  after(async () => {
    for (const close of closers.reverse()) await close()
  })

  test('attack 33: sign-out goes where it was asked to go by nobody', async () => {
    for (const to of [
      'https://evil.test/',
      '//evil.test',
      '/\\evil.test',
      'javascript:alert(1)',
      system.url('hr'),
      `${system.url('apps')}@evil.test/`,
      `https:evil.test`,
    ]) {
      const client = await system.signIn('ana', 'hr')
      const query = new URLSearchParams({ post_logout_redirect_uri: to, state: 'x' })
      const logout = system.url('login', `${tenant}/oauth2/v2.0/logout`)
      const asked = await client.get(`${logout}?${query}`, { headers: navigation })
      assert.equal(asked.status, 200)
      assert.doesNotMatch(asked.body, /evil\.test/)
      const xsrf = /name="xsrf" value="([^"]+)"/.exec(asked.body)![1]!
      const left = await client.fetch(`${logout}/confirm`, {
        method: 'POST',
        headers: {
          'content-type': 'application/x-www-form-urlencoded',
          origin: system.url('login').slice(0, -1),
          'sec-fetch-site': 'same-origin',
        },
        body: new URLSearchParams({ xsrf, logout: 'yes' }).toString(),
      })
      assert.equal(new URL(left.headers.location!).host, new URL(system.url('login')).host, to)
      assert.equal(new URL(left.headers.location!).search, '')
      const page = await client.get(system.url('hr', `/.sallyport/signout?${query}`), {
        headers: navigation,
      })
      assert.doesNotMatch(page.body, /evil\.test/)
      const done = await client.fetch(system.url('hr', `/.sallyport/signout?${query}`), {
        method: 'POST',
        headers: { origin: system.url('hr').slice(0, -1), 'sec-fetch-site': 'same-origin' },
      })
      assert.equal(done.status, 200)
      assert.equal(done.headers.location, undefined)
    }
  })

  test('attack 46: what proves one thing proves nothing anywhere else', async () => {
    const client = await system.signIn('ana', 'hr')
    const { token: enrolment } = (await system.execute('token.create', {
      connectorGroup: 'default',
      lifetimeMs: 600_000,
    })) as { token: string }
    const cookies = (host: string) => [...(client.cookies.get(system.host(host)) ?? [])]
    const [sessions] = [(await system.execute('session.list', { user: 'ana' })) as { id: string }[]]
    const secrets: [kind: string, value: string][] = [
      ...cookies('hr').map(([name, value]) => [`hr ${name}`, value] as [string, string]),
      ...cookies('login').map(([name, value]) => [`login ${name}`, value] as [string, string]),
      ['enrolment token', enrolment],
      ['session id', sessions[0]!.id],
      ['application id', system.service.control.snapshot().applications.keys().next().value!],
    ]
    const suffix = `-${system.port}`
    const places: [place: string, host: string, cookie: string][] = [
      ['hr session', 'hr', `__Host-sallyport${suffix}`],
      ['wiki session', 'wiki', `__Host-sallyport${suffix}`],
      ['portal session', 'apps', `__Host-sallyport${suffix}`],
      ['identity session', 'login', `__Host-sallyport-identity${suffix}`],
    ]
    let inPlace = 0
    for (const [kind, value] of secrets)
      for (const [place, host, name] of places) {
        const thief = system.client()
        thief.cookies.set(system.host(host), new Map([[name, value]]))
        const path = host === 'login' ? '/sessions' : '/'
        const answer = await thief.get(system.url(host, path))
        if (kind === `${host} ${name}`) {
          // In its own place each is good: so it is the place that is refused elsewhere.
          assert.equal(answer.status, 200, kind)
          assert.doesNotMatch(answer.body, /not signed in here/)
          inPlace += 1
          continue
        }
        if (host === 'login') assert.match(answer.body, /not signed in here/, `${kind} as ${place}`)
        else assert.equal(answer.status, 401, `${kind} as ${place}`)
      }
    assert.equal(inPlace, 2)
    // Nor as a bearer token, an authorization code, or a client secret.
    for (const [kind, value] of secrets) {
      const thief = system.client()
      const bearer = await thief.get(system.url('hr'), {
        headers: { authorization: `Bearer ${value}` },
      })
      assert.equal(bearer.status, 401, `${kind} as a bearer token`)
      for (const field of ['code', 'client_secret']) {
        const form = new URLSearchParams({
          grant_type: 'authorization_code',
          client_id: [...system.service.control.snapshot().applications.keys()][0]!,
          client_secret: 'x',
          code: 'x',
          code_verifier: 'x'.repeat(43),
          redirect_uri: system.url('hr', '/.sallyport/callback'),
          [field]: value,
        })
        const answer = await thief.fetch(system.url('login', `${tenant}/oauth2/v2.0/token`), {
          method: 'POST',
          headers: { 'content-type': 'application/x-www-form-urlencoded' },
          body: form.toString(),
        })
        assert.ok([400, 401].includes(answer.status), `${kind} as ${field}: ${answer.status}`)
        assert.doesNotMatch(answer.body, /id_token|access_token/)
      }
    }
  })

  test('attack 45: an id in a query, body or header is nobody', async () => {
    const client = await system.signIn('ana', 'hr')
    const ben = (await system.execute('user.show', { userName: 'ben' })) as { id: string }
    const recorded = system.nextRecord(({ application }) => application === 'hr')
    await client.get(system.url('hr', `/?userId=${ben.id}&sessionId=x&user=ben`), {
      headers: { 'x-user-id': ben.id, 'x-forwarded-user': 'ben', 'x-session-id': 'x' },
    })
    assert.equal((await recorded).userName, 'ana')
    const other = await client.open(system.url('wiki', `/?user=ben&userId=${ben.id}`))
    assert.equal(other.status, 403)
  })

  test('attack 43: access that ends, ends on HTTP within the stated seconds, on every host', async () => {
    const ends: [what: string, end: () => Promise<unknown>, undo: () => Promise<unknown>][] = [
      [
        'disabled',
        () => system.execute('user.disable', { userName: 'eva' }),
        () => system.execute('user.enable', { userName: 'eva' }),
      ],
      [
        'all sessions ended',
        () => system.execute('session.end-all', { userName: 'eva' }),
        async () => undefined,
      ],
      [
        'deleted',
        () => system.execute('user.delete', { userName: 'eva' }),
        async () => {
          await system.execute('user.create', { userName: 'eva', password })
          await system.execute('app.assign', { name: 'hr', user: 'eva' })
        },
      ],
    ]
    for (const [what, end, undo] of ends) {
      const client = await system.signIn('eva', 'hr')
      assert.equal((await client.open(system.url('apps'))).status, 200)
      const stopAt = performance.now() + limitMs
      await end()
      for (const host of ['apps', 'hr']) {
        let status = 200
        do status = (await client.get(system.url(host))).status
        while (status === 200 && performance.now() < stopAt)
        assert.equal(status, 401, `${what}: ${host}`)
      }
      assert.match((await client.get(system.url('login', '/sessions'))).body, /not signed in here/)
      await undo()
    }
  })

  test('attack 37: a sign-in page that is left alone leaves the session of before alone, and one that is used ends it', async () => {
    const client = await system.signIn('ana', 'hr')
    const before = new Map(client.cookies.get(system.host('hr')))
    const fresh = await client.get(system.url('hr'), { headers: { cookie: 'a=b', ...navigation } })
    const forced = new URL(fresh.headers.location!)
    forced.searchParams.set('prompt', 'login')
    const page = await client.open(forced.href)
    assert.match(page.body, /type="password"/)
    assert.equal((await client.get(system.url('hr'))).status, 200)
    await submitSignIn(client, page, 'ben', password)
    const thief: Client = system.client()
    thief.cookies.set(system.host('hr'), before)
    assert.equal((await thief.get(system.url('hr'))).status, 401)
  })
})

test('attack 67: a new service has no account, no default password, and no page that makes the first one', async (t) => {
  const system = await startSystem(t, { users: [], connectors: 0 })
  assert.deepEqual(await system.execute('user.list', {}), [])
  const client = system.client()
  for (const userName of ['admin', 'administrator', 'root', 'sallyport', 'user', 'test'])
    for (const secret of ['', 'admin', 'password', 'changeme', 'sallyport', userName]) {
      const page = await client.open(system.url('apps'))
      const { status } = await submitSignIn(client, page, userName, secret)
      assert.ok([422, 429].includes(status), `${userName} ${secret}: ${status}`)
    }
  for (const host of ['login', 'admin', 'apps', 'connect'])
    for (const path of [
      '/setup',
      '/install',
      '/register',
      '/signup',
      '/api/users',
      '/v1/commands/user.create',
    ]) {
      for (const method of ['GET', 'POST']) {
        const headers = { origin: system.url(host).slice(0, -1), 'sec-fetch-site': 'same-origin' }
        const asked = client.fetch(system.url(host, path), { method, headers })
        // No browser gets a connection to that host.
        if (host === 'connect') {
          await assert.rejects(asked)
          continue
        }
        const { status } = await asked
        assert.ok([302, 401, 404, 405].includes(status), `${method} ${host}${path}: ${status}`)
      }
    }
  assert.deepEqual(await system.execute('user.list', {}), [])
  // The token that lets a connector in is of an administrator, works once, and is not made anew.
  assert.deepEqual(await system.execute('connector.list', {}), [])
})
