import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Cookies } from '../src/sign-on/password/cookies.ts'

const nowAt = Date.UTC(2026, 0, 1)

function gather(...lines: [line: string, path?: string][]): Cookies {
  const cookies = new Cookies()
  for (const [line, path = '/login'] of lines) cookies.set(line, path, nowAt)
  return cookies
}

test('a cookie goes to its path and below, longer paths first', () => {
  const cookies = gather(['a=1; Path=/'], ['b=2; Path=/app'], ['c=3', '/app/login'])
  assert.equal(cookies.toHeader('/app/page'), 'b=2; c=3; a=1')
  assert.equal(cookies.toHeader('/application'), 'a=1')
})

test('the later of two with one name and path counts, and one that has expired is none', () => {
  const cookies = gather(['a=1; Path=/'], ['a=2; Path=/'], ['b=1'], ['b=; Max-Age=0'])
  assert.equal(cookies.toHeader('/login'), 'a=2')
  assert.deepEqual(cookies.lines, ['a=2; Path=/', 'b=; Max-Age=0; Path=/'])
  const gone = gather(['a=1; Expires=Thu, 01-Jan-1970 00:00:01 GMT'])
  assert.equal(gone.isEmpty, true)
  assert.equal(gather(['a=1; Expires=Fri, 01 Jan 2027 00:00:00 GMT']).isEmpty, false)
})

test('a cookie without a path, or with none that is one, is for a browser what it is here', () => {
  const cookies = gather(['a=1', '/account/login'], ['b=1; path=login', '/x/y'], ['c=1; Path', '/'])
  assert.deepEqual(cookies.lines, [
    'a=1; Path=/account',
    'b=1; path=login; Path=/x',
    'c=1; Path; Path=/',
  ])
})

test('new cookies take the place of those that the browser sent, and leave the others', () => {
  const cookies = gather(['session=new; Path=/'])
  assert.equal(cookies.toHeader('/', 'session=old; theme=dark'), 'theme=dark; session=new')
})

test('what has no name, or is far too long, is no cookie', () => {
  const cookies = gather(['=x'], ['x'], [`a=${'x'.repeat(9_000)}`])
  assert.deepEqual(cookies.lines, [])
})
