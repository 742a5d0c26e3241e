/**
 * `SAML_MESSAGE_INVALID`: not what the profile allows, or for somebody else. `SAML_SIGNATURE_INVALID`: unsigned where that must not be, or not
 * signed by whom it says. `SAML_METADATA_INVALID`: a metadata file that cannot be used; the message says why.
 */
export type SamlErrorCode =
  | 'SAML_MESSAGE_INVALID'
  | 'SAML_SIGNATURE_INVALID'
  | 'SAML_METADATA_INVALID'

export class SamlError extends Error {
  override readonly name = 'SamlError'
  readonly code: SamlErrorCode
  constructor(code: SamlErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.code = code
  }
}

export function invalid(message: string, options?: { cause?: unknown }): SamlError {
  return new SamlError('SAML_MESSAGE_INVALID', message, options)
}

export function unsigned(message: string, options?: { cause?: unknown }): SamlError {
  return new SamlError('SAML_SIGNATURE_INVALID', message, options)
}
