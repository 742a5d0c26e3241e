// Two Active Directories that trust each other: people of the same name in both, and people of one who use an application of the other.
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { GssapiEngine } from '@sallyport/connector'
import {
  type DelegationEngine,
  Kdcs,
  KerberosEngine,
  type KerberosError,
  readKeytabFile,
  type UserName,
} from '@sallyport/kerberos'
import { lastFirst } from '@sallyport/testkit'
import { AccountFlag, ActiveDirectory } from '@sallyport/testkit/active-directory'
import { startCorpExample } from '@sallyport/testkit/corp-example'
import { GssAcceptor } from '@sallyport/testkit/gss-acceptor'
import { MitRealm } from '@sallyport/testkit/mit-realm'

const spn = 'HTTP/app.corp.example'
const names = ['native', 'gssapi'] as const

suite('two domains that trust each other', () => {
  const scope = lastFirst({ after })
  let corp: ActiveDirectory
  let other: ActiveDirectory
  /** Realms whose KDCs were asked, in turn. */
  let asked: string[] = []
  before(async () => {
    corp = await startCorpExample(scope)
    other = await ActiveDirectory.start(scope, { domain: 'other.example' })
    await other.user('alice')
    await other.user('olga')
    await other.service('svc-app', { spns: ['HTTP/app.other.example'] })
    await other.service('svc-connector', {
      spns: ['HTTP/connector.other.example'],
      delegateTo: ['HTTP/app.other.example'],
      flags: AccountFlag.TRUSTED_TO_AUTHENTICATE_FOR_DELEGATION,
    })
    await corp.trust(other)
  })

  async function startEngine(
    name: (typeof names)[number],
    directory: ActiveDirectory,
  ): Promise<DelegationEngine> {
    const account = `svc-connector@${directory.realm}`
    const keytab = await directory.keytab('svc-connector')
    const realms = { [corp.realm]: [corp.kdc], [other.realm]: [other.kdc] }
    const kdcs = new Kdcs({ realms })
    const engine =
      name === 'gssapi'
        ? new GssapiEngine({ account, keytab, realms })
        : new KerberosEngine({
            account,
            keytabFile: keytab,
            readKeytab: () => readKeytabFile(keytab),
            kdcs: {
              exchange: (realm, message, signal) => {
                asked.push(realm)
                return kdcs.exchange(realm, message, signal)
              },
            },
          })
    scope.after(() => engine.close())
    return engine
  }

  const of = (name: string, realm?: string): UserName => ({ type: 'principal', name, realm })

  for (const name of names) {
    test(`${name}: who is called alike in two domains is two people, each in the own domain only`, async () => {
      const here = await startEngine(name, corp)
      const there = await startEngine(name, other)
      const acceptors = {
        'HTTP/app.corp.example': new GssAcceptor(
          scope,
          await corp.keytab('HTTP/app.corp.example'),
          corp.environment.KRB5_CONFIG,
        ),
        'HTTP/app.other.example': new GssAcceptor(
          scope,
          await other.keytab('HTTP/app.other.example'),
          other.environment.KRB5_CONFIG,
        ),
      }
      for (const [engine, service, realm] of [
        [here, 'HTTP/app.corp.example', 'CORP.EXAMPLE'],
        [there, 'HTTP/app.other.example', 'OTHER.EXAMPLE'],
      ] as const)
        for (const user of [of('alice'), of('alice', realm)]) {
          const { token, principal } = await engine.authorize({
            user,
            spn: service,
            format: 'kerberos',
          })
          assert.equal(principal, `alice@${realm}`)
          assert.equal((await acceptors[service].accept(token)).user, `alice@${realm}`)
        }
      // Her namesake's tickets are at hand, and are not hers.
      for (const user of [of('alice', 'OTHER.EXAMPLE'), of('olga', 'OTHER.EXAMPLE'), of('olga')])
        await assert.rejects(here.authorize({ user, spn, format: 'kerberos' }), {
          code: 'KERBEROS_USER_UNKNOWN',
        })
    })
  }

  test('an application of the other domain, which lets the account act for others, is as far: Samba says no', async () => {
    await other.allowToActFor('svc-app', 'svc-rbcd', corp)
    const engine = new KerberosEngine({
      account: 'svc-rbcd@CORP.EXAMPLE',
      readKeytab: async () => readKeytabFile(await corp.keytab('svc-rbcd')),
      kdcs: new Kdcs({ realms: { [corp.realm]: [corp.kdc], [other.realm]: [other.kdc] } }),
    })
    scope.after(() => engine.close())
    const spn = 'HTTP/app.other.example'
    await assert.rejects(
      engine.authorize({ user: of('alice'), spn, format: 'kerberos' }),
      (error: KerberosError) => {
        const { stage, kerberosCode, realm } = error.facts
        assert.deepEqual([stage, kerberosCode, realm], ['s4u2proxy', 13, 'CORP.EXAMPLE'])
        return true
      },
    )
  })

  test('a user of the other domain is asked for there and at home, and Samba says no: to MIT Kerberos too', async () => {
    const engine = await startEngine('native', corp)
    await engine.checkAccount()
    asked = []
    const request = { user: of('olga', 'OTHER.EXAMPLE'), spn, format: 'kerberos' } as const
    await assert.rejects(engine.authorize(request), (error: KerberosError) => {
      const { stage, kerberosCode, realm, reason } = error.facts
      assert.deepEqual(
        [error.code, stage, kerberosCode, realm, reason],
        ['KERBEROS_USER_UNKNOWN', 's4u2self', 6, 'CORP.EXAMPLE', 'other-realm'],
      )
      return true
    })
    // The ticket of the trust, the referral of the user's domain, and home.
    assert.deepEqual(asked, ['CORP.EXAMPLE', 'OTHER.EXAMPLE', 'CORP.EXAMPLE'])
    const file = join(corp.dir, 'both.conf')
    writeFileSync(
      file,
      `[libdefaults]\n  default_realm = CORP.EXAMPLE\n  dns_lookup_kdc = false\n[realms]\n${[
        corp,
        other,
      ]
        .map(({ realm, ip }) => `  ${realm} = {\n    kdc = ${ip}:88\n  }\n`)
        .join('')}`,
    )
    const cache = join(corp.dir, 'own.cc')
    const run = (...args: string[]) => corp.run('env', `KRB5_CONFIG=${file}`, ...args)
    run('kinit', '-k', '-t', await corp.keytab('svc-connector'), '-c', cache, 'svc-connector')
    assert.throws(
      () => run('kvno', '-c', cache, '-I', 'olga@OTHER.EXAMPLE', 'svc-connector'),
      /Client not found in Kerberos database/,
    )
  })
})

test('KDCs of MIT Kerberos do not send a service of another realm home: ours and theirs hear the same', async (t) => {
  const scope = lastFirst(t)
  const options = { enctypes: 'aes256-cts-hmac-sha1-96' }
  const home = await MitRealm.start(scope, 'MIT.EXAMPLE', options)
  const other = await MitRealm.start(scope, 'OTHER.EXAMPLE', options)
  home.addPrincipal('svc', { flags: '+requires_preauth +ok_to_auth_as_delegate' })
  other.addPrincipal('olga')
  for (const realm of [home, other])
    for (const name of ['OTHER.EXAMPLE@MIT.EXAMPLE', 'MIT.EXAMPLE@OTHER.EXAMPLE'])
      realm.addPrincipal(`krbtgt/${name}`, { password: 'trust' })
  const keytab = home.keytab('svc')
  const realms = { 'MIT.EXAMPLE': [home.kdc], 'OTHER.EXAMPLE': [other.kdc] }
  const account = 'svc@MIT.EXAMPLE'
  for (const engine of [
    new KerberosEngine({
      account,
      readKeytab: () => readKeytabFile(keytab),
      kdcs: new Kdcs({ realms }),
    }),
    new GssapiEngine({ account, keytab, realms }),
  ]) {
    scope.after(() => engine.close())
    const user = { type: 'principal', name: 'olga', realm: 'OTHER.EXAMPLE' } as const
    await assert.rejects(
      engine.authorize({ user, spn: 'HTTP/app.mit.example', format: 'kerberos' }),
      (error: KerberosError) => {
        assert.deepEqual([error.code, error.facts.kerberosCode], ['KERBEROS_S4U_UNSUPPORTED', 7])
        return true
      },
    )
  }
})
