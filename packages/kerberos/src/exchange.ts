import { DerError } from './der.ts'
import { KerberosError, type KerberosFacts, type KerberosStage } from './errors.ts'
import type { KdcClock } from './kdc-clock.ts'
import { type EncryptionKey, IntegrityError, type Random } from './key.ts'
import { type EncryptedData, TicketFlag } from './messages.ts'
import { formatPrincipal, type Principal } from './names.ts'

/** What every exchange with a KDC needs; time, chance and network are here and nowhere else. */
export interface ExchangeContext {
  kdcs: { exchange(realm: string, message: Buffer, signal?: AbortSignal): Promise<Buffer> }
  clock: KdcClock
  random: Random
  /** What is asked for; the KDC may give less. */
  ticketLifetimeMs: number
}

export interface Ticket {
  client: Principal
  server: Principal
  /** Opaque, for whoever has the server's key. */
  encoded: Buffer
  encPart: EncryptedData
  sessionKey: EncryptionKey
  flags: number
  /** By the KDC's clock. */
  startAt: number
  endAt: number
}

export function isForwardable({ flags }: Ticket): boolean {
  return (flags & TicketFlag.FORWARDABLE) !== 0
}

/** What stays the same in all errors of one exchange. */
export interface ExchangeFacts extends KerberosFacts {
  stage: KerberosStage
  realm: string
}

/** 31 bits: some KDCs take the number for a signed one. */
export function newNonce(random: Random): number {
  return random(4).readUInt32BE(0) & 0x7fffffff
}

/** Turns what reading a reply throws into one error that says whose reply it was. */
export function readReply<T>(facts: ExchangeFacts, read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (!(error instanceof DerError) && !(error instanceof IntegrityError)) throw error
    throw invalidReply(facts, error.message, error)
  }
}

export function invalidReply(facts: ExchangeFacts, why: string, cause?: unknown): KerberosError {
  return new KerberosError(
    'KERBEROS_KDC_REPLY_INVALID',
    `${facts.stage}: the answer of the KDC of ${facts.realm} is not one to our question: ${why}`,
    { ...facts, cause },
  )
}

/** @throws KerberosError `KERBEROS_ETYPE_UNSUPPORTED` */
export function checkEtype(encPart: EncryptedData, key: EncryptionKey, facts: ExchangeFacts): void {
  if (encPart.etype === key.etype.number) return
  throw invalidReply(facts, `it is encrypted with etype ${encPart.etype}, not ${key.etype.name}`)
}

export function toFacts(stage: KerberosStage, realm: string, account: Principal): ExchangeFacts {
  return { stage, realm, account: formatPrincipal(account) }
}
