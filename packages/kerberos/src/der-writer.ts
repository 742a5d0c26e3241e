import { application, context, Tag, toTimeText } from './der.ts'

/** One element with the concatenation of `parts` as content. */
export function element(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const length = parts.reduce((sum, part) => sum + part.length, 0)
  return Buffer.concat([Buffer.of(tag), lengthOf(length), ...parts])
}

function lengthOf(length: number): Buffer {
  if (length < 0x80) return Buffer.of(length)
  const octets = Math.ceil((32 - Math.clz32(length)) / 8)
  const bytes = Buffer.alloc(1 + octets, 0x80 | octets)
  bytes.writeUIntBE(length, 1, octets)
  return bytes
}

export const sequence = (...parts: readonly Uint8Array[]): Buffer => element(Tag.SEQUENCE, ...parts)
export const field = (number: number, ...parts: readonly Uint8Array[]): Buffer =>
  element(context(number), ...parts)
export const tagged = (number: number, ...parts: readonly Uint8Array[]): Buffer =>
  element(application(number), ...parts)
export const octets = (bytes: Uint8Array): Buffer => element(Tag.OCTET_STRING, bytes)
export const text = (value: string): Buffer => element(Tag.GENERAL_STRING, Buffer.from(value))
export const instant = (at: number): Buffer =>
  element(Tag.GENERALIZED_TIME, Buffer.from(toTimeText(at), 'latin1'))
export const boolean = (value: boolean): Buffer => element(Tag.BOOLEAN, Buffer.of(value ? 0xff : 0))

/** -2^31 to 2^32-1 in the shortest form. */
export function integer(value: number): Buffer {
  const bytes = Buffer.alloc(5)
  bytes.writeIntBE(value, 0, 5)
  let start = 0
  const redundant = () => (bytes[start + 1]! < 0x80 ? bytes[start] === 0 : bytes[start] === 0xff)
  while (start < 4 && redundant()) start += 1
  return element(Tag.INTEGER, bytes.subarray(start))
}

/** KerberosFlags: 32 bits, bit 0 highest (RFC 4120 section 5.2.8). */
export function flags(value: number): Buffer {
  const bytes = Buffer.alloc(5)
  bytes.writeUInt32BE(value >>> 0, 1)
  return element(Tag.BIT_STRING, bytes)
}

/** @param hex content of the OBJECT IDENTIFIER */
export const oid = (hex: string): Buffer => element(Tag.OID, Buffer.from(hex, 'hex'))
