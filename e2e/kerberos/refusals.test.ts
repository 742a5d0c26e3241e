import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { type KerberosEngine, KerberosError, type UserName } from '@sallyport/kerberos'
import { lastFirst } from '@sallyport/testkit'
import { AccountFlag, type ActiveDirectory } from '@sallyport/testkit/active-directory'
import { type ConnectorAccount, startCorpExample } from '@sallyport/testkit/corp-example'
import { authorize, person, startEngine, upn } from './support.ts'

const spn = 'HTTP/app.corp.example'

suite('what a directory refuses has a code, a reason and a remedy', () => {
  const scope = lastFirst({ after })
  let directory: ActiveDirectory
  const engines = new Map<ConnectorAccount, KerberosEngine>()
  before(async () => {
    directory = await startCorpExample(scope)
    for (const account of ['svc-connector', 'svc-kcdonly', 'svc-nodeleg', 'svc-rbcd'] as const) {
      const engine = await startEngine(directory, account)
      scope.after(() => engine.close())
      engines.set(account, engine)
    }
  })

  async function refusal(
    user: UserName,
    to = spn,
    engine: KerberosEngine = engines.get('svc-connector')!,
  ): Promise<KerberosError> {
    try {
      await authorize(engine, user, to)
    } catch (error) {
      assert.ok(error instanceof KerberosError, String(error))
      assert.ok(error.remedy.length > 20)
      return error
    }
    throw new assert.AssertionError({ message: `${user.name} got a token for ${to}` })
  }

  for (const [name, code, kerberosCode] of [
    ['nobody', 'KERBEROS_USER_UNKNOWN', 6],
    ['frank', 'KERBEROS_USER_EXPIRED', 1],
    ['grace', 'KERBEROS_USER_PASSWORD_EXPIRED', 23],
    // Windows says 18.
    ['carol', 'KERBEROS_USER_DISABLED', 12],
  ] as const) {
    test(`${name}: ${code}`, async () => {
      const { code: found, facts } = await refusal(person(name))
      assert.equal(found, code)
      assert.equal(facts.user, `${name}@CORP.EXAMPLE`)
      assert.equal(facts.kerberosCode, kerberosCode)
      assert.equal((await refusal(upn(`${name}@corp.example`))).code, code)
    })
  }

  test('an account that is sensitive is told apart from a connector without rights', async () => {
    const { code, facts } = await refusal(person('dave'))
    assert.deepEqual([code, facts.reason], ['KERBEROS_ACCOUNT_SENSITIVE', 'sensitive'])
    const nodeleg = await refusal(person('dave'), spn, engines.get('svc-nodeleg'))
    assert.equal(nodeleg.code, 'KERBEROS_ACCOUNT_SENSITIVE')
  })

  test('Protected Users are not impersonated, though Samba would', async (t) => {
    const { code, facts } = await refusal(person('erin'))
    assert.deepEqual([code, facts.reason], ['KERBEROS_USER_REFUSED', 'a member of Protected Users'])
    const lax = await startEngine(directory, 'svc-connector', { findRefusal: () => undefined })
    t.after(() => lax.close())
    assert.equal((await authorize(lax, person('erin'), spn)).principal, 'erin@CORP.EXAMPLE')
  })

  test('an SPN that nobody has', async () => {
    const { code, facts } = await refusal(person('alice'), 'HTTP/nowhere.corp.example')
    assert.deepEqual([code, facts.kerberosCode], ['KERBEROS_SPN_UNKNOWN', 7])
    assert.equal(facts.spn, 'HTTP/nowhere.corp.example')
  })

  for (const [account, to, reason] of [
    ['svc-connector', 'HTTP/app2.corp.example', 'spn-not-allowed'],
    ['svc-kcdonly', spn, 'no-protocol-transition'],
    ['svc-nodeleg', spn, 'no-delegation'],
    ['svc-rbcd', spn, 'spn-not-allowed'],
  ] as const) {
    test(`${account} to ${to}: ${reason}`, async () => {
      const { code, facts } = await refusal(person('alice'), to, engines.get(account))
      assert.deepEqual([code, facts.reason], ['KERBEROS_DELEGATION_DENIED', reason])
      assert.equal(facts.account, `${account}@CORP.EXAMPLE`)
    })
  }

  test('an application with RC4 keys only is named as such', async () => {
    const { code } = await refusal(person('alice'), 'HTTP/legacy.corp.example')
    assert.equal(code, 'KERBEROS_ETYPE_UNSUPPORTED')
  })

  test('the connector itself is no user', async () => {
    assert.equal((await refusal(person('svc-connector'))).code, 'KERBEROS_S4U_UNSUPPORTED')
  })

  test('attack 61: who rules the domain is never impersonated, under any name', async (t) => {
    assert.equal(
      (await refusal(person('Administrator'))).facts.reason,
      'the built-in administrator',
    )
    assert.equal((await refusal(upn('administrator@corp.example'))).code, 'KERBEROS_USER_REFUSED')
    await directory.user('quiet', { groups: ['Domain Admins'] })
    t.after(() => directory.remove('quiet'))
    assert.equal((await refusal(person('quiet'))).facts.reason, 'a member of Domain Admins')
    // RID 500 stays when it is renamed.
    await directory.change('Administrator', { sAMAccountName: 'gardener' })
    t.after(() => directory.change('gardener', { sAMAccountName: 'Administrator' }))
    assert.equal((await refusal(person('gardener'))).facts.reason, 'the built-in administrator')
    const { code } = await refusal(person('krbtgt'))
    assert.notEqual(code, 'KERBEROS_KDC_REPLY_INVALID')
  })

  test('attack 62: no way to write a name makes it the name of another user', async (t) => {
    // Nothing of this is sent anywhere.
    for (const name of [
      '',
      'alice@CORP.EXAMPLE',
      'alice@OTHER.EXAMPLE',
      'CORP\\alice',
      'alice/admin',
      'HTTP/app.corp.example',
      'alice\0',
      'alice\0@OTHER.EXAMPLE',
      'alice\n',
      ' alice',
      'alice ',
      'ａｌｉｃｅ',
      'alice\u200b',
      'alice\u00ad',
      'ﬁona',
      'jürgen'.normalize('NFD'),
      '\u212Aarl',
      '\ud800',
      'a'.repeat(300),
    ]) {
      assert.equal(
        (await refusal(person(name))).code,
        'KERBEROS_NAME_INVALID',
        JSON.stringify(name),
      )
    }
    for (const name of [
      'alice',
      'alice@',
      '@corp.example',
      'alice@corp.example@x',
      'CORP\\a@b',
      'a/b@c',
    ]) {
      assert.equal((await refusal(upn(name))).code, 'KERBEROS_NAME_INVALID', name)
    }
    // Cyrillic, and accents: other names, of nobody.
    for (const name of ['аlice', 'álice', 'alicé', 'jurgen']) {
      assert.equal((await refusal(person(name))).code, 'KERBEROS_USER_UNKNOWN', name)
    }
    for (const realm of ['OTHER.EXAMPLE', 'corp.example', 'CORP', 'CORP.EXAMPLE\0']) {
      const { code } = await refusal({ type: 'principal', name: 'alice', realm })
      assert.match(code, /^KERBEROS_(NAME_INVALID|REALM_UNKNOWN|REFERRAL_REFUSED)$/, realm)
    }
    // A name that is the beginning of somebody else's userPrincipalName.
    await directory.user('alicia', { userPrincipalName: 'ali@corp.example' })
    t.after(() => directory.remove('alicia'))
    const { code, facts } = await refusal(person('ali'))
    assert.equal(code, 'KERBEROS_USER_MISMATCH')
    assert.equal(facts.user, 'ali@CORP.EXAMPLE')
    const { principal } = await authorize(
      engines.get('svc-connector')!,
      upn('ali@corp.example'),
      spn,
    )
    assert.equal(principal, 'alicia@CORP.EXAMPLE')
  })

  test('a user who is locked out by wrong passwords is not signed on meanwhile', async (t) => {
    await directory.policy({ lockoutThreshold: '3', lockoutDuration: '-18000000000' })
    t.after(() => directory.policy({ lockoutThreshold: '0' }))
    await directory.user('heidi')
    t.after(() => directory.remove('heidi'))
    await authorize(engines.get('svc-connector')!, person('heidi'), spn)
    engines.get('svc-connector')!.forgetUser(person('heidi'))
    for (let turn = 0; turn < 5; turn += 1)
      assert.throws(() =>
        execFileSync('kinit', ['-c', join(directory.dir, 'heidi.cc'), 'heidi@CORP.EXAMPLE'], {
          input: 'wrong\n',
          stdio: ['pipe', 'ignore', 'pipe'],
          env: { ...process.env, ...directory.environment },
        }),
      )
    const { code, facts, remedy } = await refusal(person('heidi'))
    assert.deepEqual([code, facts.kerberosCode], ['KERBEROS_USER_DISABLED', 18])
    assert.match(remedy, /Unlock-ADAccount/)
  })

  test('a service principal name is one, without realm, and not of a KDC', async () => {
    for (const name of [
      'HTTP',
      'HTTP/',
      'HTTP/app.corp.example@OTHER.EXAMPLE',
      'HTTP/app.corp.example/x',
      'krbtgt/CORP.EXAMPLE',
      'KRBTGT/CORP.EXAMPLE',
      'HTTP/app corp',
      'HTTP/app\0.corp.example',
      'HTTP/äpp.corp.example',
    ]) {
      assert.equal((await refusal(person('alice'), name)).code, 'KERBEROS_NAME_INVALID', name)
    }
  })

  test('what is wrong with a keytab is found before anything is sent', async () => {
    const good = await directory.keytab('svc-connector')
    const write = (name: string, bytes: Buffer | string) => {
      const file = join(directory.dir, name)
      writeFileSync(file, bytes, { mode: 0o600 })
      return file
    }
    const bytes = readFileSync(good)
    const open = await directory.keytab('svc-connector')
    chmodSync(open, 0o640)
    const rc4 = join(directory.dir, 'rc4')
    execFileSync('ktutil', [], {
      input: `addent -password -p svc-legacy@CORP.EXAMPLE -k 1 -e arcfour-hmac\nsecret\nwkt ${rc4}\n`,
      stdio: ['pipe', 'ignore', 'pipe'],
      env: { ...process.env, ...directory.environment },
    })
    for (const [keytab, account, code] of [
      [join(directory.dir, 'absent'), 'svc-connector', 'KERBEROS_KEYTAB_UNREADABLE'],
      [directory.dir, 'svc-connector', 'KERBEROS_KEYTAB_UNREADABLE'],
      [open, 'svc-connector', 'KERBEROS_KEYTAB_EXPOSED'],
      [write('empty', ''), 'svc-connector', 'KERBEROS_KEYTAB_INVALID'],
      [write('text', 'not a keytab'), 'svc-connector', 'KERBEROS_KEYTAB_INVALID'],
      [write('cut', bytes.subarray(0, -3)), 'svc-connector', 'KERBEROS_KEYTAB_INVALID'],
      [good, 'svc-nodeleg', 'KERBEROS_KEYTAB_NO_KEY'],
      [rc4, 'svc-legacy', 'KERBEROS_KEYTAB_NO_KEY'],
    ] as const) {
      const engine = await startEngine(directory, account, { keytab })
      await assert.rejects(engine.checkAccount(), { code }, keytab)
    }
  })

  test('a keytab that is older than the password is named as stale, with its key version', async (t) => {
    await directory.service('svc-stale', { spns: ['HTTP/stale.corp.example'] })
    t.after(() => directory.remove('svc-stale'))
    const keytab = await directory.keytab('svc-stale', undefined, true)
    await directory.setPassword('svc-stale', 'Another-Passw0rd!')
    const engine = await startEngine(directory, 'svc-stale', { keytab })
    await assert.rejects(engine.checkAccount(), (error: KerberosError) => {
      assert.equal(error.code, 'KERBEROS_KEYTAB_STALE')
      assert.ok(error.facts.kvno! > 0)
      assert.equal(error.facts.file, undefined)
      return true
    })
  })

  test('an account that does not exist, is disabled, or is of an unknown realm', async (t) => {
    await directory.service('svc-gone', { spns: ['HTTP/gone.corp.example'] })
    const keytab = await directory.keytab('svc-gone')
    await directory.setFlags('svc-gone', { set: AccountFlag.DISABLED })
    const engine = await startEngine(directory, 'svc-gone', { keytab })
    t.after(() => engine.close())
    await assert.rejects(engine.checkAccount(), { code: 'KERBEROS_ACCOUNT_REVOKED' })
    await directory.remove('svc-gone')
    await assert.rejects(engine.checkAccount(), { code: 'KERBEROS_ACCOUNT_UNKNOWN' })
  })
})
