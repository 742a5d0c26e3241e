import {
  application,
  DerError,
  type Element,
  Fields,
  parseElement,
  parseElements,
  readElement,
  Tag,
  toFlags,
  toInstant,
  toInteger,
  toOctets,
  toText,
  unwrapApplication,
} from './der.ts'
import { field, flags, instant, integer, octets, sequence, tagged, text } from './der-writer.ts'
import { findEtype } from './etypes.ts'
import { EncryptionKey } from './key.ts'
import { type Principal, type PrincipalName, readName, writeName } from './names.ts'

/** RFC 4120 section 7.5.7. */
export const MessageType = {
  AS_REQ: 10,
  AS_REP: 11,
  TGS_REQ: 12,
  TGS_REP: 13,
  AP_REQ: 14,
  AP_REP: 15,
  ERROR: 30,
} as const

/** RFC 4120 section 5.4.1; CNAME_IN_ADDL_TKT: MS-SFU section 2.2.3. */
export const KdcOption = {
  FORWARDABLE: 0x40000000,
  CANONICALIZE: 0x00010000,
  CNAME_IN_ADDL_TKT: 0x00020000,
} as const

export const TicketFlag = { FORWARDABLE: 0x40000000 } as const

/** Pre-authentication data: RFC 4120 section 7.5.2, RFC 6113, MS-SFU, MS-KILE. */
export const PaType = {
  TGS_REQ: 1,
  ENC_TIMESTAMP: 2,
  ETYPE_INFO2: 19,
  FOR_USER: 129,
  S4U_X509_USER: 130,
  FX_FAST: 136,
  ENCRYPTED_CHALLENGE: 138,
  PAC_OPTIONS: 167,
} as const

export interface PaData {
  type: number
  value: Buffer
}

export interface EncryptedData {
  etype: number
  kvno: number | undefined
  cipher: Buffer
}

export interface KdcRequest {
  type: typeof MessageType.AS_REQ | typeof MessageType.TGS_REQ
  padata: readonly PaData[]
  /** KDC-REQ-BODY, as `writeRequestBody` makes it: a checksum covers it. */
  body: Buffer
}

export interface KdcRequestBody {
  options: number
  cname?: PrincipalName
  realm: string
  sname: PrincipalName
  tillAt: number
  nonce: number
  etypes: readonly number[]
  additionalTickets?: readonly Buffer[]
}

export function writeRequestBody(body: KdcRequestBody): Buffer {
  const { cname, additionalTickets: tickets = [] } = body
  return sequence(
    field(0, flags(body.options)),
    ...(cname ? [field(1, writeName(cname))] : []),
    field(2, text(body.realm)),
    field(3, writeName(body.sname)),
    field(5, instant(body.tillAt)),
    field(7, integer(body.nonce)),
    field(8, sequence(...body.etypes.map(integer))),
    ...(tickets.length > 0 ? [field(11, sequence(...tickets))] : []),
  )
}

export function writeKdcRequest({ type, padata, body }: KdcRequest): Buffer {
  const list = padata.map(({ type, value }) =>
    sequence(field(1, integer(type)), field(2, octets(value))),
  )
  return tagged(
    type,
    sequence(
      field(1, integer(5)),
      field(2, integer(type)),
      ...(list.length > 0 ? [field(3, sequence(...list))] : []),
      field(4, body),
    ),
  )
}

export interface KdcReply {
  kind: 'reply'
  client: Principal
  ticket: TicketEnvelope
  encPart: EncryptedData
  padata: PaData[]
}

export interface KrbError {
  kind: 'error'
  code: number
  /** The clock of whoever sent it, to the second. */
  serverAt: number
  realm: string | undefined
  clientRealm: string | undefined
  text: string | undefined
  data: Buffer | undefined
}

/** What can be read of a ticket without its key. */
export interface TicketEnvelope {
  server: Principal
  encPart: EncryptedData
  encoded: Buffer
}

/** An AS-REP, a TGS-REP or a KRB-ERROR. @throws DerError when it is anything else */
export function parseKdcReply(
  bytes: Buffer,
  type: typeof MessageType.AS_REP | typeof MessageType.TGS_REP,
): KdcReply | KrbError {
  const message = parseElement(bytes)
  if (message.tag === application(MessageType.ERROR)) return parseKrbError(message)
  const fields = new Fields(unwrapApplication(message, type, 'KDC-REP'), 'KDC-REP')
  fields.expect(0, 5)
  fields.expect(1, type)
  const padata = fields.find(2)
  return {
    kind: 'reply',
    padata: padata ? parsePaData(padata) : [],
    client: { ...readName(fields.get(4)), realm: toText(fields.get(3)) },
    ticket: parseTicket(fields.get(5)),
    encPart: parseEncryptedData(fields.get(6)),
  }
}

/** @param element APPLICATION 30 @throws DerError */
export function parseKrbError(element: Element): KrbError {
  const fields = new Fields(unwrapApplication(element, MessageType.ERROR, 'KRB-ERROR'), 'KRB-ERROR')
  fields.expect(0, 5)
  fields.expect(1, MessageType.ERROR)
  const textOf = (number: number) => {
    const found = fields.find(number)
    return found && toText(found)
  }
  const data = fields.find(12)
  return {
    kind: 'error',
    code: toInteger(fields.get(6)),
    serverAt: toInstant(fields.get(4)),
    clientRealm: textOf(7),
    realm: textOf(9),
    text: textOf(11),
    data: data && toOctets(data),
  }
}

export function parseTicket(element: Element): TicketEnvelope {
  const fields = new Fields(unwrapApplication(element, 1, 'Ticket'), 'Ticket')
  fields.expect(0, 5)
  return {
    server: { ...readName(fields.get(2)), realm: toText(fields.get(1)) },
    encPart: parseEncryptedData(fields.get(3)),
    encoded: element.encoded,
  }
}

export function parseEncryptedData(element: Element): EncryptedData {
  const fields = new Fields(element, 'EncryptedData')
  const kvno = fields.find(1)
  return {
    etype: toInteger(fields.get(0)),
    kvno: kvno && toInteger(kvno),
    cipher: toOctets(fields.get(2)),
  }
}

export function writeEncryptedData(key: EncryptionKey, cipher: Buffer, kvno?: number): Buffer {
  return sequence(
    field(0, integer(key.etype.number)),
    ...(kvno === undefined ? [] : [field(1, integer(kvno))]),
    field(2, octets(cipher)),
  )
}

/** METHOD-DATA and PA-DATA of replies. @throws DerError */
export function parsePaData(element: Element): PaData[] {
  if (element.tag !== Tag.SEQUENCE) throw new DerError('PA-DATA: no list')
  return parseElements(element.content).map((entry) => {
    const fields = new Fields(entry, 'PA-DATA')
    return { type: toInteger(fields.get(1)), value: toOctets(fields.get(2)) }
  })
}

/** The etypes of ETYPE-INFO2, the KDC's favourite first (RFC 4120 section 5.2.7.5). @throws DerError */
export function parseEtypeInfo(value: Buffer): number[] {
  const list = parseElement(value)
  if (list.tag !== Tag.SEQUENCE) throw new DerError('ETYPE-INFO2: no list')
  return parseElements(list.content).map((entry) =>
    toInteger(new Fields(entry, 'ETYPE-INFO2-ENTRY').get(0)),
  )
}

export interface EncKdcReplyPart {
  key: EncryptionKey
  nonce: number
  flags: number
  authAt: number
  startAt: number
  endAt: number
  server: Principal
  padata: PaData[]
}

/** EncASRepPart or EncTGSRepPart: some KDCs write the second where the first belongs. @throws DerError */
export function parseEncKdcReplyPart(plain: Buffer): EncKdcReplyPart {
  // Padding of the cipher may follow.
  const message = readElement(plain, 0)
  const number = message.tag === application(25) ? 25 : 26
  const fields = new Fields(unwrapApplication(message, number, 'EncKDCRepPart'), 'EncKDCRepPart')
  const authAt = toInstant(fields.get(5))
  const startAt = fields.find(6)
  const padata = fields.find(12)
  return {
    key: parseKey(fields.get(0)),
    nonce: toInteger(fields.get(2)) >>> 0,
    flags: toFlags(fields.get(4)),
    authAt,
    startAt: startAt ? toInstant(startAt) : authAt,
    endAt: toInstant(fields.get(7)),
    server: { ...readName(fields.get(10)), realm: toText(fields.get(9)) },
    padata: padata ? parsePaData(padata) : [],
  }
}

export function parseKey(element: Element): EncryptionKey {
  const fields = new Fields(element, 'EncryptionKey')
  const etype = toInteger(fields.get(0))
  const bytes = toOctets(fields.get(1))
  if (findEtype(etype)?.keyBytes !== bytes.length) {
    throw new DerError(`EncryptionKey of etype ${etype} with ${bytes.length} bytes`)
  }
  return new EncryptionKey(etype, bytes)
}

export function writeKey(key: EncryptionKey): Buffer {
  return sequence(field(0, integer(key.etype.number)), field(1, octets(key.bytes)))
}

export function writeChecksum(type: number, checksum: Buffer): Buffer {
  return sequence(field(0, integer(type)), field(1, octets(checksum)))
}

export interface Authenticator {
  client: Principal
  /** DER of a Checksum. */
  checksum: Buffer
  /** Epoch microseconds: no two authenticators of one ticket may have the same. */
  atMicros: bigint
  subkey?: EncryptionKey
  sequenceNumber?: number
}

/** RFC 4120 section 5.5.1. */
export function writeAuthenticator(authenticator: Authenticator): Buffer {
  const { client, checksum, atMicros, subkey, sequenceNumber } = authenticator
  return tagged(
    2,
    sequence(
      field(0, integer(5)),
      field(1, text(client.realm)),
      field(2, writeName(client)),
      field(3, checksum),
      field(4, integer(Number(atMicros % 1_000_000n))),
      field(5, instant(Number(atMicros / 1000n))),
      ...(subkey ? [field(6, writeKey(subkey))] : []),
      ...(sequenceNumber === undefined ? [] : [field(7, integer(sequenceNumber))]),
    ),
  )
}

/** @param authenticator encrypted, DER of EncryptedData */
export function writeApRequest(ticket: Buffer, authenticator: Buffer, mutual: boolean): Buffer {
  return tagged(
    MessageType.AP_REQ,
    sequence(
      field(0, integer(5)),
      field(1, integer(MessageType.AP_REQ)),
      field(2, flags(mutual ? 0x20000000 : 0)),
      field(3, ticket),
      field(4, authenticator),
    ),
  )
}
