import type { Credential } from './sealing.ts'

/** Why a credential cannot be sent as HTTP Basic; undefined when it can. In words for the person who types it. */
export function basicProblem({ userName, password }: Credential): string | undefined {
  // RFC 7617 section 2: the first colon ends the name; control characters are not allowed.
  if (userName.includes(':')) return 'must not hold a colon: this application cannot read it'
  if (/[\u0000-\u001f\u007f]/.test(userName + password)) return 'must not hold control characters'
  return undefined
}

/**
 * The value of `Authorization` (RFC 7617, with charset UTF-8).
 *
 * @throws RangeError when `basicProblem` has one
 */
export function toBasicValue(credential: Credential): string {
  const problem = basicProblem(credential)
  if (problem !== undefined) throw new RangeError(`a credential for Basic ${problem}`)
  const { userName, password } = credential
  return `Basic ${Buffer.from(`${userName}:${password}`, 'utf8').toString('base64')}`
}
