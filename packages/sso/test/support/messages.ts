import { sign } from 'node:crypto'
import { deflateRawSync } from 'node:zlib'
import { SignedXml } from 'xml-crypto'
import { nowAt, sp } from './saml.ts'

export const here = 'https://login.example.test/0f1e2d3c-4b5a-4968-8776-655443322110/saml2'
const names = {
  samlp: 'urn:oasis:names:tc:SAML:2.0:protocol',
  saml: 'urn:oasis:names:tc:SAML:2.0:assertion',
}

/** A request as a service provider writes it. */
export function authnRequest(attributes = '', content = ''): string {
  return `<samlp:AuthnRequest xmlns:samlp="${names.samlp}" xmlns:saml="${names.saml}" ID="_one" Version="2.0" IssueInstant="${instant()}" Destination="${here}"${attributes}><saml:Issuer>https://hr.example.test/saml/metadata</saml:Issuer>${content}</samlp:AuthnRequest>`
}

export function logoutRequest(content = '', attributes = ''): string {
  return `<samlp:LogoutRequest xmlns:samlp="${names.samlp}" xmlns:saml="${names.saml}" ID="_out" Version="2.0" IssueInstant="${instant()}" Destination="${here}"${attributes}><saml:Issuer>https://hr.example.test/saml/metadata</saml:Issuer>${content}</samlp:LogoutRequest>`
}

export function instant(at = nowAt): string {
  return new Date(at).toISOString()
}

export function base64(xml: string): string {
  return Buffer.from(xml).toString('base64')
}

export function form(xml: string, more: Record<string, string> = {}): URLSearchParams {
  return new URLSearchParams({ SAMLRequest: base64(xml), ...more })
}

/** The query of the redirect binding; signed unless there is no algorithm. */
export function query(
  xml: string,
  {
    relayState,
    algorithm = 'http://www.w3.org/2001/04/xmldsig-more#rsa-sha256',
    digest = 'sha256',
    key = sp.keyPem,
    unsigned = false,
  }: {
    relayState?: string
    algorithm?: string
    digest?: string
    key?: string
    unsigned?: boolean
  } = {},
): string {
  const parts = [`SAMLRequest=${encodeURIComponent(deflateRawSync(xml).toString('base64'))}`]
  if (relayState !== undefined) parts.push(`RelayState=${encodeURIComponent(relayState)}`)
  if (unsigned) return parts.join('&')
  parts.push(`SigAlg=${encodeURIComponent(algorithm)}`)
  const signature = sign(digest, Buffer.from(parts.join('&')), key).toString('base64')
  return `${parts.join('&')}&Signature=${encodeURIComponent(signature)}`
}

/** Signs an element of a message as its service provider does. */
export function signed(
  xml: string,
  {
    key = sp.keyPem,
    algorithm = 'http://www.w3.org/2001/04/xmldsig-more#rsa-sha256',
    digest = 'http://www.w3.org/2001/04/xmlenc#sha256',
    xpath = '/*',
    transforms = [
      'http://www.w3.org/2000/09/xmldsig#enveloped-signature',
      'http://www.w3.org/2001/10/xml-exc-c14n#',
    ],
    at = "/*/*[local-name(.)='Issuer']",
  } = {},
): string {
  const made = new SignedXml({
    privateKey: key,
    publicCert: sp.certificatePem,
    signatureAlgorithm: algorithm,
    canonicalizationAlgorithm: 'http://www.w3.org/2001/10/xml-exc-c14n#',
  })
  made.addReference({ xpath, digestAlgorithm: digest, transforms })
  made.computeSignature(xml, { prefix: 'ds', location: { reference: at, action: 'after' } })
  return made.getSignedXml()
}
