import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseElement } from '../src/der.ts'
import { KerberosError, kerberosErrorCodes } from '../src/errors.ts'
import {
  formatName,
  formatPrincipal,
  parsePrincipal,
  parseSpn,
  parseUser,
  readName,
  samePrincipal,
  writeName,
} from '../src/names.ts'

const refused = { code: 'KERBEROS_NAME_INVALID' }

test('a user name is one component, whatever is in it, in the realm that was said', () => {
  const user = parseUser({ type: 'enterprise', name: 'bob@contoso.com' }, 'CORP.EXAMPLE')
  assert.deepEqual(user, { type: 10, components: ['bob@contoso.com'], realm: 'CORP.EXAMPLE' })
  assert.equal(formatPrincipal(user), 'bob\\@contoso.com@CORP.EXAMPLE')
  const other = parseUser({ type: 'principal', name: 'ann', realm: 'EU.CORP' }, 'CORP.EXAMPLE')
  assert.deepEqual(other, { type: 1, components: ['ann'], realm: 'EU.CORP' })
})

test('a name with a space, a dot, a dollar or letters of any script is a name', () => {
  for (const name of ['Ann Lee', 'a.lee', 'PC01$', 'jürgen', '李明', 'Ωmega', "o'neil", '#x!%&']) {
    parseUser({ type: 'principal', name }, 'CORP.EXAMPLE')
  }
})

test('accounts and service names are taken apart once, and refused when they are none', () => {
  assert.deepEqual(parsePrincipal('HTTP/x.y@CORP.EXAMPLE').components, ['HTTP', 'x.y'])
  assert.deepEqual(parsePrincipal('CONN01$@CORP.EXAMPLE').components, ['CONN01$'])
  for (const account of [
    '',
    'x',
    'x@',
    '@X',
    'x@corp.example',
    'a/@X',
    'a\\b@X',
    'a\0@X',
    'a@b@X',
  ]) {
    assert.throws(() => parsePrincipal(account), refused, account)
  }
  assert.equal(formatName(parseSpn('HTTP/app.corp.example:8443')), 'HTTP/app.corp.example:8443')
  assert.throws(() => parseSpn('HTTP/app.corp.example:x'), refused)
})

test('a slash in a component does not make two names the same', () => {
  const one = { type: 1, components: ['a/b'], realm: 'X' }
  const two = { type: 1, components: ['a', 'b'], realm: 'X' }
  assert.equal(samePrincipal(one, two), false)
  assert.notEqual(formatPrincipal(one), formatPrincipal(two))
  for (const name of [one, two]) {
    assert.deepEqual(readName(parseElement(writeName(name))).components, name.components)
  }
})

test('every code has a remedy of its own', () => {
  const remedies = kerberosErrorCodes.map((code) => new KerberosError(code, 'x').remedy)
  assert.ok(remedies.every((remedy) => remedy.length > 20))
  assert.equal(new Set(remedies).size, remedies.length)
})
