import type { Element } from '@xmldom/xmldom'
import { invalid } from './errors.ts'
import { bindings, namespaces } from './names.ts'
import {
  attributeOf,
  booleanOf,
  childNamed,
  childrenNamed,
  isNamed,
  parseInstant,
  textOf,
} from './xml.ts'

const { protocol, assertion } = namespaces

/** What every message says of itself. */
export interface MessageHead {
  id: string
  /** Entity ID of the sender. */
  issuer: string
  /** Epoch milliseconds. */
  issuedAt: number
}

/** How a person must have signed in (SAML core section 3.3.2.2.1). */
export interface RequestedContext {
  comparison: 'exact' | 'minimum' | 'maximum' | 'better'
  /** URIs. */
  classes: readonly string[]
}

/** A request for a sign-on (SAML core section 3.4.1). */
export interface AuthnRequest extends MessageHead {
  /** Where the response shall go; the service provider's usual place when neither is there. */
  consumerUrl: string | undefined
  consumerIndex: number | undefined
  forceAuthn: boolean
  isPassive: boolean
  /** URI. */
  nameIdFormat: string | undefined
  requestedContext: RequestedContext | undefined
  /** Whom the application expects. */
  subject: string | undefined
}

/** Only who sent a message, so that it can be found by whose key to check it. @throws SamlError `SAML_MESSAGE_INVALID` */
export function readIssuer(root: Element): string {
  const issuer = childNamed(root, assertion, 'Issuer')
  if (!issuer) throw invalid('there is no Issuer')
  return textOf(issuer)
}

/** @param destination the URL that the message came to @throws SamlError `SAML_MESSAGE_INVALID` */
export function readHead(root: Element, name: string, destination: string): MessageHead {
  if (!isNamed(root, protocol, name)) throw invalid(`the message is no ${name}`)
  if (attributeOf(root, 'Version') !== '2.0') throw invalid('the version is not 2.0')
  const id = attributeOf(root, 'ID') ?? ''
  if (!/^[A-Za-z_][A-Za-z0-9_.-]{0,255}$/.test(id)) throw invalid('ID is missing, or no ID')
  // A message for somebody else is none for us, whoever signed it (SAML core section 3.2.1).
  const sentTo = attributeOf(root, 'Destination')
  if (sentTo !== undefined && sentTo !== destination)
    throw invalid(`Destination is ${sentTo.slice(0, 200)}, and this is ${destination}`)
  return {
    id,
    issuer: readIssuer(root),
    issuedAt: parseInstant(attributeOf(root, 'IssueInstant') ?? '', 'IssueInstant'),
  }
}

/**
 * @param root as `verifyMessage` gave it
 * @param destination the URL that it came to
 * @throws SamlError `SAML_MESSAGE_INVALID`
 */
export function parseAuthnRequest(root: Element, destination: string): AuthnRequest {
  const head = readHead(root, 'AuthnRequest', destination)
  const binding = attributeOf(root, 'ProtocolBinding')
  if (binding !== undefined && binding !== bindings.post)
    throw invalid(`ProtocolBinding is ${binding.slice(0, 100)}, and responses go by HTTP-POST`)
  const index = attributeOf(root, 'AssertionConsumerServiceIndex')
  const consumerUrl = uriOf(root, 'AssertionConsumerServiceURL')
  if (index !== undefined && consumerUrl !== undefined)
    throw invalid(
      'AssertionConsumerServiceURL and AssertionConsumerServiceIndex exclude each other',
    )
  if (index !== undefined && !/^\d{1,5}$/.test(index))
    throw invalid('AssertionConsumerServiceIndex is no number')
  const policy = childNamed(root, protocol, 'NameIDPolicy')
  const subject = childNamed(root, assertion, 'Subject')
  const expected = subject && childNamed(subject, assertion, 'NameID')
  return {
    ...head,
    consumerUrl,
    consumerIndex: index === undefined ? undefined : Number(index),
    forceAuthn: booleanOf(root, 'ForceAuthn'),
    isPassive: booleanOf(root, 'IsPassive'),
    nameIdFormat: policy && uriOf(policy, 'Format'),
    requestedContext: readContext(childNamed(root, protocol, 'RequestedAuthnContext')),
    subject: expected && textOf(expected),
  }
}

/** A request is kept while the person signs in, and anybody can make one. */
const limitUriCharacters = 2_048

function uriOf(element: Element, name: string): string | undefined {
  const uri = attributeOf(element, name)
  if (uri !== undefined && uri.length > limitUriCharacters)
    throw invalid(`${name} has more than ${limitUriCharacters} characters`)
  return uri
}

function readContext(requested: Element | undefined): RequestedContext | undefined {
  if (!requested) return undefined
  const comparison = attributeOf(requested, 'Comparison') ?? 'exact'
  if (!/^(?:exact|minimum|maximum|better)$/.test(comparison)) throw invalid('Comparison is unknown')
  return {
    comparison: comparison as RequestedContext['comparison'],
    classes: childrenNamed(requested, assertion, 'AuthnContextClassRef').map(textOf),
  }
}
