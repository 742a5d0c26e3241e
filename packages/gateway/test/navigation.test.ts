import assert from 'node:assert/strict'
import test from 'node:test'
import { isSameOrigin, requestKind } from '../src/navigation.ts'

test('what a person opens is told from what a page or a program asks for', () => {
  for (const [method, fields, kind] of [
    ['GET', ['Sec-Fetch-Mode', 'navigate'], 'navigation'],
    ['HEAD', ['Sec-Fetch-Mode', 'navigate'], 'navigation'],
    ['POST', ['Sec-Fetch-Mode', 'navigate'], 'unsafe-navigation'],
    ['DELETE', ['Sec-Fetch-Mode', 'navigate'], 'unsafe-navigation'],
    ['GET', ['Sec-Fetch-Mode', 'cors', 'Accept', 'text/html'], 'other'],
    ['GET', ['Sec-Fetch-Mode', 'no-cors', 'Accept', 'text/html'], 'other'],
    ['GET', ['Sec-Fetch-Mode', 'websocket'], 'other'],
    ['GET', ['Sec-Fetch-Mode', ''], 'other'],
    ['GET', ['Accept', 'text/html'], 'navigation'],
    ['GET', ['accept', 'application/xhtml+xml, TEXT/HTML;q=0.9'], 'navigation'],
    ['POST', ['Accept', 'text/html'], 'unsafe-navigation'],
    ['GET', ['Accept', 'text/html', 'X-Requested-With', 'x'], 'other'],
    ['GET', ['Accept', 'application/json'], 'other'],
    ['GET', ['Accept', 'text/htmlx'], 'other'],
    ['GET', [], 'other'],
  ] as const)
    assert.equal(requestKind(method, [...fields]), kind, `${method} ${fields}`)
})

test('only a page of the same origin may send unsafe requests', () => {
  const origin = 'https://hr.example.test'
  for (const [fields, expected] of [
    [['Origin', origin], true],
    [['Origin', origin, 'Sec-Fetch-Site', 'same-origin'], true],
    [['Sec-Fetch-Site', 'same-origin'], true],
    [[], false],
    [['Origin', 'null'], false],
    [['Origin', ''], false],
    [['Origin', `${origin}.evil.test`], false],
    [['Origin', 'https://HR.example.test'], false],
    [['Origin', `${origin}/`], false],
    [['Origin', origin, 'Sec-Fetch-Site', 'cross-site'], false],
    [['Origin', origin, 'Sec-Fetch-Site', 'same-site'], false],
    [['Sec-Fetch-Site', 'same-site'], false],
    [['Sec-Fetch-Site', 'none'], false],
    [['Sec-Fetch-Site', 'same-origin', 'Origin', 'https://evil.test'], false],
    [['Referer', `${origin}/`], false],
  ] as const)
    assert.equal(isSameOrigin([...fields], origin), expected, String(fields))
})
