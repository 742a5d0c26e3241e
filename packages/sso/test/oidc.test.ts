import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Claims, oidcSignOnSchema } from '@sallyport/domain'
import { toOidcClaims } from '@sallyport/sso/oidc'

const ana: Claims = {
  objectId: '1',
  userName: 'ana@corp.example',
  displayName: 'Ana',
  mail: undefined,
  groups: [
    { id: 'g1', name: 'staff' },
    { id: 'g2', name: 'a;b' },
  ],
}

function told(claims: unknown[], person: Claims = ana) {
  const signOn = oidcSignOnSchema.parse({
    method: 'oidc',
    redirectUris: ['https://hr.example.test/callback'],
    claims,
  })
  return toOidcClaims(signOn, person)
}

test('groups are a list, however many there are, or one text where that is asked for', () => {
  const groups = { name: 'g', claim: 'groups' }
  assert.deepEqual(told([groups]), { g: ['staff', 'a;b'] })
  assert.deepEqual(told([groups], { ...ana, groups: ana.groups.slice(0, 1) }), { g: ['staff'] })
  assert.deepEqual(told([{ ...groups, separator: ';' }]), { g: 'staff;a%3Bb' })
  assert.deepEqual(told([{ ...groups, multivalued: false }]), { g: 'staff' })
  assert.deepEqual(told([{ name: 'g', claim: 'groupIds' }]), { g: ['g1', 'g2'] })
})

test('a claim that the person has no value of is left out', () => {
  assert.deepEqual(told([{ name: 'm', claim: 'mail' }]), {})
  assert.deepEqual(told([{ name: 'g', claim: 'groups' }], { ...ana, groups: [] }), {})
  assert.deepEqual(told([{ name: 'e', value: '' }]), {})
})

test('constants and transforms are as an administrator has written them', () => {
  assert.deepEqual(
    told([
      { name: 'no', value: false },
      { name: 'yes', value: true },
      { name: 'site', value: 'north' },
      { name: 'constructor', value: 'x' },
      {
        name: 'account',
        claim: 'userName',
        transforms: [{ transform: 'extractMailPrefix' }, { transform: 'toUppercase' }],
      },
    ]),
    { no: false, yes: true, site: 'north', constructor: 'x', account: 'ANA' },
  )
})
