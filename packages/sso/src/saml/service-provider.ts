import { X509Certificate } from 'node:crypto'
import type { Element } from '@xmldom/xmldom'
import { SamlError } from './errors.ts'
import { type Binding, bindings, nameIdFormats, namespaces, soapBinding } from './names.ts'
import {
  attributeOf,
  booleanOf,
  childNamed,
  children,
  childrenNamed,
  isNamed,
  parseInstant,
  parseXml,
  textOf,
} from './xml.ts'

const { metadata, signature, protocol } = namespaces
const limitBytes = 1_048_576

/** What the metadata of a service provider says for an application's sign-on by SAML. */
export interface ServiceProviderFacts {
  entityId: string
  assertionConsumerServices: { url: string; index?: number }[]
  singleLogoutService?: { url: string; responseUrl?: string; binding: Binding }
  /** Where logout requests may come without a browser. */
  logoutSoapUrl?: string
  /** PEM. */
  requestCertificates: string[]
  requireSignedRequests: boolean
  /** PEM. */
  encryptionCertificate?: string
  /** The first format in which we can name people. */
  nameIdFormat?: keyof typeof nameIdFormats
}

/**
 * Reads the metadata file of a service provider (SAML metadata section 2.4.4). It is believed as a whole: an administrator
 * has brought it. A signature that it may have is not looked at.
 *
 * @throws SamlError `SAML_METADATA_INVALID`
 */
export function parseServiceProviderMetadata(text: string, nowAt: number): ServiceProviderFacts {
  if (text.length > limitBytes) throw refuse(`is larger than ${limitBytes} bytes`)
  try {
    return readEntity(findEntity(parseXml(text, { comments: true })), nowAt)
  } catch (cause) {
    if (cause instanceof SamlError && cause.code === 'SAML_MESSAGE_INVALID')
      throw refuse(cause.message, cause)
    throw cause
  }
}

/** The one service provider of the file. */
function findEntity(root: Element): Element {
  const all = isNamed(root, metadata, 'EntitiesDescriptor')
    ? childrenNamed(root, metadata, 'EntityDescriptor')
    : [root].filter((one) => isNamed(one, metadata, 'EntityDescriptor'))
  const providers = all.filter((one) => childrenNamed(one, metadata, 'SPSSODescriptor').length > 0)
  const [provider, second] = providers
  if (all.length === 0) throw refuse('is no SAML metadata: it must be an EntityDescriptor')
  if (!provider) throw refuse('describes no service provider: there is no SPSSODescriptor')
  if (second) throw refuse('describes several service providers; leave one of them in the file')
  return provider
}

function readEntity(entity: Element, nowAt: number): ServiceProviderFacts {
  const until = attributeOf(entity, 'validUntil')
  if (until !== undefined && parseInstant(until, 'validUntil') <= nowAt)
    throw refuse(`was valid until ${until}; get a fresh one from the application`)
  const entityId = attributeOf(entity, 'entityID')
  if (!entityId) throw refuse('has no entityID')
  const provider = childNamed(entity, metadata, 'SPSSODescriptor')!
  if (!(attributeOf(provider, 'protocolSupportEnumeration') ?? '').split(/\s+/).includes(protocol))
    throw refuse('is of a service provider that does not speak SAML 2.0')
  const [encryptionCertificate] = readCertificates(provider, 'encryption')
  const singleLogoutService = readLogout(provider)
  const soap = childrenNamed(provider, metadata, 'SingleLogoutService').find(
    (one) => attributeOf(one, 'Binding') === soapBinding,
  )
  const nameIdFormat = readNameIdFormat(provider)
  return {
    entityId,
    assertionConsumerServices: readConsumers(provider),
    requestCertificates: readCertificates(provider, 'signing'),
    requireSignedRequests: booleanOf(provider, 'AuthnRequestsSigned'),
    ...(singleLogoutService ? { singleLogoutService } : {}),
    ...(soap === undefined ? {} : { logoutSoapUrl: locationOf(soap) }),
    ...(encryptionCertificate === undefined ? {} : { encryptionCertificate }),
    ...(nameIdFormat === undefined ? {} : { nameIdFormat }),
  }
}

/** Those that take responses by HTTP-POST, the default one first. */
function readConsumers(provider: Element): { url: string; index?: number }[] {
  const found = childrenNamed(provider, metadata, 'AssertionConsumerService')
    .filter((one) => attributeOf(one, 'Binding') === bindings.post)
    .map((one) => ({
      url: locationOf(one),
      index: Number(attributeOf(one, 'index') ?? Number.NaN),
      isDefault: booleanOf(one, 'isDefault'),
    }))
  if (found.length === 0)
    throw refuse('names no AssertionConsumerService that takes responses by HTTP-POST')
  return found
    .toSorted((a, b) => Number(b.isDefault) - Number(a.isDefault))
    .map(({ url, index }) => (Number.isInteger(index) ? { url, index } : { url }))
}

function readLogout(provider: Element): ServiceProviderFacts['singleLogoutService'] {
  const all = childrenNamed(provider, metadata, 'SingleLogoutService')
  for (const binding of ['redirect', 'post'] as const) {
    const found = all.find((one) => attributeOf(one, 'Binding') === bindings[binding])
    if (!found) continue
    const responseUrl = attributeOf(found, 'ResponseLocation')
    return {
      url: locationOf(found),
      ...(responseUrl === undefined ? {} : { responseUrl }),
      binding,
    }
  }
  return undefined
}

function readNameIdFormat(provider: Element): keyof typeof nameIdFormats | undefined {
  const wanted = childrenNamed(provider, metadata, 'NameIDFormat').map(textOf)
  const known = Object.entries(nameIdFormats) as [keyof typeof nameIdFormats, string][]
  for (const uri of wanted) {
    const found = known.find(([, each]) => each === uri)
    if (found) return found[0]
  }
  return undefined
}

/** A key without a use is for both. */
function readCertificates(provider: Element, use: 'signing' | 'encryption'): string[] {
  return childrenNamed(provider, metadata, 'KeyDescriptor')
    .filter((one) => (attributeOf(one, 'use') ?? use) === use)
    .flatMap((one) => childrenNamed(one, signature, 'KeyInfo'))
    .flatMap((info) => childrenNamed(info, signature, 'X509Data'))
    .flatMap((data) => children(data).filter((one) => isNamed(one, signature, 'X509Certificate')))
    .map((one) => toPem(textOf(one)))
}

function toPem(text: string): string {
  const der = Buffer.from(text.replace(/\s/g, ''), 'base64')
  try {
    return new X509Certificate(der).toString()
  } catch (cause) {
    throw refuse('holds a certificate that cannot be read', cause)
  }
}

function locationOf(endpoint: Element): string {
  const location = attributeOf(endpoint, 'Location')
  if (location === undefined) throw refuse(`has a ${endpoint.localName} without a Location`)
  return location
}

function refuse(message: string, cause?: unknown): SamlError {
  return new SamlError('SAML_METADATA_INVALID', `the file ${message}`, { cause })
}
