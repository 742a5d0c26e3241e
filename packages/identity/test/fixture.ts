import {
  createHash,
  createPublicKey,
  generateKeyPairSync,
  randomBytes,
  randomUUID,
} from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type IncomingHttpHeaders, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import {
  type AccessEvent,
  type ApplicationInput,
  applicationSchema,
  compileSnapshot,
  type IdentitySession,
  type Snapshot,
} from '@sallyport/domain'
import { groups, openStore, type Store, secrets, users } from '@sallyport/store'
import {
  type AssertionRing,
  type DeliveryRequest,
  hashPassword,
  type Identity,
  type LogoutDestinations,
  startIdentity,
} from '../src/index.ts'

import { signOnPair } from './sign-on-pair.ts'

export const loginOrigin = 'https://login.example.test'
export const tenantId = '0f1e2d3c-4b5a-4968-8776-655443322110'
export const password = 'correct horse battery staple'

const hashes = new Map<string, Promise<string>>()
function hashed(text: string): Promise<string> {
  const known = hashes.get(text) ?? hashPassword(text)
  hashes.set(text, known)
  return known
}

// Making an RSA key takes longer than most tests.
let signingKey: secrets.SealedSecret | undefined

export interface Fixture {
  store: Store
  identity: Identity
  /** The clock of identity; tests move it. */
  time: { nowAt: number }
  events: AccessEvent[]
  errors: unknown[]
  hr: Published
  wiki: Published
  publish(name: string, more?: Partial<ApplicationInput> & { principalIds?: string[] }): Published
  /** Puts other settings in the place of those of an application. */
  change(id: string, more: Partial<ApplicationInput>): void
  /** What people have entered as their passwords for applications. */
  kept: object[]
  /** The keys of assertions; tests put another ring in its place. */
  assertionKeys: { ring: AssertionRing }
  /** The configuration in force. */
  snapshot(): Snapshot
  /** Where logout tokens may go; read when identity starts. */
  logout: LogoutDestinations
  /** What goes to applications through connectors. */
  deliveries: Deliveries
  addUser(userName: string, enabled?: boolean): Promise<string>
  /** @param address of 127.0.0.0/8 that it comes from */
  browser(address?: string): Browser
  /** A new identity over the same store, as after a restart; the one before is closed. */
  restart(): Promise<void>
}

/** Applications behind connectors, as far as they are told of ends of sessions. */
export class Deliveries {
  readonly requests: DeliveryRequest[] = []
  /** What they answer; undefined: they cannot be reached. */
  statusCode: number | undefined = 200
  /** What one of them waits for, by ID. */
  readonly gates = new Map<string, Promise<void>>()
  #waiting: (() => void)[] = []

  async take(request: DeliveryRequest): Promise<number> {
    this.requests.push(request)
    for (const resolve of this.#waiting.splice(0)) resolve()
    await this.gates.get(request.applicationId)
    if (this.statusCode === undefined) throw new Error('no connector takes the request')
    return this.statusCode
  }

  async until(isTrue: () => boolean): Promise<void> {
    while (!isTrue()) await new Promise<void>((resolve) => this.#waiting.push(resolve))
  }
}

export interface Published {
  id: string
  redirectUri: string
}

/** A new key that signs, published in front of those that signed before. */
export function makeAssertionRing(before?: AssertionRing): AssertionRing {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const { x, y } = createPublicKey(privateKey).export({ format: 'jwk' }) as { x: string; y: string }
  const kid = createHash('sha256')
    .update(JSON.stringify({ crv: 'P-256', kty: 'EC', x, y }))
    .digest('base64url')
  return {
    signing: { kid, privateKey },
    published: [{ kty: 'EC', crv: 'P-256', x, y, kid }, ...(before?.published ?? [])],
  }
}

/** Identity on a real HTTP server, with a real store in a folder of its own. */
export async function startFixture(t: TestContext): Promise<Fixture> {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-identity-'))
  const store = await openStore({ kind: 'sqlite', file: join(folder, 'sallyport.db') })
  const applications: {
    application: ReturnType<typeof applicationSchema.parse>
    principalIds: string[]
  }[] = []
  let snapshot: Snapshot
  const compile = () => {
    snapshot = compileSnapshot({ applications, baseDomain: 'example.test', port: 443, version: 1 })
  }
  compile()
  const publish: Fixture['publish'] = (name, { principalIds = [], ...more } = {}) => {
    const application = applicationSchema.parse({
      id: randomUUID(),
      name,
      displayName: `The ${name}`,
      externalUrl: `https://${name}.example.test/`,
      internalUrl: `http://${name}.internal/`,
      ...more,
    })
    applications.push({ application, principalIds })
    compile()
    return {
      id: application.id,
      redirectUri: `https://${name}.example.test/.sallyport/callback`,
    }
  }
  const hr = publish('hr')
  const wiki = publish('wiki')
  const time = { nowAt: Date.now() }
  const events: AccessEvent[] = []
  const errors: unknown[] = []
  const kept: object[] = []
  store.feed.subscribe((event) => events.push(event))
  const cookieKeys = [{ secret: randomBytes(32) }]
  const keys = {
    cookies: () => cookieKeys,
    clientSecret: Buffer.alloc(32, 7),
    signOn: async () => signOnPair,
    assertions: () => assertionKeys.ring,
    pairwise: Buffer.alloc(32, 8),
    logoutPasses: Buffer.alloc(32, 9),
  }
  const assertionKeys = { ring: makeAssertionRing() }
  const logout: LogoutDestinations = { allow: [], authorities: [] }
  const deliveries = new Deliveries()
  const start = () =>
    startIdentity({
      store,
      tenantId,
      baseDomain: 'example.test',
      loginOrigin,
      portalOrigin: 'https://apps.example.test',
      keys,
      seal: (_, bytes) => bytes.toString('base64'),
      open: (_, sealed) => Buffer.from(sealed, 'base64'),
      snapshot: () => snapshot,
      passwords: {
        async set(input) {
          kept.push(input)
          return []
        },
        remove: async () => undefined,
        countKeepers: async () => 0,
      },
      logout,
      deliver: (request) => deliveries.take(request),
      clock: () => time.nowAt,
      log: { error: (facts) => errors.push(facts) },
    })
  if (signingKey) await secrets.saveSecret(store.db, signingKey)
  const server = createServer((req, res) => fixture.identity.handle(req, res))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const fixture: Fixture = {
    store,
    identity: await start(),
    time,
    events,
    errors,
    hr,
    wiki,
    publish,
    kept,
    change(id, more) {
      const published = applications.find(({ application }) => application.id === id)!
      published.application = applicationSchema.parse({ ...published.application, ...more })
      compile()
    },
    assertionKeys,
    snapshot: () => snapshot,
    logout,
    deliveries,
    async addUser(userName, enabled = true) {
      const user = await users.createUser(
        store.db,
        {
          userName,
          displayName: `Person ${userName}`,
          mail: `${userName}@mail.test`,
          passwordHash: await hashed(password),
          enabled,
        },
        time.nowAt,
      )
      return user!.id
    },
    browser: (address) => new Browser(port, address),
    async restart() {
      await fixture.identity.close()
      fixture.identity = await start()
    },
  }
  signingKey ??= (await secrets.listSecrets(store.db, 'oidc-signing-key'))[0]
  t.after(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
    await fixture.identity.close()
    await store.close()
    await rm(folder, { recursive: true })
  })
  return fixture
}

/** Lets time pass for what the provider keeps, which goes by the clock of the machine. */
export async function age({ store }: Fixture, model: string, seconds: number): Promise<void> {
  const rows = await store.db
    .selectFrom('oidcModel')
    .select(['id', 'payload'])
    .where('model', '=', model)
    .execute()
  for (const { id, payload } of rows) {
    const { iat, exp, ...rest } = JSON.parse(payload) as { iat: number; exp: number }
    await store.db
      .updateTable('oidcModel')
      .set({ payload: JSON.stringify({ ...rest, iat: iat - seconds, exp: exp - seconds }) })
      .where('model', '=', model)
      .where('id', '=', id)
      .execute()
  }
}

export interface Answer {
  status: number
  headers: IncomingHttpHeaders
  body: string
}

/** A browser as far as the sign-in host is concerned: cookies, and what it says about itself. */
export class Browser {
  readonly cookies = new Map<string, string>()
  readonly #port: number

  readonly #address: string

  constructor(port: number, address = '127.0.0.1') {
    this.#port = port
    this.#address = address
  }

  get(url: string, headers: Record<string, string> = {}): Promise<Answer> {
    return this.send('GET', url, undefined, { 'sec-fetch-site': 'same-site', ...headers })
  }

  post(
    url: string,
    form: Record<string, string>,
    headers: Record<string, string> = {
      origin: loginOrigin,
      'sec-fetch-site': 'same-origin',
    },
  ): Promise<Answer> {
    return this.send('POST', url, new URLSearchParams(form).toString(), {
      'content-type': 'application/x-www-form-urlencoded',
      ...headers,
    })
  }

  send(
    method: string,
    url: string,
    body: string | undefined,
    headers: Record<string, string>,
  ): Promise<Answer> {
    // A path is sent as it is, without what URL would make of it.
    const { host, pathname, search } = new URL(url.startsWith('/') ? '/' : url, loginOrigin)
    const cookie = [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    return new Promise((resolve, reject) => {
      const sent = request(
        {
          host: '127.0.0.1',
          localAddress: this.#address,
          port: this.#port,
          method,
          path: url.startsWith('/') ? url : pathname + search,
          agent: false,
          headers: { host, accept: 'text/html', ...(cookie ? { cookie } : {}), ...headers },
        },
        (response) => {
          const chunks: Buffer[] = []
          response.on('data', (chunk: Buffer) => chunks.push(chunk))
          response.on('error', reject)
          response.on('end', () => {
            for (const line of response.headers['set-cookie'] ?? []) this.#keep(line)
            resolve({
              status: response.statusCode!,
              headers: response.headers,
              body: Buffer.concat(chunks).toString(),
            })
          })
        },
      )
      sent.on('error', reject)
      sent.end(body)
    })
  }

  /** RFC 6265bis section 4.1.3.2: what has the prefix must keep its promise; ours all have it. */
  #keep(line: string): void {
    const [pair = '', ...attributes] = line.split(/; */)
    const [name = '', value = ''] = pair.split(/=(.*)/s)
    const has = (text: string) => attributes.some((attribute) => attribute.toLowerCase() === text)
    const lacks = ['path=/', 'secure', 'httponly', 'samesite=lax'].filter((text) => !has(text))
    if (!name.startsWith('__Host-') || lacks.length > 0 || /domain=/i.test(line))
      throw new Error(`no browser of ours would keep: ${line}`)
    if (has('max-age=0')) this.cookies.delete(name)
    else this.cookies.set(name, value)
  }
}

/** What an application remembers between its request and the callback. */
export interface Attempt {
  applicationId: string
  redirectUri: string
  state: string
  nonce: string
  codeVerifier: string
  codeChallenge: string
}

export function newAttempt({ id, redirectUri }: Published): Attempt {
  const codeVerifier = randomBytes(32).toString('base64url')
  return {
    applicationId: id,
    redirectUri,
    state: randomBytes(16).toString('base64url'),
    nonce: randomBytes(16).toString('base64url'),
    codeVerifier,
    codeChallenge: createHash('sha256').update(codeVerifier).digest('base64url'),
  }
}

/** Opens the application's sign-in; the answer is the page. */
export async function openSignIn(
  { identity }: Fixture,
  browser: Browser,
  attempt: Attempt,
): Promise<{ url: string; answer: Answer }> {
  const first = await browser.get(identity.authorizeUrl(attempt))
  if (first.status !== 303 || !first.headers.location?.startsWith(`${loginOrigin}/sign-in/`))
    throw new Error(`no sign-in page: ${first.status} ${first.headers.location} ${first.body}`)
  const url = first.headers.location
  return { url, answer: await browser.get(url) }
}

/** Types name and password; returns where the browser ends up. */
export async function submitSignIn(
  browser: Browser,
  url: string,
  userName: string,
  typed = password,
): Promise<Answer> {
  const answer = await browser.post(url, { userName, password: typed })
  return answer.status === 303 ? await browser.get(answer.headers.location!) : answer
}

export function codeOf(answer: Answer, attempt: Attempt): string {
  const url = new URL(answer.headers.location ?? 'about:blank')
  if (`${url.origin}${url.pathname}` !== attempt.redirectUri)
    throw new Error(`not the callback: ${answer.status} ${url} ${answer.body}`)
  if (url.searchParams.get('state') !== attempt.state) throw new Error('state was lost')
  const code = url.searchParams.get('code')
  if (code === null) throw new Error(`no code: ${url.searchParams.get('error')}`)
  return code
}

/** The whole way, for one application. */
export async function signIn(
  fixture: Fixture,
  browser: Browser,
  application: Published,
  userName: string,
): Promise<IdentitySession> {
  const attempt = newAttempt(application)
  const { url } = await openSignIn(fixture, browser, attempt)
  const code = codeOf(await submitSignIn(browser, url, userName), attempt)
  return await fixture.identity.redeem({ ...attempt, code, clientAddress: '192.0.2.1' })
}

/** Single sign-on: the authorization endpoint answers with a code at once. */
export async function signOn(
  fixture: Fixture,
  browser: Browser,
  application: Published,
): Promise<IdentitySession> {
  const attempt = newAttempt(application)
  const code = codeOf(await browser.get(fixture.identity.authorizeUrl(attempt)), attempt)
  return await fixture.identity.redeem({ ...attempt, code, clientAddress: '192.0.2.1' })
}

export async function nest(store: Store, userId: string, ...names: string[]): Promise<string[]> {
  const ids: string[] = []
  let member: groups.Member = { id: userId, kind: 'user' }
  for (const name of names) {
    const { id } = (await groups.createGroup(store.db, { name }, 1))!
    await groups.addMember(store.db, id, member, 1)
    member = { id, kind: 'group' }
    ids.push(id)
  }
  return ids
}
