import type { FieldList } from '@sallyport/http1'

// One field may hold several challenges (RFC 9110 section 11.6.1).
const negotiation =
  /(?:^|,)[ \t]*(?:negotiate|kerberos)(?:[ \t]+([A-Za-z0-9+/]+={0,2}))?[ \t]*(?:,|$)/i

/** Whether a field has a challenge, or the answer to a token, of HTTP Negotiate (RFC 4559). */
export function isNegotiation(name: string, value: string): boolean {
  return name.toLowerCase() === 'www-authenticate' && negotiation.test(value)
}

/** @returns the token of a Negotiate challenge, '' when it has none; undefined when there is no challenge */
export function findReply(fields: FieldList): string | undefined {
  for (let index = 0; index < fields.length; index += 2) {
    if (!isNegotiation(fields[index]!, fields[index + 1]!)) continue
    return negotiation.exec(fields[index + 1]!)?.[1] ?? ''
  }
  return undefined
}
