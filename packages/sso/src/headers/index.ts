/**
 * Sign-on by headers: claims of the signed-in person, and constants, become request header fields that
 * an application behind the connector trusts. Whoever uses this must first remove the same fields, in
 * every spelling, from what the client sent.
 */
import type { Claims, HeaderClaim, SignOn } from '@sallyport/domain'

/** All fields together may take this many bytes: what common origins accept for a whole head. */
export const limitBytes = 32_768

/** The person's claims do not fit into header fields. */
export class HeaderSignOnError extends Error {
  override readonly name = 'HeaderSignOnError'
  readonly code = 'SIGN_ON_HEADERS_TOO_LARGE'
}

/**
 * @returns name, value, name, value ...; a claim that the person does not have gives no field. Values are UTF-8 bytes, each as
 *   one latin1 character, without control characters.
 * @throws HeaderSignOnError `SIGN_ON_HEADERS_TOO_LARGE`
 */
export function toHeaderFields(signOn: SignOn, claims: Claims): string[] {
  const fields: string[] = []
  if (signOn.method !== 'headers') return fields
  let bytes = 0
  for (const header of signOn.headers) {
    const value = 'claim' in header ? claimReaders[header.claim](claims) : header.value
    const encoded = toFieldValue(value ?? '')
    if (encoded === '') continue
    bytes += header.name.length + encoded.length + 4
    fields.push(header.name, encoded)
  }
  if (bytes > limitBytes)
    throw new HeaderSignOnError(`sign-on headers take ${bytes} bytes, more than ${limitBytes}`)
  return fields
}

const claimReaders: Record<HeaderClaim, (claims: Claims) => string | undefined> = {
  userName: (claims) => claims.userName,
  mail: (claims) => claims.mail,
  displayName: (claims) => claims.displayName,
  objectId: (claims) => claims.objectId,
  groups: (claims) => claims.groups.map(({ name }) => escapeListItem(name)).join(';'),
  groupIds: (claims) => claims.groups.map(({ id }) => id).join(';'),
}

/** A group named `a;admins` must not read as two groups. */
function escapeListItem(name: string): string {
  return name.replace(/[%;]/g, (character) => (character === '%' ? '%25' : '%3B'))
}

const plain = /^[!-~](?:[ -~]*[!-~])?$/

function toFieldValue(value: string): string {
  if (plain.test(value)) return value
  // Control characters would split the head (RFC 9110 section 5.5).
  const printable = value.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, ' ').trim()
  return Buffer.from(printable, 'utf8').toString('latin1')
}
