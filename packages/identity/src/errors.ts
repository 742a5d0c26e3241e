export type IdentityErrorCode =
  /** More passwords wait to be checked than may; try again. */
  | 'OVERLOADED'
  /** The token endpoint refused the code; the cause is in the message. */
  | 'CODE_REJECTED'
  /** The token endpoint could not answer; try again. */
  | 'UNAVAILABLE'
  /** The code was good, but belongs to another sign-in request. */
  | 'NONCE_MISMATCH'
  /** The session ended before its code was redeemed. */
  | 'SESSION_ENDED'
  /** Nobody signs the person on to the application; the message says why. */
  | 'SIGN_ON_REFUSED'
  /** The directory does not say by which name the application knows the person. */
  | 'SIGN_ON_NAME_MISSING'
  /** The application gets no assertion, or not one of this person. */
  | 'ASSERTION_REFUSED'
  /** Nobody has entered a password for the application, or it is kept for what the application was before. */
  | 'CREDENTIAL_MISSING'
  /** The application has turned the password down. */
  | 'CREDENTIAL_REFUSED'

export class IdentityError extends Error {
  override readonly name = 'IdentityError'
  readonly code: IdentityErrorCode
  readonly retryable: boolean
  constructor(code: IdentityErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.code = code
    this.retryable = code === 'OVERLOADED' || code === 'UNAVAILABLE'
  }
}
