import assert from 'node:assert/strict'
import test from 'node:test'
import { cookieNames, findCookie, toClientCookie, withoutOurCookies } from '../src/cookies.ts'
import { Random } from './support/random.ts'

const ours = '__Host-sallyport'

test('the port is part of the cookie names unless it is the default', () => {
  assert.deepEqual(cookieNames(443), { session: ours, signIn: '__Host-sallyport-signin' })
  assert.deepEqual(cookieNames(8443), {
    session: '__Host-sallyport-8443',
    signIn: '__Host-sallyport-signin-8443',
  })
})

test('a cookie is found wherever it stands', () => {
  for (const values of [
    [`${ours}=v`],
    [`${ours}=v; a=b`],
    [`a=b; ${ours}=v`],
    [`a=b;${ours}=v;c=d`],
    [`a=b; \t ${ours}=v ; c`],
    ['a=b', `${ours}=v`],
    [`a=${ours}; ${ours}=v`],
    [`${ours}-signin=x; ${ours}=v`],
    [`${ours}-8443=x; ${ours}=v; x${ours}=y`],
  ])
    assert.equal(findCookie(values, ours), 'v', values.join(' | '))
  for (const values of [
    [],
    [''],
    ['a=b'],
    [ours],
    [`${ours}-8443=v`],
    [`x${ours}=v`],
    [`${ours} =v`],
    [`a=${ours}=v`],
    [`__host-sallyport=v`],
  ])
    assert.equal(findCookie(values, ours), undefined, values.join(' | '))
})

test('a cookie that is there twice is no cookie', () => {
  assert.equal(findCookie([`${ours}=v; ${ours}=v`], ours), null)
  assert.equal(findCookie([`${ours}=v`, `${ours}=w`], ours), null)
})

// A browser enforces the prefix by the name's first bytes; what a sibling host sets for the parent domain with
// anything in front is sent as it is.
test('attack 20: a name that ends in ours after a space of any kind is not ours', () => {
  for (const front of [
    'a ',
    'a\t',
    'x=1 ',
    '$Version=1 ',
    '\xc2\xa0', // U+00A0
    '\xe2\x80\x80', // U+2000
    '\xe2\x80\xa0', // U+2020, whose last byte is a space in Latin-1
    '\xe3\x80\x80', // U+3000
    '\xc2\x85',
    '\xa0',
    '\x0c',
    '"',
    ',',
    'a=1,',
  ]) {
    assert.equal(findCookie([`${front}${ours}=evil`], ours), undefined, JSON.stringify(front))
    assert.equal(findCookie([`b=1; ${front}${ours}=evil`], ours), undefined, JSON.stringify(front))
    assert.equal(findCookie([`${front}${ours}=evil; ${ours}=v`], ours), 'v', JSON.stringify(front))
  }
})

test('a cookie is found where a plain reading of the standard finds it, and nowhere else', () => {
  const random = new Random(38)
  const pieces = [ours, ours, '=', '=', ';', ';', ' ', '\t', 'a', '-8443', '"', ',', '\xa0', 'v']
  let found = 0
  for (let count = 0; count < 50_000; count += 1) {
    let header = ''
    for (let length = random.below(14); length > 0; length -= 1) header += random.one(pieces)
    // RFC 6265 section 5.4 the other way about; names and values are what stands between.
    const values: string[] = []
    for (const pair of header.split(';')) {
      const equals = pair.indexOf('=')
      if (equals >= 0 && pair.slice(0, equals).replace(/^[ \t]+/, '') === ours)
        values.push(pair.slice(equals + 1).trim())
    }
    const expected = values.length > 1 ? null : values[0]
    assert.equal(findCookie([header], ours), expected, JSON.stringify(header))
    if (expected !== undefined) found += 1
  }
  assert.ok(found > 1_000, String(found))
})

test('our cookies are taken out and the others stay as they are', () => {
  for (const [value, left] of [
    ['', ''],
    ['a=b; c=d', 'a=b; c=d'],
    ['a=b;c=d', 'a=b;c=d'],
    [`${ours}=v`, ''],
    [`${ours}-8443=v; ${ours}-signin-8443=w`, ''],
    [`a=b; ${ours}=v; c=d`, 'a=b; c=d'],
    [`a=b; theme=sallyport; ${ours}=v`, 'a=b; theme=sallyport'],
    [`ref=https://host.sallyport.localhost/; x=1`, 'ref=https://host.sallyport.localhost/; x=1'],
    [`a="x; ${ours}=v; y"; c=d`, 'a="x; y"; c=d'],
    [`$Version=1; ${ours}="v"; $Path=/`, '$Version=1; $Path=/'],
    [`a=b, ${ours}=v, c=d`, 'a=b, c=d'],
    [`\xc2\xa0${ours}=v; a=b`, 'a=b'],
    [`__HOST-SALLYPORT=v; a=b`, 'a=b'],
    [`"${ours}"=v; a=b`, 'a=b'],
    [`${ours}; a=b`, 'a=b'],
    [`a==; b=c=d; ${ours}=v`, 'a==; b=c=d'],
  ] as const)
    assert.equal(withoutOurCookies(value), left, value)
})

test('attack 20: whatever surrounds it, the value of our cookie never stays', () => {
  const random = new Random(20)
  const pieces = [
    'a',
    '=',
    ';',
    ' ',
    ',',
    '"',
    '\\',
    '\t',
    '%3b',
    '$Version=1',
    '{',
    '\xa0',
    'b=c; ',
  ]
  for (let count = 0; count < 20_000; count += 1) {
    const noise = () => {
      let text = ''
      for (let length = random.below(6); length > 0; length -= 1) text += random.one(pieces)
      return text
    }
    // As a browser joins cookies: whatever is in the others, ours stands between semicolons.
    const header = `${noise()}; ${ours}${random.one(['', '-8443', '-signin', '-signin-8443'])}=SECRET; ${noise()}`
    assert.ok(!withoutOurCookies(header).includes('SECRET'), header)
  }
})

test('taking our cookies out changes no other cookie', () => {
  const random = new Random(21)
  const values = ['', 'x', '"q"', 'a=b', 'sallyport', 'x y', '1,2', 'https://sallyport.example/']
  for (let count = 0; count < 5_000; count += 1) {
    const others: string[] = []
    const all: string[] = []
    for (let length = random.below(6); length > 0; length -= 1) {
      const other = `c${random.below(9)}=${random.one(values)}`
      others.push(other)
      all.push(other)
      if (random.below(2) === 0) all.push(`${ours}=v1.k.x`)
    }
    assert.equal(withoutOurCookies(all.join('; ')), others.join('; '))
  }
})

const root = { internalPath: '/', externalPath: '/' }
const below = { internalPath: '/people/', externalPath: '/hr/' }

test('a cookie of an origin stays on the host and moves to the external path', () => {
  for (const [paths, value, expected] of [
    [root, 'a=b', 'a=b'],
    [root, 'a=b; Path=/x; Secure', 'a=b; Path=/x; Secure'],
    [root, 'a=b; Domain=example.test; HttpOnly', 'a=b; HttpOnly'],
    [root, 'a=b;domain = .example.test ;path=/', 'a=b;path=/'],
    [root, 'a=b; Domain', 'a=b'],
    [root, 'a=b; DOMAIN=x; domain=y', 'a=b'],
    [below, 'a=b; Path=/people/; Secure', 'a=b; Path=/hr/; Secure'],
    [below, 'a=b; Path=/people', 'a=b; Path=/hr/'],
    [below, 'a=b; path=/people/staff', 'a=b; Path=/hr/staff'],
    [below, 'a=b; Path=/', 'a=b; Path=/hr/'],
    [below, 'a=b; Path=/other', 'a=b; Path=/other'],
    [below, 'a=b; Path', 'a=b; Path'],
    [below, 'a=b; Path=', 'a=b; Path='],
    [below, 'a=b; Path=x', 'a=b; Path=x'],
    [below, 'a=b', 'a=b'],
    [below, '__Host-a=b; Path=/; Secure', '__Host-a=b; Path=/; Secure'],
    [below, '__host-a=b; Path=/; Secure', '__host-a=b; Path=/; Secure'],
    [below, '__Secure-a=b; Path=/people/', '__Secure-a=b; Path=/hr/'],
    [root, 'a="x;y"; Path=/', 'a="x;y"; Path=/'],
    [root, 'a=', 'a='],
  ] as const)
    assert.equal(toClientCookie(value, paths), expected, value)
})

test('attack 20: an origin cannot set a cookie of ours, in any spelling', () => {
  for (const name of [
    ours,
    `${ours}-8443`,
    `${ours}-signin`,
    '__host-SALLYPORT',
    ` ${ours}`,
    `\t${ours}`,
    `\xc2\xa0${ours}`,
    `\xe2\x80\x80${ours}`,
    `${ours}\xe2\x80\x80`,
    `"${ours}"`,
    `$Version=1,${ours}`,
    `_\xc2\xad_Host-sallyport`,
  ])
    assert.equal(toClientCookie(`${name.replace('=', '')}=evil; Path=/`, root), undefined, name)
})

test('a cookie without a name is dropped: its value could begin with a name of ours', () => {
  for (const value of [`=${ours}=evil`, ` =x`, ours, 'x', '', ' ', '\t=x', ';Path=/'])
    assert.equal(toClientCookie(value, root), undefined, value)
})

test('cookies of any length cost time in proportion to it', () => {
  const startedMs = performance.now()
  const spaces = ' '.repeat(200_000)
  toClientCookie(`a=b; domain${spaces}x; path=${spaces}x${spaces}; ${spaces}`, below)
  findCookie([`${' '.repeat(100_000)}${`x${ours}`.repeat(5_000)}`], ours)
  findCookie([`a=${`${' '.repeat(10)}${ours}`.repeat(4_000)}=`], ours)
  withoutOurCookies(`sallyport${';,='.repeat(30_000)}`)
  assert.ok(performance.now() - startedMs < 500)
})
