import assert from 'node:assert/strict'
import { createPublicKey, generateKeyPairSync } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import {
  basicProblem,
  type CredentialBinding,
  fingerprintOf,
  openCredential,
  readSealingKey,
  recipientOf,
  sealCredential,
  toBasicValue,
} from '@sallyport/sso/password'
import { type Aead, fromRawPrivateKey, open, seal } from '../src/password/hpke.ts'

const folder = new URL('../vectors/', import.meta.url)
const credential = { userName: 'ana', password: 'correct horse' }
const binding: CredentialBinding = {
  applicationId: '0d1f3c52-7a6f-4a54-8a43-5e2d8b5c0a01',
  subject: 'user:7',
  origin: 'http://wiki.internal:80',
  action: 'form /login',
  version: 3,
}

function makeKey() {
  const { privateKey } = generateKeyPairSync('x25519')
  return readSealingKey(privateKey.export({ type: 'pkcs8', format: 'pem' }).toString())
}

for (const name of readdirSync(folder)) {
  const vector = JSON.parse(readFileSync(new URL(name, folder), 'utf8')) as Record<string, string>
  const bytes = (key: string) => Buffer.from(vector[key]!, 'hex')
  const recipient = fromRawPrivateKey(bytes('skRm'), bytes('pkRm'))
  const context = { aead: vector.aead as Aead, info: bytes('info'), aad: bytes('aad') }

  test(`${vector.source}: what is sealed is what the vector says`, () => {
    const ephemeral = fromRawPrivateKey(bytes('skEm'), bytes('pkEm'))
    const sealed = seal(createPublicKey(recipient), context, bytes('pt'), ephemeral)
    assert.equal(sealed.toString('hex'), vector.enc! + vector.ct!)
  })

  test(`${vector.source}: what the vector says opens`, () => {
    const plain = open(recipient, context, Buffer.concat([bytes('enc'), bytes('ct')]))
    assert.equal(plain.toString('hex'), vector.pt)
  })
}

test('a credential opens with its key for what it was sealed for', () => {
  const key = makeKey()
  const sealed = sealCredential(key.publicKey, credential, binding)
  assert.deepEqual(openCredential(key, sealed, binding), credential)
  assert.equal(recipientOf(sealed), key.fingerprint)
  assert.equal(fingerprintOf(key.publicKey), key.fingerprint)
})

test('attack 64: a credential does not open for another person, application, origin, action or version', () => {
  const key = makeKey()
  const sealed = sealCredential(key.publicKey, credential, binding)
  const others: Partial<CredentialBinding>[] = [
    { applicationId: '0d1f3c52-7a6f-4a54-8a43-5e2d8b5c0a02' },
    { subject: 'user:8' },
    { subject: 'group:7' },
    { origin: 'http://evil.internal:80' },
    { origin: 'https://wiki.internal:80' },
    { action: 'form /log' },
    { action: 'basic' },
    { version: 2 },
  ]
  for (const other of others)
    assert.throws(
      () => openCredential(key, sealed, { ...binding, ...other }),
      { code: 'SEALED_INVALID' },
      JSON.stringify(other),
    )
})

test('no two bindings are the same to the seal', () => {
  const key = makeKey()
  const sealed = sealCredential(key.publicKey, credential, {
    ...binding,
    subject: 'a","b',
    origin: 'c',
  })
  assert.throws(() => openCredential(key, sealed, { ...binding, subject: 'a', origin: 'b","c' }), {
    code: 'SEALED_INVALID',
  })
})

test('a credential says for whom it is sealed, and opens for nobody else', () => {
  const sealed = sealCredential(makeKey().publicKey, credential, binding)
  const other = makeKey()
  assert.throws(() => openCredential(other, sealed, binding), { code: 'SEALED_FOR_ANOTHER_KEY' })
  const renamed = other.fingerprint + sealed.slice(sealed.indexOf('.'))
  assert.throws(() => openCredential(other, renamed, binding), { code: 'SEALED_INVALID' })
})

test('a changed, cut or empty sealed credential does not open', () => {
  const key = makeKey()
  const sealed = sealCredential(key.publicKey, credential, binding)
  const at = sealed.indexOf('.') + 1
  for (let index = at; index < sealed.length; index += 37) {
    const changed = sealed.slice(0, index) + (sealed[index] === 'A' ? 'B' : 'A')
    assert.throws(() => openCredential(key, changed + sealed.slice(index + 1), binding), {
      code: 'SEALED_INVALID',
    })
    assert.throws(() => openCredential(key, sealed.slice(0, index), binding), {
      code: 'SEALED_INVALID',
    })
  }
  assert.throws(() => openCredential(key, '', binding), { code: 'SEALED_FOR_ANOTHER_KEY' })
})

test('the length of a sealed credential says little of the password', () => {
  const { publicKey } = makeKey()
  const lengthOf = (password: string) =>
    sealCredential(publicKey, { userName: 'ana', password }, binding).length
  assert.equal(lengthOf('1'), lengthOf('a pass phrase of quite some length, as people should have'))
})

test('the same credential is never sealed to the same text', () => {
  const { publicKey } = makeKey()
  assert.notEqual(
    sealCredential(publicKey, credential, binding),
    sealCredential(publicKey, credential, binding),
  )
})

test('what is no key is refused, points of small order too', () => {
  const zero = Buffer.alloc(32).toString('base64url')
  const one = Buffer.from([1, ...Buffer.alloc(31)]).toString('base64url')
  for (const publicKey of ['', 'AAAA', `${makeKey().publicKey}=`, zero, one])
    assert.throws(() => sealCredential(publicKey, credential, binding), {
      code: 'SEALING_KEY_INVALID',
    })
  assert.throws(() => readSealingKey('no key'), { code: 'SEALING_KEY_INVALID' })
  const { privateKey } = generateKeyPairSync('ed25519')
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  assert.throws(() => readSealingKey(pem), { code: 'SEALING_KEY_INVALID' })
})

test('HTTP Basic is UTF-8 in base64, as the examples of RFC 7617 have it', () => {
  assert.equal(
    toBasicValue({ userName: 'Aladdin', password: 'open sesame' }),
    'Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==',
  )
  assert.equal(toBasicValue({ userName: 'test', password: '123£' }), 'Basic dGVzdDoxMjPCow==')
})

test('a user name with a colon, and control characters, cannot be sent as HTTP Basic', () => {
  for (const bad of [
    { userName: 'a:b', password: 'c' },
    { userName: 'a', password: 'c\r\nX-Admin: 1' },
    { userName: 'a\u0000', password: 'c' },
  ]) {
    assert.notEqual(basicProblem(bad), undefined)
    assert.throws(() => toBasicValue(bad), RangeError)
  }
  assert.equal(basicProblem({ userName: 'a', password: 'b:c' }), undefined)
})
