import { parseElement } from './der.ts'
import { field, instant, integer, sequence } from './der-writer.ts'
import { KerberosError } from './errors.ts'
import { supportedEtypes, toEtypeName } from './etypes.ts'
import {
  checkEtype,
  type ExchangeContext,
  type ExchangeFacts,
  invalidReply,
  newNonce,
  readReply,
  type Ticket,
  toFacts,
} from './exchange.ts'
import { KdcCode, toKerberosError } from './kdc-errors.ts'
import { KeyUsage } from './key.ts'
import type { AccountKey } from './keytab.ts'
import {
  KdcOption,
  type KdcReply,
  type KrbError,
  MessageType,
  type PaData,
  PaType,
  parseEncKdcReplyPart,
  parseEtypeInfo,
  parseKdcReply,
  parsePaData,
  writeEncryptedData,
  writeKdcRequest,
  writeRequestBody,
} from './messages.ts'
import { formatPrincipal, type Principal, samePrincipal, sameService, toKrbtgt } from './names.ts'

/** Wrong keys count as wrong passwords, and an account can be locked: so few are tried. */
const maxKeysTried = 2

/**
 * A ticket-granting ticket for the connector's own account (RFC 4120 section 3.1), proved by an encrypted timestamp.
 *
 * @param keys of the account, newest first; of each etype the two newest are tried, as domain controllers learn of a
 *   new password one after another
 * @throws KerberosError of the stage `as`
 */
export async function requestTgt(
  context: ExchangeContext,
  account: Principal,
  keys: readonly AccountKey[],
  signal?: AbortSignal,
): Promise<Ticket> {
  const facts = toFacts('as', account.realm, account)
  const ask = (padata: readonly PaData[]) => askAs(context, account, padata, facts, signal)
  // The first answer says which keys are wanted, and what time it is there.
  const first = await ask([])
  if (first.reply.kind === 'reply') return takeTgt(context, account, keys, first, facts)
  if (first.reply.code !== KdcCode.PREAUTH_REQUIRED) throw refusal(context, first.reply, facts)
  context.clock.learn(account.realm, first.reply.serverAt)
  const usable = chooseKeys(first.reply, keys, facts)
  let last: KrbError = first.reply
  for (const { key, kvno } of usable.slice(0, maxKeysTried)) {
    for (const mayCorrectClock of [true, false]) {
      const micros = context.clock.nowMicros(account.realm)
      const timestamp = sequence(
        field(0, instant(Number(micros / 1000n))),
        field(1, integer(Number(micros % 1_000_000n))),
      )
      const cipher = key.encrypt(KeyUsage.AS_REQ_TIMESTAMP, timestamp, context.random)
      const value = writeEncryptedData(key, cipher, kvno)
      const answer = await ask([{ type: PaType.ENC_TIMESTAMP, value }])
      if (answer.reply.kind === 'reply') return takeTgt(context, account, keys, answer, facts)
      last = answer.reply
      if (last.code !== KdcCode.SKEW || !mayCorrectClock) break
      context.clock.learn(account.realm, last.serverAt)
    }
    if (last.code !== KdcCode.PREAUTH_FAILED) break
  }
  throw refusal(context, last, { ...facts, kvno: usable[0]!.kvno })
}

interface Answer {
  reply: KdcReply | KrbError
  nonce: number
}

async function askAs(
  context: ExchangeContext,
  account: Principal,
  padata: readonly PaData[],
  facts: ExchangeFacts,
  signal: AbortSignal | undefined,
): Promise<Answer> {
  const nonce = newNonce(context.random)
  const body = writeRequestBody({
    options: KdcOption.FORWARDABLE,
    cname: account,
    realm: account.realm,
    sname: toKrbtgt(account.realm),
    tillAt: context.clock.now(account.realm) + context.ticketLifetimeMs,
    nonce,
    etypes: supportedEtypes,
  })
  const message = writeKdcRequest({ type: MessageType.AS_REQ, padata, body })
  const bytes = await context.kdcs.exchange(account.realm, message, signal)
  return { reply: readReply(facts, () => parseKdcReply(bytes, MessageType.AS_REP)), nonce }
}

/** @throws KerberosError `KERBEROS_FAST_REQUIRED`, `KERBEROS_KEYTAB_NO_KEY` */
function chooseKeys(
  error: KrbError,
  keys: readonly AccountKey[],
  facts: ExchangeFacts,
): AccountKey[] {
  const { data } = error
  const methods = readReply(facts, () => (data ? parsePaData(parseElement(data)) : []))
  const offers = (type: number) => methods.some((method) => method.type === type)
  if (!offers(PaType.ENC_TIMESTAMP) && (offers(PaType.FX_FAST) || methods.length > 0)) {
    throw new KerberosError(
      'KERBEROS_FAST_REQUIRED',
      `as: the KDC of ${facts.realm} does not take an encrypted timestamp from ${facts.account}, only methods ${methods.map(({ type }) => type).join(', ')}`,
      { ...facts, reason: offers(PaType.FX_FAST) ? 'fast' : 'other-methods' },
    )
  }
  const info = methods.find(({ type }) => type === PaType.ETYPE_INFO2)
  const wanted = info ? readReply(facts, () => parseEtypeInfo(info.value)) : supportedEtypes
  const etype = wanted.find((number) => keys.some(({ key }) => key.etype.number === number))
  if (etype !== undefined) return keys.filter(({ key }) => key.etype.number === etype)
  const have = [...new Set(keys.map(({ key }) => key.etype.name))].join(', ')
  const etypes = wanted.map(toEtypeName)
  throw new KerberosError(
    'KERBEROS_KEYTAB_NO_KEY',
    `the KDC of ${facts.realm} wants a key of ${etypes.join(' or ')} from ${facts.account}; the keytab has ${have}`,
    { ...facts, etypes },
  )
}

function takeTgt(
  context: ExchangeContext,
  account: Principal,
  keys: readonly AccountKey[],
  { reply, nonce }: Answer,
  facts: ExchangeFacts,
): Ticket {
  const { client, ticket, encPart } = reply as KdcReply
  const found = keys.find(
    ({ key, kvno }) =>
      key.etype.number === encPart.etype && (encPart.kvno === undefined || encPart.kvno === kvno),
  )
  // Versions count differently at read-only domain controllers: then the key itself decides.
  const key = found?.key ?? keys.find(({ key }) => key.etype.number === encPart.etype)?.key
  if (!key) {
    throw new KerberosError(
      'KERBEROS_KEYTAB_NO_KEY',
      `the KDC of ${facts.realm} answers ${facts.account} with ${toEtypeName(encPart.etype)}, of which the keytab has no key`,
      { ...facts, etypes: [toEtypeName(encPart.etype)] },
    )
  }
  return readReply(facts, () => {
    checkEtype(encPart, key, facts)
    const part = parseEncKdcReplyPart(key.decrypt(KeyUsage.AS_REP, encPart.cipher))
    const wanted = toKrbtgt(account.realm)
    if (part.nonce !== nonce) throw invalidReply(facts, 'another nonce')
    if (!samePrincipal(part.server, wanted) || !samePrincipal(ticket.server, wanted)) {
      throw invalidReply(facts, `a ticket for ${formatPrincipal(part.server)}`)
    }
    if (client.realm !== account.realm || !sameService(client, { ...account, type: client.type })) {
      throw invalidReply(facts, `a ticket of ${formatPrincipal(client)}`)
    }
    context.clock.learn(account.realm, part.authAt)
    const { key: sessionKey, flags, startAt, endAt } = part
    const { encoded, encPart: sealed, server } = ticket
    return { client, server, encoded, encPart: sealed, sessionKey, flags, startAt, endAt }
  })
}

function refusal(context: ExchangeContext, error: KrbError, facts: ExchangeFacts): KerberosError {
  return toKerberosError(error, 'as', { ...facts, clientAt: context.clock.ownNow() })
}
