import { execFileSync } from 'node:child_process'
import { lookup } from 'node:dns/promises'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseServiceConfig, type Service, startService } from '@sallyport/cli'
import {
  type ClientCertificateSettings,
  type Connector,
  enroll,
  type KerberosSettings,
  parseAllowRules,
  startConnector,
} from '@sallyport/connector'
import type { AccessRecord } from '@sallyport/gateway'
import { type Logger, pino } from 'pino'
import { Client } from './client.ts'
import { readForm } from './form.ts'
import { Origin } from './origin.ts'
import { findFreePort } from './ports.ts'
import { Postgres, type PostgresDatabase, toDatabaseYaml } from './postgres.ts'
import { lastFirst, type Scope } from './scope.ts'

export interface SystemApplication {
  name: string
  /** Default: an origin of its own, `system.origin(name)`. */
  internalUrl?: string
  /** Default: `https://<name>.<domain>:<port>/`. */
  externalPath?: string
  externalHost?: string
  /** Its host lies below `otherDomain`, another site than the service's. */
  onOtherSite?: boolean
  preAuthentication?: 'identity' | 'passthrough'
  /** Users who are assigned; default all. */
  assigned?: readonly string[]
  /** Further fields of the application. */
  set?: Record<string, unknown>
}

export interface SystemOptions {
  applications?: readonly SystemApplication[]
  /** Default: `ana` and `ben`. */
  users?: readonly string[]
  /** Rules beside the origins that the applications have. */
  allow?: readonly string[]
  connectors?: number
  /** Of the connectors. */
  kerberos?: readonly KerberosSettings[]
  /** Addresses of origins by their names, as DNS inside would give them to connectors. */
  addresses?: Readonly<Record<string, string>>
  /** Default: an SQLite file, or a PostgreSQL when SALLYPORT_TEST_DATABASE is `postgresql`. */
  database?: PostgresDatabase
  /** Further lines of the service's YAML. */
  config?: string
  logLevel?: string
  /** Where service and connectors write what they do, in the place of `logLevel`. */
  log?: Logger
}

/** Password of every user that the testkit makes. */
export const password = 'correct horse battery staple'
export const domain = 'sallyport.test'
/** Of another registrable domain. */
export const otherDomain = 'example.org'

/** The real thing on loopback: service, connector, origins. */
export class System {
  readonly domain = domain
  readonly port: number
  readonly dir: string
  readonly service: Service
  readonly connectors: Connector[] = []
  readonly records: AccessRecord[] = []
  readonly #origins = new Map<string, Origin>()
  readonly #waiting: {
    matches(record: AccessRecord): boolean
    resolve(record: AccessRecord): void
  }[] = []
  readonly #scope: Scope
  readonly #connectorLog: Logger
  readonly #otherSite: OtherSite | undefined

  constructor(
    scope: Scope,
    dir: string,
    service: Service,
    connectorLog: Logger,
    otherSite?: OtherSite,
  ) {
    this.#otherSite = otherSite
    this.#connectorLog = connectorLog
    this.#scope = scope
    this.dir = dir
    this.service = service
    this.port = service.port
    const { record } = service.gateway.options
    service.gateway.options.record = (line) => {
      record(line)
      this.records.push(line)
      for (const waiter of this.#waiting.filter(({ matches }) => matches(line))) {
        this.#waiting.splice(this.#waiting.indexOf(waiter), 1)
        waiter.resolve(line)
      }
    }
  }

  /** Whom browsers trust here; PEM. */
  get ca(): string {
    return this.service.control.webCa.certificatePem + (this.#otherSite?.certificatePem ?? '')
  }

  /** By which another machine of the same service has the same certificates. */
  get certificatesYaml(): string {
    return this.#otherSite?.config ?? ''
  }

  get plainPort(): number {
    return this.service.plainPort!
  }

  host(name: string): string {
    return `${name}.${this.#otherSite?.names.has(name) ? otherDomain : domain}`
  }

  /** `https://<name>.<domain>:<port>`, then the path. */
  url(name: string, path = '/'): string {
    return `https://${this.host(name)}:${this.port}${path}`
  }

  execute(command: string, input: unknown): Promise<unknown> {
    return this.service.control.execute(command, input, 'test')
  }

  origin(name: string): Origin {
    const origin = this.#origins.get(name)
    if (!origin) throw new TypeError(`no origin ${name}`)
    return origin
  }

  keepOrigin(name: string, origin: Origin): void {
    this.#origins.set(name, origin)
    this.#scope.after(() => origin.close())
  }

  client(): Client {
    const client = new Client(this.port, this.ca)
    this.#scope.after(() => client.close())
    return client
  }

  /** A client whose user has signed in, by way of the application or the portal. */
  async signIn(userName: string, application?: string): Promise<Client> {
    const client = this.client()
    await this.signInWith(client, userName, application)
    return client
  }

  async signInWith(client: Client, userName: string, application?: string): Promise<void> {
    const page = await client.open(this.url(application ?? 'apps'))
    const answer = await submitSignIn(client, page, userName, password)
    if (answer.status !== 200 && answer.status !== 403)
      throw new Error(
        `sign-in of ${userName} ended with ${answer.status} at ${answer.url}: ${answer.body.slice(0, 500)}`,
      )
  }

  /** The first record from now on that matches. */
  nextRecord(matches: (record: AccessRecord) => boolean): Promise<AccessRecord> {
    return new Promise((resolve) => this.#waiting.push({ matches, resolve }))
  }

  /** The record of a request that has been answered, or as soon as it is written. */
  async recordOf(matches: (record: AccessRecord) => boolean): Promise<AccessRecord> {
    return this.records.find(matches) ?? this.nextRecord(matches)
  }

  async startConnector(options: {
    name: string
    allow: readonly string[]
    connectorGroup?: string
    tunnels?: number
    kerberos?: readonly KerberosSettings[]
    addresses?: Readonly<Record<string, string>>
    originClientCertificates?: readonly ClientCertificateSettings[]
    /** PEM. */
    originCa?: string
  }): Promise<Connector> {
    const stateDir = join(this.dir, options.name)
    const { token } = (await this.execute('token.create', {
      connectorGroup: options.connectorGroup ?? 'default',
      lifetimeMs: 600_000,
    })) as { token: string }
    const resolveToLoopback = async () => ['127.0.0.1']
    await enroll({
      service: new URL(this.url('connect').slice(0, -1)),
      token,
      stateDir,
      name: options.name,
      allow: options.allow,
      resolve: resolveToLoopback,
    })
    let connector: Connector | undefined
    const online = new Promise<void>((resolve) => {
      const wanted = options.tunnels ?? 2
      void startConnector({
        stateDir,
        tunnels: wanted,
        log: this.#connectorLog,
        resolve: async (name) => {
          const address = options.addresses?.[name]
          if (address !== undefined) return [address]
          return name.endsWith(`.${domain}`) ? resolveToLoopback() : resolveHost(name)
        },
        ...(options.kerberos ? { kerberos: options.kerberos } : {}),
        ...(options.originClientCertificates
          ? { originClientCertificates: options.originClientCertificates }
          : {}),
        ...(options.originCa ? { originCa: options.originCa } : {}),
        allow: parseAllowRules(options.allow),
        drainMs: 500,
        onStateChange: ({ tunnels }) => {
          if (tunnels.every(({ state }) => state === 'connected')) resolve()
        },
      }).then((started) => {
        connector = started
        this.connectors.push(started)
        this.#scope.after(() => started.close())
      })
    })
    await online
    await this.tunnelsUp()
    return connector!
  }

  /** Resolves when the gateway has at least one tunnel in the group. */
  async tunnelsUp(group = 'default'): Promise<void> {
    while (!this.service.gateway.tunnels.pick(group))
      await new Promise((resolve) => setImmediate(resolve))
  }
}

/** Applications with a domain of their own, for which an administrator has brought a certificate. */
interface OtherSite {
  names: ReadonlySet<string>
  certificatePem: string
  /** Of the service's YAML. */
  config: string
}

function makeOtherSite(
  dir: string,
  applications: readonly SystemApplication[],
): OtherSite | undefined {
  const own = applications.filter(({ onOtherSite }) => onOtherSite)
  if (own.length === 0) return undefined
  const [keyFile, certificateFile] = [join(dir, 'other.key'), join(dir, 'other.pem')]
  const options = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 2 -subj /CN=${otherDomain}`
  const names = `subjectAltName=DNS:*.${otherDomain}`
  const files = ['-keyout', keyFile, '-out', certificateFile]
  execFileSync('openssl', [...options.split(' '), '-addext', names, ...files], { stdio: 'ignore' })
  return {
    names: new Set(own.map(({ name, externalHost }) => externalHost ?? name)),
    certificatePem: readFileSync(certificateFile, 'utf8'),
    config: `certificates: [${JSON.stringify({ certificateFile, keyFile })}]\n`,
  }
}

const silent = pino({ level: 'silent' })

async function resolveHost(name: string): Promise<string[]> {
  return (await lookup(name, { all: true })).map(({ address }) => address)
}

/** Fills in the sign-in page and sends it, following redirects to the end. */
export async function submitSignIn(
  client: Client,
  page: { url: string; body: string },
  userName: string,
  secret: string,
) {
  const fields = { ...readForm(page.body).fields, userName, password: secret }
  return client.fetch(page.url, {
    method: 'POST',
    follow: true,
    headers: {
      'content-type': 'application/x-www-form-urlencoded',
      origin: new URL(page.url).origin,
      accept: 'text/html',
      'sec-fetch-site': 'same-origin',
      'sec-fetch-mode': 'navigate',
    },
    body: new URLSearchParams(fields).toString(),
  })
}

/** Everything that runs on SQLite runs on PostgreSQL too, if it is asked for by the environment. */
async function findDatabase(scope: Scope): Promise<PostgresDatabase | undefined> {
  if (process.env.SALLYPORT_TEST_DATABASE !== 'postgresql') return undefined
  return (await Postgres.start(scope)).createDatabase()
}

/**
 * Starts a whole system and ends it with the test: a service with its own store, authorities and keys, a
 * connector that enrolled by a token, and an origin for each application.
 */
export async function startSystem(scope: Scope, options: SystemOptions = {}): Promise<System> {
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-test-'))
  const inner = lastFirst(scope)
  inner.after(() => rmSync(dir, { recursive: true, force: true }))
  const port = await findFreePort()
  const database = options.database ?? (await findDatabase(inner))
  const databaseYaml = database ? await toDatabaseYaml(database, dir) : ''
  const otherSite = makeOtherSite(dir, options.applications ?? [])
  const service = await startService(
    parseServiceConfig(
      `baseDomain: ${domain}\ndataDir: ${JSON.stringify(join(dir, 'service'))}\nlisten: { address: 127.0.0.1, port: ${port} }\nplainListen: { port: 0 }\n${databaseYaml}${otherSite?.config ?? ''}${options.config ?? ''}`,
    ),
    options.log ?? pino({ level: options.logLevel ?? 'silent' }),
  )
  inner.after(() => service.close())
  const system = new System(inner, dir, service, options.log ?? silent, otherSite)
  const users = options.users ?? ['ana', 'ben']
  for (const userName of users)
    await system.execute('user.create', {
      userName,
      displayName: `${userName[0]!.toUpperCase()}${userName.slice(1)} Test`,
      mail: `${userName}@example.test`,
      password,
    })
  const allow = [...(options.allow ?? [])]
  for (const application of options.applications ?? []) {
    let { internalUrl } = application
    if (internalUrl === undefined) {
      const origin = await Origin.start()
      system.keepOrigin(application.name, origin)
      internalUrl = origin.url
      allow.push(`127.0.0.1:${origin.port}`)
    }
    await system.execute('app.create', {
      name: application.name,
      displayName: application.name,
      externalUrl: system.url(
        application.externalHost ?? application.name,
        application.externalPath ?? '/',
      ),
      internalUrl,
      preAuthentication: application.preAuthentication ?? 'identity',
      ...application.set,
    })
    for (const user of application.assigned ?? users)
      await system.execute('app.assign', { name: application.name, user })
  }
  for (let index = 1; index <= (options.connectors ?? 1); index += 1)
    await system.startConnector({
      name: `connector-${index}`,
      allow,
      ...(options.kerberos ? { kerberos: options.kerberos } : {}),
      ...(options.addresses ? { addresses: options.addresses } : {}),
    })
  return system
}
