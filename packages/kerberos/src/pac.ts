import { DerError } from './der.ts'

/** What the directory says about the user of a ticket (MS-PAC). */
export interface DirectoryAccount {
  /** sAMAccountName. */
  name: string
  /** NetBIOS name of the domain. */
  domain: string
  /** `S-1-5-21-...-1105`. */
  sid: string
  /** Relative ids of global groups of that domain, the primary one among them. */
  groupIds: readonly number[]
  /** Groups of other kinds and places, as whole SIDs. */
  extraSids: readonly string[]
  userPrincipalName: string | undefined
  dnsDomain: string | undefined
  /** "Account is sensitive and cannot be delegated". */
  sensitive: boolean
}

const BufferType = { LOGON_INFO: 1, UPN_DNS_INFO: 12 } as const
/** MS-SAMR section 2.2.1.12. */
const USER_NOT_DELEGATED = 0x4000
const maxGroups = 20_000

/**
 * Reads KERB_VALIDATION_INFO and UPN_DNS_INFO of a PAC. It must come from a ticket that we opened with our own key:
 * that is what makes it true.
 *
 * @returns undefined when the PAC says nothing about an account of a directory
 * @throws DerError when it is not laid out as a PAC
 */
export function parsePac(pac: Buffer): DirectoryAccount | undefined {
  const buffers = readBuffers(pac)
  const logon = buffers.get(BufferType.LOGON_INFO)
  if (!logon) return undefined
  const upn = buffers.get(BufferType.UPN_DNS_INFO)
  return { ...readLogonInfo(logon), ...(upn ? readUpnInfo(upn) : withoutUpn) }
}

const withoutUpn = { userPrincipalName: undefined, dnsDomain: undefined }

function readBuffers(pac: Buffer): Map<number, Buffer> {
  const count = uint32(pac, 0)
  if (count > 64) throw new DerError(`PAC of ${count} buffers`)
  const buffers = new Map<number, Buffer>()
  for (let at = 8; at < 8 + count * 16; at += 16) {
    const [type, size, offset] = [uint32(pac, at), uint32(pac, at + 4), uint32(pac, at + 8)]
    if (uint32(pac, at + 12) !== 0) throw new DerError('PAC: buffer beyond its end')
    // Of two the first would count here and perhaps the second elsewhere.
    if (buffers.has(type)) throw new DerError(`PAC: two buffers of type ${type}`)
    buffers.set(type, slice(pac, offset, size))
  }
  return buffers
}

/** NDR headers and one referent id precede KERB_VALIDATION_INFO (MS-PAC section 2.5). */
const headerBytes = 20
const fixedBytes = 216

function readLogonInfo(bytes: Buffer) {
  const info = slice(bytes, headerBytes, bytes.length - headerBytes)
  const rid = uint32(info, 100)
  const groupCount = uint32(info, 108)
  const control = uint32(info, 164)
  const sidCount = uint32(info, 196)
  const deferred = new Deferred(info, fixedBytes)
  const [name] = [48, 56, 64, 72, 80, 88].map((at) => deferred.string(info, at))
  const groupIds = deferred.groups(uint32(info, 112), groupCount)
  deferred.string(info, 136)
  const domain = deferred.string(info, 144)
  const domainSid = deferred.sid(uint32(info, 152))
  const extraSids = deferred.sids(uint32(info, 200), sidCount)
  if (!name || domainSid === undefined) throw new DerError('PAC: no account')
  return {
    name,
    domain: domain ?? '',
    sid: `${domainSid}-${rid}`,
    groupIds: [...new Set([uint32(info, 104), ...groupIds])],
    extraSids,
    sensitive: (control & USER_NOT_DELEGATED) !== 0,
  }
}

/** What pointers point to follows the structure, in the order of the pointers; a null one has nothing there. */
class Deferred {
  readonly #bytes: Buffer
  #offset: number

  constructor(bytes: Buffer, offset: number) {
    this.#bytes = bytes
    this.#offset = offset
  }

  #take(size: number): Buffer {
    const taken = slice(this.#bytes, this.#offset, size)
    this.#offset += Math.ceil(size / 4) * 4
    return taken
  }

  #uint32(): number {
    return this.#take(4).readUInt32LE()
  }

  /** RPC_UNICODE_STRING. @param at of its fixed part */
  string(info: Buffer, at: number): string | undefined {
    const byteLength = slice(info, at, 2).readUInt16LE()
    if (uint32(info, at + 4) === 0) return undefined
    this.#uint32()
    if (this.#uint32() !== 0) throw new DerError('PAC: string with an offset')
    const units = this.#uint32()
    if (units * 2 < byteLength || byteLength % 2 !== 0) throw new DerError('PAC: string length')
    return this.#take(units * 2).toString('utf16le', 0, byteLength)
  }

  groups(pointer: number, count: number): number[] {
    if (pointer === 0) return []
    if (this.#uint32() !== count || count > maxGroups) throw new DerError('PAC: groups')
    return Array.from({ length: count }, () => this.#take(8).readUInt32LE())
  }

  sid(pointer: number): string | undefined {
    if (pointer === 0) return undefined
    const count = this.#uint32()
    if (count > 15) throw new DerError('PAC: SID')
    return toSid(this.#take(8 + count * 4))
  }

  sids(pointer: number, count: number): string[] {
    if (pointer === 0) return []
    if (this.#uint32() !== count || count > maxGroups) throw new DerError('PAC: SIDs')
    const pointers = Array.from({ length: count }, () => this.#take(8).readUInt32LE())
    return pointers.flatMap((sid) => this.sid(sid) ?? [])
  }
}

/** MS-PAC section 2.10. */
function readUpnInfo(bytes: Buffer) {
  const text = (at: number): string | undefined => {
    const header = slice(bytes, at, 4)
    const value = slice(bytes, header.readUInt16LE(2), header.readUInt16LE(0)).toString('utf16le')
    return value === '' ? undefined : value
  }
  return { userPrincipalName: text(0), dnsDomain: text(4) }
}

function toSid(bytes: Buffer): string {
  const count = bytes[1]!
  if (bytes[0] !== 1 || bytes.length !== 8 + count * 4) throw new DerError('PAC: SID')
  const parts = Array.from({ length: count }, (_, at) => bytes.readUInt32LE(8 + at * 4))
  return ['S-1', bytes.readUIntBE(2, 6), ...parts].join('-')
}

function uint32(bytes: Buffer, at: number): number {
  return slice(bytes, at, 4).readUInt32LE()
}

function slice(bytes: Buffer, at: number, size: number): Buffer {
  if (at < 0 || size < 0 || at + size > bytes.length) throw new DerError('PAC: truncated')
  return bytes.subarray(at, at + size)
}
