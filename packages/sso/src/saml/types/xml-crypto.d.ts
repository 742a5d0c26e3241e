/** The part of `xml-crypto` that is used; why, is said in xmldom.d.ts. */
import type { Element } from '@xmldom/xmldom'

export interface SignedXmlOptions {
  /** PEM. */
  privateKey?: string | Buffer
  /** PEM. */
  publicCert?: string
  signatureAlgorithm?: string
  canonicalizationAlgorithm?: string
  /** Where the key of a signature is taken from what came with it. */
  getCertFromKeyInfo?: (keyInfo?: unknown) => string | null
}

export class SignedXml {
  constructor(options: SignedXmlOptions)
  addReference(reference: {
    xpath: string
    digestAlgorithm: string
    transforms: readonly string[]
  }): void
  computeSignature(
    xml: string,
    options: { prefix: string; location: { reference: string; action: 'after' } },
  ): void
  getSignedXml(): string
  loadSignature(signature: Element): void
  checkSignature(xml: string): boolean
  /** Canonical XML of what was signed; only after the signature was found good. */
  getSignedReferences(): string[]
}
