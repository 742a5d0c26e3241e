import type { CompiledApplication, IdentitySession } from '@sallyport/domain'
import { ClaimError } from '@sallyport/sso/saml'
import type { FailureFacts } from './failures.ts'

/** Why an application is not told who somebody is, as the audit log has it. */
export interface SignOnRefusal {
  reason: 'user-not-assigned' | 'claim-too-long' | 'saml-name-missing' | 'saml-attributes-too-many'
  /** The claim that cannot be made, as the application calls it. */
  claim?: string
  /** Why it cannot. */
  explanation?: string
}

/** @throws the error itself when it is about no claim */
export function toSignOnRefusal(error: unknown): SignOnRefusal {
  if (!(error instanceof ClaimError)) throw error
  return { reason: 'claim-too-long', claim: error.claim, explanation: error.message }
}

/** What its page says beside the fixed text. */
export function refusalFacts(
  { application }: Pick<CompiledApplication, 'application'>,
  session: IdentitySession | undefined,
  { claim }: SignOnRefusal,
): FailureFacts {
  return {
    applicationName: application.displayName,
    ...(session && { signedInAs: `${session.claims.displayName} (${session.claims.userName})` }),
    ...(claim !== undefined && { claim }),
  }
}
