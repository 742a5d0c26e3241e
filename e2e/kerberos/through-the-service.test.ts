// Integrated Windows Authentication through the whole of it: a real Active Directory (Samba), a real application (Apache with
// mod_auth_gssapi), people who sign in once on the web, and a connector that has nothing but a keytab.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { KerberosSettings, KerberosStep } from '@sallyport/connector'
import { type Client, type System, startSystem } from '@sallyport/testkit'
import { AccountFlag, type ActiveDirectory } from '@sallyport/testkit/active-directory'
import { startCorpExample } from '@sallyport/testkit/corp-example'
import { IwaApplication } from '@sallyport/testkit/iwa-application'

suite('sign-on by Kerberos', () => {
  const closers: (() => Promise<void> | void)[] = []
  const scope = { after: (close: () => Promise<void> | void) => void closers.push(close) }
  let directory: ActiveDirectory
  let iwa: IwaApplication
  let system: System
  let echo: Echo
  let kerberos: KerberosSettings[]
  let ana: Client

  before(async () => {
    directory = await startCorpExample(scope)
    iwa = await IwaApplication.start(scope, directory, ['app.corp.example'])
    echo = await Echo.start(scope)
    kerberos = [
      {
        account: `svc-connector@${directory.realm}`,
        keytab: await directory.keytab('svc-connector'),
        kdcs: [directory.ip],
        neverImpersonate: ['jürgen'],
      },
    ]
    const internalUrl = `http://app.corp.example:${iwa.httpPort}/`
    const signOn = {
      method: 'kerberos',
      kerberosServicePrincipalName: 'HTTP/app.corp.example',
      kerberosSignOnMappingAttributeType: 'onPremisesSAMAccountName',
    }
    const atEcho = {
      internalUrl: `http://app.corp.example:${echo.port}/`,
      assigned: ['ana', 'ben'],
    }
    system = await startSystem(scope, {
      users: ['ana', 'ben', 'dave', 'root'],
      allow: [`127.0.0.1:${iwa.httpPort}`, `127.0.0.1:${echo.port}`],
      addresses: { 'app.corp.example': '127.0.0.1' },
      kerberos,
      applications: [
        { name: 'iwa', internalUrl, set: { signOn } },
        {
          name: 'asking',
          internalUrl,
          externalPath: '/',
          set: { signOn: { ...signOn, sendToken: 'onChallenge' } },
        },
        { name: 'echo', ...atEcho, set: { signOn } },
        {
          name: 'raw',
          ...atEcho,
          set: { signOn: { ...signOn, tokenFormat: 'kerberos' } },
        },
        // The program that checks does not know the name of the one above.
        {
          name: 'near',
          internalUrl: `http://127.0.0.1:${iwa.httpPort}/`,
          assigned: ['ana', 'ben', 'dave'],
          set: { signOn },
        },
        {
          name: 'unknown',
          internalUrl,
          set: { signOn: { ...signOn, kerberosServicePrincipalName: 'HTTP/nobody.corp.example' } },
        },
        {
          name: 'forbidden',
          internalUrl,
          set: { signOn: { ...signOn, kerberosServicePrincipalName: 'HTTP/app2.corp.example' } },
        },
      ],
    })
    for (const [userName, sam] of [
      ['ana', 'alice'],
      ['ben', 'bbuilder'],
      ['dave', 'dave'],
      ['root', 'Administrator'],
    ])
      await system.execute('user.update', { userName, onPremisesSamAccountName: sam })
    ana = await system.signIn('ana', 'iwa')
  })
  after(async () => {
    for (const close of closers.reverse()) await close()
  })

  /** Who the application believes to be served. */
  async function seenBy(client: Client, name = 'iwa', path = '/'): Promise<string | undefined> {
    const answer = await client.get(system.url(name, path))
    assert.equal(answer.status, 200, `${answer.body}\n${iwa.log.slice(-2_000)}`)
    return answer.headers['x-remote-user'] as string | undefined
  }

  async function failureOf(client: Client, name: string) {
    const { status, body } = await client.get(system.url(name), {
      headers: { accept: 'text/html' },
    })
    const record = system.records.at(-1)!
    assert.equal(status, 502)
    assert.match(body, /You could not be signed on to the application/)
    assert.ok(body.includes(record.id), 'the page says the correlation ID')
    return { body, record }
  }

  test('whoever has signed in on the web is known to the application, and no browser sees a challenge', async () => {
    const answer = await ana.get(system.url('iwa'))
    assert.equal(answer.status, 200, iwa.log.slice(-2_000))
    assert.equal(answer.headers['x-remote-user'], 'alice@CORP.EXAMPLE')
    assert.equal(answer.headers['www-authenticate'], undefined)
    for (let count = 0; count < 20; count += 1)
      assert.equal(await seenBy(ana), 'alice@CORP.EXAMPLE')
  })

  test('people who use one application at once are never taken for each other', async () => {
    const ben = await system.signIn('ben', 'iwa')
    for (const path of ['/', '/persistent/'])
      await Promise.all(
        Array.from({ length: 60 }, async (_, index) => {
          const [client, name] = index % 2 ? [ana, 'alice'] : [ben, 'bbuilder']
          assert.equal(await seenBy(client as Client, 'iwa', path), `${name}@CORP.EXAMPLE`)
        }),
      )
  })

  test('an application that wants to be asked by nobody first gets the token after its challenge', async () => {
    await ana.open(system.url('asking'))
    assert.equal(await seenBy(ana, 'asking'), 'alice@CORP.EXAMPLE')
    assert.equal(await seenBy(ana, 'asking', '/public/'), '')
  })

  test('a request with a body carries the token at once', async () => {
    await ana.open(system.url('echo'))
    const answer = await ana.fetch(system.url('echo', '/upload'), {
      method: 'POST',
      body: 'x'.repeat(100_000),
    })
    assert.equal(answer.status, 200)
    const seen = JSON.parse(answer.body) as Seen
    assert.equal(seen.bytes, 100_000)
    assert.match(seen.authorization!, /^Negotiate YI/)
  })

  test('each request has a token of its own, by the format of the application', async () => {
    await ana.open(system.url('raw'))
    const tokens = new Set<string>()
    for (const name of ['echo', 'echo', 'raw', 'raw']) {
      const { authorization } = JSON.parse((await ana.get(system.url(name))).body) as Seen
      tokens.add(authorization!)
    }
    assert.equal(tokens.size, 4)
    const mechanisms = [...tokens].map((text) =>
      Buffer.from(text.split(' ')[1]!, 'base64').subarray(0, 30).toString('hex'),
    )
    // SPNEGO 1.3.6.1.5.5.2, and Kerberos 1.2.840.113554.1.2.2.
    assert.deepEqual(
      mechanisms.map((hex) => hex.includes('06062b0601050502')),
      [true, true, false, false],
    )
  })

  test('what the client says of itself is not what the application hears', async () => {
    const { authorization } = JSON.parse(
      (await ana.get(system.url('echo'), { headers: { authorization: 'Negotiate Zm9yZ2Vk' } }))
        .body,
    ) as Seen
    assert.doesNotMatch(authorization!, /Zm9yZ2Vk/)
  })

  test('a WebSocket carries the token with its upgrade', async () => {
    const answer = await ana.get(system.url('echo', '/socket'), {
      headers: {
        connection: 'Upgrade',
        upgrade: 'websocket',
        'sec-websocket-version': '13',
        'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
        origin: system.url('echo').slice(0, -1),
      },
    })
    // It does not switch, and says what it saw.
    assert.match((JSON.parse(answer.body) as Seen).authorization!, /^Negotiate YI/)
  })

  test('attack 61: who rules the domain, or may not be delegated, is never signed on', async () => {
    const dave = await system.signIn('dave', 'iwa').catch(() => undefined)
    const root = await system.signIn('root', 'iwa').catch(() => undefined)
    for (const [userName, code] of [
      ['dave', /^KERBEROS_ACCOUNT_SENSITIVE: /],
      ['root', /^KERBEROS_USER_REFUSED: /],
    ] as const) {
      const client = (userName === 'dave' ? dave : root) ?? (await signInAnyhow(userName))
      const { record } = await failureOf(client, 'iwa')
      assert.match(record.detail!, code)
      assert.equal(record.reason, 'SIGN_ON_FAILED')
    }
  })

  test("the connector's own list of people is obeyed, whatever the service says", async () => {
    await system.execute('user.update', { userName: 'ben', onPremisesSamAccountName: 'jürgen' })
    const ben = await signInAnyhow('ben')
    assert.match(
      (await failureOf(ben, 'iwa')).record.detail!,
      /^KERBEROS_USER_REFUSED: .*neverImpersonate/,
    )
    await system.execute('user.update', { userName: 'ben', onPremisesSamAccountName: 'bbuilder' })
  })

  test('what failed, and what to do, is in the record; the person reads neither names nor reasons', async () => {
    for (const [name, code] of [
      ['unknown', /^KERBEROS_SPN_UNKNOWN: .*setspn/],
      ['forbidden', /^KERBEROS_DELEGATION_DENIED: .*msDS-AllowedToDelegateTo/],
    ] as const) {
      await ana.open(system.url(name))
      const { body, record } = await failureOf(ana, name)
      assert.match(record.detail!, code)
      assert.doesNotMatch(body, /corp\.example|KERBEROS|alice/i)
    }
  })

  test('a person without a name in the domain is told that sign-on failed, and the record says which name', async () => {
    await system.execute('user.update', { userName: 'ben', onPremisesSamAccountName: null })
    const ben = await signInAnyhow('ben')
    const { record } = await failureOf(ben, 'iwa')
    assert.match(record.detail!, /ben has no onPremisesSamAccountName/)
    await system.execute('user.update', { userName: 'ben', onPremisesSamAccountName: 'bbuilder' })
    assert.equal(await seenBy(ben), 'bbuilder@CORP.EXAMPLE')
  })

  test('another name takes effect with the next request', async () => {
    const ben = await system.signIn('ben', 'iwa')
    const paths = ['/', '/persistent/']
    for (const path of paths) assert.equal(await seenBy(ben, 'iwa', path), 'bbuilder@CORP.EXAMPLE')
    await system.execute('user.update', { userName: 'ben', onPremisesSamAccountName: 'judy' })
    // Connections that the application has tied to the old name are not used any more.
    for (const path of paths) assert.equal(await seenBy(ben, 'iwa', path), 'judy@CORP.EXAMPLE')
    await system.execute('user.update', { userName: 'ben', onPremisesSamAccountName: 'bbuilder' })
  })

  test('attack 63: an application with a new key is signed on to again, without anybody noticing', async () => {
    assert.equal(await seenBy(ana), 'alice@CORP.EXAMPLE')
    await directory.setPassword('svc-app', 'An0ther!Passw0rd')
    await iwa.renewKeytabs(directory, ['app.corp.example'])
    assert.equal(await seenBy(ana), 'alice@CORP.EXAMPLE')
  })

  test('attack 63: while no domain controller answers, the record says so; afterwards it works by itself', async () => {
    await directory.stopKdc()
    const ben = await signInAnyhow('ben')
    await system.execute('user.update', { userName: 'ben', onPremisesSamAccountName: 'judy' })
    const { record } = await failureOf(ben, 'iwa')
    assert.match(record.detail!, /^KERBEROS_KDC_UNREACHABLE: /)
    await directory.startKdc()
    for (;;) {
      const { status } = await ben.get(system.url('iwa'))
      if (status === 200) break
      assert.equal(status, 502)
      // The circuit closes by itself after a while.
      assert.match(system.records.at(-1)!.detail!, /^KERBEROS_KDC_UNREACHABLE: /)
    }
    assert.equal(await seenBy(ben), 'judy@CORP.EXAMPLE')
    await system.execute('user.update', { userName: 'ben', onPremisesSamAccountName: 'bbuilder' })
  })

  test('attack 61: a ticket does not outlive the access of its person', async () => {
    await system.execute('user.update', { userName: 'ben', onPremisesSamAccountName: 'judy' })
    const ben = await system.signIn('ben', 'iwa')
    assert.equal(await seenBy(ben), 'judy@CORP.EXAMPLE')
    await directory.setFlags('judy', { set: AccountFlag.DISABLED })
    // The directory is not asked as long as the ticket is kept, which the end of the session puts an end to.
    assert.equal(await seenBy(ben), 'judy@CORP.EXAMPLE')
    await system.execute('session.end-all', { userName: 'ben' })
    assert.equal((await ben.get(system.url('iwa'))).status, 401)
    const again = await signInAnyhow('ben')
    assert.match((await failureOf(again, 'iwa')).record.detail!, /^KERBEROS_USER_DISABLED: /)
    await directory.setFlags('judy', { clear: AccountFlag.DISABLED })
    await system.execute('user.update', { userName: 'ben', onPremisesSamAccountName: 'bbuilder' })
  })

  test('kerberos-check walks the chain, and says which step fails and what to do', async () => {
    const stateDir = join(system.dir, 'connector-1')
    const file = join(stateDir, 'connector.json')
    const settings = JSON.parse(readFileSync(file, 'utf8'))
    const [account] = kerberos
    const write = (more: object) =>
      writeFileSync(file, JSON.stringify({ ...settings, kerberos: [{ ...account, ...more }] }))
    const url = `http://127.0.0.1:${iwa.httpPort}/`
    const check = (spn: string, user: string) =>
      runConnector(
        '--state-dir',
        stateDir,
        'kerberos-check',
        '--spn',
        spn,
        '--user',
        user,
        '--url',
        url,
      )

    write({})
    const good = await check('HTTP/app.corp.example', 'alice')
    assert.equal(good.code, 0, good.text)
    assert.deepEqual(
      [...good.text.matchAll(/^ok +(\w+)/gm)].map(([, step]) => step),
      ['account', 'keytab', 'kdc', 'clock', 'user', 'application', 'origin'],
    )
    assert.match(good.text, /alice is alice@CORP\.EXAMPLE/)
    write({ engine: 'gssapi' })
    const byLibrary = await check('HTTP/app.corp.example', 'alice')
    assert.equal(byLibrary.code, 0, byLibrary.text)
    assert.match(byLibrary.text, /by the gssapi engine\n.*alice is alice@CORP\.EXAMPLE/)
    assert.match(byLibrary.text, /proved that it has the key of the SPN/)
    assert.match(good.text, /proved that it has the key of the SPN/)

    for (const [spn, user, more, failing] of [
      ['HTTP/app.corp.example', 'nobody', {}, /^FAILED +user +KERBEROS_USER_UNKNOWN: /m],
      [
        'HTTP/nobody.corp.example',
        'alice',
        {},
        /^FAILED +application +KERBEROS_SPN_UNKNOWN: .*\n.*setspn/m,
      ],
      [
        'HTTP/app.corp.example',
        'alice',
        { keytab: '/nonexistent' },
        /^FAILED +keytab +KERBEROS_KEYTAB_UNREADABLE: /m,
      ],
      [
        'HTTP/app.corp.example',
        'alice',
        { kdcs: ['127.0.0.1:1'] },
        /^FAILED +kdc +KERBEROS_KDC_UNREACHABLE: .*ECONNREFUSED/m,
      ],
      [
        'HTTP/app.corp.example',
        'alice',
        { servicePrincipalNames: ['HTTP/x.y'] },
        /^FAILED +account +KERBEROS_NOT_CONFIGURED: /m,
      ],
      // The list has another of his names.
      ...(['native', 'gssapi'] as const).map(
        (engine) =>
          [
            'HTTP/app.corp.example',
            'bob@contoso.com',
            { neverImpersonate: ['BBuilder'], engine },
            /^FAILED +user +KERBEROS_USER_REFUSED: .*neverImpersonate/m,
          ] as const,
      ),
    ] as const) {
      write(more)
      const { code, text } = await check(spn, user)
      assert.equal(code, 1, text)
      assert.match(text, failing)
    }
    writeFileSync(file, JSON.stringify(settings))
  })

  test('kerberos-check asks the service what an application and a person are, and nothing else is told', async (t) => {
    const stateDir = join(system.dir, 'connector-1')
    const file = join(stateDir, 'connector.json')
    const settings = JSON.parse(readFileSync(file, 'utf8'))
    // No resolver knows the names of this service: the proxy does.
    const proxy = await startConnectProxy(t, system.port)
    writeFileSync(file, JSON.stringify({ ...settings, kerberos, proxy }))
    const check = (...args: string[]) =>
      runConnector('--state-dir', stateDir, 'kerberos-check', ...args)
    const steps = async (...args: string[]) => {
      const { code, text } = await check('--json', ...args)
      return {
        code,
        all: text
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line) as KerberosStep),
      }
    }

    const good = await steps('--app', 'near', '--user', 'Ana')
    assert.deepEqual(
      [good.code, ...good.all.map(({ step, ok }) => `${step} ${ok}`)],
      [
        0,
        ...['service', 'account', 'keytab', 'kdc', 'clock', 'user', 'application', 'origin'].map(
          (step) => `${step} true`,
        ),
      ],
      JSON.stringify(good.all),
    )
    assert.match(
      good.all[0]!.message,
      /^near is HTTP\/app\.corp\.example at http:.*; Ana is the sAMAccountName alice$/,
    )
    const people = await check('--app', 'near', '--user', 'ana')
    assert.match(people.text, /^ok +service +near is .*\n(ok .*\n)+$/)

    await system.execute('connector-group.create', { name: 'far' })
    await system.execute('app.update', { name: 'unknown', set: { connectorGroup: 'far' } })
    for (const [application, user, code] of [
      ['nothing', 'ana', 'APPLICATION_UNKNOWN'],
      ['unknown', 'ana', 'APPLICATION_OF_ANOTHER_GROUP'],
      ['near', 'root', 'USER_NOT_ASSIGNED'],
      ['near', 'nobody', 'USER_NOT_ASSIGNED'],
    ] as const) {
      const refused = await steps('--app', application, '--user', user)
      assert.deepEqual(
        [refused.code, refused.all.length, refused.all[0]!.step, refused.all[0]!.code],
        [1, 1, 'service', code],
      )
    }
    await system.execute('app.update', { name: 'unknown', set: { connectorGroup: 'default' } })
    // What a request would find out, the check does: somebody who is sensitive, somebody of the connector's own list.
    const sensitive = await steps('--app', 'near', '--user', 'dave')
    assert.deepEqual(
      [sensitive.code, sensitive.all.at(-1)!.code],
      [1, 'KERBEROS_ACCOUNT_SENSITIVE'],
    )
    await system.execute('user.update', { userName: 'ben', onPremisesSamAccountName: 'jürgen' })
    const listed = await steps('--app', 'near', '--user', 'ben')
    assert.deepEqual(
      [listed.code, listed.all.at(-1)!.step, listed.all.at(-1)!.code],
      [1, 'user', 'KERBEROS_USER_REFUSED'],
    )
    await system.execute('user.update', { userName: 'ben', onPremisesSamAccountName: 'bbuilder' })
    // The application is asked as a request would ask it: with the client certificate that is meant for it.
    const internalUrl = `https://127.0.0.1:${iwa.httpPort}/`
    await system.execute('app.update', { name: 'near', set: { internalUrl } })
    const { id } = (await system.execute('app.show', { name: 'near' })) as { id: string }
    const missing = {
      applications: [id],
      origins: [`127.0.0.1:${iwa.httpPort}`],
      certificateFile: '/nonexistent/certificate.pem',
      keyFile: '/nonexistent/key.pem',
    }
    const originClientCertificates = [missing]
    writeFileSync(file, JSON.stringify({ ...settings, kerberos, proxy, originClientCertificates }))
    const { step, message } = (await steps('--app', 'near', '--user', 'ana')).all.at(-1)!
    assert.equal(step, 'origin')
    assert.match(message, /ORIGIN_CLIENT_CERTIFICATE_MISSING/)
    writeFileSync(file, JSON.stringify({ ...settings, kerberos, proxy }))
    await system.execute('app.update', {
      name: 'near',
      set: { internalUrl: `http://127.0.0.1:${iwa.httpPort}/` },
    })
    for (const args of [
      ['--user', 'ana'],
      ['--app', 'near', '--spn', 'HTTP/x.y', '--user', 'ana'],
      ['--app', 'near', '--user', 'ana', '--realm', 'X.Y'],
      ['--spn', 'HTTP/x.y', '--user', 'ana', '--label', 'x'],
    ]) {
      const { code, text } = await check(...args)
      assert.equal(code, 1)
      assert.match(text, /--app|--spn/)
    }

    const events = (await system.execute('audit.list', {})) as AuditLine[]
    const kinds = new Map(events.map((event) => [event.kind, event]))
    const { detail } = kinds.get('sign-on-check-answered')!
    assert.deepEqual([detail.application, detail.connector], ['near', 'connector-1'])
    assert.ok(kinds.get('sign-on-check-refused')!.detail.reason)
    writeFileSync(file, JSON.stringify(settings))
  })

  /** Signs in, although the application behind may fail. */
  async function signInAnyhow(userName: string): Promise<Client> {
    const client = await system.signIn(userName, 'apps')
    await client.open(system.url('iwa'))
    return client
  }
})

/** What `sallyport-connector` prints, and its exit status. */
async function runConnector(...args: string[]): Promise<{ code: number; text: string }> {
  const program = fileURLToPath(import.meta.resolve('@sallyport/cli')).replace(
    /index\.ts$/,
    'sallyport-connector.ts',
  )
  const child = spawn(process.execPath, [program, ...args])
  const parts: Buffer[] = []
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (part: Buffer) => parts.push(part))
  const [code] = await once(child, 'close')
  return { code, text: Buffer.concat(parts).toString('utf8') }
}

/** A proxy by which every name leads to one port of this machine. @returns its URL */
async function startConnectProxy(
  t: { after(close: () => void): void },
  port: number,
): Promise<string> {
  const server = createServer()
  server.on('connect', (_request, client) => {
    const service = connect(port, '127.0.0.1', () => {
      client.write('HTTP/1.1 200 Connected\r\n\r\n')
      client.pipe(service).pipe(client)
    })
    for (const [socket, other] of [
      [client, service],
      [service, client],
    ] as const)
      socket.on('error', () => other.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => void server.close())
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

interface AuditLine {
  kind: string
  detail: Record<string, unknown>
}

interface Seen {
  authorization: string | undefined
  bytes: number
}

/** An origin that asks nobody for anything, and says what it saw. */
class Echo {
  readonly port: number

  private constructor(port: number) {
    this.port = port
  }

  static async start(scope: { after(close: () => void): void }): Promise<Echo> {
    const say = async (request: IncomingMessage): Promise<string> => {
      let bytes = 0
      for await (const chunk of request) bytes += (chunk as Buffer).length
      const { authorization } = request.headers
      return JSON.stringify({ authorization, bytes } satisfies Seen)
    }
    const server = createServer((request, response) => {
      void say(request).then((text) => response.end(text))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    scope.after(() => {
      server.closeAllConnections()
      server.close()
    })
    return new Echo((server.address() as AddressInfo).port)
  }
}
