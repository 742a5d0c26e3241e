import { createHmac, pbkdf2Sync } from 'node:crypto'
import { encryptBlock } from './aes-cts.ts'
import { nFold } from './n-fold.ts'

/** One encryption type: AES in CTS mode, with the hash that derives keys and protects integrity. */
export interface Etype {
  number: number
  name: string
  keyBytes: number
  hash: 'sha1' | 'sha256' | 'sha384'
  macBytes: number
  /** The keyed checksum of this etype (RFC 3961 section 8). */
  checksumType: number
  /** What the authentication code covers: the plain text, or zero IV and cipher text. */
  macOver: 'plain' | 'cipher'
  /** @param purpose `encryption`, `integrity` or `checksum` of a key usage number */
  derive(key: Buffer, usage: number, purpose: Purpose): Buffer
  stringToKey(password: string, salt: string | Buffer, iterations?: number): Buffer
}

export type Purpose = 'encryption' | 'integrity' | 'checksum'

const purposeByte: Record<Purpose, number> = { encryption: 0xaa, integrity: 0x55, checksum: 0x99 }

/** RFC 3962: AES with SHA-1 under the simplified profile of RFC 3961. */
function simplified(number: number, keyBytes: number, checksumType: number): Etype {
  const fold = (key: Buffer, constant: Buffer): Buffer => {
    const blocks: Buffer[] = []
    let block: Buffer = nFold(constant, 16)
    for (let size = 0; size < keyBytes; size += 16) {
      block = encryptBlock(key, block)
      blocks.push(block)
    }
    return Buffer.concat(blocks).subarray(0, keyBytes)
  }
  return {
    number,
    name: `aes${keyBytes * 8}-cts-hmac-sha1-96`,
    keyBytes,
    hash: 'sha1',
    macBytes: 12,
    checksumType,
    macOver: 'plain',
    derive: (key, usage, purpose) => fold(key, toConstant(usage, purpose)),
    stringToKey(password, salt, iterations = 4096) {
      return fold(pbkdf2Sync(password, salt, iterations, keyBytes, 'sha1'), Buffer.from('kerberos'))
    },
  }
}

/** RFC 8009: AES with SHA-2. */
function sha2(
  number: number,
  keyBytes: number,
  macBytes: number,
  hash: 'sha256' | 'sha384',
): Etype {
  const name = `aes${keyBytes * 8}-cts-hmac-${hash}-${macBytes * 8}`
  // KDF-HMAC-SHA2, section 3: one turn of the counter is enough for all sizes here.
  const derive = (key: Buffer, label: Buffer, bytes: number): Buffer => {
    const input = Buffer.concat([Buffer.of(0, 0, 0, 1), label, Buffer.of(0), toUint32(bytes * 8)])
    return createHmac(hash, key).update(input).digest().subarray(0, bytes)
  }
  return {
    number,
    name,
    keyBytes,
    hash,
    macBytes,
    checksumType: number,
    macOver: 'cipher',
    derive: (key, usage, purpose) =>
      derive(key, toConstant(usage, purpose), purpose === 'encryption' ? keyBytes : macBytes),
    stringToKey(password, salt, iterations = 32768) {
      const salted = Buffer.concat([
        Buffer.from(name),
        Buffer.of(0),
        typeof salt === 'string' ? Buffer.from(salt) : salt,
      ])
      const random = pbkdf2Sync(password, salted, iterations, keyBytes, hash)
      return derive(random, Buffer.from('kerberos'), keyBytes)
    },
  }
}

const etypes = new Map(
  [
    simplified(18, 32, 16),
    simplified(17, 16, 15),
    sha2(20, 32, 24, 'sha384'),
    sha2(19, 16, 16, 'sha256'),
  ].map((etype) => [etype.number, etype]),
)

/** In the order in which we ask for them: Active Directory knows the first two. */
export const supportedEtypes: readonly number[] = [...etypes.keys()]

export function findEtype(number: number): Etype | undefined {
  return etypes.get(number)
}

const names = new Map([
  [1, 'des-cbc-crc'],
  [3, 'des-cbc-md5'],
  [16, 'des3-cbc-sha1'],
  [23, 'rc4-hmac'],
  [24, 'rc4-hmac-exp'],
])

/** The registered name, also of those which we do not speak, for messages. */
export function toEtypeName(number: number): string {
  return etypes.get(number)?.name ?? names.get(number) ?? `etype ${number}`
}

function toConstant(usage: number, purpose: Purpose): Buffer {
  return Buffer.concat([toUint32(usage), Buffer.of(purposeByte[purpose])])
}

function toUint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}
