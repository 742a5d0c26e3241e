import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SAML, type SamlConfig, ValidateInResponseTo } from '@node-saml/node-saml'
import {
  buildFailure,
  buildResponse,
  offersNameId,
  toAttributes,
  toNameId,
} from '../src/saml/index.ts'
import {
  addressing,
  audience,
  claims,
  decode,
  idp,
  issuer,
  nowAt,
  recipient,
  signOn,
  sp,
  statement,
  verifiesWithXmlsec,
} from './support/saml.ts'

/** A service provider of other people's making. */
function nodeSaml(more: Partial<SamlConfig> = {}): SAML {
  return new SAML({
    issuer: audience,
    audience,
    callbackUrl: recipient,
    entryPoint: 'https://login.example.test/saml2',
    idpCert: idp.certificatePem,
    idpIssuer: issuer,
    wantAuthnResponseSigned: false,
    wantAssertionsSigned: true,
    validateInResponseTo: ValidateInResponseTo.never,
    ...more,
  })
}

const everything = {
  nameId: { format: 'unspecified' },
  attributes: [
    { name: 'name', claim: 'displayName' },
    { name: 'groups', nameFormat: 'basic', claim: 'groups' },
    { name: 'site', nameFormat: 'uri', value: 'north' },
  ],
}

test('attributes carry claims with all their values, and constants', () => {
  assert.deepEqual(toAttributes(signOn(everything), claims), [
    {
      name: 'name',
      nameFormat: 'urn:oasis:names:tc:SAML:2.0:attrname-format:unspecified',
      values: ['Ana Lindqvist'],
    },
    {
      name: 'groups',
      nameFormat: 'urn:oasis:names:tc:SAML:2.0:attrname-format:basic',
      values: ['engineers', 'a;admins'],
    },
    {
      name: 'site',
      nameFormat: 'urn:oasis:names:tc:SAML:2.0:attrname-format:uri',
      values: ['north'],
    },
  ])
})

test('a claim that a person does not have gives no attribute', () => {
  const given = toAttributes(signOn(), { ...claims, mail: undefined })
  assert.deepEqual(
    given?.map(({ values }) => values),
    [['ana'], ['Ana Lindqvist'], [claims.objectId]],
  )
})

test('attack 22: of somebody in more groups than an assertion can hold there are no attributes', () => {
  const groups = (count: number) =>
    Array.from({ length: count }, (_, index) => ({ id: `${index}`, name: `group ${index}` }))
  const valuesOf = (count: number) =>
    toAttributes(signOn(everything), { ...claims, groups: groups(count) })?.flatMap(
      ({ values }) => values,
    ).length
  assert.equal(valuesOf(998), 1_000)
  assert.equal(valuesOf(999), undefined)
})

for (const sign of ['assertion', 'response', 'both'] as const)
  test(`xmlsec1 verifies what is signed when sign is ${sign}`, () => {
    const response = decode(
      buildResponse(
        addressing,
        statement({ attributes: toAttributes(signOn(everything), claims)! }),
        signOn({ sign }),
        idp,
      ),
    )
    for (const [element, signed] of [
      ['Response', sign !== 'assertion'],
      ['Assertion', sign !== 'response'],
    ] as const) {
      const found = /<\/saml:Issuer><ds:Signature/g
      assert.equal(response.match(found)?.length, sign === 'both' ? 2 : 1)
      assert.equal(verifiesWithXmlsec(response, element), signed)
    }
    const changed = response.replace('Ana Lindqvist', 'Eve Lindqvist')
    assert.equal(
      verifiesWithXmlsec(changed, sign === 'assertion' ? 'Assertion' : 'Response'),
      false,
    )
  })

for (const sign of ['assertion', 'response', 'both'] as const)
  for (const encryptionAlgorithm of [undefined, 'aes256-gcm', 'aes256-cbc'] as const)
    test(`node-saml signs a person on: sign ${sign}, encryption ${encryptionAlgorithm ?? 'none'}`, async () => {
      const settings = signOn({
        sign,
        ...(encryptionAlgorithm
          ? { encryptionAlgorithm, encryptionCertificate: sp.certificatePem }
          : {}),
      })
      const response = buildResponse(
        addressing,
        statement({ attributes: toAttributes(signOn(everything), claims)! }),
        settings,
        idp,
      )
      assert.equal(decode(response).includes('Lindqvist'), encryptionAlgorithm === undefined)
      const { profile } = await nodeSaml({
        wantAssertionsSigned: sign !== 'response',
        wantAuthnResponseSigned: sign !== 'assertion',
        decryptionPvk: sp.keyPem,
      }).validatePostResponseAsync({ SAMLResponse: response })
      assert.equal(profile?.nameID, 'ana')
      assert.equal(profile?.sessionIndex, '_session')
      assert.equal(profile?.issuer, issuer)
      assert.deepEqual(profile?.attributes, {
        name: 'Ana Lindqvist',
        groups: ['engineers', 'a;admins'],
        site: 'north',
      })
    })

test('a name arrives as it is, whatever markup it is made of', async () => {
  const odd = `<b>"O'Brien" & co</b>\r\n\t<!-- --> ]]> &amp; \u{1f600} end`
  const response = buildResponse(
    addressing,
    statement({
      nameId: { value: 'ana<!-- -->@example.test', format: 'emailAddress' },
      attributes: [{ name: 'name', nameFormat: 'urn:x:"&<', values: [odd] }],
    }),
    signOn({ sign: 'both' }),
    idp,
  )
  assert.ok(verifiesWithXmlsec(decode(response), 'Assertion'))
  const { profile } = await nodeSaml().validatePostResponseAsync({ SAMLResponse: response })
  assert.equal(profile?.nameID, 'ana<!-- -->@example.test')
  assert.deepEqual(profile?.attributes, { name: odd })
})

test('what no document can hold does not break the response, and names nobody', () => {
  const response = decode(
    buildResponse(
      addressing,
      statement({ attributes: [{ name: 'n', nameFormat: 'u', values: ['a\u0000b\ud800c'] }] }),
      signOn(),
      idp,
    ),
  )
  assert.match(response, /a\ufffdb\ufffdc/)
  assert.ok(verifiesWithXmlsec(response, 'Assertion'))
  assert.equal(
    toNameId(signOn(), undefined, { ...claims, userName: 'ana\u0000' }, Buffer.alloc(32)),
    undefined,
  )
})

test('a response is for one service provider, one place, one request and five minutes', () => {
  const response = decode(buildResponse(addressing, statement(), signOn(), idp))
  assert.match(
    response,
    /<saml:Audience>https:\/\/hr\.example\.test\/saml\/metadata<\/saml:Audience>/,
  )
  assert.match(
    response,
    /Recipient="https:\/\/hr\.example\.test\/saml\/acs" InResponseTo="_request"/,
  )
  assert.match(
    response,
    /Destination="https:\/\/hr\.example\.test\/saml\/acs" InResponseTo="_request"/,
  )
  assert.ok(response.includes(`NotOnOrAfter="${new Date(nowAt + 300_000).toISOString()}"`))
  assert.doesNotMatch(
    decode(buildResponse({ ...addressing, inResponseTo: undefined }, statement(), signOn(), idp)),
    /InResponseTo/,
  )
})

test('two responses share no ID', () => {
  const ids = [1, 2].flatMap(() =>
    [
      ...decode(buildResponse(addressing, statement(), signOn(), idp)).matchAll(/ ID="([^"]+)"/g),
    ].map(([, id]) => id),
  )
  assert.equal(new Set(ids).size, 4)
})

test('a refusal is signed, and says why', async () => {
  const response = buildFailure(addressing, ['responder', 'noPassive'], idp)
  assert.ok(verifiesWithXmlsec(decode(response), 'Response'))
  const answer = await nodeSaml().validatePostResponseAsync({ SAMLResponse: response })
  // node-saml takes NoPassive for nobody.
  assert.equal(answer.profile, null)
  await assert.rejects(
    nodeSaml().validatePostResponseAsync({
      SAMLResponse: buildFailure(addressing, ['requester', 'invalidNameIdPolicy'], idp),
    }),
    /InvalidNameIDPolicy/,
  )
})

test('a persistent name is the same every time, and another one for each service provider', () => {
  const key = Buffer.alloc(32, 1)
  const named = (entityId: string, who = claims, with_ = key) =>
    toNameId(signOn({ entityId, nameId: { format: 'persistent' } }), undefined, who, with_)?.value
  assert.equal(named('urn:a'), named('urn:a'))
  assert.notEqual(named('urn:a'), named('urn:b'))
  assert.notEqual(named('urn:a'), named('urn:a', { ...claims, objectId: 'other' }))
  assert.notEqual(named('urn:a'), named('urn:a', claims, Buffer.alloc(32, 2)))
  assert.ok(!named('urn:a')!.includes(claims.objectId))
})

test('a transient name is never the same', () => {
  const named = () => toNameId(signOn(), 'transient', claims, Buffer.alloc(32))
  assert.equal(named()?.format, 'transient')
  assert.notEqual(named()?.value, named()?.value)
})

test('a person is called as is configured, whatever name the request would like', () => {
  const key = Buffer.alloc(32)
  assert.deepEqual(toNameId(signOn(), undefined, claims, key), {
    value: 'ana',
    format: 'unspecified',
  })
  const mail = signOn({ nameId: { format: 'emailAddress', claim: 'userName' } })
  assert.deepEqual(toNameId(mail, 'unspecified', claims, key), {
    value: 'ana',
    format: 'emailAddress',
  })
  const byMail = signOn({ nameId: { format: 'unspecified', claim: 'mail' } })
  assert.deepEqual(toNameId(byMail, 'emailAddress', claims, key), {
    value: 'ana@example.test',
    format: 'emailAddress',
  })
  assert.equal(toNameId(byMail, 'emailAddress', { ...claims, mail: undefined }, key), undefined)
})

test('attack 35: no request chooses a mail address as the name of a person who is called otherwise', () => {
  const offers = (nameId: object, format: Parameters<typeof offersNameId>[1]) =>
    offersNameId(signOn({ nameId }), format)
  assert.ok(!offers({ format: 'unspecified', claim: 'userName' }, 'emailAddress'))
  assert.ok(!offers({ format: 'persistent' }, 'emailAddress'))
  const transforms = [{ transform: 'extractMailPrefix' }]
  assert.ok(!offers({ format: 'unspecified', claim: 'mail', transforms }, 'emailAddress'))
  assert.ok(offers({ format: 'unspecified', claim: 'mail' }, 'emailAddress'))
  assert.ok(offers({ format: 'emailAddress', claim: 'mail' }, 'emailAddress'))
  for (const format of ['persistent', 'transient', 'unspecified', undefined] as const)
    assert.ok(offers({ format: 'unspecified', claim: 'userName' }, format))
})

test('attributes and names are transformed on their way', () => {
  const prefix = [{ transform: 'extractMailPrefix' }, { transform: 'toUppercase' }]
  const transformed = signOn({
    nameId: { format: 'unspecified', claim: 'mail', transforms: prefix },
    attributes: [
      { name: 'account', claim: 'mail', transforms: prefix },
      { name: 'first', claim: 'groups', multivalued: false },
      { name: 'all', claim: 'groups', separator: ';' },
    ],
  })
  assert.deepEqual(
    toAttributes(transformed, claims)?.map(({ values }) => values),
    [['ANA'], ['engineers'], ['engineers;a%3Badmins']],
  )
  assert.equal(toNameId(transformed, undefined, claims, Buffer.alloc(32))?.value, 'ANA')
  assert.deepEqual(
    toAttributes(transformed, { ...claims, groups: [] })?.map(({ name }) => name),
    ['account'],
  )
})
