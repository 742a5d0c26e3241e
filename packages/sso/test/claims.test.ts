import assert from 'node:assert/strict'
import test from 'node:test'
import {
  type ClaimSource,
  type Claims,
  compilePattern,
  limitPatternSize,
  PatternError,
  parseReplacement,
  type Transform,
  transformSchema,
} from '@sallyport/domain'
import { ClaimError, compileClaim, compileList, limitCharacters } from '../src/claims/index.ts'

const ana: Claims = {
  objectId: '0f',
  userName: 'ana@corp.example',
  displayName: 'Ana Ólafsdóttir',
  mail: undefined,
  groups: [
    { id: 'g1', name: 'app-hr' },
    { id: 'g2', name: 'Staff' },
    { id: 'g3', name: 'app-wiki' },
  ],
}

/** What a chain makes of a text, by way of the display name. */
function made(value: string, ...transforms: Transform[]): string {
  const chain = transforms.map((transform) => transformSchema.parse(transform))
  return (
    compileClaim({ claim: 'displayName', transforms: chain })({ ...ana, displayName: value })[0] ??
    ''
  )
}

/** Each transform once and more, with what Entra's documentation has as its examples where it has one. */
const examples: [value: string, transform: Transform, result: string][] = [
  ['Ana', { transform: 'toLowercase' }, 'ana'],
  ['ana', { transform: 'toUppercase' }, 'ANA'],
  ['Ólafur Þór', { transform: 'toUppercase' }, 'ÓLAFUR ÞÓR'],
  ['joe_smith@contoso.example', { transform: 'extractMailPrefix' }, 'joe_smith'],
  ['joe_smith', { transform: 'extractMailPrefix' }, 'joe_smith'],
  ['BSimon_123', { transform: 'extractAlphaPrefix' }, 'BSimon'],
  ['123_BSimon', { transform: 'extractAlphaPrefix' }, ''],
  ['123_BSimon', { transform: 'extractAlphaSuffix' }, 'BSimon'],
  ['1Þór', { transform: 'extractAlphaSuffix' }, 'Þór'],
  ['123_BSimon', { transform: 'extractNumericPrefix' }, '123'],
  ['BSimon_123', { transform: 'extractNumericSuffix' }, '123'],
  ['BSimon', { transform: 'extractNumericSuffix' }, ''],
  [
    'ana',
    { transform: 'join', after: { value: 'corp.example' }, separator: '@' },
    'ana@corp.example',
  ],
  ['ana', { transform: 'join', before: { value: 'CORP' }, separator: '\\' }, 'CORP\\ana'],
  ['ana', { transform: 'join', before: { value: '<' }, after: { claim: 'objectId' } }, '<ana0f'],
  ['ana', { transform: 'join', after: { claim: 'mail' }, separator: '/' }, 'ana'],
  ['ana@x', { transform: 'contains', text: '@x' }, 'ana@x'],
  ['ana@y', { transform: 'contains', text: '@x' }, ''],
  [
    'ana@y',
    { transform: 'contains', text: '@x', otherwise: { claim: 'userName' } },
    'ana@corp.example',
  ],
  ['ana@x', { transform: 'contains', text: '@x', output: { value: 'in' } }, 'in'],
  ['app-hr', { transform: 'startWith', text: 'app-' }, 'app-hr'],
  ['my-app-hr', { transform: 'startWith', text: 'app-' }, ''],
  ['App-hr', { transform: 'startWith', text: 'app-', otherwise: { value: 'other' } }, 'other'],
  ['app-hr', { transform: 'endWith', text: '-hr', output: { value: 'hr' } }, 'hr'],
  ['app-hr-2', { transform: 'endWith', text: '-hr' }, ''],
  ['Finance_BSimon', { transform: 'extractAfter', text: 'Finance_' }, 'BSimon'],
  ['BSimon', { transform: 'extractAfter', text: 'Finance_' }, ''],
  ['BSimon_US', { transform: 'extractBefore', text: '_US' }, 'BSimon'],
  ['BSimon', { transform: 'extractBefore', text: '_US' }, ''],
  [
    'Finance_BSimon_US',
    { transform: 'extractBetween', after: 'Finance_', before: '_US' },
    'BSimon',
  ],
  ['Finance_BSimon', { transform: 'extractBetween', after: 'Finance_', before: '_US' }, ''],
  ['', { transform: 'ifEmpty', output: { claim: 'userName' } }, 'ana@corp.example'],
  ['x', { transform: 'ifEmpty', output: { claim: 'userName' } }, 'x'],
  ['x', { transform: 'ifNotEmpty', output: { value: 'yes' }, otherwise: { value: 'no' } }, 'yes'],
  ['', { transform: 'ifNotEmpty', output: { value: 'yes' }, otherwise: { value: 'no' } }, 'no'],
  ['', { transform: 'ifNotEmpty', output: { value: 'yes' } }, ''],
  ['0123456789', { transform: 'substring', start: 2, length: 3 }, '234'],
  ['0123456789', { transform: 'substring', start: 7 }, '789'],
  ['012', { transform: 'substring', start: 2, length: 10 }, '2'],
  ['012', { transform: 'substring', start: 3 }, ''],
  ['😀ab', { transform: 'substring', start: 1, length: 1 }, 'a'],
  ['a-b-c', { transform: 'regexReplace', pattern: '-', replacement: '.' }, 'a.b.c'],
  [
    'Ana Bo',
    { transform: 'regexReplace', pattern: '^(\\w+) (\\w+)$', replacement: '$2, $1' },
    'Bo, Ana',
  ],
  [
    'ana@corp.example',
    {
      transform: 'regexReplace',
      pattern: '(?i)^(?P<user>[^@]+)@CORP\\..*$',
      replacement: 'CORP\\$<user>$$$0',
    },
    'CORP\\ana$ana@corp.example',
  ],
  ['ana', { transform: 'regexReplace', pattern: 'x', replacement: 'y' }, 'ana'],
  ['😀a😀', { transform: 'regexReplace', pattern: 'a', replacement: 'b' }, '😀b😀'],
  ['ab', { transform: 'regexReplace', pattern: 'x*', replacement: '-' }, '-a-b-'],
  ['ab', { transform: 'regexReplace', pattern: '(a)|(b)', replacement: '[$2]' }, '[][b]'],
]

for (const [value, transform, result] of examples)
  test(`${JSON.stringify(transform)} makes ${JSON.stringify(result)} of ${JSON.stringify(value)}`, () => {
    assert.equal(made(value, transform), result)
  })

test('every transform of the schema has an example', () => {
  const all = transformSchema.options.map(({ shape }) => shape.transform.value)
  assert.deepEqual(new Set(examples.map(([, { transform }]) => transform)), new Set(all))
})

test('transforms apply one after another', () => {
  assert.equal(
    made(
      'Ana.Lind@Corp.Example',
      { transform: 'extractMailPrefix' },
      { transform: 'regexReplace', pattern: '\\.', replacement: ' ' },
      { transform: 'toUppercase' },
      { transform: 'join', before: { value: 'CORP' }, separator: '\\' },
      { transform: 'substring', start: 0, length: 8 },
    ),
    'CORP\\ANA',
  )
})

test('transforms apply to each group, and what comes to nothing is left out', () => {
  const values = (source: Partial<ClaimSource>, claims = ana) =>
    compileClaim({ claim: 'groups', ...source })(claims)
  const ofApplications: Transform[] = [
    { transform: 'startWith', text: 'app-' },
    { transform: 'extractAfter', text: 'app-' },
  ]
  assert.deepEqual(values({}), ['app-hr', 'Staff', 'app-wiki'])
  assert.deepEqual(values({ transforms: ofApplications }), ['hr', 'wiki'])
  assert.deepEqual(values({ multivalued: false }), ['app-hr'])
  assert.deepEqual(values({ claim: 'groupIds' }), ['g1', 'g2', 'g3'])
  const nobody = { ...ana, groups: [] }
  assert.deepEqual(values({}, nobody), [])
  assert.deepEqual(
    values({ transforms: [{ transform: 'ifEmpty', output: { value: 'guest' } }] }, nobody),
    ['guest'],
  )
})

test('attack 62: no part of a name with two @ is somebody else', () => {
  assert.equal(made('admin@evil@corp.example', { transform: 'extractMailPrefix' }), 'admin@evil')
})

test('attack 62: letters that only look alike in another case stay themselves', () => {
  const names = new Map<string, string>()
  for (const transform of ['toLowercase', 'toUppercase'] as const) {
    names.clear()
    for (let code = 0x21; code < 0x1_0000; code += 1) {
      if (code >= 0xd800 && code < 0xe000) continue
      const letter = String.fromCodePoint(code)
      const result = made(`a${letter}b`, { transform })
      const other = names.get(result)
      // Two that become one are the two cases of one letter.
      if (other !== undefined)
        assert.ok(
          letter.toLowerCase() === other || other.toLowerCase() === letter,
          `${other} and ${letter} both become ${result}`,
        )
      names.set(result, letter)
    }
  }
  assert.equal(made('admın', { transform: 'toUppercase' }), 'ADMıN')
  assert.equal(made('\u212Aay', { transform: 'toLowercase' }), '\u212Aay')
  assert.equal(made('Straße', { transform: 'toUppercase' }), 'STRAßE')
})

test('a list keeps its values apart, whatever they hold and whatever separates them', () => {
  for (const separator of [';', ',', ', ', '|', ' ', '::', ' - '])
    for (const names of [
      ['a', 'b'],
      ['a;b,c|d', 'e f::g', '100%', '%3B', ':', ' - ', 'ä;ö'],
      [separator, `x${separator}`, `${separator}y`],
    ]) {
      const text = compileList(separator)(names)
      assert.deepEqual(text.split(separator).map(decodeURIComponent), names, separator)
    }
})

test('attack 49: a chain of replacements ends when a value has grown too long', () => {
  const grow: Transform = { transform: 'regexReplace', pattern: '.', replacement: 'x'.repeat(256) }
  const startMs = performance.now()
  assert.throws(() => made('x'.repeat(256), ...Array<Transform>(20).fill(grow)), {
    name: ClaimError.name,
    code: 'SIGN_ON_CLAIM_TOO_LONG',
    claim: 'displayName',
  })
  assert.ok(performance.now() - startMs < 500)
  assert.equal(made('x'.repeat(limitCharacters / 256), grow).length, limitCharacters)
})

test('attack 49: no pattern takes long, whatever it is matched against', () => {
  const evil = [
    '(a+)+$',
    '(a|a)*b',
    '(a|aa)+$',
    '(.*a){20}',
    '^(([a-z])+.)+[A-Z]([a-z])+$',
    '(x+x+)+y',
    '(?:a?){60}a{60}',
    '([a-zA-Z0-9._-]+)*@',
  ]
  for (const pattern of evil) {
    const transform: Transform = { transform: 'regexReplace', pattern, replacement: '' }
    const step = compileClaim({ claim: 'displayName', transforms: [transform] })
    const startMs = performance.now()
    for (const text of [`${'a'.repeat(limitCharacters - 1)}!`, 'x'.repeat(limitCharacters)])
      step({ ...ana, displayName: text })
    const tookMs = performance.now() - startMs
    // Backtracking would take longer than the universe has been there.
    assert.ok(tookMs < 1_000, `${pattern}: ${tookMs} ms`)
  }
})

test('a pattern that needs backtracking, or is too large, is refused', () => {
  for (const pattern of ['(a)\\1', '(?=a)', '(?!a)', '(?<=a)b', '(', '[z-a]', 'a{2000}', '*', '\\'])
    assert.throws(() => compilePattern(pattern), PatternError, pattern)
  assert.throws(() => compilePattern('(?:[a-z]{1,40}){1,40}'), { code: 'PATTERN_INVALID' })
  assert.ok(compilePattern('^[a-z]{1,64}@[a-z.]{1,64}$').programSize() < limitPatternSize)
})

test('a replacement names groups that there are', () => {
  const pattern = compilePattern('(a)(?P<b>b)')
  assert.deepEqual(parseReplacement('x$1$<b>$$$0', pattern), [
    { text: 'x' },
    { group: 1 },
    { group: 'b' },
    { text: '$' },
    { group: 0 },
  ])
  for (const replacement of ['$3', '$<c>', '$', '$x', '$<b', '$-1', 'a$'])
    assert.throws(() => parseReplacement(replacement, pattern), PatternError, replacement)
})
