import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import {
  type Client,
  navigation,
  password,
  rawRequest,
  type System,
  startSystem,
  submitSignIn,
} from '@sallyport/testkit'

suite('attacks on sign-in and sessions', () => {
  const closers: (() => Promise<void> | void)[] = []
  let system: System

  before(async () => {
    system = await startSystem(
      { after: (close) => void closers.push(close) },
      { applications: [{ name: 'hr' }, { name: 'wiki' }] },
    )
  })
  after(async () => {
    for (const close of closers.reverse()) await close()
  })

  const sessionCookieOf = (client: Client, name: string) =>
    [...client.cookies.get(system.host(name))!].find(
      ([cookie]) => cookie.startsWith('__Host-sallyport') && !cookie.includes('signin'),
    )!

  test('attack 32: whatever stands in the target, sign-in comes back to the same host', async () => {
    for (const target of [
      '//evil.test',
      '/\\evil.test',
      '/%5cevil.test',
      '//evil.test/%2e%2e',
      '/https:evil.test',
      '/https://good@evil.test',
      '/?to=//evil.test',
      '/javascript:alert(1)',
      '/data:text/html,x',
      '/%2f%2fevil.test',
      '/.//evil.test',
      '/@evil.test',
      `/${'a'.repeat(5_000)}`,
    ]) {
      const start = await rawRequest(system, 'hr', [
        `GET ${target} HTTP/1.1`,
        ...Object.entries(navigation).map(([name, value]) => `${name}: ${value}`),
      ])
      if (start.status === 400) continue
      assert.equal(start.status, 302, target)
      const location = /^location: (.*)$/im.exec(start.head)![1]!.trim()
      assert.equal(new URL(location).host, `${system.host('login')}:${system.port}`)
      assert.equal(
        new URL(location).searchParams.get('redirect_uri'),
        system.url('hr', '/.sallyport/callback'),
      )
      const client = system.client()
      const nonce = /^set-cookie: ([^=]+)=([^;]+)/im.exec(start.head)!
      client.cookies.set(system.host('hr'), new Map([[nonce[1]!, nonce[2]!]]))
      const page = await client.open(location)
      const answer = await submitSignIn(client, page, 'ana', password)
      assert.equal(new URL(answer.url).host, `${system.host('hr')}:${system.port}`, target)
      assert.ok(!answer.url.includes('/.sallyport/'), `${target} ended at ${answer.url}`)
    }
  })

  test('attack 32: the provider redirects to nothing but callbacks of published hosts', async () => {
    const client = system.client()
    const page = await client.get(system.url('hr'), { headers: navigation })
    const authorize = new URL(page.headers.location!)
    for (const uri of [
      'https://evil.test/.sallyport/callback',
      `https://${system.host('hr')}:${system.port}@evil.test/.sallyport/callback`,
      system.url('wiki', '/.sallyport/callback'),
      system.url('hr', '/.sallyport/callback/'),
      system.url('hr', '/.sallyport/callback?x'),
      system.url('hr', '/.sallyport/callback#x'),
      system.url('hr', '/%2esallyport/callback'),
      system.url('hr', '/x/../.sallyport/callback'),
      `http://${system.host('hr')}:${system.port}/.sallyport/callback`,
      `https://${system.host('hr')}/.sallyport/callback`,
      `//${system.host('hr')}:${system.port}/.sallyport/callback`,
      'javascript:alert(1)',
      'data:text/html,x',
      '',
    ]) {
      authorize.searchParams.set('redirect_uri', uri)
      const answer = await client.get(authorize.href, { headers: navigation })
      assert.equal(
        answer.status,
        400,
        `${uri} answered ${answer.status} ${answer.headers.location ?? ''}`,
      )
      assert.equal(answer.headers.location, undefined)
    }
  })

  test('attack 32: a callback works once, in the browser and on the host where it was begun', async () => {
    const client = system.client()
    const page = await client.open(system.url('hr', '/deep?x=1'))
    // Up to the callback, which another browser then gets.
    const stop = await submitUntilCallback(client, page)
    const count = system.origin('hr').requests.length
    const thief = system.client()
    assert.equal((await thief.get(stop)).status, 400)
    const elsewhere = stop.replace(system.host('hr'), system.host('wiki'))
    assert.equal((await client.get(elsewhere)).status, 400)
    for (const changed of [
      stop.replace(/code=[^&]*/, 'code=x'),
      stop.replace(/state=[^&]*/, 'state=x'),
      stop.replace(/state=([^&]*)/, 'state=$1A'),
      stop.replace(/state=/, 'state=x&state='),
    ])
      assert.equal((await client.get(changed)).status, 400, changed)
    assert.equal(system.origin('hr').requests.length, count)
    const done = await client.get(stop)
    assert.equal(done.status, 302)
    assert.equal(done.headers.location, system.url('hr', '/deep?x=1'))
    client.cookies.get(system.host('hr'))!.delete(sessionCookieOf(client, 'hr')[0])
    assert.equal((await client.get(stop)).status, 400, 'a code is good once')
  })

  async function submitUntilCallback(
    client: Client,
    page: { url: string; body: string },
  ): Promise<string> {
    const original = client.fetch.bind(client)
    let callback = ''
    client.fetch = async (url, options) => {
      if (!options?.follow) return original(url, options)
      let answer = await original(url, { ...options, follow: false })
      while ([302, 303].includes(answer.status)) {
        const next = new URL(answer.headers.location!, answer.url).href
        if (next.includes('/.sallyport/callback')) {
          callback = next
          return answer
        }
        answer = await original(next, { headers: navigation })
      }
      return answer
    }
    await submitSignIn(client, page, 'ana', password)
    client.fetch = original
    assert.match(callback, /callback\?/)
    return callback
  }

  test('attack 38: the cookie is host-only, secure and not for scripts; several or odd ones are no session', async () => {
    const client = system.client()
    const page = await client.open(system.url('hr'))
    const callback = await submitUntilCallback(client, page)
    const done = await client.get(callback)
    for (const line of done.headers['set-cookie']!) {
      assert.match(line, /^__Host-sallyport/)
      assert.match(line, /; Secure/)
      assert.match(line, /; HttpOnly/)
      assert.match(line, /; Path=\//)
      assert.match(line, /; SameSite=(Lax|Strict)/)
      assert.doesNotMatch(line, /domain/i)
    }
    const [name, value] = sessionCookieOf(client, 'hr')
    const origin = system.origin('hr')
    origin.requests.length = 0
    for (const cookie of [
      `${name}=${value}; ${name}=${value}`,
      `${name}=x; ${name}=${value}`,
      `${name}=`,
      name,
      `${name}_99999999=${value}`,
      `${name}.0=${value.slice(0, 50)}; ${name}.1=${value.slice(50)}`,
      `${name}="${value}"`,
      `${name}=${'A'.repeat(30_000)}`,
      `x${name}=${value}`,
    ]) {
      const { status } = await rawRequest(system, 'hr', ['GET / HTTP/1.1'], { cookie })
      assert.equal(status, 401, cookie.slice(0, 60))
    }
    assert.deepEqual(origin.requests, [])
  })

  test('attack 39: a cookie that we did not seal for this host, now, never touches the origin', async () => {
    const client = await system.signIn('ana', 'hr')
    const [name, value] = sessionCookieOf(client, 'hr')
    const origin = system.origin('hr')
    origin.requests.length = 0
    const last = value.at(-1) === 'A' ? 'B' : 'A'
    const changed = [
      value.slice(0, -1),
      value.slice(0, 40),
      `${value.slice(0, -1)}${last}`,
      `${value}A`,
      value.replace('v1.', 'v2.'),
      value.replace('v1.', ''),
      value.replace(/^v1\.[^.]+/, 'v1.0'),
      value.replace(/^v1\.[^.]+/, 'v1.__proto__'),
      `v1.1.${'A'.repeat(200)}`,
      `v1.1.${Buffer.alloc(100).toString('base64url')}`,
      value.toUpperCase(),
      'null',
      '{}',
      `${value}=`,
    ]
    for (let at = 5; at < value.length; at += 17)
      changed.push(value.slice(0, at) + (value[at] === 'x' ? 'y' : 'x') + value.slice(at + 1))
    for (const cookie of changed) {
      const { status } = await rawRequest(system, 'hr', ['GET / HTTP/1.1'], {
        cookie: `${name}=${cookie}`,
      })
      assert.equal(status, 401, cookie)
    }
    assert.equal(
      (await rawRequest(system, 'wiki', ['GET / HTTP/1.1'], { cookie: `${name}=${value}` })).status,
      401,
    )
    // Sealed by us, but for a moment that has not come, and for one that has passed.
    const { gateway } = system.service
    const session = await gateway.options.identity.readSession(
      gateway.sessionCookies.open(value, system.host('hr'))!.sessionId,
    )
    const nowAt = Date.now()
    for (const sealedAt of [nowAt + 7_200_000, nowAt - 7_200_000]) {
      const sealed = gateway.sessionCookies.seal(session!, system.host('hr'), sealedAt).value
      const { status } = await rawRequest(system, 'hr', ['GET / HTTP/1.1'], {
        cookie: `${name}=${sealed}`,
      })
      assert.equal(status, 401)
    }
    assert.deepEqual(origin.requests, [])
    assert.equal((await client.get(system.url('hr'))).status, 200)
  })

  test('a request without a session is redirected only when a page is opened', async () => {
    const count = system.origin('hr').requests.length
    const client = system.client()
    const opened = await client.get(system.url('hr', '/x?y=1'), { headers: navigation })
    assert.equal(opened.status, 302)
    const posted = await client.get(system.url('hr', '/form'), {
      method: 'POST',
      headers: { ...navigation, 'content-type': 'application/x-www-form-urlencoded' },
      body: 'a=b',
    })
    assert.equal(posted.status, 401)
    assert.match(posted.headers['content-type']!, /text\/html/)
    assert.match(posted.body, /\/\.sallyport\/signin/)
    for (const headers of [
      { accept: '*/*' },
      { accept: 'text/html', 'sec-fetch-mode': 'cors' },
      { accept: 'text/html', 'x-requested-with': 'XMLHttpRequest' },
    ]) {
      const fetched = await client.get(system.url('hr', '/api'), { headers })
      assert.equal(fetched.status, 401)
      assert.ok(fetched.headers['www-authenticate'])
      assert.equal(JSON.parse(fetched.body).error.code, 'SIGN_IN_REQUIRED')
    }
    assert.equal(system.origin('hr').requests.length, count)
  })

  test('signing out on one application ends the session on all of them', async () => {
    const client = await system.signIn('ana', 'hr')
    assert.equal((await client.open(system.url('wiki'))).status, 200)
    const foreign = await client.get(system.url('hr', '/.sallyport/signout'), {
      method: 'POST',
      headers: { origin: system.url('wiki').slice(0, -1), 'sec-fetch-site': 'same-site' },
    })
    assert.equal(foreign.status, 403)
    assert.equal((await client.get(system.url('hr'))).status, 200)
    const out = await client.get(system.url('hr', '/.sallyport/signout'), {
      method: 'POST',
      headers: {
        origin: system.url('hr').slice(0, -1),
        'sec-fetch-site': 'same-origin',
        accept: 'text/html',
      },
    })
    assert.equal(out.status, 200)
    assert.equal((await client.get(system.url('wiki'))).status, 401)
    assert.equal((await client.get(system.url('hr'))).status, 401)
    // The sign-in page asks for the password again.
    assert.match((await client.open(system.url('hr'))).body, /type="password"/)
  })
})
