import { type KeyObject, sign } from 'node:crypto'
import { promisify } from 'node:util'

const signAsync = promisify(sign)

/**
 * A JSON Web Signature by ES256, in compact form (RFC 7515 section 7.1).
 *
 * @param header without `alg`
 * @param key private, P-256
 */
export async function signJws(header: object, claims: object, key: KeyObject): Promise<string> {
  const text = `${toPart({ alg: 'ES256', ...header })}.${toPart(claims)}`
  // RFC 7518 section 3.4: R and S, and not a DER structure of them.
  const signature = await signAsync('sha256', Buffer.from(text), { key, dsaEncoding: 'ieee-p1363' })
  return `${text}.${signature.toString('base64url')}`
}

function toPart(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}
