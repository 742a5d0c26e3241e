// Our own client and MIT's library (the gssapi engine) behind the same interface: what one says of a user, an application or a
// failure, the other says too. Each is the judge of the other.
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { GssapiEngine } from '@sallyport/connector'
import {
  type Authorization,
  type DelegationEngine,
  KerberosError,
  type UserName,
} from '@sallyport/kerberos'
import { type Client, findFreePort, lastFirst, startSystem } from '@sallyport/testkit'
import type { ActiveDirectory } from '@sallyport/testkit/active-directory'
import { type ConnectorAccount, startCorpExample } from '@sallyport/testkit/corp-example'
import { GssAcceptor } from '@sallyport/testkit/gss-acceptor'
import { IwaApplication } from '@sallyport/testkit/iwa-application'
import { ask, person, startEngine, upn } from './support.ts'

const app = 'app.corp.example'
const spn = `HTTP/${app}`
const names = ['native', 'gssapi'] as const
type Name = (typeof names)[number]

suite('two engines, one behaviour', () => {
  const scope = lastFirst({ after })
  let directory: ActiveDirectory
  let application: IwaApplication
  const engines = new Map<string, DelegationEngine>()

  const startGssapi = async (account: string, keytab?: string, kdc = directory.kdc) =>
    new GssapiEngine({
      account: `${account}@${directory.realm}`,
      keytab: keytab ?? (await directory.keytab(account)),
      realms: { [directory.realm]: [kdc] },
      timeoutMs: 2_000,
    })

  before(async () => {
    directory = await startCorpExample(scope)
    const hosts = ['app', 'app2', 'legacy'].map((name) => `${name}.corp.example`)
    application = await IwaApplication.start(scope, directory, hosts)
  })

  /** Made when it is needed first. */
  async function engineOf(
    name: Name,
    account: ConnectorAccount = 'svc-connector',
  ): Promise<DelegationEngine> {
    const key = `${name} ${account}`
    let engine = engines.get(key)
    if (!engine) {
      const made =
        name === 'native' ? await startEngine(directory, account) : await startGssapi(account)
      scope.after(() => made.close())
      engines.set(key, made)
      engine = made
    }
    return engine
  }

  async function authorize(
    name: Name,
    user: UserName,
    { to = spn, account }: { to?: string; account?: ConnectorAccount } = {},
  ): Promise<Authorization> {
    return (await engineOf(name, account)).authorize({ user, spn: to, format: 'spnego' })
  }

  async function refusal(
    name: Name,
    user: UserName,
    options: { to?: string; account?: ConnectorAccount } = {},
  ): Promise<KerberosError> {
    try {
      await authorize(name, user, options)
    } catch (error) {
      assert.ok(error instanceof KerberosError, String(error))
      return error
    }
    throw new assert.AssertionError({ message: `${user.name} got a token by ${name}` })
  }

  for (const name of names) {
    for (const format of ['spnego', 'kerberos'] as const) {
      test(`${name}: alice is known to the application by a ${format} token, and it proves itself`, async () => {
        const engine = await engineOf(name)
        const made = await engine.authorize({ user: person('alice'), spn, format })
        assert.equal(made.principal, 'alice@CORP.EXAMPLE')
        const { status, user, reply } = await ask(application, { host: app, token: made.token })
        assert.deepEqual([status, user], [200, 'alice@CORP.EXAMPLE'])
        await made.verifyReply(reply)
      })
    }

    for (const [given, seen] of [
      [upn('bob@contoso.com'), 'bbuilder@CORP.EXAMPLE'],
      [upn('alice@corp.example'), 'alice@CORP.EXAMPLE'],
      [person('judy'), 'judy@CORP.EXAMPLE'],
      [person('jürgen'), 'jürgen@CORP.EXAMPLE'],
    ] as const) {
      test(`${name}: ${given.type} ${given.name} is ${seen}`, async () => {
        const made = await authorize(name, given)
        assert.equal(made.principal, seen)
        const { user, reply } = await ask(application, { host: app, token: made.token })
        assert.equal(user, seen)
        await made.verifyReply(reply)
      })
    }

    test(`${name}: resource-based, and by a computer account`, async () => {
      const host = 'app2.corp.example'
      const rbcd = await authorize(name, person('alice'), {
        to: `HTTP/${host}`,
        account: 'svc-rbcd',
      })
      assert.equal((await ask(application, { host, token: rbcd.token })).user, 'alice@CORP.EXAMPLE')
      const computer = await authorize(name, person('alice'), { account: 'CONN01$' })
      const { user } = await ask(application, { host: app, token: computer.token })
      assert.equal(user, 'alice@CORP.EXAMPLE')
    })

    test(`${name}: many at once, each a token of its own, and nobody another one's`, async () => {
      const people = ['alice', 'bbuilder', 'judy', 'jürgen']
      const made = await Promise.all(
        Array.from({ length: 40 }, (_, index) => authorize(name, person(people[index % 4]!))),
      )
      assert.equal(new Set(made.map(({ token }) => token.toString('base64'))).size, 40)
      await Promise.all(
        made.map(async ({ token, verifyReply }, index) => {
          const { user, reply } = await ask(application, { host: app, token })
          assert.equal(user, `${people[index % 4]}@CORP.EXAMPLE`)
          await verifyReply(reply)
        }),
      )
    })

    test(`${name}: an answer that is missing, changed, or of another exchange proves nothing`, async () => {
      const first = await authorize(name, person('alice'))
      const { reply } = await ask(application, { host: app, token: first.token })
      const changed = Buffer.from(reply!)
      changed[changed.length - 20]! ^= 1
      for (const [answer, reason] of [
        [undefined, 'missing'],
        [reply, 'another-exchange'],
        [changed, 'tampered'],
        [reply!.subarray(0, -1), 'malformed'],
      ] as const) {
        // Each of its own: what was refused once is not asked again.
        const { verifyReply } =
          reason === 'tampered' ? first : await authorize(name, person('alice'))
        await assert.rejects(
          async () => verifyReply(answer),
          (error: KerberosError) => {
            assert.equal(error.code, 'KERBEROS_MUTUAL_AUTHENTICATION_FAILED')
            assert.equal(error.facts.reason, reason)
            return true
          },
        )
      }
    })

    test(`${name}: a ticket for one application is refused by another, and the refusal is read`, async () => {
      const { token, verifyReply } = await authorize(name, person('alice'))
      const { status, reply } = await ask(application, { host: 'app2.corp.example', token })
      assert.equal(status, 401)
      await assert.rejects(async () => verifyReply(reply), { code: 'KERBEROS_APPLICATION_REFUSED' })
    })

    test(`${name}: who rules the domain, and who is protected, is never impersonated`, async () => {
      for (const user of [
        person('Administrator'),
        upn('administrator@corp.example'),
        person('erin'),
      ])
        assert.equal((await refusal(name, user)).code, 'KERBEROS_USER_REFUSED', user.name)
    })

    test(`${name}: a name that is the beginning of somebody else's userPrincipalName is nobody's`, async (t) => {
      await directory.user(`alicia-${name}`, { userPrincipalName: `ali${name}@corp.example` })
      t.after(() => directory.remove(`alicia-${name}`))
      const { code } = await refusal(name, person(`ali${name}`))
      assert.equal(code, 'KERBEROS_USER_MISMATCH')
      const { principal } = await authorize(name, upn(`ali${name}@corp.example`))
      assert.equal(principal, `alicia-${name}@CORP.EXAMPLE`)
    })

    test(`${name}: a token carries the channel binding, which MIT's acceptor checks`, async () => {
      const keytab = await directory.keytab(spn)
      const acceptor = new GssAcceptor(scope, keytab, directory.environment.KRB5_CONFIG)
      const binding = Buffer.from('tls-server-end-point:0123456789abcdef0123456789abcdef')
      const engine = await engineOf(name)
      const request = { user: person('alice'), spn, format: 'kerberos' } as const
      const bound = await engine.authorize({ ...request, channelBinding: binding })
      assert.equal((await acceptor.accept(bound.token, binding)).user, 'alice@CORP.EXAMPLE')
      const other = await engine.authorize({ ...request, channelBinding: Buffer.from('tls:other') })
      assert.equal((await acceptor.accept(other.token, binding)).refused! >>> 16, 4)
    })

    test(`${name}: who was forgotten is asked of the directory again`, async () => {
      await directory.user(`gone-${name}`)
      const engine = await engineOf(name)
      await authorize(name, person(`gone-${name}`))
      await directory.remove(`gone-${name}`)
      // Kept for minutes.
      await authorize(name, person(`gone-${name}`))
      engine.forgetUser(person(`gone-${name}`))
      assert.equal((await refusal(name, person(`gone-${name}`))).code, 'KERBEROS_USER_UNKNOWN')
    })
  }

  for (const [what, user, options, code, reason] of [
    ['nobody', person('nobody'), {}, 'KERBEROS_USER_UNKNOWN', undefined],
    ['disabled', person('carol'), {}, 'KERBEROS_USER_DISABLED', undefined],
    ['expired', person('frank'), {}, 'KERBEROS_USER_EXPIRED', undefined],
    ['must change the password', person('grace'), {}, 'KERBEROS_USER_PASSWORD_EXPIRED', undefined],
    ['sensitive', person('dave'), {}, 'KERBEROS_ACCOUNT_SENSITIVE', 'sensitive'],
    [
      'an SPN of nobody',
      person('alice'),
      { to: 'HTTP/x.corp.example' },
      'KERBEROS_SPN_UNKNOWN',
      undefined,
    ],
    [
      'an SPN that was not delegated',
      person('alice'),
      { to: 'HTTP/app2.corp.example' },
      'KERBEROS_DELEGATION_DENIED',
      'spn-not-allowed',
    ],
    [
      'no protocol transition',
      person('alice'),
      { account: 'svc-kcdonly' },
      'KERBEROS_DELEGATION_DENIED',
      undefined,
    ],
    [
      'no right at all',
      person('alice'),
      { account: 'svc-nodeleg' },
      'KERBEROS_DELEGATION_DENIED',
      'no-delegation',
    ],
  ] as const) {
    test(`both say the same of: ${what}`, async () => {
      for (const name of names) {
        const error = await refusal(name, user, options)
        assert.equal(error.code, code, `${name}: ${error.message}`)
        if (reason !== undefined) assert.equal(error.facts.reason, reason, name)
        assert.ok(error.remedy.length > 20)
      }
    })
  }

  test('both name what is wrong with a keytab', async () => {
    const text = join(directory.dir, 'engines-text')
    writeFileSync(text, 'no keytab', { mode: 0o600 })
    await directory.service('svc-old', { spns: ['HTTP/old.corp.example'] })
    const stale = await directory.keytab('svc-old', undefined, true)
    await directory.setPassword('svc-old', 'Another-Passw0rd!')
    const good = await directory.keytab('svc-connector')
    for (const [account, keytab, code] of [
      ['svc-connector', '/nonexistent', 'KERBEROS_KEYTAB_UNREADABLE'],
      ['svc-connector', text, 'KERBEROS_KEYTAB_INVALID'],
      ['svc-nodeleg', good, 'KERBEROS_KEYTAB_NO_KEY'],
      ['svc-old', stale, 'KERBEROS_KEYTAB_STALE'],
    ] as const)
      for (const engine of [
        await startEngine(directory, account, { keytab }),
        await startGssapi(account, keytab),
      ]) {
        scope.after(() => engine.close())
        await assert.rejects(engine.checkAccount(), { code })
      }
  })

  test('gssapi: a process that a silent KDC keeps waiting is killed, and the next one works', async (t) => {
    const silent = createServer(() => undefined)
    const port = await findFreePort()
    await new Promise<void>((resolve) => silent.listen(port, '127.0.0.1', resolve))
    t.after(() => silent.close())
    const engine = await startGssapi('svc-connector', undefined, { host: '127.0.0.1', port })
    t.after(() => engine.close())
    const request = { user: person('alice'), spn, format: 'spnego' } as const
    await assert.rejects(engine.authorize(request), (error: KerberosError) => {
      assert.deepEqual([error.code, error.facts.reason], ['KERBEROS_KDC_UNREACHABLE', 'timeout'])
      assert.equal(error.retryable, true)
      return true
    })
    assert.equal(engine.processId, undefined)
  })

  test('gssapi: a process that dies is replaced with the next request', async (t) => {
    const engine = await startGssapi('svc-connector')
    t.after(() => engine.close())
    const request = { user: person('alice'), spn, format: 'spnego' } as const
    await engine.authorize(request)
    const first = engine.processId!
    process.kill(first, 'SIGKILL')
    let made: Authorization | undefined
    while (!made)
      made = await engine.authorize(request).catch((error: KerberosError) => {
        // Its end may be noticed by whoever asks next.
        assert.equal(error.code, 'KERBEROS_ENGINE_UNAVAILABLE')
        return undefined
      })
    assert.notEqual(engine.processId, first)
    assert.equal((await ask(application, { host: app, token: made.token })).status, 200)
  })

  test('gssapi: tokens that nobody waits for any more, and tickets that are not kept, are let go', async (t) => {
    const { GssapiProcess } = await import('../../packages/connector/src/sign-on/gssapi/process.ts')
    const engine = await startGssapi('svc-connector')
    t.after(() => engine.close())
    const released = Promise.withResolvers<number>()
    const leaving = new AbortController()
    const { ask: askProcess } = GssapiProcess.prototype
    let letGo: { person?: number; exchange?: number }[] = []
    let whenAsked: (what: string) => void = () => undefined
    let whenLetGo = released
    t.mock.method(GssapiProcess.prototype, 'ask', function (this: never, question: never) {
      const { do: what, person: of, exchange } = question as { do: string } & (typeof letGo)[number]
      whenAsked(what)
      if (what === 'release') {
        letGo.push({ ...(of && { person: of }), ...(exchange && { exchange }) })
        whenLetGo.resolve(letGo.length)
      }
      return askProcess.call(this, question)
    })
    const request = { user: person('alice'), spn, format: 'spnego' } as const
    whenAsked = (what) => {
      if (what === 'token') leaving.abort(new Error('gone'))
    }
    await assert.rejects(engine.authorize({ ...request, signal: leaving.signal }), /gone/)
    await released.promise
    assert.deepEqual(Object.keys(letGo[0]!), ['exchange'])

    // Somebody else's access ends while the KDC is asked for bob: whose ticket it is, it does not know.
    letGo = []
    whenLetGo = Promise.withResolvers<number>()
    whenAsked = (what) => {
      if (what === 'impersonate') engine.forgetUser(person('judy'))
    }
    const made = await engine.authorize({ ...request, user: person('bbuilder') })
    await whenLetGo.promise
    assert.deepEqual(Object.keys(letGo[0]!), ['person'])
    const { status, reply } = await ask(application, { host: app, token: made.token })
    assert.equal(status, 200)
    await made.verifyReply(reply)
  })

  test('gssapi: a KDC that is away is said so at once, and comes back by itself', async (t) => {
    const engine = await startGssapi('svc-connector')
    t.after(() => engine.close())
    const request = (name: string) => ({ user: person(name), spn, format: 'spnego' }) as const
    await engine.authorize(request('alice'))
    await directory.stopKdc()
    t.after(() => directory.startKdc())
    // Whoever has tickets goes on.
    await engine.authorize(request('alice'))
    for (let turn = 0; turn < 4; turn += 1)
      await assert.rejects(engine.authorize(request('judy')), { code: 'KERBEROS_KDC_UNREACHABLE' })
    await engine.authorize(request('alice'))
    await directory.startKdc()
    let made: Authorization | undefined
    while (!made)
      made = await engine.authorize(request('judy')).catch((error: KerberosError) => {
        assert.equal(error.code, 'KERBEROS_KDC_UNREACHABLE')
        return undefined
      })
    assert.equal(
      (await ask(application, { host: app, token: made.token })).user,
      'judy@CORP.EXAMPLE',
    )
  })

  test('gssapi: an application with RC4 keys only, which our own client does not speak', async () => {
    const to = 'HTTP/legacy.corp.example'
    const { token } = await authorize('gssapi', person('alice'), { to })
    const { user } = await ask(application, { host: 'legacy.corp.example', token })
    assert.equal(user, 'alice@CORP.EXAMPLE')
  })

  test('gssapi: through the service, people open the application, and an answer that proves nothing is not passed on', async () => {
    // Whoever listens here answers with a proof that is none.
    let seen = 0
    const impostor = createHttpServer((request, response) => {
      seen += 1
      const token = request.url === '/none' ? '' : ' oQcwBaADCgEA'
      response.writeHead(200, { 'www-authenticate': `Negotiate${token}` })
      response.end(request.method === 'HEAD' ? undefined : 'x'.repeat(100_000))
    })
    await new Promise<void>((resolve) => impostor.listen(0, '127.0.0.1', resolve))
    scope.after(() => {
      impostor.closeAllConnections()
      impostor.close()
    })
    const { port } = impostor.address() as AddressInfo
    const signOn = {
      method: 'kerberos',
      kerberosServicePrincipalName: spn,
      kerberosSignOnMappingAttributeType: 'onPremisesSAMAccountName',
    }
    const system = await startSystem(scope, {
      users: ['ana', 'ben'],
      allow: [`127.0.0.1:${application.httpPort}`, `127.0.0.1:${port}`],
      addresses: { [app]: '127.0.0.1' },
      kerberos: [
        {
          account: `svc-connector@${directory.realm}`,
          keytab: await directory.keytab('svc-connector'),
          kdcs: [directory.ip],
          engine: 'gssapi',
        },
      ],
      applications: [
        { name: 'iwa', internalUrl: `http://${app}:${application.httpPort}/`, set: { signOn } },
        { name: 'impostor', internalUrl: `http://${app}:${port}/`, set: { signOn } },
      ],
    })
    for (const [userName, onPremisesSamAccountName] of [
      ['ana', 'alice'],
      ['ben', 'bbuilder'],
    ])
      await system.execute('user.update', { userName, onPremisesSamAccountName })
    const ana = await system.signIn('ana', 'iwa')
    const ben = await system.signIn('ben', 'iwa')
    for (const path of ['/', '/persistent/'])
      await Promise.all(
        Array.from({ length: 40 }, async (_, index) => {
          const [client, name] = index % 2 ? [ana, 'alice'] : [ben, 'bbuilder']
          const answer = await (client as Client).fetch(system.url('iwa', path), {
            method: index % 4 < 2 ? 'GET' : 'HEAD',
          })
          assert.deepEqual(
            [answer.status, answer.headers['x-remote-user'], answer.headers['www-authenticate']],
            [200, `${name}@CORP.EXAMPLE`, undefined],
          )
          if (index % 4 < 2) assert.match(answer.body, new RegExp(`Known here as .*>${name}@`))
          else assert.equal(answer.body, '')
        }),
      )
    await system.signInWith(ana, 'ana', 'impostor').catch(() => undefined)
    for (const method of ['GET', 'HEAD']) {
      const { status, body } = await ana.fetch(system.url('impostor'), { method })
      assert.equal(status, 502)
      assert.doesNotMatch(body, /xxx/)
      assert.match(system.records.at(-1)!.detail!, /^KERBEROS_MUTUAL_AUTHENTICATION_FAILED: /)
    }
    assert.ok(seen >= 2)
    await directory.setPassword('svc-app', 'An0ther!Passw0rd')
    await application.renewKeytabs(
      directory,
      ['app', 'app2', 'legacy'].map((name) => `${name}.corp.example`),
    )
    const { status, headers } = await ana.get(system.url('iwa'))
    assert.deepEqual([status, headers['x-remote-user']], [200, 'alice@CORP.EXAMPLE'])
  })
})
