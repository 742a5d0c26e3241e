import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { oidcSecrets } from '@sallyport/store'
import { startTestControl } from './service.ts'

const externalUrl = 'https://pay.sallyport.localhost:8443/'
const internalUrl = 'http://pay.internal/'
const signOn = { method: 'oidc', redirectUris: [`${externalUrl}callback`] }
const base = { name: 'pay', externalUrl, internalUrl }

interface Made {
  id: string
  clientId: string
  secret: string
}

test('a secret is told once, kept as a hash, and written down nowhere', async (t) => {
  const service = await startTestControl(t)
  const { id } = await service.execute<{ id: string }>('app.create', { ...base, signOn })
  const made = await service.execute<Made>('app.secret.create', { name: 'pay' })
  assert.match(made.secret, /^[0-9a-f]{64}$/)
  assert.equal(made.clientId, `oidc.${id}`)
  const [stored] = await oidcSecrets.listOidcSecrets(service.store.db, id)
  assert.equal(stored?.secretHash, createHash('sha256').update(made.secret).digest('hex'))
  const said = JSON.stringify([
    await service.execute('app.secret.list', { name: 'pay' }),
    await service.execute('app.oidc.show', { name: 'pay' }),
    await service.execute('app.show', { name: 'pay' }),
    await service.execute('objects.export', {}),
    await service.execute('audit.list', {}),
    service.lines,
  ])
  for (const secret of [made.secret, stored.secretHash]) assert.ok(!said.includes(secret))
  await service.execute('app.delete', { name: 'pay' })
  assert.deepEqual(await oidcSecrets.listOidcSecrets(service.store.db, id), [])
})

test('an application has its ID in lower case, in which hosts come back that it is written in', async (t) => {
  const service = await startTestControl(t)
  const id = 'AB0E8400-E29B-41D4-A716-4466554400FF'
  for (const [command, more] of [
    ['app.create', { ...base, signOn }],
    ['app.create-linked', { name: 'link', linkedUrl: 'https://wiki.example.org/' }],
  ] as const) {
    const made = await service.execute<{ id: string }>(command, { ...more, id })
    assert.equal(made.id, id.toLowerCase())
    await service.execute('app.delete', { name: more.name })
  }
})

test('two secrets are there while one is changed, and never three', async (t) => {
  const service = await startTestControl(t)
  await service.execute('app.create', { ...base, signOn })
  const first = await service.execute<Made>('app.secret.create', { name: 'pay' })
  const second = await service.execute<Made>('app.secret.create', { name: 'pay' })
  assert.notEqual(first.secret, second.secret)
  await assert.rejects(service.execute('app.secret.create', { name: 'pay' }), { code: 'CONFLICT' })
  await service.execute('app.secret.delete', { name: 'pay', id: first.id })
  await assert.rejects(service.execute('app.secret.delete', { name: 'pay', id: first.id }), {
    code: 'NOT_FOUND',
  })
  const left = await service.execute<{ id: string }[]>('app.secret.list', { name: 'pay' })
  assert.deepEqual(
    left.map(({ id }) => id),
    [second.id],
  )
  for (const kind of ['created', 'deleted'])
    assert.ok((await service.auditKinds()).includes(`oidc-secret-${kind}`))
})

test('what an application has to be told is there to be read', async (t) => {
  const service = await startTestControl(t)
  const { id } = await service.execute<{ id: string }>('app.create', {
    ...base,
    signOn: { ...signOn, redirectUris: [`${internalUrl}callback`] },
  })
  const { tenantId } = service.control
  assert.deepEqual(await service.execute('app.oidc.show', { name: 'pay' }), {
    issuer: `https://login.sallyport.localhost:8443/${tenantId}/v2.0`,
    discovery: `https://login.sallyport.localhost:8443/${tenantId}/v2.0/.well-known/openid-configuration`,
    authorizationEndpoint: `https://login.sallyport.localhost:8443/${tenantId}/oauth2/v2.0/authorize`,
    tokenEndpoint: `https://login.sallyport.localhost:8443/${tenantId}/oauth2/v2.0/token`,
    userinfoEndpoint: `https://login.sallyport.localhost:8443/${tenantId}/oauth2/v2.0/userinfo`,
    revocationEndpoint: `https://login.sallyport.localhost:8443/${tenantId}/oauth2/v2.0/revoke`,
    endSessionEndpoint: `https://login.sallyport.localhost:8443/${tenantId}/oauth2/v2.0/logout`,
    jwksUri: `https://login.sallyport.localhost:8443/${tenantId}/discovery/v2.0/keys`,
    clientId: `oidc.${id}`,
    tokenEndpointAuthMethod: 'client_secret_basic',
    redirectUris: [`${externalUrl}callback`],
    postLogoutRedirectUris: [],
  })
})

test('an application of another method, or one that keeps no secret, gets none', async (t) => {
  const service = await startTestControl(t)
  await service.execute('app.create', base)
  for (const command of ['secret.list', 'secret.create', 'oidc.show'])
    await assert.rejects(service.execute(`app.${command}`, { name: 'pay' }), { code: 'CONFLICT' })
  await service.execute('app.update', {
    name: 'pay',
    set: { signOn: { ...signOn, tokenEndpointAuthMethod: 'none' } },
  })
  await assert.rejects(service.execute('app.secret.create', { name: 'pay' }), { code: 'CONFLICT' })
})

for (const [what, wrong, path] of [
  ['no redirect URI', { redirectUris: [] }, 'redirectUris'],
  ['a path', { redirectUris: ['/callback'] }, 'redirectUris.0'],
  ['another host', { redirectUris: ['https://evil.test/callback'] }, 'redirectUris.0'],
  [
    'a host of Sallyport',
    { redirectUris: ['https://login.sallyport.localhost:8443/callback'] },
    'redirectUris.0',
  ],
  [
    'another port',
    { redirectUris: ['https://pay.sallyport.localhost/callback'] },
    'redirectUris.0',
  ],
  [
    'the external host in the clear',
    { redirectUris: ['http://pay.sallyport.localhost:8443/callback'] },
    'redirectUris.0',
  ],
  ['the reserved path', { redirectUris: [`${externalUrl}.sallyport/callback`] }, 'redirectUris.0'],
  ['a wildcard', { redirectUris: [`${externalUrl}*`] }, 'redirectUris.0'],
  ['a fragment', { redirectUris: [`${externalUrl}callback#x`] }, 'redirectUris.0'],
  [
    'a user name',
    { redirectUris: ['https://a@pay.sallyport.localhost:8443/callback'] },
    'redirectUris.0',
  ],
  ['dot segments', { redirectUris: [`${externalUrl}a/../callback`] }, 'redirectUris.0'],
  ['an encoded slash', { redirectUris: [`${externalUrl}a%2fcallback`] }, 'redirectUris.0'],
  ['a backslash', { redirectUris: [`${externalUrl}a\\callback`] }, 'redirectUris.0'],
  ['a script', { redirectUris: ['javascript:alert(1)'] }, 'redirectUris.0'],
  ['one URI twice', { redirectUris: [`${externalUrl}a`, `${externalUrl}a`] }, 'redirectUris'],
  [
    'a way out of the application',
    { postLogoutRedirectUris: ['https://evil.test/'] },
    'postLogoutRedirectUris.0',
  ],
  [
    'a back channel to elsewhere',
    { backChannelLogoutUri: 'http://other.internal/logout' },
    'backChannelLogoutUri',
  ],
  [
    'a back channel to another port',
    { backChannelLogoutUri: 'http://pay.internal:22/logout' },
    'backChannelLogoutUri',
  ],
  ['a start elsewhere', { initiateLoginUri: 'https://evil.test/start' }, 'initiateLoginUri'],
  ['a claim of the provider', { claims: [{ name: 'sub', claim: 'mail' }] }, 'claims.0.name'],
  ['a claim that is none', { claims: [{ name: '__proto__', value: 'x' }] }, 'claims.0.name'],
  [
    'one claim twice',
    {
      claims: [
        { name: 'a', value: '1' },
        { name: 'a', claim: 'mail' },
      ],
    },
    'claims',
  ],
  ['an unknown field', { redirectURIs: [] }, 'redirectURIs'],
] as [string, object, string][])
  test(`settings with ${what} are refused by name`, async (t) => {
    const service = await startTestControl(t)
    await assert.rejects(
      service.execute('app.create', { ...base, signOn: { ...signOn, ...wrong } }),
      ({ problems }: { problems: { path: string }[] }) => {
        assert.deepEqual(
          problems.map((one) => one.path),
          [`signOn.${path}`],
        )
        return true
      },
    )
  })

test('attack 32: a URL of an application that a deeper path of another one takes is refused', async (t) => {
  const service = await startTestControl(t)
  await service.execute('app.create', { ...base, signOn })
  await assert.rejects(
    service.execute('app.create', {
      name: 'reports',
      externalUrl: `${externalUrl}callback/`,
      internalUrl: 'http://reports.internal/',
    }),
    ({ problems }: { problems: { path: string }[] }) => {
      assert.deepEqual(
        problems.map(({ path }) => path),
        ['applications.pay.signOn.redirectUris.0'],
      )
      return true
    },
  )
})

test('under a wildcard an application names the hosts that it has callbacks on', async (t) => {
  const service = await startTestControl(t)
  const wild = {
    name: 'wild',
    externalUrl: 'https://*.dev.sallyport.localhost:8443/',
    internalUrl: 'http://*.dev.internal/',
  }
  const redirectUris = ['https://a.dev.sallyport.localhost:8443/callback']
  await service.execute('app.create', { ...wild, signOn: { method: 'oidc', redirectUris } })
  for (const host of ['dev', 'a.b.dev', 'a.dev.sallyport.localhost.evil'])
    await assert.rejects(
      service.execute('app.update', {
        name: 'wild',
        set: {
          signOn: {
            method: 'oidc',
            redirectUris: [`https://${host}.sallyport.localhost:8443/callback`],
          },
        },
      }),
    )
})

test('files hold every setting, and come back as they were', async (t) => {
  const service = await startTestControl(t)
  const full = {
    ...signOn,
    postLogoutRedirectUris: [externalUrl],
    backChannelLogoutUri: `${internalUrl}callback?logout=backchannel`,
    initiateLoginUri: `${externalUrl}start`,
    tokenEndpointAuthMethod: 'client_secret_post',
    subject: 'objectId',
    claims: [
      { name: 'groups', claim: 'groups', transforms: [{ transform: 'toLowercase' }] },
      { name: 'email_verified', value: true },
    ],
    refreshTokens: true,
  }
  await service.execute('app.create', { ...base, signOn: full })
  const objects = await service.execute<Record<string, unknown>[]>('objects.export')
  const exported = objects.find(({ name }) => name === 'pay')!
  const { method: _, ...settings } = full
  assert.deepEqual(exported.singleSignOnSettings, { singleSignOnMode: 'oidc', ...settings })
  const { changes } = await service.execute<{ changes: unknown[] }>('objects.plan', { objects })
  assert.deepEqual(changes, [])
})
