import assert from 'node:assert/strict'
import { test } from 'node:test'
import { buildIdentityProviderMetadata, parseServiceProviderMetadata } from '../src/saml/index.ts'
import { idp, nowAt, sp } from './support/saml.ts'

const body = (pem: string) => pem.replace(/-----.*-----|\n/g, '')
const key = (use: string, pem = sp.certificatePem) =>
  `<KeyDescriptor${use}><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:X509Data><ds:X509Certificate>\n${body(pem)}\n</ds:X509Certificate></ds:X509Data></ds:KeyInfo></KeyDescriptor>`
const post = 'urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST'
const redirect = 'urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect'

function metadata(content = '', attributes = '', consumer = post): string {
  return `<?xml version="1.0"?>\n<!-- of the application -->\n<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="urn:hr"${attributes}><SPSSODescriptor AuthnRequestsSigned="true" protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">${content}<AssertionConsumerService index="0" Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Artifact" Location="https://hr/artifact"/><AssertionConsumerService index="1" Binding="${consumer}" Location="https://hr/one"/><AssertionConsumerService index="2" isDefault="true" Binding="${consumer}" Location="https://hr/two"/></SPSSODescriptor></EntityDescriptor>`
}

const read = (xml: string) => parseServiceProviderMetadata(xml, nowAt)

test('metadata of a service provider gives what sign-on needs', () => {
  const facts = read(
    metadata(
      `${key(' use="signing"')}${key(' use="encryption"', idp.certificatePem)}<SingleLogoutService Binding="urn:oasis:names:tc:SAML:2.0:bindings:SOAP" Location="https://hr/soap"/><SingleLogoutService Binding="${post}" Location="https://hr/post"/><SingleLogoutService Binding="${redirect}" Location="https://hr/out" ResponseLocation="https://hr/done"/><NameIDFormat>urn:oasis:names:tc:SAML:2.0:nameid-format:entity</NameIDFormat><NameIDFormat>urn:oasis:names:tc:SAML:2.0:nameid-format:persistent</NameIDFormat>`,
    ),
  )
  assert.deepEqual(facts, {
    entityId: 'urn:hr',
    assertionConsumerServices: [
      { url: 'https://hr/two', index: 2 },
      { url: 'https://hr/one', index: 1 },
    ],
    singleLogoutService: {
      url: 'https://hr/out',
      responseUrl: 'https://hr/done',
      binding: 'redirect',
    },
    logoutSoapUrl: 'https://hr/soap',
    requestCertificates: [sp.certificatePem],
    requireSignedRequests: true,
    encryptionCertificate: idp.certificatePem,
    nameIdFormat: 'persistent',
  })
})

test('a key without a use is for both', () => {
  const facts = read(metadata(key('')))
  assert.equal(facts.encryptionCertificate, sp.certificatePem)
  assert.deepEqual(facts.requestCertificates, [sp.certificatePem])
})

test('one service provider among other entities is found', () => {
  const own = metadata().replace(/^[\s\S]*?-->\n/, '')
  const other = '<EntityDescriptor entityID="urn:idp"><IDPSSODescriptor/></EntityDescriptor>'
  const all = (content: string) =>
    `<EntitiesDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata">${content}</EntitiesDescriptor>`
  assert.equal(read(all(other + own)).entityId, 'urn:hr')
  assert.throws(() => read(all(own + own)), /describes several/)
  assert.throws(() => read(all(other)), /no service provider/)
})

for (const [what, xml, message] of [
  ['is no XML', 'hello', /well-formed/],
  ['is another document', '<a/>', /EntityDescriptor/],
  [
    'is of an identity provider',
    metadata().replaceAll('SPSSODescriptor', 'IDPSSODescriptor'),
    /no service provider/,
  ],
  ['takes no forms', metadata('', '', redirect), /HTTP-POST/],
  ['has expired', metadata('', ' validUntil="2020-01-01T00:00:00Z"'), /valid until/],
  ['is of SAML 1', metadata().replace('SAML:2.0:protocol', 'SAML:1.1:protocol'), /SAML 2\.0/],
  ['has no name', metadata().replace(' entityID="urn:hr"', ''), /entityID/],
  ['has a broken certificate', metadata(key('', 'AAAA')), /certificate/],
  ['has a document type', `<!DOCTYPE a []>${metadata().replace(/^.*\n/, '')}`, /document type/],
  ['is very large', metadata(' '.repeat(1_100_000)), /larger/],
] as const)
  test(`metadata that ${what} is refused, and it says why`, () => {
    assert.throws(() => read(xml), { code: 'SAML_METADATA_INVALID', message })
  })

test('metadata of ours holds every certificate, the one that signs first', () => {
  const xml = buildIdentityProviderMetadata({
    entityId: 'https://login.example.test/?a&b',
    singleSignOnUrl: 'https://login.example.test/saml2',
    singleLogoutUrl: 'https://login.example.test/saml2',
    certificates: [idp.certificatePem, sp.certificatePem],
    wantsSignedRequests: true,
  })
  assert.ok(xml.includes('entityID="https://login.example.test/?a&amp;b"'))
  assert.ok(xml.indexOf(body(idp.certificatePem)) < xml.indexOf(body(sp.certificatePem)))
  assert.match(xml, /WantAuthnRequestsSigned="true"/)
})
