import { createCipheriv, createDecipheriv } from 'node:crypto'

const block = 16
const zeroIv = Buffer.alloc(block)

/**
 * AES in CBC mode with ciphertext stealing, the last two blocks swapped always (RFC 3962 section 5), zero IV.
 *
 * @param plain at least one block long
 */
export function encryptCts(key: Buffer, plain: Buffer): Buffer {
  const padded = Math.ceil(plain.length / block) * block
  const cipher = createCipheriv(`aes-${key.length * 8}-cbc`, key, zeroIv).setAutoPadding(false)
  const chained = cipher.update(Buffer.concat([plain, Buffer.alloc(padded - plain.length)]))
  if (padded === block) return chained
  const last = chained.subarray(padded - block)
  const beforeLast = chained.subarray(padded - 2 * block, padded - block)
  const stolen = beforeLast.subarray(0, plain.length - (padded - block))
  return Buffer.concat([chained.subarray(0, padded - 2 * block), last, stolen])
}

/** @param encrypted at least one block long */
export function decryptCts(key: Buffer, encrypted: Buffer): Buffer {
  const padded = Math.ceil(encrypted.length / block) * block
  if (padded === block) return decryptCbc(key, encrypted)
  const last = encrypted.subarray(padded - 2 * block, padded - block)
  const stolen = encrypted.subarray(padded - block)
  // The last block's plain text, before it was chained, ends with what was stolen from the block before.
  const ecb = createDecipheriv(`aes-${key.length * 8}-ecb`, key, null).setAutoPadding(false)
  const rest = ecb.update(last).subarray(stolen.length)
  const chained = [encrypted.subarray(0, padded - 2 * block), stolen, rest, last]
  return decryptCbc(key, Buffer.concat(chained)).subarray(0, encrypted.length)
}

/** One chain without padding, for key derivation (RFC 3961 section 5.1). */
export function encryptBlock(key: Buffer, plain: Buffer): Buffer {
  return createCipheriv(`aes-${key.length * 8}-cbc`, key, zeroIv)
    .setAutoPadding(false)
    .update(plain)
}

function decryptCbc(key: Buffer, encrypted: Buffer): Buffer {
  const decipher = createDecipheriv(`aes-${key.length * 8}-cbc`, key, zeroIv).setAutoPadding(false)
  return decipher.update(encrypted)
}
