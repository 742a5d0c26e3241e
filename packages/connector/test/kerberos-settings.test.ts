import assert from 'node:assert/strict'
import test from 'node:test'
import { toKrb5Configuration } from '../src/sign-on/gssapi/configuration.ts'
import { GssapiEngine } from '../src/sign-on/gssapi/engine.ts'
import {
  findKerberosProblems,
  openKerberosAccounts,
  parseKdc,
} from '../src/sign-on/kerberos-settings.ts'

const account = 'svc@CORP.EXAMPLE'
const keytab = '/etc/sallyport-connector/corp.keytab'

test('what is wrong with an account is said with its path', () => {
  assert.deepEqual(findKerberosProblems([{ account, keytab }]), [])
  assert.deepEqual(findKerberosProblems([{ account, keytab, engine: 'gssapi' }]), [])
  for (const [entry, problem] of [
    [{ keytab }, /^kerberos\[0\]\.account: /],
    [{ account: 'svc@corp.example', keytab }, /^kerberos\[0\]\.account: /],
    [{ account, keytab: 'corp.keytab' }, /^kerberos\[0\]\.keytab: .*absolute/],
    [{ account, keytab, engine: 'heimdal' }, /^kerberos\[0\]\.engine: must be native or gssapi$/],
    [{ account, keytab, kdcs: ['dc1 }\n evil'] }, /^kerberos\[0\]\.kdcs: /],
    [{ account, keytab, neverImpersonate: 'ceo' }, /^kerberos\[0\]\.neverImpersonate: /],
    [{ account, keytab, extra: 1 }, /^kerberos\[0\]\.extra: is unknown$/],
  ] as const) {
    const [found, ...rest] = findKerberosProblems([entry])
    assert.match(found!, problem)
    assert.deepEqual(rest, [])
  }
})

test('each account has the engine that was chosen for it', (t) => {
  const accounts = openKerberosAccounts(
    [
      { account, keytab },
      { account: 'svc@OTHER.EXAMPLE', keytab, engine: 'gssapi' },
    ],
    () => undefined,
  )
  t.after(() => {
    for (const { engine } of accounts) engine.close()
  })
  assert.deepEqual(
    accounts.map(({ engine }) => engine instanceof GssapiEngine),
    [false, true],
  )
})

test('the library is told our KDCs, and to ask nobody for names of hosts', () => {
  const kdcs = ['dc1.corp.example', '[2001:db8::1]:1088'].map((text) => parseKdc(text)!)
  const lines = toKrb5Configuration('CORP.EXAMPLE', { 'CORP.EXAMPLE': kdcs }).split('\n')
  for (const line of [
    '  default_realm = CORP.EXAMPLE',
    '  dns_canonicalize_hostname = false',
    '  default_ccache_name = MEMORY:unused',
    '    kdc = dc1.corp.example:88',
    '    primary_kdc = dc1.corp.example:88',
    '    kdc = [2001:db8::1]:1088',
  ])
    assert.ok(lines.includes(line), line)
})
