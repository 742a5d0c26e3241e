import { KerberosError } from './errors.ts'
import { type ExchangeContext, type ExchangeFacts, isForwardable, type Ticket } from './exchange.ts'
import { KdcCode } from './kdc-errors.ts'
import type { PrincipalName } from './names.ts'
import type { DirectoryAccount } from './pac.ts'
import { requestServiceTicket } from './s4u.ts'
import { requestTicket } from './tgs-exchange.ts'

export interface Denied {
  tgt: Ticket
  /** Evidence for the user. */
  ticket: Ticket
  account: DirectoryAccount
  service: PrincipalName
  facts: ExchangeFacts
}

const protectedUsers = 525

/**
 * A KDC gives one code for all that can be wrong with a delegation. The user's evidence tells more, and so does the
 * attempt to delegate the connector's own ticket, to which no user stands in the way.
 *
 * @returns the error to throw instead
 */
export async function explainDenial(
  error: KerberosError,
  context: ExchangeContext,
  denied: Denied,
): Promise<KerberosError> {
  const explained = explainByEvidence(error, {
    account: denied.account,
    forwardable: isForwardable(denied.ticket),
  })
  const { account, spn } = denied.facts
  if (explained.facts.reason !== 'no-delegation' || !(await canDelegateItself(context, denied)))
    return explained
  const why = `${account} may delegate to ${spn}, but only what users prove by Kerberos: it lacks protocol transition`
  return toDenial(error, 'KERBEROS_DELEGATION_DENIED', 'no-protocol-transition', why)
}

/**
 * What the user's evidence tells of a refusal.
 *
 * @param error of the stage `s4u2proxy`, with `account`, `user` and `spn` in its facts
 * @returns the error to throw instead; the reason `no-delegation` includes that only protocol transition is missing
 */
export function explainByEvidence(
  error: KerberosError,
  { account, forwardable }: { account: DirectoryAccount; forwardable: boolean },
): KerberosError {
  if (error.facts.kerberosCode !== KdcCode.BAD_OPTION) return error
  const { facts } = error
  if (account.sensitive) {
    const why = `${facts.user} is marked as sensitive`
    return toDenial(error, 'KERBEROS_ACCOUNT_SENSITIVE', 'sensitive', why)
  }
  if (account.groupIds.includes(protectedUsers)) {
    const why = `${facts.user} is one of Protected Users`
    return toDenial(error, 'KERBEROS_ACCOUNT_SENSITIVE', 'protected-users', why)
  }
  if (forwardable) {
    const why = `${facts.account} may not delegate to ${facts.spn}`
    return toDenial(error, 'KERBEROS_DELEGATION_DENIED', 'spn-not-allowed', why)
  }
  const why = `${facts.account} has no right to delegate to ${facts.spn}`
  return toDenial(error, 'KERBEROS_DELEGATION_DENIED', 'no-delegation', why)
}

function toDenial(
  error: KerberosError,
  code: KerberosError['code'],
  reason: string,
  why: string,
): KerberosError {
  return new KerberosError(code, `${error.message}: ${why}`, {
    ...error.facts,
    stage: 's4u2proxy',
    reason,
    cause: error,
  })
}

async function canDelegateItself(
  context: ExchangeContext,
  { tgt, service, facts }: Denied,
): Promise<boolean> {
  try {
    const { ticket } = await requestTicket(context, {
      tgt,
      server: tgt.client,
      facts: { ...facts, stage: 'tgs' },
    })
    await requestServiceTicket(context, tgt, ticket, service, facts)
    return true
  } catch (error) {
    if (error instanceof KerberosError) return false
    throw error
  }
}
