import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { test } from 'node:test'
import { type CredentialBinding, readSealingKey, sealCredential } from '@sallyport/sso/password'
import type { Assertion } from '../src/sign-on/assertion.ts'
import { Vault } from '../src/sign-on/password/vault.ts'

const credential = { userName: 'ana', password: 'correct horse' }
const binding: CredentialBinding = {
  applicationId: 'app-1',
  subject: 'user:7',
  origin: 'http://wiki.internal',
  action: 'form /login',
  version: 3,
}

function makeKey() {
  const { privateKey } = generateKeyPairSync('x25519')
  return readSealingKey(privateKey.export({ type: 'pkcs8', format: 'pem' }).toString())
}

const key = makeKey()
const form = { signInPage: '/login', formAction: '/login', startPage: '/' }

function assertion(
  changes: Partial<Assertion> = {},
  claims: Record<string, unknown> = {},
  sealed = sealCredential(key.publicKey, credential, binding),
): Assertion {
  return {
    subject: '7',
    sessionId: 's',
    applicationId: 'app-1',
    origin: 'http://wiki.internal',
    method: 'password',
    expiresAt: 1,
    person: 'app-1 7',
    claims: { credential: { subject: 'user:7', version: 3, sealed: [sealed] }, form, ...claims },
    ...changes,
  }
}

const refused = (code: string) => (error: Error) => error.message.startsWith(`${code}:`)

test('a credential opens for what identity says, and for whom it was sealed', () => {
  assert.deepEqual(new Vault(key).open(assertion()).credential, credential)
})

test('attack 64: identity may say what it likes: a credential opens for no other person, application, origin or action', () => {
  const vault = new Vault(key)
  const moved: Assertion[] = [
    assertion({ applicationId: 'app-2' }),
    assertion({ origin: 'http://evil.internal' }),
    assertion({}, { form: { ...form, formAction: '/comment' } }),
    assertion({}, { form: undefined }),
    assertion(
      { subject: '8' },
      { credential: { ...credentialOf(assertion()), subject: 'user:8' } },
    ),
    assertion({}, { credential: { ...credentialOf(assertion()), version: 4 } }),
    assertion({}, {}, sealCredential(makeKey().publicKey, credential, binding)),
  ]
  for (const one of moved)
    assert.throws(() => vault.open(one), refused('CREDENTIAL_UNREADABLE'), JSON.stringify(one))
})

test('attack 64: the credential of another person is not even tried', () => {
  assert.throws(
    () => new Vault(key).open(assertion({ subject: '8' })),
    refused('ASSERTION_REFUSED'),
  )
  for (const claims of [
    { credential: undefined },
    { credential: { subject: 'user:7', version: '3', sealed: [] } },
    { form: { ...form, signInPage: '//evil.example/' } },
    { form: { ...form, formAction: 'http://evil.example/' } },
  ])
    assert.throws(() => new Vault(key).open(assertion({}, claims)), refused('ASSERTION_REFUSED'))
})

test('attack 64: what was refused is not given out again, in whichever assertion it comes; the next version is', () => {
  const vault = new Vault(key)
  vault.refuse(vault.open(assertion()), 'the application answered 401 to it')
  assert.throws(
    () => vault.open(assertion({ sessionId: 'another' })),
    refused('CREDENTIAL_REFUSED'),
  )
  const next = { ...binding, version: 4 }
  const changed = assertion(
    {},
    {
      credential: {
        subject: 'user:7',
        version: 4,
        sealed: [sealCredential(key.publicKey, credential, next)],
      },
    },
  )
  assert.deepEqual(vault.open(changed).credential, credential)
})

test('a password is found in what an application gives back, however it is spelt', () => {
  const { secrets } = new Vault(key).open(assertion())
  for (const value of [
    'token=correct horse',
    'correct%20horse; Path=/',
    'x=correct+horse',
    Buffer.from('correct horse').toString('base64'),
    `Basic ${Buffer.from('ana:correct horse').toString('base64')}`,
  ])
    assert.equal(secrets.isIn(value), true, value)
  assert.equal(secrets.isIn('session=correct'), false)
})

function credentialOf({ claims }: Assertion): object {
  return claims.credential as object
}
