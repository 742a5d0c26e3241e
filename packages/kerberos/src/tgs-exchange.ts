import { KerberosError } from './errors.ts'
import { supportedEtypes } from './etypes.ts'
import {
  checkEtype,
  type ExchangeContext,
  type ExchangeFacts,
  invalidReply,
  newNonce,
  readReply,
  type Ticket,
} from './exchange.ts'
import { KdcCode, toKerberosError } from './kdc-errors.ts'
import { type EncryptionKey, KeyUsage } from './key.ts'
import {
  KdcOption,
  MessageType,
  type PaData,
  PaType,
  parseEncKdcReplyPart,
  parseKdcReply,
  writeApRequest,
  writeAuthenticator,
  writeChecksum,
  writeEncryptedData,
  writeKdcRequest,
  writeRequestBody,
} from './messages.ts'
import {
  findTargetRealm,
  formatPrincipal,
  type PrincipalName,
  samePrincipal,
  sameService,
  toKrbtgt,
} from './names.ts'

export interface TicketRequest {
  /** Its target realm is who is asked. */
  tgt: Ticket
  server: PrincipalName
  options?: number
  /** @param key of the session with the KDC */
  padata?(key: EncryptionKey, nonce: number): PaData[]
  additionalTicket?: Buffer
  facts: ExchangeFacts & { stage: 'tgs' | 's4u2self' | 's4u2proxy' }
  signal?: AbortSignal | undefined
}

export interface TicketReply {
  ticket: Ticket
  nonce: number
  padata: readonly PaData[]
  /** The realm whose KDC has to be asked with this ticket, when it is not yet the one that was asked for. */
  referral: string | undefined
}

/**
 * A ticket by a ticket (RFC 4120 section 3.3). Whose name it carries is for the caller to check; server, nonce and
 * integrity are checked here.
 *
 * @throws KerberosError of the stage that `facts` name
 */
export async function requestTicket(
  context: ExchangeContext,
  request: TicketRequest,
): Promise<TicketReply> {
  const realm = findTargetRealm(request.tgt.server)
  if (realm === undefined) throw new TypeError('not a ticket-granting ticket')
  for (const mayCorrectClock of [true, false]) {
    const nonce = newNonce(context.random)
    const message = writeRequest(context, request, realm, nonce)
    const bytes = await context.kdcs.exchange(realm, message, request.signal)
    const facts = { ...request.facts, realm }
    const reply = readReply(facts, () => parseKdcReply(bytes, MessageType.TGS_REP))
    if (reply.kind === 'reply') return takeTicket(request, reply, nonce, facts)
    if (reply.code !== KdcCode.SKEW || !mayCorrectClock) {
      throw toKerberosError(reply, request.facts.stage, {
        ...facts,
        clientAt: context.clock.ownNow(),
      })
    }
    context.clock.learn(realm, reply.serverAt)
  }
  throw new TypeError('unreachable')
}

function writeRequest(
  context: ExchangeContext,
  request: TicketRequest,
  realm: string,
  nonce: number,
): Buffer {
  const { tgt, server, additionalTicket } = request
  const key = tgt.sessionKey
  const body = writeRequestBody({
    // Without CANONICALIZE a KDC does not say where else to ask (RFC 6806 section 8).
    options: KdcOption.FORWARDABLE | KdcOption.CANONICALIZE | (request.options ?? 0),
    realm,
    sname: server,
    tillAt: context.clock.now(realm) + context.ticketLifetimeMs,
    nonce,
    etypes: supportedEtypes,
    ...(additionalTicket && { additionalTickets: [additionalTicket] }),
  })
  const authenticator = writeAuthenticator({
    client: tgt.client,
    checksum: writeChecksum(key.etype.checksumType, key.checksum(KeyUsage.TGS_REQ_CHECKSUM, body)),
    atMicros: context.clock.nowMicros(realm),
  })
  const cipher = key.encrypt(KeyUsage.TGS_REQ_AUTHENTICATOR, authenticator, context.random)
  const apRequest = writeApRequest(tgt.encoded, writeEncryptedData(key, cipher), false)
  const padata = [
    { type: PaType.TGS_REQ, value: apRequest },
    ...(request.padata?.(key, nonce) ?? []),
  ]
  return writeKdcRequest({ type: MessageType.TGS_REQ, padata, body })
}

function takeTicket(
  { tgt, server }: TicketRequest,
  reply: Extract<ReturnType<typeof parseKdcReply>, { kind: 'reply' }>,
  nonce: number,
  facts: ExchangeFacts,
): TicketReply {
  return readReply(facts, () => {
    const { client, ticket, encPart } = reply
    checkEtype(encPart, tgt.sessionKey, facts)
    const part = parseEncKdcReplyPart(
      tgt.sessionKey.decrypt(KeyUsage.TGS_REP_SESSION_KEY, encPart.cipher),
    )
    if (part.nonce !== nonce) throw invalidReply(facts, 'another nonce')
    if (!samePrincipal(part.server, ticket.server)) throw invalidReply(facts, 'two server names')
    const target = findTargetRealm(part.server)
    const asked = sameService({ ...part.server, type: 0 }, { ...server, type: 0 })
    if (!asked && target === undefined) {
      throw invalidReply(facts, `a ticket for ${formatPrincipal(part.server)}`)
    }
    const { key: sessionKey, flags, startAt, endAt } = part
    const { encoded, encPart: sealed, server: actual } = ticket
    return {
      ticket: {
        client,
        server: actual,
        encoded,
        encPart: sealed,
        sessionKey,
        flags,
        startAt,
        endAt,
      },
      nonce,
      padata: [...reply.padata, ...part.padata],
      referral: asked ? undefined : target,
    }
  })
}

/** A realm is as many trusts away as this at most. */
export const maxReferrals = 8

/**
 * A ticket-granting ticket of another realm, over as many trusts as it takes.
 *
 * @throws KerberosError `KERBEROS_REFERRAL_REFUSED` when the KDCs send us in a circle
 */
export async function requestCrossRealmTgt(
  context: ExchangeContext,
  tgt: Ticket,
  realm: string,
  facts: ExchangeFacts,
  signal?: AbortSignal,
): Promise<Ticket> {
  let current = tgt
  const seen = new Set<string>()
  for (;;) {
    const at = findTargetRealm(current.server)!
    if (at === realm) return current
    if (seen.has(at) || seen.size === maxReferrals) throw refusedReferral(facts, at)
    seen.add(at)
    const { ticket } = await requestTicket(context, {
      tgt: current,
      server: toKrbtgt(realm),
      facts: { ...facts, stage: 'tgs' },
      signal,
    })
    if (!samePrincipal(ticket.client, tgt.client)) {
      throw invalidReply(facts, `a ticket of ${formatPrincipal(ticket.client)}`)
    }
    current = ticket
  }
}

export function refusedReferral(facts: ExchangeFacts, realm: string): KerberosError {
  return new KerberosError(
    'KERBEROS_REFERRAL_REFUSED',
    `${facts.stage}: the KDCs send us to ${realm} again`,
    { ...facts, realm },
  )
}
