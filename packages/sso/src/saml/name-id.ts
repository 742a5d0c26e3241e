import { createHmac, randomBytes } from 'node:crypto'
import type { Claims, SamlSignOn } from '@sallyport/domain'
import { readClaim } from '../claims/index.ts'
import { type NameIdFormat, nameIdFormats, namespaces } from './names.ts'
import { isXmlText, type Xml, xml } from './xml.ts'

/** What a person is called towards one service provider. */
export interface NameId {
  value: string
  format: NameIdFormat
}

/**
 * @param format that a request wants; undefined: the one that is configured
 * @param pairwiseKey what persistent names are derived with: two service providers get different ones, so that they cannot
 *   put together what they know (SAML core section 8.3.7)
 * @returns undefined when the person has no such name
 * @throws ClaimError `SIGN_ON_CLAIM_TOO_LONG`
 */
export function toNameId(
  { nameId, entityId }: Pick<SamlSignOn, 'nameId' | 'entityId'>,
  format: NameIdFormat | undefined,
  claims: Claims,
  pairwiseKey: Buffer,
): NameId | undefined {
  const wanted = format === undefined || format === 'unspecified' ? nameId.format : format
  if (wanted === 'transient')
    return { format: wanted, value: `_${randomBytes(16).toString('hex')}` }
  if (wanted === 'persistent') {
    const mac = createHmac('sha256', pairwiseKey).update(`${entityId}\0${claims.objectId}`)
    return { format: wanted, value: mac.digest('base64url') }
  }
  const [value] =
    nameId.format === 'unspecified' || nameId.format === 'emailAddress'
      ? readClaim(nameId, claims, 'NameID')
      : []
  // What no document can hold would be replaced, and two people could then have one name.
  return value === undefined || !isXmlText(value) ? undefined : { format: wanted, value }
}

/** Which format a NameIDPolicy wants. @returns `unsupported` for one that nobody here can be called by */
export function findNameIdFormat(
  uri: string | undefined,
): NameIdFormat | undefined | 'unsupported' {
  if (uri === undefined) return undefined
  const found = Object.entries(nameIdFormats).find(([, known]) => known === uri)
  return found ? (found[0] as NameIdFormat) : 'unsupported'
}

/**
 * Whether a request can choose the format. People can write a request that is not signed, so none can choose another name of the person
 * than the one that is configured: a mail address may well be somebody else's account. The two formats that name nobody are for the asking.
 */
export function offersNameId(
  { nameId }: Pick<SamlSignOn, 'nameId'>,
  format: NameIdFormat | undefined,
): boolean {
  if (format !== 'emailAddress' || nameId.format === 'emailAddress') return true
  return nameId.format === 'unspecified' && nameId.claim === 'mail' && !nameId.transforms
}

/** A name that means something to one service provider only says to which. */
export function nameIdElement({ value, format }: NameId, issuer: string, audience: string): Xml {
  const qualifiers =
    format === 'persistent' || format === 'transient'
      ? xml` NameQualifier="${issuer}" SPNameQualifier="${audience}"`
      : undefined
  return xml`<saml:NameID xmlns:saml="${namespaces.assertion}" Format="${nameIdFormats[format]}"${qualifiers}>${value}</saml:NameID>`
}
