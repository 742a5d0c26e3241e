import assert from 'node:assert/strict'
import { Agent } from 'node:http'
import { after, before, suite, test } from 'node:test'
import { Kdcs, type KerberosEngine } from '@sallyport/kerberos'
import { lastFirst } from '@sallyport/testkit'
import type { ActiveDirectory } from '@sallyport/testkit/active-directory'
import { startCorpExample } from '@sallyport/testkit/corp-example'
import { IwaApplication } from '@sallyport/testkit/iwa-application'
import { ask, authorize, person, startEngine, upn } from './support.ts'

const app = 'app.corp.example'
const spn = `HTTP/${app}`

suite('an application with Integrated Windows Authentication opens without a password', () => {
  const scope = lastFirst({ after })
  let directory: ActiveDirectory
  let application: IwaApplication
  let engine: KerberosEngine
  before(async () => {
    directory = await startCorpExample(scope)
    const hosts = ['app', 'app2', 'legacy'].map((name) => `${name}.corp.example`)
    application = await IwaApplication.start(scope, directory, hosts)
    engine = await startEngine(directory, 'svc-connector')
    scope.after(() => engine.close())
  })

  for (const tls of [false, true]) {
    for (const format of ['spnego', 'kerberos'] as const) {
      test(`for alice, by ${tls ? 'https' : 'http'} with a ${format} token, and proves itself`, async () => {
        const { token, principal, verifyReply } = await authorize(
          engine,
          person('alice'),
          spn,
          format,
        )
        const { status, user, reply } = await ask(application, { host: app, tls, token })
        assert.deepEqual([status, user], [200, 'alice@CORP.EXAMPLE'])
        assert.equal(principal, 'alice@CORP.EXAMPLE')
        verifyReply(reply)
      })
    }
  }

  test('without a token there is a challenge and no user', async () => {
    const { status, headers, user } = await ask(application, { host: app })
    assert.deepEqual([status, headers['www-authenticate'], user], [401, 'Negotiate', ''])
  })

  for (const [given, seen] of [
    [person('bbuilder'), 'bbuilder@CORP.EXAMPLE'],
    [upn('bob@contoso.com'), 'bbuilder@CORP.EXAMPLE'],
    [upn('BOB@Contoso.com'), 'bbuilder@CORP.EXAMPLE'],
    [upn('alice@corp.example'), 'alice@CORP.EXAMPLE'],
    [upn('judy@corp.example'), 'judy@CORP.EXAMPLE'],
    [person('judy'), 'judy@CORP.EXAMPLE'],
    [person('jürgen'), 'jürgen@CORP.EXAMPLE'],
    [upn('jürgen@corp.example'), 'jürgen@CORP.EXAMPLE'],
  ] as const) {
    test(`${given.type} ${given.name} is ${seen} to the application`, async () => {
      const { token, principal } = await authorize(engine, given, spn)
      assert.equal(principal, seen)
      const { status, user } = await ask(application, { host: app, token })
      assert.deepEqual([status, user], [200, seen])
    })
  }

  test('a computer account is a connector as well', async (t) => {
    const computer = await startEngine(directory, 'CONN01$')
    t.after(() => computer.close())
    const { token, verifyReply } = await authorize(computer, person('alice'), spn)
    const { user, reply } = await ask(application, { host: app, token })
    assert.equal(user, 'alice@CORP.EXAMPLE')
    verifyReply(reply)
  })

  test('resource-based: app2 lets svc-rbcd act for its users, and nobody else', async (t) => {
    const rbcd = await startEngine(directory, 'svc-rbcd')
    t.after(() => rbcd.close())
    const { token, verifyReply } = await authorize(rbcd, person('alice'), 'HTTP/app2.corp.example')
    const { status, user, reply } = await ask(application, { host: 'app2.corp.example', token })
    assert.deepEqual([status, user], [200, 'alice@CORP.EXAMPLE'])
    verifyReply(reply)
    await assert.rejects(authorize(rbcd, person('alice'), spn), {
      code: 'KERBEROS_DELEGATION_DENIED',
    })
  })

  for (const path of ['/', '/persistent/']) {
    test(`two users in turn, 250 requests each on ${path}, are each served as themselves`, async (t) => {
      const users = ['alice', 'bbuilder'].map((name) => {
        const agent = new Agent({ keepAlive: true, maxSockets: 1 })
        t.after(() => agent.destroy())
        return { name, agent }
      })
      for (let turn = 0; turn < 500; turn += 1) {
        const { name, agent } = users[turn % 2]!
        const { token, verifyReply } = await authorize(engine, person(name), spn)
        const { status, user, reply } = await ask(application, { host: app, path, token, agent })
        assert.deepEqual([status, user], [200, `${name}@CORP.EXAMPLE`])
        verifyReply(reply)
      }
    })
  }

  test('20 first requests of one user at once make one chain of exchanges and 20 tokens', async (t) => {
    const kdcs = new Kdcs({ realms: { [directory.realm]: [directory.kdc] } })
    let exchanges = 0
    const counting = {
      exchange: (realm: string, message: Buffer) => {
        exchanges += 1
        return kdcs.exchange(realm, message)
      },
    }
    const cold = await startEngine(directory, 'svc-connector', { kdcs: counting })
    t.after(() => cold.close())
    const all = await Promise.all(
      Array.from({ length: 20 }, () => authorize(cold, person('alice'), spn)),
    )
    // AS twice (the first says what is wanted), S4U2Self, S4U2Proxy.
    assert.equal(exchanges, 4)
    assert.equal(new Set(all.map(({ token }) => token.toString('base64'))).size, 20)
    const answers = await Promise.all(
      all.map(({ token }) => ask(application, { host: app, token })),
    )
    assert.ok(answers.every(({ status, user }) => status === 200 && user === 'alice@CORP.EXAMPLE'))
  })

  test('a token that is sent again is refused', async () => {
    const { token } = await authorize(engine, person('alice'), spn)
    assert.equal((await ask(application, { host: app, token })).status, 200)
    assert.equal((await ask(application, { host: app, token })).status, 401)
  })

  test('a ticket for one application is refused by another, and the refusal is read', async () => {
    const { token, verifyReply } = await authorize(engine, person('alice'), spn)
    const { status, reply } = await ask(application, { host: 'app2.corp.example', token })
    assert.equal(status, 401)
    assert.throws(() => verifyReply(reply), { code: 'KERBEROS_APPLICATION_REFUSED' })
  })

  test('an answer that is missing, changed, or of another exchange proves nothing', async () => {
    const first = await authorize(engine, person('alice'), spn)
    const second = await authorize(engine, person('alice'), spn)
    const { reply } = await ask(application, { host: app, token: first.token })
    const failed = (reason: string) => ({
      code: 'KERBEROS_MUTUAL_AUTHENTICATION_FAILED',
      facts: { reason },
    })
    const check = (run: () => void, reason: string) =>
      assert.throws(run, (error: { code: string; facts: { reason?: string } }) => {
        const { code, facts } = error
        assert.deepEqual({ code, facts: { reason: facts.reason } }, failed(reason))
        return true
      })
    check(() => first.verifyReply(undefined), 'missing')
    check(() => second.verifyReply(reply), 'another-exchange')
    const changed = Buffer.from(reply!)
    changed[changed.length - 20]! ^= 1
    check(() => first.verifyReply(changed), 'tampered')
    check(() => first.verifyReply(reply!.subarray(0, -1)), 'malformed')
    check(() => first.verifyReply(Buffer.from('a1073005a0030a0100', 'hex')), 'missing')
    first.verifyReply(reply)
  })

  test('an application whose key changed refuses the old ticket, and takes a new one', async (t) => {
    await directory.setPassword('svc-app', 'Another-Passw0rd!')
    t.after(() => directory.setPassword('svc-app', directory.password))
    const { token: old } = await authorize(engine, person('alice'), spn)
    await application.stop()
    const changed = await IwaApplication.start(lastFirst(t), directory, [app])
    // Its keytab has only the newest key.
    assert.equal((await ask(changed, { host: app, token: old })).status, 401)
    engine.forgetTicket(person('alice'), spn)
    const { token, verifyReply } = await authorize(engine, person('alice'), spn)
    const { status, reply } = await ask(changed, { host: app, token })
    assert.equal(status, 200)
    verifyReply(reply)
    await application.run()
  })

  test('MIT Kerberos gets the same ticket by the same keytab', async () => {
    const keytab = await directory.keytab('svc-connector')
    const own = `FILE:${directory.dir}/own.cc`
    const alices = `FILE:${directory.dir}/alice.cc`
    directory.run('kinit', '-k', '-t', keytab, '-c', own, 'svc-connector')
    directory.run('kvno', '-c', own, '--out-cache', alices, '-I', 'alice', '-P', spn)
    const listed = directory.run('klist', '-c', alices)
    assert.match(listed, /Default principal: alice@CORP\.EXAMPLE/)
    assert.match(listed, /HTTP\/app\.corp\.example@CORP\.EXAMPLE/)
    const { principal } = await authorize(engine, person('alice'), spn)
    assert.equal(principal, 'alice@CORP.EXAMPLE')
  })
})
