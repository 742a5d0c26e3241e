/**
 * Sign-on by headers: claims of the signed-in person, and constants, become request header fields that
 * an application behind the connector trusts. Whoever uses this must first remove the same fields, in
 * every spelling, from what the client sent.
 */
import type { Claims, SignOnHeader } from '@sallyport/domain'
import { compileClaim, compileList } from '../claims/index.ts'

/** All fields together may take this many bytes: what common origins accept for a whole head. */
export const limitBytes = 32_768

/** The person's claims do not fit into header fields. */
export class HeaderSignOnError extends Error {
  override readonly name = 'HeaderSignOnError'
  readonly code = 'SIGN_ON_HEADERS_TOO_LARGE'
}

/**
 * Compiles what an application gets, once for all people.
 *
 * @returns makes name, value, name, value ... of a person's claims; what comes to nothing gives no field. Values are UTF-8
 *   bytes, each as one latin1 character, without control characters. Throws HeaderSignOnError
 *   `SIGN_ON_HEADERS_TOO_LARGE`, ClaimError `SIGN_ON_CLAIM_TOO_LONG`
 */
export function compileHeaders(headers: readonly SignOnHeader[]): (claims: Claims) => string[] {
  const writers = headers.map((header) => ({ name: header.name, write: compileHeader(header) }))
  return (claims) => {
    const fields: string[] = []
    let bytes = 0
    for (const { name, write } of writers) {
      const encoded = toFieldValue(write(claims))
      if (encoded === '') continue
      bytes += name.length + encoded.length + 4
      fields.push(name, encoded)
    }
    if (bytes > limitBytes)
      throw new HeaderSignOnError(`sign-on headers take ${bytes} bytes, more than ${limitBytes}`)
    return fields
  }
}

function compileHeader(header: SignOnHeader): (claims: Claims) => string {
  if ('value' in header) return () => header.value
  const valuesOf = compileClaim(header, header.name)
  if (header.claim !== 'groups' && header.claim !== 'groupIds')
    return (claims) => valuesOf(claims)[0] ?? ''
  const toList = compileList(header.separator ?? ';')
  return (claims) => toList(valuesOf(claims))
}

const plain = /^[!-~](?:[ -~]*[!-~])?$/

function toFieldValue(value: string): string {
  if (plain.test(value)) return value
  // Control characters would split the head (RFC 9110 section 5.5).
  const printable = value.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, ' ').trim()
  return Buffer.from(printable, 'utf8').toString('latin1')
}
