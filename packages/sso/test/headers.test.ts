import assert from 'node:assert/strict'
import test from 'node:test'
import { type Claims, headerClaims, type SignOnHeader } from '@sallyport/domain'
import { compileHeaders, limitBytes } from '../src/headers/index.ts'

const ana: Claims = {
  objectId: '0f',
  userName: 'ana@example.test',
  displayName: 'Ana Ólafsdóttir',
  mail: 'ana@mail.test',
  groups: [
    { id: 'g1', name: 'Staff' },
    { id: 'g2', name: 'HR;admins' },
    { id: 'g3', name: '100%' },
  ],
}

function headers(...list: SignOnHeader[]): SignOnHeader[] {
  return list
}

const toHeaderFields = (list: readonly SignOnHeader[], claims: Claims) =>
  compileHeaders(list)(claims)

/** As an origin that decodes UTF-8 reads it. */
function utf8(value: string | undefined): string {
  return Buffer.from(value ?? '', 'latin1').toString('utf8')
}

test('each claim gives its field, in the order that was configured', () => {
  const fields = toHeaderFields(
    headers(...headerClaims.map((claim) => ({ name: `X-${claim}`, claim })), {
      name: 'X-Site',
      value: 'north',
    }),
    ana,
  )
  assert.deepEqual(
    fields.map((field, index) => (index % 2 === 0 ? field : utf8(field))),
    [
      ...['X-userName', 'ana@example.test', 'X-mail', 'ana@mail.test'],
      ...['X-displayName', 'Ana Ólafsdóttir', 'X-objectId', '0f'],
      ...['X-groups', 'Staff;HR%3Badmins;100%25', 'X-groupIds', 'g1;g2;g3', 'X-Site', 'north'],
    ],
  )
})

test('a claim that the person does not have gives no field', () => {
  const nobody: Claims = { ...ana, mail: undefined, groups: [], displayName: ' \t' }
  assert.deepEqual(
    toHeaderFields(
      headers(
        { name: 'X-Mail', claim: 'mail' },
        { name: 'X-Groups', claim: 'groups' },
        { name: 'X-Name', claim: 'displayName' },
        { name: 'X-User', claim: 'userName' },
        { name: 'X-Empty', value: '' },
      ),
      nobody,
    ),
    ['X-User', 'ana@example.test'],
  )
})

test('attacks 22 and 23: no character of a claim ends the field that it stands in', () => {
  for (let code = 0; code < 0x3000; code += 1) {
    const name = `a${String.fromCharCode(code)}b`
    const [, value] = toHeaderFields(headers({ name: 'X-Name', claim: 'displayName' }), {
      ...ana,
      displayName: name,
    })
    assert.match(value!, /^[\x20-\x7e\x80-\xff]+$/, code.toString(16))
    const isControl = /[\p{Cc}\u2028\u2029]/u.test(name)
    assert.equal(utf8(value), isControl ? 'a b' : name, code.toString(16))
  }
  const [, value] = toHeaderFields(headers({ name: 'X-Name', claim: 'displayName' }), {
    ...ana,
    displayName: 'a\r\nX-User: admin\r\n\r\n\u010d\u010a\ud800',
  })
  assert.doesNotMatch(value!, /[\r\n\0]/)
})

test('a group is one item of the list, whatever its name', () => {
  for (const name of ['a;b', ';', '%3B', '%', 'a;b%3Bc', 'ä;ö']) {
    const [, value] = toHeaderFields(headers({ name: 'X-Groups', claim: 'groups' }), {
      ...ana,
      groups: [
        { id: '1', name },
        { id: '2', name: 'x' },
      ],
    })
    const items = utf8(value).split(';')
    assert.deepEqual(
      items.map((item) => decodeURIComponent(item)),
      [name, 'x'],
    )
  }
})

test('more than an origin would take is refused, not cut', () => {
  const groups = (count: number) =>
    Array.from({ length: count }, () => ({ id: 'x'.repeat(31), name: 'n' }))
  const signOn = headers({ name: 'X-Ids', claim: 'groupIds' })
  assert.equal(toHeaderFields(signOn, { ...ana, groups: groups(1_000) })[1]!.length, 31_999)
  assert.throws(() => toHeaderFields(signOn, { ...ana, groups: groups(limitBytes / 32) }), {
    code: 'SIGN_ON_HEADERS_TOO_LARGE',
  })
})
