import { createHash, createHmac } from 'node:crypto'
import { DerError, Fields, parseElement, toInteger, toOctets, toText } from './der.ts'
import { field, flags, integer, sequence, text } from './der-writer.ts'
import { KerberosError } from './errors.ts'
import {
  type ExchangeContext,
  type ExchangeFacts,
  invalidReply,
  readReply,
  type Ticket,
} from './exchange.ts'
import { KdcCode } from './kdc-errors.ts'
import { type EncryptionKey, KeyUsage } from './key.ts'
import { KdcOption, type PaData, PaType, writeChecksum } from './messages.ts'
import {
  findTargetRealm,
  formatPrincipal,
  NameType,
  type Principal,
  type PrincipalName,
  readName,
  samePrincipal,
  writeName,
} from './names.ts'
import {
  maxReferrals,
  refusedReferral,
  requestCrossRealmTgt,
  requestTicket,
  type TicketReply,
} from './tgs-exchange.ts'

/**
 * A ticket to the connector itself in the name of a user, without that user's doing (MS-SFU section 3.1.5.1.1): the
 * evidence for what follows. A user of another realm is asked for there; the answer comes back over the trusts.
 *
 * @throws KerberosError of the stage `s4u2self`, or `tgs` on the way to another realm
 */
export async function requestEvidence(
  context: ExchangeContext,
  tgt: Ticket,
  user: Principal,
  facts: ExchangeFacts,
  signal?: AbortSignal,
): Promise<Ticket> {
  const account = tgt.client
  let current = await requestCrossRealmTgt(context, tgt, user.realm, facts, signal)
  const seen = new Set<string>()
  for (;;) {
    const at = findTargetRealm(current.server)!
    if (seen.has(at) || seen.size === maxReferrals) throw refusedReferral(facts, at)
    seen.add(at)
    const asked = requestTicket(context, {
      tgt: current,
      // Another realm finds us by our name with our realm in it.
      server:
        at === account.realm
          ? account
          : { type: NameType.ENTERPRISE, components: [formatPrincipal(account)] },
      padata: (key, nonce) => [writeForUser(key, user), writeS4uUser(key, user, nonce)],
      facts: { ...facts, stage: 's4u2self' },
      signal,
    })
    const reply = await (at === account.realm && seen.size > 1
      ? asked.catch(explainForeigner(user, at))
      : asked)
    if (reply.referral !== undefined) {
      current = reply.ticket
      continue
    }
    checkAnswer(reply, current.sessionKey, user, account, facts)
    return reply.ticket
  }
}

/** Back at home: the user's own realm has let us come, ours does not know what to make of it. */
function explainForeigner(user: Principal, realm: string) {
  return (error: unknown): never => {
    if (!(error instanceof KerberosError) || error.facts.kerberosCode !== KdcCode.CLIENT_UNKNOWN)
      throw error
    throw new KerberosError(
      error.code,
      `${error.message}: it looks for the user of ${user.realm} in ${realm}`,
      { ...error.facts, reason: 'other-realm', cause: error },
    )
  }
}

function checkAnswer(
  { ticket, padata, nonce }: TicketReply,
  key: EncryptionKey,
  user: Principal,
  account: Principal,
  facts: ExchangeFacts,
): void {
  // A KDC that knows nothing of S4U answers with a ticket of our own: as the user it would be a disaster.
  if (samePrincipal(ticket.client, account)) {
    throw new KerberosError(
      'KERBEROS_S4U_UNSUPPORTED',
      `${facts.stage}: the KDC of ${facts.realm} answered with a ticket of ${formatPrincipal(account)} itself`,
      { ...facts },
    )
  }
  if (!samePrincipal(ticket.client, user)) {
    throw invalidReply(facts, `a ticket of ${formatPrincipal(ticket.client)}`)
  }
  const confirmation = padata.find(({ type }) => type === PaType.S4U_X509_USER)
  if (confirmation) {
    readReply(facts, () => checkS4uUser(confirmation.value, key, user, nonce))
  }
}

/**
 * A ticket to an application in the name of the user of `evidence` (MS-SFU section 3.1.5.2.1). For an application of
 * another realm, which resource-based delegation allows, the KDCs are asked in turn.
 *
 * @throws KerberosError of the stage `s4u2proxy`, or `tgs` on the way to another realm
 */
export async function requestServiceTicket(
  context: ExchangeContext,
  tgt: Ticket,
  evidence: Ticket,
  service: PrincipalName,
  facts: ExchangeFacts,
  signal?: AbortSignal,
): Promise<Ticket> {
  let current = tgt
  let proof = evidence
  const seen = new Set<string>()
  for (;;) {
    const at = findTargetRealm(current.server)!
    if (seen.has(at) || seen.size === maxReferrals) throw refusedReferral(facts, at)
    seen.add(at)
    const { ticket, referral } = await requestTicket(context, {
      tgt: current,
      server: service,
      options: KdcOption.CNAME_IN_ADDL_TKT,
      padata: () => [resourceBased],
      additionalTicket: proof.encoded,
      facts: { ...facts, stage: 's4u2proxy' },
      signal,
    })
    if (!samePrincipal(ticket.client, evidence.client)) {
      throw invalidReply(facts, `a ticket of ${formatPrincipal(ticket.client)}`)
    }
    if (referral === undefined) return ticket
    // The next KDC wants the user's ticket as proof, and ours to see who asks.
    proof = ticket
    current = await requestCrossRealmTgt(context, current, referral, facts, signal)
  }
}

/** PA-PAC-OPTIONS: resource-based constrained delegation is understood (MS-KILE section 2.2.10). */
const resourceBased: PaData = {
  type: PaType.PAC_OPTIONS,
  value: sequence(field(0, flags(0x10000000))),
}

const authPackage = 'Kerberos'
/** HMAC-MD5 of RFC 4757, with whatever key: so Microsoft has it (MS-SFU section 2.2.1). */
const checksumHmacMd5 = -138

/** PA-FOR-USER. */
function writeForUser(key: EncryptionKey, user: Principal): PaData {
  const nameType = Buffer.alloc(4)
  nameType.writeInt32LE(user.type)
  const covered = [
    nameType,
    ...[...user.components, user.realm, authPackage].map((part) => Buffer.from(part)),
  ]
  const signing = createHmac('md5', key.bytes).update('signaturekey\0').digest()
  const usage = Buffer.of(17, 0, 0, 0)
  const hash = createHash('md5')
    .update(Buffer.concat([usage, ...covered]))
    .digest()
  const checksum = createHmac('md5', signing).update(hash).digest()
  return {
    type: PaType.FOR_USER,
    value: sequence(
      field(0, writeName(user)),
      field(1, text(user.realm)),
      field(2, writeChecksum(checksumHmacMd5, checksum)),
      field(3, text(authPackage)),
    ),
  }
}

/** The answer's checksum is made for the answer. */
const USE_REPLY_KEY_USAGE = 0x20000000

/** PA-S4U-X509-USER: the same with a modern checksum, which also covers the answer (MS-SFU section 2.2.2). */
function writeS4uUser(key: EncryptionKey, user: Principal, nonce: number): PaData {
  const id = sequence(
    field(0, integer(nonce)),
    field(1, writeName(user)),
    field(2, text(user.realm)),
    field(4, flags(USE_REPLY_KEY_USAGE)),
  )
  const checksum = key.checksum(KeyUsage.S4U_X509_USER_REQUEST, id)
  const value = sequence(field(0, id), field(1, writeChecksum(key.etype.checksumType, checksum)))
  return { type: PaType.S4U_X509_USER, value }
}

function checkS4uUser(value: Buffer, key: EncryptionKey, user: Principal, nonce: number): void {
  const fields = new Fields(parseElement(value), 'PA-S4U-X509-USER')
  const id = fields.get(0)
  const given = new Fields(fields.get(1), 'Checksum')
  const expected = key.checksum(KeyUsage.S4U_X509_USER_REPLY, id.encoded)
  if (!toOctets(given.get(1)).equals(expected)) {
    throw new DerError('PA-S4U-X509-USER: another checksum')
  }
  const named = new Fields(id, 'S4UUserID')
  const name = { ...readName(named.get(1)), realm: toText(named.get(2)) }
  if (toInteger(named.get(0)) !== nonce) throw new DerError('PA-S4U-X509-USER: another nonce')
  if (!samePrincipal(name, user)) throw new DerError('PA-S4U-X509-USER: another user')
}
