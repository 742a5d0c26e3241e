/**
 * Who people are: sign-in pages, passwords, sessions, and the OpenID provider that applications and
 * the gateway get them from. `startIdentity` gives the request handler of the sign-in host and the few
 * questions that the gateway asks; the directory itself is in the store.
 */
export type { Assertion, AssertionRing } from './assertion.ts'
export type { LogoutOutcome } from './back-channel-logout.ts'
export { IdentityError, type IdentityErrorCode } from './errors.ts'
export type { HandedForm } from './form-hand-over.ts'
export {
  type AuthorizeRequest,
  type Identity,
  type IdentityOptions,
  startIdentity,
} from './identity.ts'
export type { LogoutDestinations } from './logout-request.ts'
export type { Delivery, DeliveryRequest } from './oidc/delivery.ts'
export type { PasswordVault } from './own-passwords.ts'
export { hashPassword, verifyPassword } from './password.ts'
export type { PageAnswer } from './portal.ts'
export type { RedeemRequest } from './redeem.ts'
export type { SignOnAssertion, SignOnRequest } from './sign-on-assertion.ts'
export type { SignOnCheckAnswer, SignOnCheckRefusal, SignOnCheckRequest } from './sign-on-check.ts'
