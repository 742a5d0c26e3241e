import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { decryptCts, encryptCts } from '../src/aes-cts.ts'
import { findEtype } from '../src/etypes.ts'
import { EncryptionKey } from '../src/key.ts'
import { nFold } from '../src/n-fold.ts'

const folder = new URL('../vectors/', import.meta.url)
const read = (name: string) => JSON.parse(readFileSync(new URL(name, folder), 'utf8'))
const hex = (text: string) => Buffer.from(text, 'hex')

test('n-fold gives the values of RFC 3961', () => {
  for (const { input, bits, output } of read('n-fold.json').vectors) {
    assert.equal(nFold(Buffer.from(input), bits / 8).toString('hex'), output, `${bits} ${input}`)
  }
})

test('AES with ciphertext stealing gives the values of RFC 3962, and reads them', () => {
  const { key, text, vectors } = read('aes-cts.json')
  for (const { bytes, output } of vectors) {
    const plain = hex(text).subarray(0, bytes)
    assert.equal(encryptCts(hex(key), plain).toString('hex'), output)
    assert.deepEqual(decryptCts(hex(key), hex(output)), plain)
  }
})

test('passwords become the keys of RFC 3962 and RFC 8009', () => {
  for (const { etype, iterations, password, salt, saltHex, key } of read('string-to-key.json')
    .vectors) {
    const salted = salt === undefined ? hex(saltHex) : Buffer.from(salt)
    const made = findEtype(etype)!.stringToKey(password, salted, iterations)
    assert.equal(made.toString('hex'), key, `etype ${etype}, ${iterations} iterations`)
  }
})

const { usage, text, etypes } = read('aes-sha2.json')
for (const vector of etypes) {
  test(`etype ${vector.etype} derives, encrypts and signs as RFC 8009 does`, () => {
    const etype = findEtype(vector.etype)!
    for (const purpose of ['checksum', 'encryption', 'integrity'] as const) {
      const derived = etype.derive(hex(vector.key), usage, purpose)
      assert.equal(derived.toString('hex'), vector[`${purpose}Key`], purpose)
    }
    const key = new EncryptionKey(vector.etype, hex(vector.key))
    assert.equal(key.checksum(usage, hex(text)).toString('hex'), vector.checksum)
    for (const { bytes, confounder, output } of vector.encryptions) {
      const plain = hex(text).subarray(0, bytes)
      const encrypted = key.encrypt(usage, plain, () => hex(confounder))
      assert.equal(encrypted.toString('hex'), output)
      assert.deepEqual(key.decrypt(usage, hex(output)), plain)
    }
  })
}

for (const number of [17, 18, 19, 20]) {
  test(`etype ${number} notices each changed bit, another usage and another key`, () => {
    const size = findEtype(number)!.keyBytes
    const key = new EncryptionKey(number, Buffer.alloc(size, 7))
    const other = new EncryptionKey(number, Buffer.alloc(size, 8))
    const encrypted = key.encrypt(3, Buffer.from('what was said'), (size) => Buffer.alloc(size, 1))
    assert.equal(key.decrypt(3, encrypted).toString(), 'what was said')
    const refused = { code: 'INTEGRITY_CHECK_FAILED' }
    for (let bit = 0; bit < encrypted.length * 8; bit += 1) {
      const changed = Buffer.from(encrypted)
      changed[bit >> 3]! ^= 1 << (bit & 7)
      assert.throws(() => key.decrypt(3, changed), refused)
    }
    assert.throws(() => key.decrypt(4, encrypted), refused)
    assert.throws(() => other.decrypt(3, encrypted), refused)
    for (let end = 0; end < encrypted.length; end += 1) {
      assert.throws(() => key.decrypt(3, encrypted.subarray(0, end)), refused)
    }
  })
}
