import type { Element } from '@xmldom/xmldom'
import { invalid } from './errors.ts'
import { type NameId, nameIdElement } from './name-id.ts'
import { nameIdFormats, namespaces, type StatusCode, statusCodes } from './names.ts'
import { type MessageHead, readHead } from './request.ts'
import { clockSkewMs, newMessageId, responseLifetimeMs, statusElement } from './response.ts'
import {
  attributeOf,
  childNamed,
  childrenNamed,
  parseInstant,
  textOf,
  toInstant,
  type Xml,
  xml,
} from './xml.ts'

const { protocol, assertion } = namespaces

/** A service provider asks to end a session (SAML core section 3.7.1). */
export interface LogoutRequest extends MessageHead {
  nameId: { value: string; format: string | undefined }
  /** Those that are meant; none: all. */
  sessionIndexes: readonly string[]
}

/**
 * @param root as `verifyMessage` gave it
 * @param destination the URL that it came to
 * @throws SamlError `SAML_MESSAGE_INVALID`
 */
export function parseLogoutRequest(
  root: Element,
  destination: string,
  nowAt: number,
): LogoutRequest {
  const head = readHead(root, 'LogoutRequest', destination)
  checkFresh(head, nowAt)
  const until = attributeOf(root, 'NotOnOrAfter')
  if (until !== undefined && parseInstant(until, 'NotOnOrAfter') + clockSkewMs <= nowAt)
    throw invalid('the logout request has expired')
  const nameId = childNamed(root, assertion, 'NameID')
  if (!nameId) throw invalid('there is no NameID that can be read')
  return {
    ...head,
    nameId: { value: textOf(nameId), format: attributeOf(nameId, 'Format') },
    sessionIndexes: childrenNamed(root, protocol, 'SessionIndex').map(textOf),
  }
}

/** A service provider says what became of our request. */
export interface LogoutResponse extends MessageHead {
  inResponseTo: string | undefined
  succeeded: boolean
}

/** As `parseLogoutRequest`. */
export function parseLogoutResponse(
  root: Element,
  destination: string,
  nowAt: number,
): LogoutResponse {
  const head = readHead(root, 'LogoutResponse', destination)
  checkFresh(head, nowAt)
  const status = childNamed(root, protocol, 'Status')
  const code = status && childNamed(status, protocol, 'StatusCode')
  return {
    ...head,
    inResponseTo: attributeOf(root, 'InResponseTo'),
    succeeded: code !== undefined && attributeOf(code, 'Value') === statusCodes.success,
  }
}

/** Messages of sign-out are answers to something that somebody has just done. */
function checkFresh({ issuedAt }: MessageHead, nowAt: number): void {
  if (Math.abs(nowAt - issuedAt) > responseLifetimeMs + clockSkewMs)
    throw invalid('IssueInstant is more than six minutes away; are both clocks right?')
}

/** To whom a message of sign-out goes. */
export interface LogoutAddressing {
  issuer: string
  destination: string
  /** Epoch milliseconds. */
  nowAt: number
}

export function buildLogoutRequest(
  { issuer, destination, nowAt }: LogoutAddressing,
  subject: { id: string; nameId: NameId; sessionIndex: string; audience: string },
): Xml {
  const { id, nameId, sessionIndex, audience } = subject
  return xml`<samlp:LogoutRequest xmlns:samlp="${protocol}" ID="${id}" Version="2.0" IssueInstant="${toInstant(nowAt)}" Destination="${destination}" NotOnOrAfter="${toInstant(nowAt + responseLifetimeMs)}"><saml:Issuer xmlns:saml="${assertion}">${issuer}</saml:Issuer>${nameIdElement(nameId, issuer, audience)}<samlp:SessionIndex>${sessionIndex}</samlp:SessionIndex></samlp:LogoutRequest>`
}

export function buildLogoutResponse(
  { issuer, destination, nowAt }: LogoutAddressing,
  inResponseTo: string,
  codes: readonly [StatusCode, StatusCode?],
): Xml {
  return xml`<samlp:LogoutResponse xmlns:samlp="${protocol}" ID="${newMessageId()}" Version="2.0" IssueInstant="${toInstant(nowAt)}" Destination="${destination}" InResponseTo="${inResponseTo}"><saml:Issuer xmlns:saml="${assertion}">${issuer}</saml:Issuer>${statusElement(codes)}</samlp:LogoutResponse>`
}

/** Whether a request means the one who was told to the service provider by this name. */
export function meansNameId(request: Pick<LogoutRequest, 'nameId'>, nameId: NameId): boolean {
  const { value, format } = request.nameId
  const fits = format === undefined || format === nameIdFormats[nameId.format]
  // Service providers that keep no format say that it is unspecified.
  return value === nameId.value && (fits || format === nameIdFormats.unspecified)
}
