import { createHash } from 'node:crypto'
import {
  application,
  contentOf,
  context,
  DerError,
  type Element,
  Fields,
  parseElement,
  readElement,
  Tag,
  toInteger,
  toOctets,
  unwrapApplication,
} from './der.ts'
import { field, octets, oid, sequence, tagged } from './der-writer.ts'
import {
  type KrbError,
  MessageType,
  parseKrbError,
  parseTicket,
  type TicketEnvelope,
} from './messages.ts'

/** `kerberos`: the token of RFC 4121 as it is; `spnego`: that inside of a NegTokenInit (RFC 4178). */
export type TokenFormat = 'kerberos' | 'spnego'

const kerberosMechanism = '2a864886f712010202'
const spnegoMechanism = '2b0601050502'
const tokenId = { apRequest: 0x0100, apReply: 0x0200, error: 0x0300 } as const

/** RFC 4121 section 4.1. */
export function wrapToken(apRequest: Buffer, format: TokenFormat): Buffer {
  const id = Buffer.alloc(2)
  id.writeUInt16BE(tokenId.apRequest)
  const kerberos = tagged(0, oid(kerberosMechanism), id, apRequest)
  return format === 'kerberos' ? kerberos : wrapSpnego(kerberos)
}

/** @param kerberos token of RFC 4121 */
export function wrapSpnego(kerberos: Buffer): Buffer {
  // One mechanism only: nothing to negotiate, nothing to fall back to.
  const init = sequence(field(0, sequence(oid(kerberosMechanism))), field(2, octets(kerberos)))
  return tagged(0, oid(spnegoMechanism), field(0, init))
}

export type ReplyToken =
  /** `token`: as RFC 4121 has it, whatever it was wrapped in. */
  | { kind: 'ap-rep'; message: Element; token: Buffer }
  | { kind: 'error'; error: KrbError }
  | { kind: 'refused' }
  /** The application says that it is content, without proving who it is. */
  | { kind: 'unproved' }

const negState = { completed: 0, incomplete: 1, reject: 2, requestMic: 3 } as const

/** What an application sends back in `WWW-Authenticate: Negotiate`. @throws DerError */
export function parseReplyToken(token: Buffer): ReplyToken {
  const outer = parseElement(token)
  if (outer.tag !== context(1)) return parseKerberosToken(outer)
  const fields = new Fields(parseElement(outer.content), 'NegTokenResp')
  const state = fields.find(0)
  const mechanism = fields.find(1)
  const response = fields.find(2)
  const value = state && toInteger(state, Tag.ENUMERATED)
  if (response) {
    const inner = parseElement(toOctets(response))
    const parsed = parseKerberosToken(inner)
    // An error token explains a rejection; anything else that comes with one is refused all the same.
    if (parsed.kind === 'ap-rep' && value === negState.reject) return { kind: 'refused' }
    return parsed
  }
  if (value === negState.reject) return { kind: 'refused' }
  if (
    mechanism &&
    contentOf(mechanism, Tag.OID, 'supportedMech').toString('hex') !== kerberosMechanism
  ) {
    throw new DerError('NegTokenResp: another mechanism')
  }
  return { kind: 'unproved' }
}

/** The ticket in a token that was made for an application. @param token of RFC 4121 @throws DerError */
export function readSentTicket(token: Buffer): TicketEnvelope {
  const { id, message } = openKerberosToken(parseElement(token))
  if (id !== tokenId.apRequest) throw new DerError(`GSS token with the id ${id}`)
  const request = unwrapApplication(message, MessageType.AP_REQ, 'AP-REQ')
  return parseTicket(new Fields(request, 'AP-REQ').get(3))
}

function openKerberosToken(outer: Element): { id: number; message: Element } {
  const content = contentOf(outer, application(0), 'GSS token')
  const mechanism = readElement(content, 0)
  if (contentOf(mechanism, Tag.OID, 'mechanism').toString('hex') !== kerberosMechanism) {
    throw new DerError('GSS token of another mechanism')
  }
  const rest = content.subarray(mechanism.encoded.length)
  if (rest.length < 2) throw new DerError('GSS token without a message')
  const message = parseElement(rest.subarray(2))
  return { id: rest.readUInt16BE(0), message }
}

function parseKerberosToken(outer: Element): ReplyToken {
  const { id, message } = openKerberosToken(outer)
  if (id === tokenId.apReply && message.tag === application(MessageType.AP_REP)) {
    return { kind: 'ap-rep', message, token: outer.encoded }
  }
  if (id === tokenId.error) return { kind: 'error', error: parseKrbError(message) }
  throw new DerError(`GSS token with the id ${id}`)
}

const flag = { MUTUAL: 2, REPLAY: 4, SEQUENCE: 8, CONFIDENTIALITY: 16, INTEGRITY: 32 } as const

/**
 * The checksum that carries flags and channel binding (RFC 4121 section 4.1.1). Never DELEG: a ticket of the user's own
 * stays with nobody.
 *
 * @param channelBinding application data, such as `tls-server-end-point:` and the hash of the certificate (RFC 5929)
 * @returns type and value
 */
export function toGssChecksum(
  mutual: boolean,
  channelBinding: Buffer | undefined,
): { type: number; value: Buffer } {
  const value = Buffer.alloc(24)
  value.writeUInt32LE(16, 0)
  if (channelBinding) {
    // Initiator and acceptor address: none, of type 0 and length 0.
    const length = Buffer.alloc(4)
    length.writeUInt32LE(channelBinding.length)
    const bindings = Buffer.concat([Buffer.alloc(16), length, channelBinding])
    createHash('md5').update(bindings).digest().copy(value, 4)
  }
  const flags = flag.REPLAY | flag.SEQUENCE | flag.CONFIDENTIALITY | flag.INTEGRITY
  value.writeUInt32LE(flags | (mutual ? flag.MUTUAL : 0), 20)
  return { type: 0x8003, value }
}
