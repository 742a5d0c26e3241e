import assert from 'node:assert/strict'
import { createCipheriv } from 'node:crypto'
import test from 'node:test'
import type { IdentitySession } from '@sallyport/domain'
import { Sealer } from '../src/seal.ts'
import { SessionCookies, sessionLifetimeMs } from '../src/session-cookie.ts'

const one = { id: '1', secret: Buffer.alloc(32, 1) }
const two = { id: '2', secret: Buffer.alloc(32, 2) }
const nowAt = 1_800_000_000_000

const session: IdentitySession = {
  sessionId: 's1',
  userId: 'ana',
  signInEpoch: 4,
  methods: ['pwd', 'otp'],
  signedInAt: nowAt - 1_000,
  absoluteExpiresAt: nowAt + 43_200_000,
  claims: { objectId: 'ana', userName: 'ana', displayName: 'Ana', mail: undefined, groups: [] },
}

test('what was sealed opens in its context, and only there', () => {
  const sealer = new Sealer([one], 'purpose')
  for (const text of ['', 'x', '{"a":"ö"}', 'x'.repeat(8_000)]) {
    const sealed = sealer.seal(text, 'hr.example.test')
    assert.equal(sealer.open(sealed, 'hr.example.test'), text)
    assert.equal(sealer.open(sealed, 'wiki.example.test'), undefined)
    assert.equal(sealer.open(sealed, ''), undefined)
  }
})

test('the same text is sealed differently each time', () => {
  const sealer = new Sealer([one], 'purpose')
  assert.notEqual(sealer.seal('x', 'c'), sealer.seal('x', 'c'))
})

test('what was sealed for another purpose or by another key does not open', () => {
  const sealed = new Sealer([one], 'session-cookie').seal('x', 'c')
  assert.equal(new Sealer([one], 'sign-in-state').open(sealed, 'c'), undefined)
  assert.equal(new Sealer([two], 'session-cookie').open(sealed, 'c'), undefined)
  assert.equal(
    new Sealer([{ id: '1', secret: two.secret }], 'session-cookie').open(sealed, 'c'),
    undefined,
  )
})

test('the first key of the ring seals and all of them open', () => {
  const old = new Sealer([one], 'p').seal('x', 'c')
  const rolled = new Sealer([two, one], 'p')
  assert.equal(rolled.open(old, 'c'), 'x')
  assert.match(rolled.seal('x', 'c'), /^v1\.2\./)
  assert.equal(new Sealer([two], 'p').open(old, 'c'), undefined)
  assert.throws(() => new Sealer([], 'p'), TypeError)
})

test('attack 39: no changed, cut or lengthened form opens', () => {
  const sealer = new Sealer([one, two], 'p')
  const sealed = sealer.seal('{"user":"ana"}', 'c')
  for (let at = 0; at < sealed.length; at += 1) {
    assert.equal(sealer.open(sealed.slice(0, at), 'c'), undefined, `cut at ${at}`)
    for (const other of ['A', 'B', '_', '.', '=', '%', '\0', ' ', '2']) {
      if (other === sealed[at]) continue
      const changed = sealed.slice(0, at) + other + sealed.slice(at + 1)
      assert.equal(sealer.open(changed, 'c'), undefined, `${other} at ${at}`)
    }
  }
  for (const more of ['A', '=', '==', '.', ' ', '\n', '; a=b'])
    assert.equal(sealer.open(sealed + more, 'c'), undefined, JSON.stringify(more))
  for (const text of [
    '',
    'v1',
    'v1..',
    'v1.1.',
    `v1.1.${'A'.repeat(38)}`,
    `v1.1.${'A'.repeat(20_000)}`,
    `v2${sealed.slice(2)}`,
    `"${sealed}"`,
    ` ${sealed}`,
    'null',
    '{}',
  ])
    assert.equal(sealer.open(text, 'c'), undefined, text.slice(0, 40))
})

test('attack 39: a cookie under a key of zeros does not open', () => {
  const iv = Buffer.alloc(12)
  const cipher = createCipheriv('aes-256-gcm', Buffer.alloc(32), iv)
  cipher.setAAD(Buffer.from('c'))
  const sealed = Buffer.concat([iv, cipher.update('x'), cipher.final(), cipher.getAuthTag()])
  for (const id of ['1', '2', '0', '', 'constructor', '__proto__'])
    assert.equal(
      new Sealer([one], 'p').open(`v1.${id}.${sealed.toString('base64url')}`, 'c'),
      undefined,
      id,
    )
})

test('attack 38: base64 that is spelt otherwise is another cookie, and does not open', () => {
  const sealer = new Sealer([one], 'p')
  // 29 bytes: the last character carries two bits that mean nothing.
  const sealed = sealer.seal('x', 'c')
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const last = alphabet.indexOf(sealed.at(-1)!)
  let opened = 0
  for (let bits = 0; bits < 4; bits += 1)
    if (sealer.open(sealed.slice(0, -1) + alphabet[(last & ~3) | bits], 'c') !== undefined)
      opened += 1
  assert.equal(opened, 1)
})

test('a session cookie holds what it was sealed with, and no claims', () => {
  const cookies = new SessionCookies([one])
  const { value, facts } = cookies.seal(session, 'hr.example.test', nowAt)
  assert.deepEqual(new SessionCookies([one]).open(value, 'hr.example.test'), facts)
  assert.deepEqual(facts, {
    sessionId: 's1',
    userId: 'ana',
    signInEpoch: 4,
    methods: ['pwd', 'otp'],
    signedInAt: nowAt - 1_000,
    sealedAt: nowAt,
    expiresAt: nowAt + sessionLifetimeMs,
    absoluteExpiresAt: nowAt + 43_200_000,
  })
})

test('a session cookie never lives past the limit of its session', () => {
  const { facts } = new SessionCookies([one]).seal(
    { ...session, absoluteExpiresAt: nowAt + 5 },
    'hr.example.test',
    nowAt,
  )
  assert.equal(facts.expiresAt, nowAt + 5)
})

test('a cookie that was opened before opens on no other host either', () => {
  const cookies = new SessionCookies([one])
  const { value } = cookies.seal(session, 'hr.example.test', nowAt)
  assert.ok(cookies.open(value, 'hr.example.test'))
  assert.equal(cookies.open(value, 'wiki.example.test'), undefined)
  assert.ok(cookies.open(value, 'hr.example.test'))
})

test('opened cookies are remembered up to a limit, and one that was forgotten opens again', () => {
  const cookies = new SessionCookies([one], 2)
  const values = [1, 2, 3].map(() => cookies.seal(session, 'h', nowAt).value)
  const first = values.map((value) => cookies.open(value, 'h'))
  // The same object shows that it was remembered.
  assert.equal(cookies.open(values[2]!, 'h'), first[2])
  assert.notEqual(cookies.open(values[0]!, 'h'), first[0])
  assert.deepEqual(cookies.open(values[0]!, 'h'), first[0])
})

test('another ring is in force at once, also for a cookie that was opened before', () => {
  const cookies = new SessionCookies([one])
  const { value, facts } = cookies.seal(session, 'hr.example.test', nowAt)
  assert.deepEqual(cookies.open(value, 'hr.example.test'), facts)
  cookies.useKeys([two, one])
  assert.deepEqual(cookies.open(value, 'hr.example.test'), facts)
  assert.match(cookies.seal(session, 'hr.example.test', nowAt).value, /^v1\.2\./)
  cookies.useKeys([two])
  assert.equal(cookies.open(value, 'hr.example.test'), undefined)
})
