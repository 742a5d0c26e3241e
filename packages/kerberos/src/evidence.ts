import {
  DerError,
  type Element,
  Fields,
  parseElement,
  parseElements,
  readElement,
  toFlags,
  toInteger,
  toOctets,
  toText,
  unwrapApplication,
} from './der.ts'
import { KerberosError } from './errors.ts'
import { toEtypeName } from './etypes.ts'
import { type ExchangeFacts, readReply, type Ticket } from './exchange.ts'
import { KeyUsage } from './key.ts'
import type { AccountKey } from './keytab.ts'
import { TicketFlag } from './messages.ts'
import { formatPrincipal, NameType, type Principal, readName } from './names.ts'
import { type DirectoryAccount, parsePac } from './pac.ts'
import { findPrivilege } from './privileged.ts'

/** What a ticket for us says about its user, under the seal of our own key. */
export interface EvidenceContent {
  client: Principal
  /** Undefined when the KDC is none of Active Directory. */
  account: DirectoryAccount | undefined
  /** Whether the KDC takes it as proof when the account may delegate only on its own authority. */
  forwardable: boolean
}

const AD_IF_RELEVANT = 1
const AD_WIN2K_PAC = 128

/**
 * Opens a ticket that the KDC made for the connector itself: what is outside of it was written by whoever answered.
 *
 * @throws KerberosError `KERBEROS_KEYTAB_STALE` when it is sealed with a key that the keytab has not,
 *   `KERBEROS_ETYPE_UNSUPPORTED`, `KERBEROS_KDC_REPLY_INVALID`
 */
export function openEvidence(
  ticket: Pick<Ticket, 'encPart'>,
  keys: readonly AccountKey[],
  facts: ExchangeFacts,
): EvidenceContent {
  const { etype, kvno, cipher } = ticket.encPart
  const sameEtype = keys.filter(({ key }) => key.etype.number === etype)
  const found = sameEtype.find((candidate) => kvno === undefined || candidate.kvno === kvno)
  if (!found) {
    const name = toEtypeName(etype)
    const code = sameEtype.length > 0 ? 'KERBEROS_KEYTAB_STALE' : 'KERBEROS_ETYPE_UNSUPPORTED'
    const why =
      sameEtype.length > 0
        ? `key version ${kvno}, and the keytab has ${sameEtype.map((key) => key.kvno).join(', ')}`
        : `${name}, of which the keytab has no key`
    throw new KerberosError(
      code,
      `${facts.stage}: the KDC seals tickets for ${facts.account} with ${why}`,
      { ...facts, ...(kvno !== undefined && { kvno }), etypes: [name] },
    )
  }
  return readReply(facts, () => readEvidence(found.key.decrypt(KeyUsage.TICKET, cipher)))
}

/** @param plain EncTicketPart @throws DerError */
export function readEvidence(plain: Buffer): EvidenceContent {
  const part = unwrapApplication(readElement(plain, 0), 3, 'EncTicketPart')
  const fields = new Fields(part, 'EncTicketPart')
  const data = fields.find(10)
  const pac = data && findPac(data)
  return {
    client: { ...readName(fields.get(3)), realm: toText(fields.get(2)) },
    account: pac && parsePac(pac),
    forwardable: (toFlags(fields.get(0)) & TicketFlag.FORWARDABLE) !== 0,
  }
}

/** In AuthorizationData, one level of AD-IF-RELEVANT down (MS-PAC section 3.1). */
function findPac(data: Element, depth = 0): Buffer | undefined {
  if (depth > 2) throw new DerError('AuthorizationData: too deep')
  for (const element of parseElements(data.content)) {
    const fields = new Fields(element, 'AuthorizationData')
    const type = toInteger(fields.get(0))
    const content = toOctets(fields.get(1))
    if (type === AD_WIN2K_PAC) return content
    if (type !== AD_IF_RELEVANT) continue
    const found = findPac(parseElement(content), depth + 1)
    if (found) return found
  }
  return undefined
}

/**
 * Whether evidence is that of the user who was asked for, and of somebody who may be impersonated at all.
 *
 * @param findRefusal why an account must not be impersonated
 * @returns the account of the user in the directory
 * @throws KerberosError `KERBEROS_S4U_UNSUPPORTED`, `KERBEROS_USER_MISMATCH`, `KERBEROS_USER_REFUSED`
 */
export function checkEvidence(
  user: Principal,
  { client, account }: EvidenceContent,
  facts: ExchangeFacts,
  findRefusal: (account: DirectoryAccount) => string | undefined = findPrivilege,
): DirectoryAccount {
  const name = formatPrincipal(user)
  if (!account) {
    const why = 'says nothing about the account: it has no PAC with a logon'
    throw new KerberosError('KERBEROS_S4U_UNSUPPORTED', `s4u2self: the ticket for ${name} ${why}`, {
      ...facts,
      reason: 'no-pac',
    })
  }
  const other = findMismatch(user, client, account)
  if (other !== undefined) {
    const message = `s4u2self: asked for ${name}, the directory answered with ${other}`
    throw new KerberosError('KERBEROS_USER_MISMATCH', message, facts)
  }
  const refusal = findRefusal(account)
  if (refusal !== undefined) {
    const message = `${name} is never impersonated: ${refusal}`
    throw new KerberosError('KERBEROS_USER_REFUSED', message, { ...facts, reason: refusal })
  }
  return account
}

/** Applications make nothing of a userPrincipalName: the same user by the name that the directory told. */
export function toAccountName(user: Principal, account: DirectoryAccount): Principal {
  return { type: NameType.PRINCIPAL, components: [account.name], realm: user.realm }
}

/** @returns who it is instead, when it is not who was asked for */
function findMismatch(
  user: Principal,
  client: Principal,
  account: DirectoryAccount,
): string | undefined {
  const [asked] = user.components
  const shown = formatPrincipal(client)
  const same = (a: string | undefined) => a?.toLowerCase() === asked!.toLowerCase()
  if (client.realm !== user.realm || client.components.join('/') !== asked) return shown
  if (user.type === NameType.PRINCIPAL) return same(account.name) ? undefined : account.name
  const implicit = account.dnsDomain && `${account.name}@${account.dnsDomain}`
  return same(account.userPrincipalName) || same(implicit) ? undefined : account.name
}
