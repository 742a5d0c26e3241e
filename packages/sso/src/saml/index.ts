/**
 * The identity provider's side of SAML 2.0, without a network, a store or a clock: responses and assertions, signed and encrypted;
 * requests for sign-on and sign-out, read as strictly as can be; metadata in both directions. Everything that comes in is
 * bounded, holds neither document types nor entities, and is only believed as far as its signature goes.
 */
export { ClaimError } from '../claims/index.ts'
export { type Attribute, toAttributes } from './attributes.ts'
export {
  type ReceivedMessage,
  readPost,
  readRedirect,
  toRedirectUrl,
  verifyMessage,
} from './bindings.ts'
export { findAuthnContext } from './context.ts'
export { SamlError, type SamlErrorCode } from './errors.ts'
export {
  buildLogoutRequest,
  buildLogoutResponse,
  type LogoutRequest,
  type LogoutResponse,
  meansNameId,
  parseLogoutRequest,
  parseLogoutResponse,
} from './logout.ts'
export { buildIdentityProviderMetadata } from './metadata.ts'
export { findNameIdFormat, type NameId, offersNameId, toNameId } from './name-id.ts'
export type { NameIdFormat, StatusCode } from './names.ts'
export { type AuthnRequest, parseAuthnRequest, readIssuer } from './request.ts'
export {
  type Addressing,
  buildFailure,
  buildResponse,
  encode,
  newMessageId,
  type Statement,
} from './response.ts'
export { parseServiceProviderMetadata, type ServiceProviderFacts } from './service-provider.ts'
export { type SigningKey, signXml } from './signature.ts'
export { toSoap } from './soap.ts'
export type { Xml } from './xml.ts'
