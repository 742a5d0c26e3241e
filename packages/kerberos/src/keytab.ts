import { KerberosError } from './errors.ts'
import { findEtype, toEtypeName } from './etypes.ts'
import { EncryptionKey } from './key.ts'
import { formatPrincipal, NameType, type Principal, samePrincipal } from './names.ts'

export interface KeytabEntry {
  principal: Principal
  kvno: number
  etype: number
  /** Undefined when the etype is none of ours, such as rc4-hmac. */
  key: EncryptionKey | undefined
}

const maxBytes = 1 << 20

/** A place in the file, from which nothing can be read beyond its end. */
class Cursor {
  readonly bytes: Buffer
  offset: number
  readonly #end: number
  readonly #refuse: (what: string) => never

  constructor(bytes: Buffer, offset: number, end: number, refuse: (what: string) => never) {
    this.bytes = bytes
    this.offset = offset
    this.#end = end
    this.#refuse = refuse
  }

  get left(): number {
    return this.#end - this.offset
  }

  take(size: number, what: string): Buffer {
    if (size > this.left)
      this.#refuse(`${what} goes beyond its entry, by ${size - this.left} bytes`)
    this.offset += size
    return this.bytes.subarray(this.offset - size, this.offset)
  }

  uint(size: number, what: string): number {
    return this.take(size, what).readUIntBE(0, size)
  }

  text(what: string): string {
    const bytes = this.take(this.uint(2, `the length of ${what}`), what)
    const value = bytes.toString('utf8')
    if (!Buffer.from(value).equals(bytes)) this.#refuse(`${what} is not UTF-8`)
    return value
  }
}

/**
 * The keys of one file, as `ktpass`, `samba-tool domain exportkeytab` and `ktutil` write them: format 0x0502.
 *
 * @param file only named in errors
 * @throws KerberosError `KERBEROS_KEYTAB_INVALID`, naming the place and what is wrong there
 */
export function parseKeytab(bytes: Buffer, file?: string): KeytabEntry[] {
  const refuse = (what: string): never => {
    const which = file === undefined ? 'the keytab' : `the keytab ${file}`
    const facts = { stage: 'local', ...(file !== undefined && { file }) } as const
    throw new KerberosError('KERBEROS_KEYTAB_INVALID', `${which}: ${what}`, facts)
  }
  if (bytes.length === 0) refuse('is empty')
  if (bytes.length > maxBytes) refuse(`has ${bytes.length} bytes, more than ${maxBytes}`)
  if (bytes.length < 2 || bytes[0] !== 5) refuse('does not begin with 05 02: it is no keytab')
  if (bytes[1] !== 2) refuse(`has format version ${bytes[1]}; only version 2 is read`)
  const entries: KeytabEntry[] = []
  for (let offset = 2; offset < bytes.length; ) {
    const at = offset
    const inEntry = (what: string): never =>
      refuse(`entry ${entries.length + 1} at byte ${at}: ${what}`)
    if (offset + 4 > bytes.length) inEntry('its length is cut off')
    const size = bytes.readInt32BE(offset)
    offset += 4
    // What follows a length of zero is unused; a negative one is a hole, left by a deleted entry.
    if (size === 0) break
    const end = offset + Math.abs(size)
    if (end > bytes.length) {
      inEntry(`has ${Math.abs(size)} bytes, and the file ends ${end - bytes.length} bytes earlier`)
    }
    if (size > 0) entries.push(parseEntry(new Cursor(bytes, offset, end, inEntry), inEntry))
    offset = end
  }
  return entries
}

function parseEntry(cursor: Cursor, refuse: (what: string) => never): KeytabEntry {
  const count = cursor.uint(2, 'the number of components')
  if (count === 0 || count > 10) refuse(`its principal has ${count} components`)
  const realm = cursor.text('the realm')
  const components = Array.from({ length: count }, (_, at) => cursor.text(`component ${at + 1}`))
  const type = cursor.uint(4, 'the name type')
  cursor.take(4, 'the time')
  const shortKvno = cursor.uint(1, 'the key version')
  const etype = cursor.uint(2, 'the encryption type')
  const key = cursor.take(cursor.uint(2, 'the length of the key'), 'the key')
  // Versions above 255 follow in four bytes, which older writers leave out.
  const longKvno = cursor.left >= 4 ? cursor.uint(4, 'the long key version') : 0
  const known = findEtype(etype)
  if (known && known.keyBytes !== key.length) {
    refuse(`its ${known.name} key has ${key.length} bytes, not ${known.keyBytes}`)
  }
  return {
    principal: { realm, components, type },
    kvno: longKvno === 0 ? shortKvno : longKvno,
    etype,
    key: known && new EncryptionKey(etype, key),
  }
}

export interface AccountKey {
  kvno: number
  key: EncryptionKey
}

/**
 * The keys of one account, newest version first.
 *
 * @throws KerberosError `KERBEROS_KEYTAB_NO_KEY`, saying whose keys and which etypes are there instead
 */
export function keysOf(
  entries: readonly KeytabEntry[],
  account: Principal,
  file?: string,
): AccountKey[] {
  const own = entries.filter(({ principal }) => samePrincipal(principal, account))
  const keys = own.flatMap(({ kvno, key }) => (key ? [{ kvno, key }] : []))
  if (keys.length > 0) return keys.sort((a, b) => b.kvno - a.kvno)
  const name = formatPrincipal(account)
  const found = [...new Set(own.map(({ etype }) => toEtypeName(etype)))]
  const others = [...new Set(entries.map(({ principal }) => formatPrincipal(principal)))]
  const instead =
    found.length > 0
      ? `for ${name} there are only keys of ${found.join(', ')}`
      : `there is no key for ${name}, only for ${others.slice(0, 10).join(', ') || 'nobody'}`
  throw new KerberosError('KERBEROS_KEYTAB_NO_KEY', `the keytab ${file ?? ''}: ${instead}`, {
    stage: 'local',
    account: name,
    ...(file !== undefined && { file }),
    etypes: found,
  })
}

/** A keytab file with these keys. @param at epoch milliseconds, written into each entry */
export function formatKeytab(
  entries: readonly { principal: Principal; kvno: number; key: EncryptionKey }[],
  at: number,
): Buffer {
  const text = (value: string) => {
    const bytes = Buffer.from(value)
    return Buffer.concat([uint(2, bytes.length), bytes])
  }
  const parts = entries.flatMap(({ principal: { components, realm }, kvno, key }) => {
    const entry = Buffer.concat([
      uint(2, components.length),
      ...[realm, ...components].map(text),
      uint(4, NameType.PRINCIPAL),
      uint(4, Math.floor(at / 1000)),
      uint(1, kvno & 0xff),
      uint(2, key.etype.number),
      uint(2, key.bytes.length),
      key.bytes,
      uint(4, kvno),
    ])
    return [uint(4, entry.length), entry]
  })
  return Buffer.concat([Buffer.of(5, 2), ...parts])
}

function uint(size: number, value: number): Buffer {
  const bytes = Buffer.alloc(size)
  bytes.writeUIntBE(value, 0, size)
  return bytes
}
