import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { ControlError } from './errors.ts'

const keyBytes = 32
const ivBytes = 12
const tagBytes = 16
const header = 'sallyport-key-1:'
const sealedPrefix = 's1.'

/**
 * The key that seals what the database holds of secrets, and that every other long-lived key is derived
 * from. It lies in a file of its own, so that a stolen database or backup is not enough.
 */
export class KeyFile {
  readonly #key: Buffer

  /** @param key 32 bytes */
  constructor(key: Buffer) {
    if (key.length !== keyBytes) throw new TypeError(`a key must have ${keyBytes} bytes`)
    this.#key = key
  }

  /** Encrypts with AES-256-GCM under a key of the purpose's own. */
  seal(purpose: string, plain: Buffer): string {
    const iv = randomBytes(ivBytes)
    const cipher = createCipheriv('aes-256-gcm', this.#sealingKey(purpose), iv)
    cipher.setAAD(Buffer.from(purpose, 'utf8'))
    const sealed = Buffer.concat([iv, cipher.update(plain), cipher.final(), cipher.getAuthTag()])
    return sealedPrefix + sealed.toString('base64url')
  }

  /** @throws ControlError `KEY_FILE_MISMATCH` when it was sealed with another key, for another purpose, or altered */
  open(purpose: string, sealed: string): Buffer {
    const bytes = sealed.startsWith(sealedPrefix)
      ? Buffer.from(sealed.slice(sealedPrefix.length), 'base64url')
      : Buffer.alloc(0)
    try {
      if (bytes.length < ivBytes + tagBytes) throw new Error('too short')
      const decipher = createDecipheriv(
        'aes-256-gcm',
        this.#sealingKey(purpose),
        bytes.subarray(0, ivBytes),
        { authTagLength: tagBytes },
      )
      decipher.setAAD(Buffer.from(purpose, 'utf8'))
      decipher.setAuthTag(bytes.subarray(-tagBytes))
      return Buffer.concat([decipher.update(bytes.subarray(ivBytes, -tagBytes)), decipher.final()])
    } catch (cause) {
      throw new ControlError(
        'KEY_FILE_MISMATCH',
        `the key file does not open what was sealed for "${purpose}"`,
        { cause },
      )
    }
  }

  /** A key for another use, by HKDF-SHA256 (RFC 5869); the same each time. */
  derive(purpose: string, length = 32): Buffer {
    return this.#hkdf(`sallyport/derive/${purpose}`, length)
  }

  #sealingKey(purpose: string): Buffer {
    return this.#hkdf(`sallyport/seal/${purpose}`, keyBytes)
  }

  #hkdf(info: string, length: number): Buffer {
    return Buffer.from(hkdfSync('sha256', this.#key, Buffer.alloc(0), info, length))
  }

  /** A key in a log or an error message would be in every copy of it. */
  toJSON(): string {
    return '[secret]'
  }
}

/**
 * Reads the key file; makes it with a new key, mode 0600, if it does not exist.
 *
 * @throws ControlError `KEY_FILE_INVALID`
 */
export function openKeyFile(path: string): KeyFile {
  try {
    return readKeyFile(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  createKeyFile(path)
  // Read back: another process may have been first, and then its key is the one.
  return readKeyFile(path)
}

function readKeyFile(path: string): KeyFile {
  const descriptor = openSync(path, constants.O_RDONLY)
  try {
    const facts = fstatSync(descriptor)
    if (!facts.isFile()) throw invalid(path, 'is no file')
    if ((facts.mode & 0o077) !== 0)
      throw invalid(
        path,
        `can be read by others (mode ${(facts.mode & 0o777).toString(8)}); run: chmod 600 ${path}`,
      )
    if (facts.size > 1024) throw invalid(path, 'is no key file of Sallyport')
    const text = readFileSync(descriptor, 'utf8').trim()
    const key = Buffer.from(text.slice(header.length), 'base64url')
    if (!text.startsWith(header) || key.length !== keyBytes)
      throw invalid(path, 'is no key file of Sallyport; restore it from your backup')
    return new KeyFile(key)
  } finally {
    closeSync(descriptor)
  }
}

/** The file appears whole or not at all: half a key would seal what nothing opens again. */
function createKeyFile(path: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  const part = `${path}.${randomBytes(6).toString('hex')}`
  const descriptor = openSync(part, 'wx', 0o600)
  try {
    writeSync(descriptor, `${header}${randomBytes(keyBytes).toString('base64url')}\n`)
    fsyncSync(descriptor)
    // A link, not a rename: it never replaces a key that exists.
    linkSync(part, path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  } finally {
    closeSync(descriptor)
    unlinkSync(part)
  }
  const directory = openSync(dirname(path), constants.O_RDONLY)
  fsyncSync(directory)
  closeSync(directory)
}

function invalid(path: string, message: string): ControlError {
  return new ControlError('KEY_FILE_INVALID', `key file ${path} ${message}`)
}
