// Channel binding (RFC 5929, what IIS calls Extended Protection): a token says on which TLS connection it is good, and an application that
// looks, takes it on no other.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import type { KerberosEngineName } from '@sallyport/connector'
import { toEndPointBinding } from '@sallyport/kerberos'
import { type Client, lastFirst, type Scope, type System, startSystem } from '@sallyport/testkit'
import type { ActiveDirectory } from '@sallyport/testkit/active-directory'
import { startCorpExample } from '@sallyport/testkit/corp-example'
import { GssAcceptor } from '@sallyport/testkit/gss-acceptor'
import { IwaApplication } from '@sallyport/testkit/iwa-application'

const app = 'app.corp.example'
const spn = `HTTP/${app}`

suite('extended protection', () => {
  const scope = lastFirst({ after })
  let directory: ActiveDirectory
  let strict: StrictApplication
  let iwa: IwaApplication
  before(async () => {
    directory = await startCorpExample(scope)
    iwa = await IwaApplication.start(scope, directory, [app])
    strict = await StrictApplication.start(scope, directory)
  })

  for (const engine of ['native', 'gssapi'] as const)
    suite(`with the ${engine} engine`, () => {
      let system: System
      let ana: Client
      before(async () => {
        system = await startBehindService(scope, directory, engine, [strict.port, iwa.httpsPort])
        ana = await system.signIn('ana', 'strict')
        strict.refusals.length = 0
      })

      test('a token is good on the connection that it goes out by, with whatever hash the certificate wants', async () => {
        for (const digest of ['sha256', 'sha384'] as const) {
          strict.useCertificate(digest)
          for (const path of ['/', '/', '/again'])
            assert.deepEqual(await open(path), { status: 200, user: 'alice@CORP.EXAMPLE' })
        }
      })

      test('on a connection that ends before the application, with a certificate of its own, it is good for nothing', async () => {
        // As one who has broken TLS open would see it: the application has another certificate than the connector is shown.
        strict.expectOther()
        const { status } = await open('/')
        assert.equal(status, 502)
        assert.match(system.records.at(-1)!.detail!, /SIGN_ON_REFUSED_BY_ORIGIN|KERBEROS_/)
        assert.ok(strict.refusals.length > 0)
        // GSS_S_BAD_BINDINGS.
        for (const major of strict.refusals) assert.equal(major >>> 16, 4)
        strict.useCertificate('sha256')
        assert.equal((await open('/')).status, 200)
      })

      test('a certificate that is changed between two requests is noticed before a token is sent', async () => {
        await open('/')
        strict.useCertificate('sha384')
        strict.closeConnections()
        const before = strict.seen
        const answers = await Promise.all(Array.from({ length: 10 }, () => open('/')))
        for (const answer of answers)
          assert.deepEqual(answer, { status: 200, user: 'alice@CORP.EXAMPLE' })
        assert.equal(strict.seen - before, 10)
      })

      test('a request with a body has one token, and it is the right one', async () => {
        strict.useCertificate('sha256')
        strict.closeConnections()
        const before = strict.seen
        const { status, body } = await ana.fetch(system.url('strict'), {
          method: 'POST',
          body: 'x'.repeat(50_000),
        })
        assert.deepEqual([status, body], [200, 'alice@CORP.EXAMPLE 50000'])
        assert.equal(strict.seen - before, 1)
      })

      test('an application that does not look takes it as before', async () => {
        await ana.open(system.url('iwa'))
        const { status, headers } = await ana.get(system.url('iwa'))
        assert.deepEqual([status, headers['x-remote-user']], [200, 'alice@CORP.EXAMPLE'])
      })

      async function open(path: string): Promise<{ status: number; user: string }> {
        const { status, body } = await ana.get(system.url('strict', path))
        return { status, user: body.split(' ')[0]! }
      }
    })
})

async function startBehindService(
  scope: Scope,
  directory: ActiveDirectory,
  engine: KerberosEngineName,
  [strictPort, iwaPort]: readonly [number, number],
): Promise<System> {
  const set = {
    validateBackendCertificate: false,
    signOn: {
      method: 'kerberos',
      kerberosServicePrincipalName: spn,
      kerberosSignOnMappingAttributeType: 'onPremisesSAMAccountName',
    },
  }
  const system = await startSystem(scope, {
    users: ['ana'],
    allow: [`127.0.0.1:${strictPort}`, `127.0.0.1:${iwaPort}`],
    addresses: { [app]: '127.0.0.1' },
    kerberos: [
      {
        account: `svc-connector@${directory.realm}`,
        keytab: await directory.keytab('svc-connector'),
        kdcs: [directory.ip],
        engine,
      },
    ],
    applications: [
      { name: 'strict', internalUrl: `https://${app}:${strictPort}/`, set },
      { name: 'iwa', internalUrl: `https://${app}:${iwaPort}/`, set },
    ],
  })
  await system.execute('user.update', { userName: 'ana', onPremisesSamAccountName: 'alice' })
  return system
}

/** An application that takes tokens, by MIT's library, for its own TLS connections only. */
class StrictApplication {
  readonly port: number
  /** Requests with a token. */
  seen = 0
  /** Major status of each refusal. */
  readonly refusals: number[] = []
  readonly #server: Server
  readonly #certificates: ReadonlyMap<string, { key: string; cert: string }>
  #binding: Buffer

  private constructor(
    server: Server,
    port: number,
    certificates: ReadonlyMap<string, { key: string; cert: string }>,
  ) {
    this.#server = server
    this.port = port
    this.#certificates = certificates
    this.#binding = this.#bindingOf('sha256')
  }

  static async start(scope: Scope, directory: ActiveDirectory): Promise<StrictApplication> {
    const keytab = await directory.keytab(spn)
    const acceptor = new GssAcceptor(scope, keytab, directory.environment.KRB5_CONFIG)
    const certificates = new Map(
      ['sha256', 'sha384'].map((digest) => [digest, makeCertificate(digest)]),
    )
    const server = createServer(certificates.get('sha256')!, async (request, response) => {
      let bytes = 0
      for await (const chunk of request) bytes += (chunk as Buffer).length
      const token = /^Negotiate (.+)/.exec(request.headers.authorization ?? '')?.[1]
      if (token === undefined) {
        response.writeHead(401, { 'www-authenticate': 'Negotiate' }).end()
        return
      }
      application.seen += 1
      const { user, refused, reply } = await acceptor.accept(
        Buffer.from(token, 'base64'),
        application.#binding,
      )
      const proof = reply.length > 0 ? `Negotiate ${reply.toString('base64')}` : 'Negotiate'
      response.setHeader('www-authenticate', proof)
      if (user === undefined) application.refusals.push(refused!)
      response.writeHead(user === undefined ? 401 : 200)
      response.end(`${user} ${bytes}`)
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    scope.after(() => {
      server.closeAllConnections()
      server.close()
    })
    const application = new StrictApplication(
      server,
      (server.address() as AddressInfo).port,
      certificates,
    )
    return application
  }

  useCertificate(digest: 'sha256' | 'sha384'): void {
    this.#server.setSecureContext(this.#certificates.get(digest)!)
    this.#binding = this.#bindingOf(digest)
    this.closeConnections()
  }

  /** It believes to have another certificate than it shows. */
  expectOther(): void {
    this.#server.setSecureContext(this.#certificates.get('sha256')!)
    this.#binding = this.#bindingOf('sha384')
    this.closeConnections()
  }

  closeConnections(): void {
    this.#server.closeAllConnections()
  }

  #bindingOf(digest: string): Buffer {
    return toEndPointBinding(new X509Certificate(this.#certificates.get(digest)!.cert))
  }
}

function makeCertificate(digest: string): { key: string; cert: string } {
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-strict-'))
  try {
    const args = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
    const rest = [`-${digest}`, '-days', '3', '-subj', `/CN=${app}`]
    const files = ['-keyout', join(dir, 'key'), '-out', join(dir, 'cert')]
    execFileSync('openssl', [...args, ...rest, ...files], { stdio: 'ignore' })
    const [key, cert] = ['key', 'cert'].map((name) => readFileSync(join(dir, name), 'utf8'))
    return { key: key!, cert: cert! }
  } finally {
    rmSync(dir, { recursive: true })
  }
}
