import type { TokenFormat, UserName } from '@sallyport/kerberos'
import { ResetCode } from '@sallyport/protocol'
import { OriginFailure } from '../failure.ts'

/** What an assertion says of a sign-on by Kerberos. */
export interface KerberosFacts {
  user: UserName
  spn: string
  format: TokenFormat
  onChallenge: boolean
}

/** @param claims of an assertion @throws OriginFailure `SIGN_ON_FAILED` when they do not say it */
export function readKerberosFacts(claims: Readonly<Record<string, unknown>>): KerberosFacts {
  const { login, spn, tokenFormat, sendToken } = claims
  const { type, name, realm } = (login ?? {}) as Record<string, unknown>
  if (
    (type !== 'principal' && type !== 'enterprise') ||
    typeof name !== 'string' ||
    (realm !== undefined && typeof realm !== 'string') ||
    typeof spn !== 'string' ||
    (tokenFormat !== 'spnego' && tokenFormat !== 'kerberos') ||
    (sendToken !== 'always' && sendToken !== 'onChallenge')
  )
    throw failed('ASSERTION_REFUSED', 'the sign-on assertion does not say what Kerberos needs')
  return {
    user: { type, name, ...(realm === undefined ? {} : { realm }) },
    spn,
    format: tokenFormat,
    onChallenge: sendToken === 'onChallenge',
  }
}

/** The connector's own list, whatever service and directory say. @returns why it is nobody to sign on as */
export function findLocalRefusal(
  { name }: UserName,
  neverImpersonate: ReadonlySet<string>,
): string | undefined {
  const lower = name.toLowerCase()
  const [account] = lower.split('@')
  return neverImpersonate.has(lower) || neverImpersonate.has(account!)
    ? `${name} is never impersonated: it is in "neverImpersonate" of connector.json`
    : undefined
}

export function failed(code: string, message: string, cause?: unknown): OriginFailure {
  return new OriginFailure(
    ResetCode.SIGN_ON_FAILED,
    `${code}: ${message}`,
    cause === undefined ? undefined : { cause },
  )
}
