import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import {
  type Client,
  findFreePort,
  lastFirst,
  navigation,
  type System,
  startSystem,
} from '@sallyport/testkit'

interface Facts {
  clientId: string
  authorizationEndpoint: string
  tokenEndpoint: string
  userinfoEndpoint: string
}

interface Tokens {
  access_token: string
  refresh_token: string
  id_token: string
  error?: string
}

suite('attacks on applications that are OpenID clients', () => {
  const closers: (() => Promise<void> | void)[] = []
  const scope = lastFirst({ after: (close) => void closers.push(close) })
  let system: System
  const facts = new Map<string, Facts & { id: string; secret: string }>()

  before(async () => {
    // Nobody listens there, and no connector may dial it.
    const port = await findFreePort()
    system = await startSystem(scope, {
      applications: [
        { name: 'wages' },
        { name: 'desk' },
        { name: 'hidden', internalUrl: `http://127.0.0.1:${port}/` },
      ],
      users: ['ana', 'ben', 'eva'],
    })
    for (const name of ['wages', 'desk', 'hidden']) {
      const { id } = (await system.execute('app.update', {
        name,
        set: {
          signOn: {
            method: 'oidc',
            redirectUris: [system.url(name, '/callback')],
            backChannelLogoutUri: system.url(name, '/backchannel'),
            refreshTokens: true,
          },
        },
      })) as { id: string }
      const { secret } = (await system.execute('app.secret.create', { name })) as {
        secret: string
      }
      const shown = (await system.execute('app.oidc.show', { name })) as Facts
      facts.set(name, { ...shown, id, secret })
    }
  })
  after(async () => {
    for (const close of closers.reverse()) await close()
  })

  /** The code that an application gets of whoever the client is. */
  async function codeOf(client: Client, name: string): Promise<string> {
    const { clientId, authorizationEndpoint } = facts.get(name)!
    const query = new URLSearchParams({
      client_id: clientId,
      response_type: 'code',
      redirect_uri: system.url(name, '/callback'),
      scope: 'openid profile',
      state: 'x',
    })
    const { headers } = await client.get(`${authorizationEndpoint}?${query}`)
    return new URL(headers.location!).searchParams.get('code')!
  }

  /** The token request of an application's server. */
  async function token(name: string, form: Record<string, string>) {
    const { clientId, secret, tokenEndpoint } = facts.get(name)!
    const { status, body } = await system.client().fetch(tokenEndpoint, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' },
      body: new URLSearchParams({
        client_id: clientId,
        client_secret: secret,
        redirect_uri: system.url(name, '/callback'),
        grant_type: 'authorization_code',
        ...form,
      }).toString(),
    })
    return { status, tokens: JSON.parse(body) as Tokens }
  }

  async function userinfo(accessToken: string): Promise<number> {
    const { status } = await system.client().get(facts.get('wages')!.userinfoEndpoint, {
      headers: { authorization: `Bearer ${accessToken}` },
    })
    return status
  }

  const ownRecord = (name: string) =>
    system.nextRecord(({ decision, application }) => decision === 'own' && application === name)

  test('attack 34: what the gateway and an application are given is of no use to each other, nor to another application', async () => {
    const ana = await system.signIn('ana', 'wages')
    const wages = facts.get('wages')!
    const code = await codeOf(ana, 'wages')
    for (const [name, form] of [
      ['desk', { code }],
      ['desk', { code, redirect_uri: system.url('wages', '/callback') }],
      ['wages', { code, client_id: wages.id }],
      ['wages', { code, redirect_uri: system.url('wages', '/.sallyport/callback') }],
    ] as const)
      assert.ok((await token(name, form)).status >= 400, JSON.stringify(form))
    // At the callback of the gateway a code of the application signs nobody in.
    const stranger = system.client()
    const callback = system.url('wages', `/.sallyport/callback?code=${code}&state=x`)
    assert.equal((await stranger.get(callback, { headers: navigation })).status, 400)
    assert.equal((await stranger.get(system.url('wages'), { headers: navigation })).status, 302)
    assert.equal((await token('wages', { code })).status, 200)
  })

  test('attack 34: nobody outside begins a sign-in of the gateway that ends at the application', async () => {
    const ana = await system.signIn('ana', 'wages')
    const { id, authorizationEndpoint } = facts.get('wages')!
    for (const redirect_uri of [
      system.url('wages', '/callback'),
      system.url('wages', '/'),
      system.url('wages', '/.sallyport/signed-in'),
      system.url('desk', '/.sallyport/callback'),
    ]) {
      const query = new URLSearchParams({
        client_id: id,
        response_type: 'code',
        redirect_uri,
        scope: 'openid',
        state: 'x',
        code_challenge: 'A'.repeat(43),
        code_challenge_method: 'S256',
      })
      const answer = await ana.get(`${authorizationEndpoint}?${query}`)
      assert.equal(answer.status, 400)
      assert.equal(answer.headers.location, undefined)
    }
  })

  test('attack 43: access that ends, ends for what applications hold within the stated seconds', async () => {
    const ben = await system.signIn('ben', 'wages')
    const { tokens } = await token('wages', { code: await codeOf(ben, 'wages') })
    const code = await codeOf(ben, 'desk')
    assert.equal(await userinfo(tokens.access_token), 200)
    const told = Promise.all([ownRecord('wages'), ownRecord('desk')])
    await system.execute('user.disable', { userName: 'ben' })
    assert.equal(await userinfo(tokens.access_token), 401)
    assert.equal((await token('desk', { code })).tokens.error, 'invalid_grant')
    const refreshed = await token('wages', {
      grant_type: 'refresh_token',
      refresh_token: tokens.refresh_token,
    })
    assert.equal(refreshed.tokens.error, 'invalid_grant')
    for (const record of await told) assert.equal(record.statusCode, 200)
    await system.execute('user.enable', { userName: 'ben' })
    assert.equal(await userinfo(tokens.access_token), 401)
  })

  test('attack 37: nobody but the service tells an application that a session has ended', async () => {
    const origin = system.origin('wages')
    const before = origin.requests.length
    const stranger = system.client()
    const answer = await stranger.fetch(system.url('wages', '/backchannel'), {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: 'logout_token=x',
    })
    assert.equal(answer.status, 401)
    assert.equal(origin.requests.length, before)
  })

  test('attack 17: what the service tells an application has no field of anybody else', async () => {
    const eva = await system.signIn('eva', 'desk')
    await codeOf(eva, 'desk')
    const told = ownRecord('desk')
    await eva.fetch(system.url('desk', '/.sallyport/signout'), {
      method: 'POST',
      headers: {
        origin: system.url('desk').slice(0, -1),
        'sec-fetch-site': 'same-origin',
        'user-agent': 'tell-tale',
        'x-forwarded-for': '192.0.2.66',
        'content-length': '0',
      },
    })
    assert.equal((await told).statusCode, 200)
    const { requests } = system.origin('desk')
    const { method, url, headers, body } = requests.findLast((each) => each.url === '/backchannel')!
    assert.equal(`${method} ${url}`, 'POST /backchannel')
    assert.match(body, /^logout_token=[\w-]+\.[\w-]+\.[\w-]+$/)
    const names = Object.keys(headers).filter((name) => !/^(connection|via)$/.test(name))
    assert.deepEqual(names.toSorted(), [
      ...['content-length', 'content-type', 'host', 'x-forwarded-host', 'x-forwarded-port'],
      'x-forwarded-proto',
    ])
    const [, claims] = body.split('.')
    const said = JSON.parse(Buffer.from(claims!, 'base64url').toString()) as object
    assert.ok(!JSON.stringify(said).includes('eva'))
  })

  test('attack 68: the way to an application leads to it alone: no address that is not allowed, and no redirect', async () => {
    const eva = await system.signIn('eva', 'desk')
    await codeOf(eva, 'hidden')
    await codeOf(eva, 'wages')
    system.origin('wages').handler = (_, response) => {
      response.writeHead(307, { location: system.origin('desk').url }).end()
    }
    const desk = system.origin('desk').requests.length
    const told = Promise.all([ownRecord('hidden'), ownRecord('wages')])
    await system.execute('session.end-all', { userName: 'eva' })
    const [hidden, redirected] = await told
    assert.equal(hidden.reason, 'DESTINATION_FORBIDDEN')
    assert.equal(redirected.statusCode, 307)
    assert.equal(system.origin('desk').requests.length, desk)
    system.origin('wages').handler = undefined
  })

  test('attack 59: neither secrets nor codes nor tokens are in the access log', async () => {
    const ana = await system.signIn('ana', 'wages')
    const code = await codeOf(ana, 'wages')
    await ana.get(system.url('wages', `/callback?code=${code}&state=x`))
    const { tokens } = await token('wages', { code })
    const told = ownRecord('wages')
    await system.execute('session.end-all', { userName: 'ana' })
    await told
    const written = JSON.stringify([system.records, await system.execute('audit.list', {})])
    for (const secret of [code, facts.get('wages')!.secret, ...Object.values(tokens)].map(String))
      if (secret.length > 20) assert.ok(!written.includes(secret))
  })
})
