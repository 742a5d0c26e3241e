import { randomBytes } from 'node:crypto'
import type { SamlSignOn } from '@sallyport/domain'
import type { Attribute } from './attributes.ts'
import { encryptElement } from './encryption.ts'
import { type NameId, nameIdElement } from './name-id.ts'
import { namespaces, type StatusCode, statusCodes } from './names.ts'
import { type SigningKey, signXml } from './signature.ts'
import { toInstant, type Xml, xml } from './xml.ts'

/** How far apart the clocks of both sides may be. */
export const clockSkewMs = 60_000
/** How long a response may take to arrive. */
export const responseLifetimeMs = 300_000

/** To whom a response goes, and on what. */
export interface Addressing {
  /** Entity ID of the identity provider. */
  issuer: string
  /** Entity ID of the service provider, as it calls itself. */
  audience: string
  /** Assertion consumer service, as the service provider calls it. */
  recipient: string
  /** ID of the request; undefined when there was none. */
  inResponseTo: string | undefined
  /** Epoch milliseconds. */
  nowAt: number
}

/** What an assertion says. Instants are epoch milliseconds. */
export interface Statement {
  nameId: NameId
  attributes: readonly Attribute[]
  /** Names the session in logout requests. */
  sessionIndex: string
  signedInAt: number
  /** When the session at the service provider has to end. */
  sessionExpiresAt: number
  /** URI of the class that the sign-in belongs to. */
  authnContext: string
}

/** An ID that nobody guesses, and that begins as XML wants it. */
export function newMessageId(): string {
  return `_${randomBytes(20).toString('hex')}`
}

/** A response that signs the person on: base64 for the form of the HTTP POST binding (SAML bindings section 3.5). */
export function buildResponse(
  addressing: Addressing,
  statement: Statement,
  signOn: Pick<SamlSignOn, 'sign' | 'encryptionCertificate' | 'encryptionAlgorithm'>,
  key: SigningKey,
): string {
  const { sign, encryptionCertificate, encryptionAlgorithm } = signOn
  const plain = assertion(addressing, statement)
  const signed = sign === 'response' ? plain : signXml(plain, key)
  const content =
    encryptionCertificate === undefined
      ? signed
      : xml`<saml:EncryptedAssertion xmlns:saml="${namespaces.assertion}">${encryptElement(signed, encryptionCertificate, encryptionAlgorithm)}</saml:EncryptedAssertion>`
  const whole = response(addressing, ['success'], content)
  return encode(sign === 'assertion' ? whole : signXml(whole, key))
}

/** A response that says why there is no sign-on; always signed. @param codes the second says it more exactly */
export function buildFailure(
  addressing: Addressing,
  codes: readonly [StatusCode, StatusCode?],
  key: SigningKey,
): string {
  return encode(signXml(response(addressing, codes, undefined), key))
}

export function statusElement([code, second]: readonly [StatusCode, StatusCode?]): Xml {
  return xml`<samlp:Status><samlp:StatusCode Value="${statusCodes[code]}">${
    second && xml`<samlp:StatusCode Value="${statusCodes[second]}"/>`
  }</samlp:StatusCode></samlp:Status>`
}

function response(
  { issuer, recipient, inResponseTo, nowAt }: Addressing,
  codes: readonly [StatusCode, StatusCode?],
  content: Xml | undefined,
): Xml {
  return xml`<samlp:Response xmlns:samlp="${namespaces.protocol}" ID="${newMessageId()}" Version="2.0" IssueInstant="${toInstant(nowAt)}" Destination="${recipient}"${replying(inResponseTo)}><saml:Issuer xmlns:saml="${namespaces.assertion}">${issuer}</saml:Issuer>${statusElement(codes)}${content}</samlp:Response>`
}

function assertion(
  { issuer, audience, recipient, inResponseTo, nowAt }: Addressing,
  statement: Statement,
): Xml {
  const { nameId, attributes, sessionIndex, signedInAt, sessionExpiresAt, authnContext } = statement
  const until = toInstant(nowAt + responseLifetimeMs)
  return xml`<saml:Assertion xmlns:saml="${namespaces.assertion}" ID="${newMessageId()}" Version="2.0" IssueInstant="${toInstant(nowAt)}"><saml:Issuer>${issuer}</saml:Issuer><saml:Subject>${nameIdElement(nameId, issuer, audience)}<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData NotOnOrAfter="${until}" Recipient="${recipient}"${replying(inResponseTo)}/></saml:SubjectConfirmation></saml:Subject><saml:Conditions NotBefore="${toInstant(nowAt - clockSkewMs)}" NotOnOrAfter="${until}"><saml:AudienceRestriction><saml:Audience>${audience}</saml:Audience></saml:AudienceRestriction></saml:Conditions><saml:AuthnStatement AuthnInstant="${toInstant(signedInAt)}" SessionIndex="${sessionIndex}" SessionNotOnOrAfter="${toInstant(sessionExpiresAt)}"><saml:AuthnContext><saml:AuthnContextClassRef>${authnContext}</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>${attributeStatement(attributes)}</saml:Assertion>`
}

function replying(inResponseTo: string | undefined): Xml | undefined {
  return inResponseTo === undefined ? undefined : xml` InResponseTo="${inResponseTo}"`
}

/** The schema wants at least one attribute in a statement. */
function attributeStatement(attributes: readonly Attribute[]): Xml | undefined {
  if (attributes.length === 0) return undefined
  return xml`<saml:AttributeStatement>${attributes.map(
    ({ name, nameFormat, values }) =>
      xml`<saml:Attribute Name="${name}" NameFormat="${nameFormat}">${values.map(
        (value) => xml`<saml:AttributeValue>${value}</saml:AttributeValue>`,
      )}</saml:Attribute>`,
  )}</saml:AttributeStatement>`
}

export function encode({ text }: Xml): string {
  return Buffer.from(text, 'utf8').toString('base64')
}
