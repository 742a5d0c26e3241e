import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { splitLogoutPass } from '@sallyport/domain'
import { LogoutPasses } from '../src/saml/logout-passes.ts'

const url = 'https://pay.example.test/out?a=b&SAMLRequest=x'
const get = { applicationId: 'pay', method: 'GET', url } as const

function passOf(issued: string): string {
  const split = splitLogoutPass(new URL(issued).search)!
  assert.equal(new URL(url).search, split.query)
  return split.pass
}

function start() {
  const time = { nowAt: 1_800_000_000_000 }
  const passes = new LogoutPasses(Buffer.alloc(32, 1), () => time.nowAt)
  return { time, passes, pass: passOf(passes.issue(get)) }
}

test('a pass lets its message through once, and says what body it has', () => {
  const { passes, pass } = start()
  assert.equal(passes.take(pass, get), createHash('sha256').digest('base64url'))
  assert.equal(passes.take(pass, get), undefined)
  const post = { ...get, method: 'POST' } as const
  const other = passOf(passes.issue(post, 'SAMLRequest=y'))
  const digest = createHash('sha256').update('SAMLRequest=y').digest('base64url')
  assert.equal(passes.take(other, post), digest)
})

test('a pass is good for a minute, with the clock of whoever takes it', () => {
  const { time, passes, pass } = start()
  time.nowAt += 60_000
  assert.equal(passes.take(pass, get), undefined)
  time.nowAt -= 1
  assert.ok(passes.take(pass, get))
})

test('attack: a pass is for nothing else, and no other one is any', () => {
  const { time, passes, pass } = start()
  const [until, digest, mac] = pass.split('.') as [string, string, string]
  for (const delivery of [
    { ...get, applicationId: 'hr' },
    { ...get, method: 'POST' },
    { ...get, url: url.replace('pay', 'hr') },
    { ...get, url: `${url}&more` },
    { ...get, url: url.replace('/out', '/') },
  ] as const)
    assert.equal(passes.take(pass, delivery), undefined)
  for (const forged of [
    '',
    `${until}.${digest}`,
    `${Number(until) + 1}.${digest}.${mac}`,
    `0${pass}`,
    `${until}.${'A'.repeat(43)}.${mac}`,
    `${until}.${digest}.${'A'.repeat(43)}`,
    `${pass}A`,
    passOf(new LogoutPasses(Buffer.alloc(32, 2), () => time.nowAt).issue(get)),
  ])
    assert.equal(passes.take(forged, get), undefined, forged)
  assert.ok(passes.take(pass, get))
})

test('attack: a pass that was used is used in every spelling', () => {
  const { passes, pass } = start()
  assert.ok(passes.take(pass, get))
  // The last character of 32 bytes holds two bits that count for nothing.
  const last = pass.at(-1)!
  const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  for (const letter of letters)
    if (letter !== last) assert.equal(passes.take(pass.slice(0, -1) + letter, get), undefined)
})

test('what browsers write into a URL as something else is what the pass is for', () => {
  const { passes } = start()
  const issued = passes.issue({ ...get, url: "https://pay.example.test:443/out?x='a b" })
  assert.ok(issued.startsWith('https://pay.example.test/out?x=%27a%20b&'))
})
