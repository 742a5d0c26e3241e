/**
 * - `FORM_NOT_FOUND` the page has no form with one password field
 * - `FORM_AMBIGUOUS` it has several, and nothing says which is meant
 * - `FORM_FIELD_MISSING` the form has no field for the user name, or not the one that was named
 * - `FORM_METHOD_UNSAFE` it would put the password into a URL
 * - `FORM_ENCODING_UNSUPPORTED`, `FORM_CHARSET_UNSUPPORTED` it wants a body that we do not write
 */
export type FormErrorCode =
  | 'FORM_NOT_FOUND'
  | 'FORM_AMBIGUOUS'
  | 'FORM_FIELD_MISSING'
  | 'FORM_METHOD_UNSAFE'
  | 'FORM_ENCODING_UNSUPPORTED'
  | 'FORM_CHARSET_UNSUPPORTED'

/** The sign-in page cannot be used. The message is for administrators, and holds nothing of the person. */
export class FormError extends Error {
  override readonly name = 'FormError'
  readonly code: FormErrorCode
  constructor(code: FormErrorCode, message: string) {
    super(message)
    this.code = code
  }
}
