import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  applicationSchema,
  linkedApplicationSchema,
  parseDoorHost,
  toDoorHost,
  toProblems,
} from '../src/index.ts'

const id = '00000000-0000-4000-8000-000000000001'
const common = { id, name: 'hr', displayName: 'HR' }
const published = {
  ...common,
  externalUrl: 'https://hr.example.test/',
  internalUrl: 'http://hr.internal/',
}
const oidc = { method: 'oidc', redirectUris: ['https://hr.example.test/callback'] }
const saml = {
  method: 'saml',
  entityId: 'hr',
  assertionConsumerServices: [{ url: 'https://hr.example.test/acs' }],
}

/** Every URL of an application, with the field that it stands in. */
const fields: [field: string, write: (url: string) => Record<string, unknown>][] = [
  ['externalUrl', (externalUrl) => ({ ...published, externalUrl })],
  ['internalUrl', (internalUrl) => ({ ...published, internalUrl })],
  ['backChannelLogoutUrl', (backChannelLogoutUrl) => ({ ...published, backChannelLogoutUrl })],
  ['linkedUrl', (linkedUrl) => ({ ...common, linkedUrl })],
  ['signOn.redirectUris.0', (url) => ({ ...published, signOn: { ...oidc, redirectUris: [url] } })],
  [
    'signOn.postLogoutRedirectUris.0',
    (url) => ({ ...published, signOn: { ...oidc, postLogoutRedirectUris: [url] } }),
  ],
  [
    'signOn.backChannelLogoutUri',
    (backChannelLogoutUri) => ({ ...published, signOn: { ...oidc, backChannelLogoutUri } }),
  ],
  [
    'signOn.initiateLoginUri',
    (initiateLoginUri) => ({ ...published, signOn: { ...oidc, initiateLoginUri } }),
  ],
  [
    'signOn.assertionConsumerServices.0.url',
    (url) => ({ ...published, signOn: { ...saml, assertionConsumerServices: [{ url }] } }),
  ],
  [
    'signOn.singleLogoutService.url',
    (url) => ({ ...published, signOn: { ...saml, singleLogoutService: { url } } }),
  ],
  [
    'signOn.singleLogoutService.responseUrl',
    (responseUrl) => ({
      ...published,
      signOn: {
        ...saml,
        singleLogoutService: { url: 'https://hr.example.test/slo', responseUrl },
      },
    }),
  ],
  [
    'signOn.logoutSoapUrl',
    (logoutSoapUrl) => ({ ...published, signOn: { ...saml, logoutSoapUrl } }),
  ],
]

function problemsOf(application: Record<string, unknown>) {
  const schema = 'linkedUrl' in application ? linkedApplicationSchema : applicationSchema
  const read = schema.safeParse(application)
  return read.success ? [] : toProblems(read.error, schema)
}

for (const [field, write] of fields)
  test(`attack 32: no ${field} names a host that stands for messages through connectors`, () => {
    assert.deepEqual(problemsOf(write('https://hr.example.test/')), [])
    for (const host of [`${id}.connector.invalid`, 'connector.invalid', 'a.b.connector.invalid']) {
      const [problem, more] = problemsOf(write(`https://${host}/`))
      assert.equal(more, undefined)
      assert.equal(problem?.path, field, host)
      assert.match(problem.message, /connector\.invalid, which is reserved.*; name the host/)
    }
    // Other spellings may break another rule too.
    for (const host of [
      'X.Connector.INVALID',
      'x.connector.invalid.',
      'x.connector.invalid:8443',
      '*.connector.invalid',
      'x.connector%2einvalid',
      'x。connector。invalid',
    ])
      assert.notDeepEqual(problemsOf(write(`https://${host}/`)), [], host)
    for (const host of ['connector.invalid.example.test', 'my-connector.invalid'])
      assert.deepEqual(problemsOf(write(`https://${host}/`)), [], host)
  })

test('a message through a connector is for the application that its host names', () => {
  assert.equal(parseDoorHost(toDoorHost(id)), id)
  for (const host of ['connector.invalid', 'hr.example.test', `${id}-connector.invalid`])
    assert.equal(parseDoorHost(host), undefined)
})
