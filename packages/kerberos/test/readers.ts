import { readFileSync } from 'node:fs'
import { DerError, parseElement } from '../src/der.ts'
import { parseSrvReply } from '../src/dns.ts'
import { KerberosError } from '../src/errors.ts'
import { type EvidenceContent, readEvidence } from '../src/evidence.ts'
import { parseReplyToken } from '../src/gss.ts'
import { IntegrityError } from '../src/key.ts'
import { parseKeytab } from '../src/keytab.ts'
import {
  type KdcReply,
  type KrbError,
  MessageType,
  parseEncKdcReplyPart,
  parseEtypeInfo,
  parseKdcReply,
  parsePaData,
} from '../src/messages.ts'

/** Everything that reads bytes of others, by the names in vectors/messages.json. */
export const readers = {
  as: (bytes: Buffer) => readReply(bytes, MessageType.AS_REP),
  tgs: (bytes: Buffer) => readReply(bytes, MessageType.TGS_REP),
  'enc-part': parseEncKdcReplyPart,
  evidence: (bytes: Buffer): EvidenceContent => readEvidence(bytes),
  'reply-token': parseReplyToken,
  keytab: (bytes: Buffer) => parseKeytab(bytes),
  srv: (bytes: Buffer) => parseSrvReply(bytes, 0x1234),
} as const

export type Reader = keyof typeof readers

/** With what is read of an error's data. */
function readReply(
  bytes: Buffer,
  type: typeof MessageType.AS_REP | typeof MessageType.TGS_REP,
): KdcReply | KrbError {
  const reply = parseKdcReply(bytes, type)
  if (reply.kind === 'error' && reply.data) {
    for (const { type, value } of parsePaData(parseElement(reply.data))) {
      if (type === 19) parseEtypeInfo(value)
    }
  }
  return reply
}

export interface Message {
  name: string
  reader: Reader
  bytes: Buffer
}

export const messages: Message[] = JSON.parse(
  readFileSync(new URL('../vectors/messages.json', import.meta.url), 'utf8'),
).messages.map(({ name, reader, hex }: { name: string; reader: Reader; hex: string }) => ({
  name,
  reader,
  bytes: Buffer.from(hex, 'hex'),
}))

export function findMessage(name: string): Message {
  return messages.find((message) => message.name === name)!
}

/** Whether whoever calls a reader expects this of it. */
export function isRefusal(error: unknown): boolean {
  return (
    error instanceof DerError ||
    error instanceof IntegrityError ||
    error instanceof KerberosError ||
    ['EBADRESP', 'ENOTFOUND', 'ESERVFAIL'].includes((error as { code?: string }).code ?? '')
  )
}
