import { type KeyObject, X509Certificate } from 'node:crypto'
import type { Element } from '@xmldom/xmldom'
import { SignedXml } from 'xml-crypto'
import { unsigned } from './errors.ts'
import { namespaces } from './names.ts'
import { childNamed, children, isNamed, parseXml, Xml } from './xml.ts'

/** With what an identity provider signs for one application. */
export interface SigningKey {
  /** RSA. */
  privateKey: KeyObject
  certificatePem: string
}

const exclusive = 'http://www.w3.org/2001/10/xml-exc-c14n#'
const enveloped = 'http://www.w3.org/2000/09/xmldsig#enveloped-signature'
const sha256 = 'http://www.w3.org/2001/04/xmlenc#sha256'
export const rsaSha256 = 'http://www.w3.org/2001/04/xmldsig-more#rsa-sha256'

/** Signature algorithms that are good enough, with what Node calls their digests. SHA-1 is not. */
export const signatureDigests: ReadonlyMap<string, string> = new Map([
  [rsaSha256, 'sha256'],
  ['http://www.w3.org/2001/04/xmldsig-more#rsa-sha384', 'sha384'],
  ['http://www.w3.org/2001/04/xmldsig-more#rsa-sha512', 'sha512'],
])

const digests: ReadonlySet<string> = new Set([
  sha256,
  'http://www.w3.org/2001/04/xmldsig-more#sha384',
  'http://www.w3.org/2001/04/xmlenc#sha512',
])

const transforms: ReadonlySet<string> = new Set([enveloped, exclusive, `${exclusive}WithComments`])

/** Of what a signature has one. */
const parts = [
  'SignedInfo',
  'CanonicalizationMethod',
  'SignatureMethod',
  'Reference',
  'Transforms',
  'DigestMethod',
  'DigestValue',
  'SignatureValue',
] as const

/** Signs a document as a whole; the signature stands behind the Issuer (SAML core section 5.4). */
export function signXml(document: Xml, { privateKey, certificatePem }: SigningKey): Xml {
  const signed = new SignedXml({
    privateKey: privateKey.export({ type: 'pkcs8', format: 'pem' }),
    publicCert: certificatePem,
    signatureAlgorithm: rsaSha256,
    canonicalizationAlgorithm: exclusive,
  })
  signed.addReference({ xpath: '/*', digestAlgorithm: sha256, transforms: [enveloped, exclusive] })
  signed.computeSignature(document.text, {
    prefix: 'ds',
    location: { reference: "/*/*[local-name(.)='Issuer']", action: 'after' },
  })
  return new Xml(signed.getSignedXml())
}

/** Whether the message carries a signature anywhere: one in the wrong place is a wrong signature, not none. */
export function hasSignature(root: Element): boolean {
  return root.getElementsByTagNameNS(namespaces.signature, 'Signature').length > 0
}

/**
 * Verifies the signature of a message over the whole of itself. A signature that covers anything else, or more than
 * one thing, is no signature to us, and what was signed is what the caller gets: parsed from the bytes that were digested.
 *
 * @param text that `root` was parsed from
 * @param certificates whose keys count, PEM; what the message says of keys does not
 * @returns the message as it was signed
 * @throws SamlError `SAML_SIGNATURE_INVALID`
 */
export function verifyXml(text: string, root: Element, certificates: readonly string[]): Element {
  const signature = childNamed(root, namespaces.signature, 'Signature')
  if (!signature) throw unsigned('the message is not signed')
  checkShape(root, signature)
  for (const publicCert of certificates) {
    const verified = verifyWith(text, signature, publicCert)
    if (verified === undefined) continue
    const trusted = parseXml(verified)
    if (trusted.getAttribute('ID') !== root.getAttribute('ID'))
      throw unsigned('the signature is over something else')
    return trusted
  }
  throw unsigned('the signature is not by a key of the application')
}

/** The profile of SAML core section 5.4, and nothing that an algorithm of the message's choice could do beside. */
function checkShape(root: Element, signature: Element): void {
  const ds = namespaces.signature
  const info = childNamed(signature, ds, 'SignedInfo')
  const references = info ? children(info).filter((one) => isNamed(one, ds, 'Reference')) : []
  const [reference] = references
  if (!info || !reference || references.length > 1)
    throw unsigned('a signature must be over one thing')
  // The library takes the first of a name, wherever it stands and whatever its namespace.
  for (const name of parts)
    if (signature.getElementsByTagNameNS('*', name).length > 1)
      throw unsigned(`a signature has two ${name}`)
  if (signature.getElementsByTagNameNS(ds, 'Object').length > 0)
    throw unsigned('a signature must not hold an Object')
  if (reference.getAttribute('URI') !== `#${root.getAttribute('ID')}`)
    throw unsigned('the signature must be over the message itself')
  const algorithm = childNamed(info, ds, 'SignatureMethod')?.getAttribute('Algorithm') ?? ''
  if (!signatureDigests.has(algorithm))
    throw unsigned(`the signature algorithm ${algorithm.slice(0, 100)} is not accepted`)
  const digest = childNamed(reference, ds, 'DigestMethod')?.getAttribute('Algorithm') ?? ''
  if (!digests.has(digest))
    throw unsigned(`the digest algorithm ${digest.slice(0, 100)} is not accepted`)
  const method = childNamed(info, ds, 'CanonicalizationMethod')?.getAttribute('Algorithm') ?? ''
  const chain = childNamed(reference, ds, 'Transforms')
  if (!chain) throw unsigned('a signature must have transforms')
  const steps = children(chain).map((one) => one.getAttribute('Algorithm') ?? '')
  // Each is done for each key that may have signed, before it is known whether one has.
  if (steps.length > 2) throw unsigned('a signature must have at most two transforms')
  for (const used of [method, ...steps])
    if (!transforms.has(used)) throw unsigned(`the transform ${used.slice(0, 100)} is not accepted`)
}

/** @returns what was signed, canonical; undefined when it is not by this key */
function verifyWith(text: string, signature: Element, publicCert: string): string | undefined {
  const verifier = new SignedXml({ publicCert, getCertFromKeyInfo: () => null })
  try {
    verifier.loadSignature(signature)
    if (!verifier.checkSignature(text)) return undefined
  } catch {
    // The library throws for digests that differ, and returns false for signatures that do.
    return undefined
  }
  const [signed, more] = verifier.getSignedReferences()
  return more === undefined ? signed : undefined
}

/** Base64 of the certificate's DER, as metadata and KeyInfo hold it. */
export function certificateBody(pem: string): string {
  return new X509Certificate(pem).raw.toString('base64')
}
