import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash, randomBytes, X509Certificate } from 'node:crypto'
import { after, before, suite, test } from 'node:test'
import {
  createToken,
  EncryptionKey,
  type ExchangeContext,
  KdcClock,
  Kdcs,
  KerberosEngine,
  type KerberosError,
  keysOf,
  openEvidence,
  parsePrincipal,
  parseSpn,
  parseUser,
  readKeytabFile,
  requestCrossRealmTgt,
  requestEvidence,
  requestTgt,
  requestTicket,
  toEndPointBinding,
} from '@sallyport/kerberos'
import { lastFirst, type Scope } from '@sallyport/testkit'
import type { ActiveDirectory } from '@sallyport/testkit/active-directory'
import { startCorpExample } from '@sallyport/testkit/corp-example'
import { GssAcceptor } from '@sallyport/testkit/gss-acceptor'
import { MitRealm, type MitRealmOptions } from '@sallyport/testkit/mit-realm'
import { person, startEngine } from './support.ts'

suite("MIT's library as the application", () => {
  const scope = lastFirst({ after })
  let directory: ActiveDirectory
  let engine: KerberosEngine
  let acceptor: GssAcceptor
  const channelBinding = Buffer.from('tls-server-end-point:0123456789abcdef0123456789abcdef')
  before(async () => {
    directory = await startCorpExample(scope)
    engine = await startEngine(directory, 'svc-connector')
    scope.after(() => engine.close())
    const keytab = await directory.keytab('HTTP/app.corp.example')
    acceptor = new GssAcceptor(scope, keytab, directory.environment.KRB5_CONFIG)
  })

  const authorize = (binding?: Buffer) =>
    engine.authorize({
      user: person('alice'),
      spn: 'HTTP/app.corp.example',
      format: 'kerberos',
      channelBinding: binding,
    })

  test('takes our token for alice with the flags that we set, and never a delegated ticket', async () => {
    const { token, verifyReply } = await authorize()
    const { user, flags, reply } = await acceptor.accept(token)
    assert.equal(user, 'alice@CORP.EXAMPLE')
    // MUTUAL, REPLAY, SEQUENCE, CONFIDENTIALITY, INTEGRITY; not DELEG (1).
    assert.equal(flags! & 0x3f, 0x3e)
    verifyReply(reply)
  })

  test('takes a token with the right channel binding, refuses it with another, and takes none', async () => {
    assert.equal(
      (await acceptor.accept((await authorize(channelBinding)).token, channelBinding)).user,
      'alice@CORP.EXAMPLE',
    )
    const other = Buffer.from('tls-server-end-point:another')
    const refused = await acceptor.accept((await authorize(other)).token, channelBinding)
    assert.equal(refused.refused! >>> 16, 4)
    // An application that does not ask for a binding is content with any.
    assert.equal((await acceptor.accept((await authorize(other)).token)).user, 'alice@CORP.EXAMPLE')
    assert.equal(
      (await acceptor.accept((await authorize()).token, channelBinding)).user,
      'alice@CORP.EXAMPLE',
    )
  })
})

for (const [digest, bytes] of [
  ['sha384', 48],
  ['sha256', 32],
  // Too weak to name anything.
  ['sha1', 32],
] as const) {
  test(`the binding of a certificate signed with ${digest} has ${bytes} bytes of a hash of it`, () => {
    const args = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
    const rest = [`-${digest}`, '-days', '3', '-subj', '/CN=x', '-keyout', '/dev/null']
    const pem = execFileSync('openssl', [...args, ...rest], { stdio: ['ignore', 'pipe', 'ignore'] })
    const certificate = new X509Certificate(pem)
    const hash = createHash(bytes === 48 ? 'sha384' : 'sha256')
      .update(certificate.raw)
      .digest()
    const prefix = Buffer.from('tls-server-end-point:')
    assert.deepEqual(toEndPointBinding(certificate), Buffer.concat([prefix, hash]))
  })
}

suite('a KDC of MIT Kerberos', () => {
  const spn = 'HTTP/app.mit.example'

  async function start(t: Scope, options?: MitRealmOptions) {
    const scope = lastFirst(t)
    const mit = await MitRealm.start(scope, 'MIT.EXAMPLE', options)
    mit.addPrincipal('svc', { flags: '+requires_preauth +ok_to_auth_as_delegate' })
    mit.addPrincipal('alice')
    mit.addPrincipal(spn)
    const keytab = mit.keytab('svc')
    const kdcs = new Kdcs({ realms: { 'MIT.EXAMPLE': [mit.kdc] } })
    const context = toContext(kdcs)
    const account = parsePrincipal('svc@MIT.EXAMPLE')
    const keys = keysOf(await readKeytabFile(keytab), account)
    const engine = new KerberosEngine({
      account: 'svc@MIT.EXAMPLE',
      readKeytab: () => readKeytabFile(keytab),
      kdcs,
    })
    scope.after(() => engine.close())
    return { scope, mit, context, account, keys, engine }
  }

  for (const enctype of [
    'aes256-cts-hmac-sha384-192',
    'aes128-cts-hmac-sha256-128',
    'aes256-cts-hmac-sha1-96',
    'aes128-cts-hmac-sha1-96',
  ]) {
    test(`with keys of ${enctype}: our own ticket, evidence for a user, and a token`, async (t) => {
      const { scope, mit, context, account, keys } = await start(t, { enctypes: enctype })
      const tgt = await requestTgt(context, account, keys)
      assert.equal(tgt.sessionKey.etype.name, enctype)
      const facts = { stage: 's4u2self', realm: 'MIT.EXAMPLE' } as const
      const user = parseUser(person('alice'), 'MIT.EXAMPLE')
      // This KDC answers PA-S4U-X509-USER, so its checksum is checked too.
      const evidence = await requestEvidence(context, tgt, user, facts)
      assert.deepEqual(openEvidence(evidence, keys, facts).client.components, ['alice'])
      const { ticket } = await requestTicket(context, {
        tgt,
        server: parseSpn(spn),
        facts: { ...facts, stage: 'tgs' },
      })
      const token = createToken(context, ticket, {
        format: 'spnego',
        mutual: true,
        realm: 'MIT.EXAMPLE',
      })
      const acceptor = new GssAcceptor(scope, mit.keytab(spn), mit.krb5Config)
      const { user: seen, reply } = await acceptor.accept(token.bytes)
      assert.equal(seen, 'svc@MIT.EXAMPLE')
      token.verifyReply(reply)
    })
  }

  test('that demands armor is named as such', async (t) => {
    const { engine } = await start(t, { armored: true })
    await assert.rejects(engine.checkAccount(), (error: KerberosError) => {
      assert.deepEqual([error.code, error.facts.reason], ['KERBEROS_FAST_REQUIRED', 'fast'])
      return true
    })
  })

  test('whose ticket says nothing about an account of a directory is not believed', async (t) => {
    const { engine } = await start(t)
    await assert.rejects(
      engine.authorize({ user: person('alice'), spn, format: 'spnego' }),
      (error: KerberosError) => {
        assert.deepEqual([error.code, error.facts.reason], ['KERBEROS_S4U_UNSUPPORTED', 'no-pac'])
        return true
      },
    )
  })

  test('that wants keys of another etype than the keytab has says which', async (t) => {
    const { context, account } = await start(t, { enctypes: 'aes256-cts-hmac-sha1-96' })
    const key = new EncryptionKey(17, randomBytes(16))
    await assert.rejects(
      requestTgt(context, account, [{ kvno: 1, key }]),
      (error: KerberosError) => {
        assert.equal(error.code, 'KERBEROS_KEYTAB_NO_KEY')
        assert.deepEqual(error.facts.etypes, ['aes256-cts-hmac-sha1-96'])
        return true
      },
    )
  })

  test('of another realm is reached by the trust between the two, and by its referral', async (t) => {
    const { scope, mit, context, account, keys } = await start(t)
    const other = await MitRealm.start(scope, 'OTHER.EXAMPLE')
    for (const realm of [mit, other]) {
      realm.addPrincipal('krbtgt/OTHER.EXAMPLE@MIT.EXAMPLE', { password: 'trust' })
    }
    other.addPrincipal('HTTP/app.other.example')
    const realms = { 'MIT.EXAMPLE': [mit.kdc], 'OTHER.EXAMPLE': [other.kdc] }
    const both = { ...context, kdcs: new Kdcs({ realms }) }
    const tgt = await requestTgt(both, account, keys)
    const facts = { stage: 'tgs', realm: 'MIT.EXAMPLE' } as const
    const crossed = await requestCrossRealmTgt(both, tgt, 'OTHER.EXAMPLE', facts)
    assert.deepEqual(crossed.client, tgt.client)
    const server = parseSpn('HTTP/app.other.example')
    const { ticket, referral } = await requestTicket(both, { tgt: crossed, server, facts })
    assert.deepEqual([ticket.server.realm, referral], ['OTHER.EXAMPLE', undefined])
    // The way back was not agreed upon.
    await assert.rejects(requestCrossRealmTgt(both, crossed, 'MIT.EXAMPLE', facts), {
      code: 'KERBEROS_REALM_UNKNOWN',
    })
  })
})

function toContext(kdcs: Kdcs): ExchangeContext {
  const clock = new KdcClock(Date.now)
  return { kdcs, clock, random: randomBytes, ticketLifetimeMs: 3_600_000 }
}
