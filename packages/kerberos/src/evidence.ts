import {
  DerError,
  type Element,
  Fields,
  parseElement,
  parseElements,
  readElement,
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
import { type Principal, readName } from './names.ts'
import { type DirectoryAccount, parsePac } from './pac.ts'

/** What a ticket for us says about its user, under the seal of our own key. */
export interface EvidenceContent {
  client: Principal
  /** Undefined when the KDC is none of Active Directory. */
  account: DirectoryAccount | undefined
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
  ticket: Ticket,
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
