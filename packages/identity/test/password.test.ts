import assert from 'node:assert/strict'
import test from 'node:test'
import { hashPassword, verifyPassword } from '../src/index.ts'

test('a password matches its own hash, however the keyboard composed it', async () => {
  const composed = 'gr\u00fcn \u{1f511}'
  const hash = await hashPassword(composed)
  assert.match(hash, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$/)
  assert.equal(await verifyPassword(hash, composed), true)
  assert.equal(await verifyPassword(hash, composed.normalize('NFD')), true)
  assert.equal(await verifyPassword(hash, `${composed} `), false)
  assert.equal(await verifyPassword(hash, ''), false)
})

test('without a hash the answer is no, after a hash all the same', async () => {
  const time = async (hash: string | undefined) => {
    const begin = process.hrtime.bigint()
    assert.equal(await verifyPassword(hash, 'x'), false)
    return Number(process.hrtime.bigint() - begin) / 1e6
  }
  const hash = await hashPassword('y')
  await time(undefined)
  const best = async (of: string | undefined) =>
    Math.min(...[await time(of), await time(of), await time(of), await time(of), await time(of)])
  const [known, unknown] = [await best(hash), await best(undefined)]
  assert.ok(unknown > known / 3, `known user ${known} ms, unknown ${unknown} ms`)
})

test('more passwords than can wait are refused at once, and the rest are still checked', async () => {
  const hash = await hashPassword('x')
  const results = await Promise.allSettled(
    Array.from({ length: 90 }, () => verifyPassword(hash, 'x')),
  )
  const refused = results.filter(({ status }) => status === 'rejected')
  assert.equal(refused.length, 8)
  for (const result of refused)
    assert.equal((result as PromiseRejectedResult).reason.code, 'OVERLOADED')
  assert.equal(await verifyPassword(hash, 'x'), true)
})
