import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import {
  type Client,
  lastFirst,
  navigation,
  password,
  rawRequest,
  type System,
  startSystem,
  submitSignIn,
} from '@sallyport/testkit'

// Several people, tabs and hosts in one sign-in; and what is asked of the hosts that do it.
suite('attacks on a sign-in under way', () => {
  const closers: (() => Promise<void> | void)[] = []
  const scope = lastFirst({ after: (close) => void closers.push(close) })
  let system: System

  before(async () => {
    system = await startSystem(scope, { applications: [{ name: 'hr' }, { name: 'wiki' }] })
  })
  after(async () => {
    for (const close of closers.reverse()) await close()
  })

  const statusOf = async (name: string, cookie: string) =>
    (await rawRequest(system, name, ['GET / HTTP/1.1'], { cookie })).status

  /** Follows a sign-in up to the callback, which is not opened. */
  async function untilCallback(client: Client, url: string, userName: string): Promise<string> {
    const page = await client.open(url)
    const fetch = client.fetch.bind(client)
    let callback = ''
    client.fetch = async (target, options) => {
      if (!options?.follow) return fetch(target, options)
      let answer = await fetch(target, { ...options, follow: false })
      while (answer.headers.location !== undefined) {
        const next = new URL(answer.headers.location, answer.url).href
        if (next.includes('/.sallyport/callback')) {
          callback = next
          return answer
        }
        answer = await fetch(next, { headers: navigation })
      }
      return answer
    }
    await submitSignIn(client, page, userName, password)
    client.fetch = fetch
    assert.match(callback, /code=/)
    return callback
  }

  function withCode(callback: string, other: string): string {
    const url = new URL(callback)
    url.searchParams.set('code', new URL(other).searchParams.get('code')!)
    return url.href
  }

  test('attack 34: a code of one person put into the sign-in of another is worth nothing to either', async () => {
    const [victim, attacker] = [system.client(), system.client()]
    const own = await untilCallback(attacker, system.url('hr'), 'ben')
    const good = await untilCallback(victim, system.url('hr'), 'ana')
    assert.equal((await victim.get(withCode(good, own))).status, 400)
    assert.equal((await attacker.get(withCode(own, good))).status, 400)
    assert.equal((await victim.get(own)).status, 400)
    assert.equal(
      (await victim.get(own.replace(system.host('hr'), system.host('wiki')))).status,
      400,
    )
    assert.equal(victim.cookies.get(system.host('hr'))!.size, 1, 'the nonce, and no session')
    assert.equal((await victim.get(good)).status, 302)
  })

  test('attack 34: of twenty callbacks with one code, at once and with one cookie, one gets a session', async () => {
    const client = system.client()
    const callback = await untilCallback(client, system.url('hr'), 'ana')
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => {
        const copy = system.client()
        copy.cookies.set(system.host('hr'), new Map(client.cookies.get(system.host('hr'))))
        return copy.get(callback)
      }),
    )
    assert.equal(answers.filter(({ status }) => status === 302).length, 1)
    assert.equal(answers.filter(({ status }) => status === 400).length, 19)
  })

  test('attack 36: a second person who signs in in another tab ends the session of the first', async () => {
    const client = system.client()
    const first = await client.open(system.url('hr'))
    const second = await client.open(system.url('wiki'))
    assert.equal((await submitSignIn(client, first, 'ana', password)).status, 200)
    const ofAna = client.cookieHeader(system.host('hr'))
    assert.equal(await statusOf('hr', ofAna), 200)
    const answer = await submitSignIn(client, second, 'ben', password)
    assert.equal(answer.url, system.url('wiki'))
    assert.equal(system.records.at(-1)!.userName, 'ben')
    assert.equal(await statusOf('hr', ofAna), 401)
    // The form of another browser does nothing here.
    const ofBen = client.cookieHeader(system.host('wiki'))
    const third = await system.client().open(system.url('hr'))
    assert.equal((await submitSignIn(client, third, 'ana', password)).status, 400)
    assert.equal(await statusOf('wiki', ofBen), 200)
  })

  test('attack 37: what was begun before a sign-out ends with it', async () => {
    const client = await system.signIn('ana', 'hr')
    let answer = await client.get(system.url('wiki'), { headers: navigation })
    while (!answer.headers.location!.includes('/.sallyport/callback'))
      answer = await client.get(new URL(answer.headers.location!, answer.url).href, {
        headers: navigation,
      })
    const identityCookies = new Map(client.cookies.get(system.host('login')))
    await client.get(system.url('hr', '/.sallyport/signout'), {
      method: 'POST',
      headers: { origin: system.url('hr').slice(0, -1), 'sec-fetch-site': 'same-origin' },
    })
    assert.equal((await client.get(answer.headers.location!)).status, 400)
    // Nor does a copy of the cookies from before open anything.
    const copy = system.client()
    copy.cookies.set(system.host('login'), identityCookies)
    assert.match((await copy.open(system.url('hr'))).body, /type="password"/)
  })

  test('attack 37: nobody but the page itself signs a person out', async () => {
    const client = await system.signIn('ana', 'hr')
    const cookie = client.cookieHeader(system.host('hr'))
    const own = system.url('hr').slice(0, -1)
    for (const headers of [
      {},
      { origin: 'null' },
      { origin: `https://${system.host('hr')}` },
      { origin: `${own}.evil.test` },
      { origin: own.toUpperCase() },
      { origin: own, 'sec-fetch-site': 'same-site' },
      { 'sec-fetch-site': 'cross-site' },
      { 'sec-fetch-site': 'none' },
    ] as Record<string, string>[]) {
      const answer = await client.fetch(system.url('hr', '/.sallyport/signout'), {
        method: 'POST',
        headers,
      })
      assert.equal(answer.status, 403, JSON.stringify(headers))
    }
    assert.equal((await client.get(system.url('hr', '/.sallyport/signout'))).status, 200)
    for (const target of [
      '/.Sallyport/signout',
      '/.sallyport;x/signout',
      '/%2esallyport/signout',
      '/x/../.sallyport/signout',
      '//.sallyport/signout',
      '/.sallyport',
    ])
      assert.equal(
        (
          await rawRequest(system, 'hr', [`POST ${target} HTTP/1.1`, 'Content-Length: 0'], {
            cookie,
          })
        ).status,
        400,
        target,
      )
    assert.equal(await statusOf('hr', cookie), 200)
  })

  test('attack 32: a host that goes to another application takes no sign-in of the one before', async () => {
    const published = {
      displayName: 'moving',
      externalUrl: system.url('moving'),
      internalUrl: system.origin('hr').url,
      assignmentRequired: false,
    }
    await system.execute('app.create', { name: 'moving', ...published })
    const client = system.client()
    const callback = await untilCallback(client, system.url('moving'), 'ana')
    await system.execute('app.delete', { name: 'moving' })
    assert.equal((await client.get(callback)).status, 404)
    await system.execute('app.create', {
      name: 'moved',
      ...published,
      internalUrl: system.origin('wiki').url,
    })
    assert.equal((await client.get(callback)).status, 400)
    await system.execute('app.delete', { name: 'moved' })
  })

  test('attack 32: no request to the sign-in host is answered with what it says, or for another host', async () => {
    for (const target of [
      '/sign-in/%E0%22<script>alert(1)</script>',
      '/%zz<script>',
      '/sign-in/<script>',
      '/common/oauth2/v2.0/authorize?client_id=<script>&redirect_uri=javascript:alert(1)',
      '/common/oauth2/v2.0/authorize?client_id[]=<script>',
      '/common/oauth2/v2.0/logout?post_logout_redirect_uri=https://evil.test/&client_id=<script>&state=<script>',
      '//evil.test/%2e%2e',
      'https://evil.test/',
    ]) {
      const answer = await rawRequest(system, 'login', [`GET ${target} HTTP/1.1`])
      assert.doesNotMatch(answer.body, /<script>alert|evil\.test/, target)
      assert.doesNotMatch(
        answer.head,
        /\nlocation: (?!https:\/\/(?:login|apps)\.sallyport\.test:\d+\/)/i,
        target,
      )
      assert.match(answer.head, /\nx-content-type-options: nosniff/i, target)
      assert.match(answer.head, /\ncontent-security-policy: default-src 'none'/i, target)
      const elsewhere = await rawRequest(system, 'login', [`GET ${target} HTTP/1.1`], {
        host: 'evil.test',
      })
      assert.equal(elsewhere.status, 421, target)
    }
  })

  test('attack 41: a flood of sign-ins holds up neither a revocation nor who is signed in', async () => {
    const client = await system.signIn('ana', 'hr')
    const start = await system.client().get(system.url('hr'), { headers: navigation })
    const flood = Array.from({ length: 250 }, () =>
      system.client().get(start.headers.location!, { headers: navigation }),
    )
    const startedAt = performance.now()
    assert.equal((await client.get(system.url('hr'))).status, 200)
    await system.execute('user.disable', { userName: 'ben' })
    assert.ok(performance.now() - startedAt < 2_000)
    for (const { status } of await Promise.all(flood))
      assert.ok([303, 429].includes(status), String(status))
    await system.execute('user.enable', { userName: 'ben' })
  })
})
