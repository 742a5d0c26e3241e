import { createCipheriv, createDecipheriv, randomBytes, scryptSync } from 'node:crypto'
import { CommandError } from '../failure.ts'

/** RFC 7914; 128 MiB and about half a second for each guess. */
const cost = { N: 131_072, r: 8, p: 1 } as const
const maxmem = 256 * 1_048_576

/** A passphrase that can be guessed offline, as often as one likes. */
const minPassphrase = 12

const aad = Buffer.from('sallyport backup key 1')
const tagBytes = 16

/** @throws CommandError when the passphrase is too short */
export function sealKey(key: string, passphrase: string): string {
  if (passphrase.length < minPassphrase)
    throw new CommandError(
      `passphrase: must have at least ${minPassphrase} characters`,
      'whoever has the backup can try as many as he likes; some random words are best',
    )
  const salt = randomBytes(16)
  const iv = randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', derive(passphrase, salt), iv)
  cipher.setAAD(aad)
  const sealed = Buffer.concat([cipher.update(key, 'utf8'), cipher.final(), cipher.getAuthTag()])
  return [salt, iv, sealed].map((bytes) => bytes.toString('base64url')).join('.')
}

/** @throws CommandError when it is not the passphrase that it was sealed with */
export function openKey(sealed: string, passphrase: string): string {
  const [salt, iv, bytes] = sealed.split('.').map((part) => Buffer.from(part, 'base64url'))
  try {
    const decipher = createDecipheriv('aes-256-gcm', derive(passphrase, salt!), iv!, {
      authTagLength: tagBytes,
    })
    decipher.setAAD(aad)
    decipher.setAuthTag(bytes!.subarray(-tagBytes))
    return Buffer.concat([
      decipher.update(bytes!.subarray(0, -tagBytes)),
      decipher.final(),
    ]).toString('utf8')
  } catch {
    throw new CommandError(
      'passphrase: does not open the key in the backup',
      'give the one that the backup was made with',
    )
  }
}

function derive(passphrase: string, salt: Buffer): Buffer {
  return scryptSync(passphrase.normalize('NFC'), salt, 32, { ...cost, maxmem })
}
