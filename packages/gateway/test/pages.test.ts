import assert from 'node:assert/strict'
import test from 'node:test'
import { app, person, request, TestGateway } from './support/gateway.ts'

const host = 'hr.example.test'
const browser = { Accept: 'text/html,*/*;q=0.8', 'Sec-Fetch-Mode': 'navigate' }
const sameOrigin = { ...browser, 'Sec-Fetch-Site': 'same-origin', 'Content-Length': '0' }

/** Text and target of each link of a page. */
function linksOf(page: string): string[] {
  return [...page.matchAll(/<a [^>]*href="([^"]*)"[^>]*>([^<]*)</g)].map(
    ([, href, text]) => `${text} ${href}`,
  )
}

const portal = 'Your applications https://apps.example.test/'

test('signing out says that all has ended only when it has', async (t) => {
  const system = new TestGateway(t, { applications: [app('hr')] })
  const wire = system.connect()
  const cookie = system.cookie(person('ana'), host)
  const open = async (target: string, fields: Record<string, string>) => {
    wire.send(request(target, host, fields))
    return (await wire.response()).body
  }
  const path = '/.sallyport/signout'

  const unknown = await open(`POST ${path}`, sameOrigin)
  assert.match(unknown, /not signed in here/)
  assert.deepEqual(linksOf(unknown), [portal])
  assert.match(await open(path, browser), /not signed in here/)
  assert.deepEqual(system.identity.ended, [])

  const asked = await open(path, { ...browser, Cookie: cookie })
  assert.match(asked, /<form[^>]* method="post"/)
  assert.deepEqual(linksOf(asked), ['Stay signed in /'])
  assert.match(await open(`POST ${path}`, { ...sameOrigin, Cookie: cookie }), /You are signed out/)
  assert.deepEqual(system.identity.ended, ['session of ana'])

  system.gateway.apply({ kind: 'session-ended', sessionId: 'session of ana', at: system.nowAt })
  // Back again, or the other tab: there is nothing left to ask for.
  assert.match(await open(path, { ...browser, Cookie: cookie }), /You are signed out/)
})

test('no page of ours is an end: each leads on, and not to where nobody may go', async (t) => {
  const system = new TestGateway(t, {
    applications: [
      app('hr'),
      app('secret', {}, ['ben']),
      app('public', { preAuthentication: 'passthrough' }),
      app('deep', { externalUrl: 'https://deep.example.test/app/' }),
    ],
  })
  const wire = system.connect()
  for (const [target, name, statusCode, links] of [
    ['/', 'hr', 503, ['Try again ', portal]],
    ['/', 'secret', 403, [portal, 'Sign out /.sallyport/signout']],
    ['/', 'public', 503, ['Try again ']],
    ['/', 'deep', 404, ['Open the application /app/', portal]],
    ['/%2esallyport/x', 'hr', 400, ['Open the application /', portal]],
    ['/.sallyport/x', 'hr', 404, ['Open the application /', portal]],
    ['/.sallyport/callback', 'deep', 400, ['Open the application /app/', portal]],
    ['/.sallyport/callback', 'apps', 400, [portal]],
    ['/.sallyport/signed-in', 'deep', 200, ['Open the application here /app/']],
    ['/', 'unknown', 404, []],
    ['/.sallyport/x', 'unknown', 404, []],
  ] as [string, string, number, string[]][]) {
    const at = `${name}.example.test`
    wire.send(request(target, at, { ...browser, Cookie: system.cookie(person('ana'), at) }))
    const { statusCode: answered, body } = await wire.response()
    assert.equal(answered, statusCode, `${name} ${target}`)
    assert.deepEqual(linksOf(body), links, `${name} ${target}`)
  }
})

test('who asks for an unknown host is not told whose page answers', async (t) => {
  const system = new TestGateway(t, { applications: [app('hr')] })
  const wire = system.connect()
  wire.send(request('/', 'unknown.example.test', browser))
  assert.doesNotMatch((await wire.response()).body, /sallyport/i)
  wire.send(request('/%2esallyport/x', host, browser))
  assert.match((await wire.response()).body, /Sallyport/)
})

test('a page names application and person to who may know both, and the record has its ID', async (t) => {
  const system = new TestGateway(t, {
    applications: [app('hr', { displayName: 'People' }, ['ben'])],
  })
  const wire = system.connect()
  const ana = person('ana')
  ana.claims.displayName = 'Ana Lindqvist'
  wire.send(request('/', host, { ...browser, Cookie: system.cookie(ana, host) }))
  const { body } = await wire.response()
  assert.match(body, /<dd>People<\/dd>/)
  assert.match(body, /<dd>Ana Lindqvist \(ana@example\.test\)<\/dd>/)
  assert.ok(body.includes(`data-copy="${(await system.record(0)).id}"`))
})

test('what was sent is not promised to have arrived, and not offered to be sent blindly', async (t) => {
  const system = new TestGateway(t, { applications: [app('hr', { displayName: 'People' })] })
  const wire = system.connect()
  const cookie = system.cookie(person('ana'), host)
  wire.send(request('POST /', host, { ...sameOrigin, Cookie: cookie }))
  const lost = await wire.response()
  assert.equal(lost.statusCode, 503)
  assert.match(lost.body, /may not have arrived/)
  assert.deepEqual(linksOf(lost.body), [portal])
  wire.send(request('POST /', host, sameOrigin))
  const again = await wire.response()
  assert.equal(again.statusCode, 401)
  assert.match(again.body, /<strong>People<\/strong> has not received/)
  assert.deepEqual(linksOf(again.body), ['Sign in (new tab) /.sallyport/signin'])
})
