import {
  DerError,
  type Element,
  Fields,
  readElement,
  toInstant,
  toInteger,
  unwrapApplication,
} from './der.ts'
import { KerberosError, type KerberosFacts } from './errors.ts'
import type { ExchangeContext, Ticket } from './exchange.ts'
import { parseReplyToken, type TokenFormat, toGssChecksum, wrapToken } from './gss.ts'
import { toKerberosError } from './kdc-errors.ts'
import { EncryptionKey, IntegrityError, KeyUsage } from './key.ts'
import {
  MessageType,
  parseEncryptedData,
  writeApRequest,
  writeAuthenticator,
  writeChecksum,
  writeEncryptedData,
} from './messages.ts'
import { formatName, formatPrincipal } from './names.ts'

export interface TokenOptions {
  format: TokenFormat
  /** Whether the application shall prove who it is. */
  mutual: boolean
  channelBinding?: Buffer | undefined
  /** Of whose KDC the clock is the application's too. */
  realm: string
}

export interface Token {
  bytes: Buffer
  /** @throws KerberosError of the stage `ap` unless `reply` proves that the application holds the SPN's key */
  verifyReply(reply: Buffer | undefined): void
}

/** One authenticator (RFC 4120 section 3.2): good for one request, and refused as a replay with another. */
export function createToken(
  context: Pick<ExchangeContext, 'clock' | 'random'>,
  ticket: Ticket,
  options: TokenOptions,
): Token {
  const { sessionKey: key } = ticket
  const { format, mutual, channelBinding, realm } = options
  const atMicros = context.clock.nowMicros(realm)
  const checksum = toGssChecksum(mutual, channelBinding)
  const authenticator = writeAuthenticator({
    client: ticket.client,
    checksum: writeChecksum(checksum.type, checksum.value),
    atMicros,
    subkey: new EncryptionKey(key.etype.number, context.random(key.etype.keyBytes)),
    sequenceNumber: context.random(4).readUInt32BE() & 0x3fffffff,
  })
  const cipher = key.encrypt(KeyUsage.AP_REQ_AUTHENTICATOR, authenticator, context.random)
  const request = writeApRequest(ticket.encoded, writeEncryptedData(key, cipher), mutual)
  const facts: ApplicationFacts = {
    stage: 'ap',
    realm,
    user: formatPrincipal(ticket.client),
    spn: formatName(ticket.server),
    clientAt: context.clock.ownNow(),
  }
  return {
    bytes: wrapToken(request, format),
    verifyReply: (reply) => verifyReply(reply, key, atMicros, facts),
  }
}

function verifyReply(
  reply: Buffer | undefined,
  key: EncryptionKey,
  atMicros: bigint,
  facts: ApplicationFacts,
): void {
  readApplicationReply(reply, facts, ({ message }) => {
    const fields = new Fields(unwrapApplication(message, MessageType.AP_REP, 'AP-REP'), 'AP-REP')
    const encPart = parseEncryptedData(fields.get(2))
    const plain = key.decrypt(KeyUsage.AP_REP, encPart.cipher)
    const part = new Fields(
      unwrapApplication(readElement(plain, 0), 27, 'EncAPRepPart'),
      'EncAPRepPart',
    )
    // The time of our own authenticator: an older answer of the same application has another one.
    const at = BigInt(toInstant(part.get(0))) * 1000n + BigInt(toInteger(part.get(1)))
    if (at !== atMicros)
      throw unproved(facts, 'another-exchange', 'the token answers another request')
  })
}

/** Who was asked for what: `user` and `spn` are in it. */
export type ApplicationFacts = KerberosFacts & { clientAt: number }

/**
 * Reads what an application answered, as far as that can be done without a key.
 *
 * @param prove does the rest, with the message by which the application proves who it is
 * @throws KerberosError `KERBEROS_APPLICATION_REFUSED`, `KERBEROS_MUTUAL_AUTHENTICATION_FAILED`, and what it says was wrong
 */
export function readApplicationReply<Result>(
  reply: Buffer | undefined,
  facts: ApplicationFacts,
  prove: (proof: { message: Element; token: Buffer }) => Result,
): Result {
  if (!reply) throw unproved(facts, 'missing', 'the answer has no token')
  try {
    const token = parseReplyToken(reply)
    if (token.kind === 'error') throw toKerberosError(token.error, 'ap', facts)
    if (token.kind === 'refused') {
      const message = `ap: ${facts.spn} refused the token of ${facts.user}, without a reason`
      throw new KerberosError('KERBEROS_APPLICATION_REFUSED', message, facts)
    }
    if (token.kind === 'unproved') throw unproved(facts, 'missing', 'the token has no AP-REP')
    return prove(token)
  } catch (error) {
    if (error instanceof IntegrityError) throw unproved(facts, 'tampered', error.message, error)
    if (error instanceof DerError) throw unproved(facts, 'malformed', error.message, error)
    throw error
  }
}

/** @param reason `missing`, `malformed`, `tampered` or `another-exchange` */
export function unproved(
  facts: KerberosFacts,
  reason: string,
  why: string,
  cause?: unknown,
): KerberosError {
  return new KerberosError(
    'KERBEROS_MUTUAL_AUTHENTICATION_FAILED',
    `ap: whoever answered for ${facts.spn} did not prove to be it: ${why}`,
    { ...facts, stage: 'ap', reason, cause },
  )
}
