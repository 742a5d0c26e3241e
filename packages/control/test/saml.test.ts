import assert from 'node:assert/strict'
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import { test } from 'node:test'
import { openKeyFile } from '@sallyport/control'
import { saml } from '@sallyport/store'
import { startTestControl, type TestControl } from './service.ts'

const externalUrl = 'https://pay.sallyport.localhost:8443/'
const signOn = {
  method: 'saml',
  entityId: `${externalUrl}saml`,
  assertionConsumerServices: [{ url: `${externalUrl}acs` }],
}
const base = { name: 'pay', externalUrl, internalUrl: 'http://pay.internal/' }

interface Facts {
  id: string
  state: string
  notAfterAt: number
  fingerprint: string
}

const list = (service: TestControl) =>
  service.execute<Facts[]>('app.certificate.list', { name: 'pay' })

test('an application that signs people on by SAML has a key when its administrator is told so', async (t) => {
  const service = await startTestControl(t)
  const { id } = await service.execute<{ id: string }>('app.create', { ...base, signOn })
  const [facts, more] = await list(service)
  assert.equal(more, undefined)
  assert.equal(facts?.state, 'signs')
  const [stored] = await saml.listCertificates(service.store.db, id)
  const certificate = new X509Certificate(stored!.certificate)
  assert.match(certificate.subject, /CN=SAML signing for pay/)
  assert.ok(Math.abs(facts!.notAfterAt - service.now() - 3 * 365 * 86_400_000) < 60_000)
  // It is sealed, and it is the key of the certificate.
  assert.ok(!stored!.sealedKey.includes('PRIVATE'))
  const key = openKeyFile(join(service.dataDir, 'key')).open('saml-signing-key', stored!.sealedKey)
  assert.ok(certificate.checkPrivateKey(createPrivateKey({ key, format: 'der', type: 'pkcs8' })))
  const again = await service.restart()
  assert.deepEqual(await list(again), [facts])
  await again.execute('app.delete', { name: 'pay' })
  assert.deepEqual(await saml.listCertificates(again.store.db, id), [])
})

test('one of several certificates signs, and that one cannot be deleted', async (t) => {
  const service = await startTestControl(t)
  await service.execute('app.create', { ...base, signOn })
  const [first] = await list(service)
  const second = await service.execute<Facts>('app.certificate.create', { name: 'pay' })
  assert.equal(second.state, 'announced')
  assert.notEqual(second.fingerprint, first!.fingerprint)
  await service.execute('app.certificate.create', { name: 'pay' })
  await assert.rejects(service.execute('app.certificate.create', { name: 'pay' }), {
    code: 'CONFLICT',
  })
  await service.execute('app.certificate.activate', { name: 'pay', id: second.id })
  const states = (await list(service)).map(({ id, state }) => [id === second.id, state])
  assert.deepEqual(states, [
    [true, 'signs'],
    [false, 'announced'],
    [false, 'announced'],
  ])
  await assert.rejects(service.execute('app.certificate.delete', { name: 'pay', id: second.id }), {
    code: 'CONFLICT',
  })
  await service.execute('app.certificate.delete', { name: 'pay', id: first!.id })
  assert.equal((await list(service)).length, 2)
  await assert.rejects(
    service.execute('app.certificate.activate', { name: 'pay', id: first!.id }),
    { code: 'NOT_FOUND' },
  )
  for (const kind of ['created', 'activated', 'deleted'])
    assert.ok((await service.auditKinds()).includes(`saml-certificate-${kind}`))
})

test('an application of another method has no certificates', async (t) => {
  const service = await startTestControl(t)
  await service.execute('app.create', base)
  for (const command of ['list', 'create'])
    await assert.rejects(service.execute(`app.certificate.${command}`, { name: 'pay' }), {
      code: 'CONFLICT',
    })
})

for (const [what, wrong, path] of [
  ['no consumer', { assertionConsumerServices: [] }, 'signOn.assertionConsumerServices'],
  [
    'a consumer in the clear',
    { assertionConsumerServices: [{ url: 'http://elsewhere.test/' }] },
    'signOn.assertionConsumerServices.0.url',
  ],
  [
    'a script for a consumer',
    { assertionConsumerServices: [{ url: 'javascript:alert(1)' }] },
    'signOn.assertionConsumerServices.0.url',
  ],
  ['an entity ID with a blank', { entityId: 'a b' }, 'signOn.entityId'],
  ['a certificate that is none', { requestCertificates: ['x'] }, 'signOn.requestCertificates.0'],
  [
    'one attribute twice',
    {
      attributes: [
        { name: 'a', value: '1' },
        { name: 'a', value: '2' },
      ],
    },
    'signOn.attributes',
  ],
  ['an unknown field', { entityID: 'x' }, 'signOn.entityID'],
] as const)
  test(`settings with ${what} are refused by name`, async (t) => {
    const service = await startTestControl(t)
    await assert.rejects(
      service.execute('app.create', { ...base, signOn: { ...signOn, ...wrong } }),
      ({ problems }: { problems: { path: string }[] }) => {
        assert.deepEqual(
          problems.map((one) => one.path),
          [path],
        )
        return true
      },
    )
  })

test('two applications cannot have one entity ID', async (t) => {
  const service = await startTestControl(t)
  await service.execute('app.create', { ...base, signOn })
  await assert.rejects(
    service.execute('app.create', {
      ...base,
      name: 'wages',
      externalUrl: 'https://wages.sallyport.localhost:8443/',
      signOn,
    }),
    ({ problems }: { problems: { path: string; message: string }[] }) => {
      assert.deepEqual(problems, [
        { path: 'signOn.entityId', message: 'is already used by the application pay' },
      ])
      return true
    },
  )
})

test('files say all of it, and what is exported is applied without a change', async (t) => {
  const service = await startTestControl(t)
  const { method: _, ...fields } = signOn
  const object = {
    kind: 'application',
    ...base,
    singleSignOnSettings: {
      singleSignOnMode: 'saml',
      ...fields,
      nameId: { format: 'persistent' },
      sign: 'both',
      attributes: [{ name: 'groups', nameFormat: 'basic', claim: 'groups' }],
      singleLogoutService: { url: 'http://pay.internal/out', binding: 'post' },
    },
  }
  await service.execute('objects.apply', { objects: [object] })
  const objects =
    await service.execute<{ kind: string; singleSignOnSettings?: object }[]>('objects.export')
  const exported = objects.find(({ kind }) => kind === 'application')
  assert.deepEqual(exported?.singleSignOnSettings, {
    ...object.singleSignOnSettings,
    requestCertificates: [],
    requireSignedRequests: false,
    encryptionAlgorithm: 'aes256-gcm',
    start: 'application',
  })
  const { changes } = await service.execute<{ changes: unknown[] }>('objects.plan', { objects })
  assert.deepEqual(changes, [])
  assert.equal((await list(service)).length, 1)
})
