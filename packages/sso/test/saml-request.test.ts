import assert from 'node:assert/strict'
import { sign } from 'node:crypto'
import { test } from 'node:test'
import {
  findAuthnContext,
  meansNameId,
  parseAuthnRequest,
  parseLogoutRequest,
  type ReceivedMessage,
  readPost,
  readRedirect,
  verifyMessage,
} from '../src/saml/index.ts'
import {
  authnRequest,
  base64,
  form,
  here,
  instant,
  logoutRequest,
  query,
  signed,
} from './support/messages.ts'
import { makeKey, nowAt, sp } from './support/saml.ts'

const certificates = [sp.certificatePem]
const other = makeKey()

function accept(message: ReceivedMessage, required = true) {
  return parseAuthnRequest(verifyMessage(message, certificates, required), here)
}

const rejected = (code: string) => ({ code })
const malformed = rejected('SAML_MESSAGE_INVALID')
const untrusted = rejected('SAML_SIGNATURE_INVALID')

test('a signed request is read from a URL and from a form', () => {
  const text = authnRequest(
    ' AssertionConsumerServiceURL="https://hr.example.test/saml/acs" ForceAuthn="1" IsPassive="true"',
    '<samlp:NameIDPolicy Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent" AllowCreate="true"/><samlp:RequestedAuthnContext Comparison="minimum"><saml:AuthnContextClassRef>urn:a</saml:AuthnContextClassRef></samlp:RequestedAuthnContext>',
  )
  for (const message of [
    readRedirect(query(text, { relayState: 'a b&c' })),
    readPost(form(signed(text), { RelayState: 'a b&c' })),
  ]) {
    assert.equal(message.relayState, 'a b&c')
    const { issuedAt, ...rest } = accept(message)
    assert.equal(issuedAt, nowAt)
    assert.deepEqual(rest, {
      id: '_one',
      issuer: 'https://hr.example.test/saml/metadata',
      consumerUrl: 'https://hr.example.test/saml/acs',
      consumerIndex: undefined,
      forceAuthn: true,
      isPassive: true,
      nameIdFormat: 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent',
      requestedContext: { comparison: 'minimum', classes: ['urn:a'] },
      subject: undefined,
    })
  }
})

test('either of two keys may have signed, while an application changes its key', () => {
  for (const message of [
    readRedirect(query(authnRequest())),
    readPost(form(signed(authnRequest()))),
  ])
    assert.ok(verifyMessage(message, [other.certificatePem, sp.certificatePem], true))
})

test('an unsigned request is only read where none has to be signed', () => {
  for (const message of [
    readRedirect(query(authnRequest(), { unsigned: true })),
    readPost(form(authnRequest())),
  ]) {
    assert.equal(accept(message, false).id, '_one')
    assert.throws(() => accept(message), untrusted)
    assert.throws(() => verifyMessage(message, [], true), untrusted)
  }
})

const wrongSignatures: [name: string, message: () => ReceivedMessage][] = [
  [
    'a key of somebody else, in a URL',
    () => readRedirect(query(authnRequest(), { key: other.keyPem })),
  ],
  [
    'a key of somebody else, in a form',
    () => readPost(form(signed(authnRequest(), { key: other.keyPem }))),
  ],
  [
    'SHA-1 in a URL',
    () =>
      readRedirect(
        query(authnRequest(), {
          algorithm: 'http://www.w3.org/2000/09/xmldsig#rsa-sha1',
          digest: 'sha1',
        }),
      ),
  ],
  [
    'SHA-1 in a form',
    () =>
      readPost(
        form(signed(authnRequest(), { algorithm: 'http://www.w3.org/2000/09/xmldsig#rsa-sha1' })),
      ),
  ],
  [
    'a SHA-1 digest',
    () =>
      readPost(form(signed(authnRequest(), { digest: 'http://www.w3.org/2000/09/xmldsig#sha1' }))),
  ],
  [
    'a text that was changed, in a URL',
    () =>
      readRedirect(
        query(authnRequest(), { relayState: 'a' }).replace('RelayState=a', 'RelayState=b'),
      ),
  ],
  ['a RelayState that was added', () => readRedirect(`${query(authnRequest())}&RelayState=b`)],
  [
    'a text that was changed, in a form',
    () =>
      readPost(
        form(signed(authnRequest()).replace('<saml:Issuer>https://hr', '<saml:Issuer>https://it')),
      ),
  ],
  [
    'an HMAC keyed with the certificate',
    () =>
      readPost(
        form(signed(authnRequest()).replace('xmldsig-more#rsa-sha256', 'xmldsig-more#hmac-sha256')),
      ),
  ],
]

for (const [name, message] of wrongSignatures)
  test(`attack 35: a request is refused for its signature: ${name}`, () => {
    // Also where unsigned requests are taken: who signs wrongly is not who it says.
    assert.throws(() => accept(message(), false), untrusted)
  })

const genuine = signed(authnRequest())
const signature = /<ds:Signature[\s\S]*<\/ds:Signature>/.exec(genuine)![0]
const evil = genuine
  .replace(signature, '')
  .replace('ID="_one"', 'ID="_evil"')
  .replace('https://hr.example.test/saml/metadata', 'https://evil.example.test/')
const bare = genuine.replace(signature, '')

/** Signature wrapping: what was signed is there, and what is read is another thing. */
const wrapped: [name: string, xml: string][] = [
  ['around the signed message', evil.replace('</saml:Issuer>', `</saml:Issuer>${genuine}`)],
  [
    'around it, its signature outside',
    evil.replace('</saml:Issuer>', `</saml:Issuer>${signature}${bare}`),
  ],
  [
    'the signed message in Extensions',
    evil.replace(
      '</saml:Issuer>',
      `</saml:Issuer>${signature}<samlp:Extensions>${bare}</samlp:Extensions>`,
    ),
  ],
  [
    'the signed message in an Object',
    evil.replace(
      '</saml:Issuer>',
      `</saml:Issuer>${signature.replace('</ds:Signature>', `<ds:Object>${bare}</ds:Object></ds:Signature>`)}`,
    ),
  ],
  [
    'both of one ID',
    evil
      .replace('_evil', '_one')
      .replace(
        '</saml:Issuer>',
        `</saml:Issuer>${signature}<samlp:Extensions>${bare}</samlp:Extensions>`,
      ),
  ],
  ['two signatures', genuine.replace(signature, signature + signature)],
  [
    'two SignedInfo',
    genuine.replace(
      '<ds:SignatureValue>',
      `${/<ds:SignedInfo[\s\S]*<\/ds:SignedInfo>/.exec(signature)![0]}<ds:SignatureValue>`,
    ),
  ],
  ['a reference to nothing', genuine.replace('URI="#_one"', 'URI=""')],
  ['a reference to another ID', genuine.replace('URI="#_one"', 'URI="#_two"')],
  [
    'a part that was signed instead of the whole',
    signed(
      authnRequest('', '<saml:Subject ID="_part"><saml:NameID>ana</saml:NameID></saml:Subject>'),
      { xpath: "//*[local-name(.)='Subject']" },
    ),
  ],
  [
    'a transform that leaves things out',
    genuine.replace(
      '<ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/>',
      '<ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xpath-19991116"><ds:XPath>false()</ds:XPath></ds:Transform>',
    ),
  ],
  [
    'an element added behind the signature',
    genuine.replace(
      '</samlp:AuthnRequest>',
      '<samlp:NameIDPolicy Format="urn:evil"/></samlp:AuthnRequest>',
    ),
  ],
  [
    'an attribute added',
    genuine.replace(
      ' ID="_one"',
      ' ID="_one" AssertionConsumerServiceURL="https://evil.example.test/"',
    ),
  ],
]

for (const [name, xml] of wrapped)
  test(`attack 35: signature wrapping is refused: ${name}`, () => {
    assert.notEqual(xml, genuine)
    assert.throws(
      () => accept(readPost(form(xml)), false),
      ({ code }: { code: string }) => /^SAML_(SIGNATURE|MESSAGE)_INVALID$/.test(code),
    )
  })

test('attack 35: nothing of another namespace, or another place, stands for a part of the signature', () => {
  const info = /<ds:SignedInfo>[\s\S]*<\/ds:SignedInfo>/.exec(signature)![0]
  const canonical = info
    .replace('<ds:SignedInfo', '<ds:SignedInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"')
    .replace(/<([\w:]+)([^>]*)\/>/g, '<$1$2></$1>')
  const resigned = (algorithm: string, decoy: string) =>
    genuine
      .replace(
        /(?<=<ds:SignatureValue>)[^<]*/,
        sign(algorithm, Buffer.from(canonical), sp.keyPem).toString('base64'),
      )
      .replace(info, decoy + info)
  assert.ok(accept(readPost(form(resigned('sha256', '')))))
  for (const decoy of [
    '<x:SignatureMethod xmlns:x="urn:x" Algorithm="http://www.w3.org/2000/09/xmldsig#rsa-sha1"/>',
    '<ds:KeyInfo><ds:SignatureMethod Algorithm="http://www.w3.org/2000/09/xmldsig#rsa-sha1"/></ds:KeyInfo>',
  ])
    assert.throws(() => accept(readPost(form(resigned('sha1', decoy)))), untrusted)
})

test('attack 35: a signature in the XML counts for nothing in a URL', () => {
  assert.throws(() => readRedirect(query(genuine, { unsigned: true })), malformed)
})

const doctype = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
const broken: [name: string, xml: string][] = [
  ['a document type', doctype + authnRequest()],
  [
    'an entity from a file',
    doctype + authnRequest('', '<saml:Subject><saml:NameID>&x;</saml:NameID></saml:Subject>'),
  ],
  [
    'a document type in capitals and blanks',
    `<?xml version="1.0"?>\n<!DOCTYPE\n a>${authnRequest()}`,
  ],
  [
    'a comment in a name',
    authnRequest('', '<saml:Subject><saml:NameID>ana<!-- -->@evil</saml:NameID></saml:Subject>'),
  ],
  ['CDATA', authnRequest().replace('<saml:Issuer>', '<saml:Issuer><![CDATA[https://evil]]>')],
  ['a processing instruction', authnRequest('', '<?php evil ?>')],
  ['an unknown entity', authnRequest('', '&evil;')],
  ['two documents', authnRequest() + authnRequest()],
  ['an element that is not closed', authnRequest().replace('</samlp:AuthnRequest>', '')],
  ['one attribute twice', authnRequest(' ID="_two"')],
  ['two Issuers', authnRequest('', '<saml:Issuer>https://evil</saml:Issuer>')],
  ['an element in the Issuer', authnRequest().replace('<saml:Issuer>', '<saml:Issuer><saml:b/>')],
  ['no Issuer', authnRequest().replace(/<saml:Issuer>.*<\/saml:Issuer>/, '')],
  ['no ID', authnRequest().replace(' ID="_one"', '')],
  ['an ID that is none', authnRequest().replace('_one', '1 &quot;')],
  ['another version', authnRequest().replace('Version="2.0"', 'Version="1.1"')],
  ['another Destination', authnRequest().replace(here, 'https://other.example.test/saml2')],
  ['a Destination with something behind', authnRequest().replace(here, `${here}/`)],
  [
    'a name of another namespace',
    authnRequest().replace('xmlns:samlp="urn:oasis', 'xmlns:samlp="urn:evil'),
  ],
  ['a response', authnRequest().replaceAll('AuthnRequest', 'Response')],
  [
    'the artifact binding',
    authnRequest(' ProtocolBinding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Artifact"'),
  ],
  ['ForceAuthn that is neither', authnRequest(' ForceAuthn="yes"')],
  [
    'both ways to name a consumer',
    authnRequest(' AssertionConsumerServiceURL="https://a/" AssertionConsumerServiceIndex="1"'),
  ],
  ['a time that is none', authnRequest().replace(/IssueInstant="[^"]*"/, 'IssueInstant="today"')],
  ['no XML', 'SAMLRequest'],
  ['nothing but blanks', '  '],
]

for (const [name, xml] of broken)
  test(`attack 35: a request is refused for its form: ${name}`, () => {
    assert.throws(() => accept(readPost(form(xml)), false), malformed)
    assert.throws(() => accept(readRedirect(query(xml, { unsigned: true })), false), malformed)
  })

test('attack 35: a message that inflates to more than a message can have is not inflated', () => {
  const bomb = query(authnRequest('', ' '.repeat(50_000_000)), { unsigned: true })
  assert.ok(bomb.length < 100_000)
  assert.throws(() => readRedirect(bomb), malformed)
  assert.throws(() => readPost(form(authnRequest('', ' '.repeat(70_000)))), malformed)
})

test('attack 35: a message of more elements or attributes than any needs is refused before it is read', () => {
  const fill = (count: number, piece: (index: number) => string) =>
    Array.from({ length: count }, (_, index) => piece(index)).join('')
  const bombs = {
    nested: authnRequest('', '<a>'.repeat(7_000) + '</a>'.repeat(7_000)),
    many: authnRequest('', `<samlp:Extensions>${'<a/>'.repeat(1_000)}</samlp:Extensions>`),
    attributes: authnRequest(fill(1_000, (index) => ` a${index}=""`)),
    quotes: authnRequest(fill(1_000, (index) => ` a${index}\n=\n''`)),
    namespaces: authnRequest(fill(1_000, (index) => ` xmlns:a${index}="urn:a"`)),
  }
  for (const [name, xml] of Object.entries(bombs)) {
    assert.throws(() => readPost(form(xml)), malformed, name)
    assert.throws(() => readRedirect(query(xml)), malformed, name)
  }
})

test('attack 35: a signature cannot ask for the same work again and again', () => {
  const [enveloped, exclusive] = [
    'http://www.w3.org/2000/09/xmldsig#enveloped-signature',
    'http://www.w3.org/2001/10/xml-exc-c14n#',
  ]
  const transforms = [enveloped, exclusive, exclusive]
  assert.throws(() => accept(readPost(form(signed(authnRequest(), { transforms })))), untrusted)
  assert.ok(accept(readPost(form(signed(authnRequest(), { transforms: [enveloped] })))))
})

test('a parameter that is there twice, and a message that is none, are refused', () => {
  const good = query(authnRequest())
  const twice = form(authnRequest())
  twice.append('SAMLRequest', base64(authnRequest()))
  for (const read of [
    () => readRedirect(`${good}&SAMLRequest=x`),
    () => readRedirect(`${good}&Signature=x`),
    () => readRedirect(`${good}&SAMLResponse=x`),
    () => readRedirect(good.replace(/&Signature=.*/, '')),
    () => readRedirect('SAMLRequest=%'),
    () => readRedirect('SAMLRequest=!'),
    () => readRedirect('SAMLRequest=AAAA'),
    () => readRedirect('RelayState=x'),
    () => readRedirect(`${good}&SAMLEncoding=urn%3Aevil`),
    () => readRedirect(query(authnRequest(), { unsigned: true, relayState: 'x'.repeat(5_000) })),
    () => readPost(twice),
    () => readPost(new URLSearchParams({ SAMLRequest: base64('\xff').replace(/.*/, '/w==') })),
    () => readPost(new URLSearchParams()),
  ])
    assert.throws(read, malformed)
})

test('every truncation of a signed request is refused', () => {
  for (let length = 0; length < genuine.length; length += 7)
    assert.throws(() => accept(readPost(form(genuine.slice(0, length)))), {
      name: 'SamlError',
    })
})

test('a logout request says whom and which session, and is only good for a while', () => {
  const content =
    '<saml:NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:transient">_x</saml:NameID><samlp:SessionIndex>_s</samlp:SessionIndex>'
  const read = (xml: string, at = nowAt) =>
    parseLogoutRequest(verifyMessage(readRedirect(query(xml)), certificates, true), here, at)
  const request = read(logoutRequest(content))
  assert.deepEqual(request.sessionIndexes, ['_s'])
  assert.ok(meansNameId(request, { value: '_x', format: 'transient' }))
  assert.ok(!meansNameId(request, { value: '_x', format: 'persistent' }))
  assert.ok(!meansNameId(request, { value: '_y', format: 'transient' }))
  assert.throws(() => read(logoutRequest()), malformed)
  assert.throws(() => read(logoutRequest(content), nowAt + 400_000), malformed)
  assert.throws(() => read(logoutRequest(content), nowAt - 400_000), malformed)
  assert.throws(
    () => read(logoutRequest(content, ` NotOnOrAfter="${instant(nowAt - 60_001)}"`)),
    malformed,
  )
})

test('the class of a sign-in is what was asked for, or there is none', () => {
  const ac = (name: string) => `urn:oasis:names:tc:SAML:2.0:ac:classes:${name}`
  const [transport, password, x509] = ['PasswordProtectedTransport', 'Password', 'X509'].map(
    ac,
  ) as [string, string, string]
  const ask = (comparison: 'exact' | 'minimum' | 'maximum' | 'better', ...classes: string[]) =>
    findAuthnContext({ comparison, classes })
  assert.equal(findAuthnContext(undefined), transport)
  assert.equal(ask('exact', x509, transport), transport)
  assert.equal(ask('exact', password), password)
  assert.equal(ask('exact', x509), undefined)
  assert.equal(ask('minimum', password), transport)
  assert.equal(ask('minimum', x509), undefined)
  assert.equal(ask('maximum', password), password)
  assert.equal(ask('maximum', x509), transport)
  assert.equal(ask('better', password), transport)
  assert.equal(ask('better', transport), undefined)
})
