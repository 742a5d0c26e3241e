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
  if (error.facts.kerberosCode !== KdcCode.BAD_OPTION) return error
  const { account, ticket, facts } = denied
  const { stage: _, ...known } = error.facts
  const explain = (code: KerberosError['code'], reason: string, why: string) =>
    new KerberosError(code, `${error.message}: ${why}`, {
      ...known,
      stage: 's4u2proxy',
      reason,
      cause: error,
    })
  if (account.sensitive) {
    return explain(
      'KERBEROS_ACCOUNT_SENSITIVE',
      'sensitive',
      `${facts.user} is marked as sensitive`,
    )
  }
  if (account.groupIds.includes(protectedUsers)) {
    const why = `${facts.user} is one of Protected Users`
    return explain('KERBEROS_ACCOUNT_SENSITIVE', 'protected-users', why)
  }
  if (isForwardable(ticket)) {
    const why = `${facts.account} may not delegate to ${facts.spn}`
    return explain('KERBEROS_DELEGATION_DENIED', 'spn-not-allowed', why)
  }
  if (await canDelegateItself(context, denied)) {
    const why = `${facts.account} may delegate to ${facts.spn}, but only what users prove by Kerberos: it lacks protocol transition`
    return explain('KERBEROS_DELEGATION_DENIED', 'no-protocol-transition', why)
  }
  const why = `${facts.account} has no right to delegate to ${facts.spn}`
  return explain('KERBEROS_DELEGATION_DENIED', 'no-delegation', why)
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
