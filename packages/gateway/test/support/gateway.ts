import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import net from 'node:net'
import { duplexPair } from 'node:stream'
import type { TestContext } from 'node:test'
import {
  type ApplicationInput,
  type AssignedApplication,
  applicationSchema,
  compileSnapshot,
  type DenySet,
  type IdentitySession,
  type Snapshot,
} from '@sallyport/domain'
import type { ServerOptions } from '@sallyport/http1'
import {
  type AccessRecord,
  Gateway,
  type GatewayOptions,
  type LocalAnswer,
} from '../../src/index.ts'
import { type ConnectorFacts, type Relayed, TestConnector } from './connector.ts'
import { Wire } from './wire.ts'

export const startAt = 1_800_000_000_000
export const hourMs = 3_600_000

let count = 0

/** An application `https://<name>.example.test/`, for everybody unless principals are given. */
export function app(
  name: string,
  more: Partial<ApplicationInput> = {},
  principalIds?: string[],
): AssignedApplication {
  count += 1
  return {
    application: applicationSchema.parse({
      id: `00000000-0000-4000-8000-${String(count).padStart(12, '0')}`,
      name,
      displayName: name,
      externalUrl: `https://${name}.example.test/`,
      internalUrl: `http://${name}.internal:8080/`,
      assignmentRequired: principalIds !== undefined,
      ...more,
    }),
    principalIds: principalIds ?? [],
  }
}

export function person(userId: string, groups: string[] = []): IdentitySession {
  return {
    sessionId: `session of ${userId}`,
    userId,
    signInEpoch: 1,
    methods: ['pwd'],
    signedInAt: startAt,
    absoluteExpiresAt: startAt + 12 * hourMs,
    claims: {
      objectId: userId,
      userName: `${userId}@example.test`,
      displayName: userId,
      mail: undefined,
      groups: groups.map((id) => ({ id, name: id })),
    },
  }
}

/** Identity: sessions in a map, and a provider of codes that holds to PKCE. */
export class Identity {
  readonly sessions = new Map<string, IdentitySession>()
  readonly ended: string[] = []
  /** Parameters of each authorization request. */
  readonly requests: Record<string, string>[] = []
  readonly #codes = new Map<string, { request: Record<string, string>; session: IdentitySession }>()
  /** What the next read waits for. */
  gate: Promise<void> | undefined
  reads = 0
  isDown = false

  async readSession(sessionId: string): Promise<IdentitySession | undefined> {
    this.reads += 1
    const found = this.sessions.get(sessionId)
    await this.gate
    if (this.isDown) throw new Error('identity is down')
    return found
  }

  authorizeUrl(request: Record<string, string>): string {
    this.requests.push(request)
    return `https://login.example.test/authorize?${new URLSearchParams(request)}`
  }

  /** Signs a person in as the provider would: the code for one authorization request. */
  issueCode(request: Record<string, string>, session: IdentitySession): string {
    const code = `code-${this.#codes.size}`
    this.#codes.set(code, { request, session })
    this.sessions.set(session.sessionId, session)
    return code
  }

  async redeem(request: Record<string, string>): Promise<IdentitySession> {
    if (this.isDown) throw new Error('identity is down')
    const known = this.#codes.get(request.code!)
    this.#codes.delete(request.code!)
    if (!known) throw new Error('unknown code')
    const challenge = createHash('sha256').update(request.codeVerifier!).digest('base64url')
    assert.equal(challenge, known.request.codeChallenge)
    assert.equal(request.redirectUri, known.request.redirectUri)
    assert.equal(request.nonce, known.request.nonce)
    assert.equal(request.applicationId, known.request.applicationId)
    return known.session
  }

  /** What was asked of `signOnAssertion`. */
  readonly asserted: { sessionId: string; applicationId: string; label: string | undefined }[] = []
  /** What the next assertion waits for. */
  assertionGate: Promise<void> | undefined
  assertionLifetimeMs = 300_000
  assertionFailure: Error | undefined
  nowAt: () => number = Date.now

  /** What applications have turned down. */
  readonly refused: { id: string; version: number }[] = []

  async credentialRefused(credential: { id: string; version: number }): Promise<void> {
    this.refused.push(credential)
  }

  async signOnAssertion(request: {
    sessionId: string
    applicationId: string
    label: string | undefined
  }): Promise<{ token: string; expiresAt: number }> {
    this.asserted.push(request)
    const count = this.asserted.length
    await this.assertionGate
    if (this.assertionFailure) throw this.assertionFailure
    if (!this.sessions.has(request.sessionId))
      throw Object.assign(new Error('the session has ended'), { code: 'SESSION_ENDED' })
    return { token: `assertion-${count}`, expiresAt: this.nowAt() + this.assertionLifetimeMs }
  }

  readonly used: string[] = []
  async noteUse(sessionIds: readonly string[]): Promise<void> {
    if (this.isDown) throw new Error('identity is down')
    this.used.push(...sessionIds)
  }

  /** What was asked for, in order. */
  readonly assertions: string[] = []
  keyId = '1'
  /** Epoch milliseconds, as identity's clock says. */
  clock = () => startAt

  async assertion(request: { sessionId: string; applicationId: string }) {
    const { sessionId, applicationId } = request
    this.assertions.push(`${sessionId} ${applicationId}`)
    const count = this.assertions.length
    const found = this.sessions.get(sessionId)
    await this.gate
    if (this.isDown) throw Object.assign(new Error('identity is down'), { retryable: true })
    const issuedAt = this.clock()
    return (
      found && {
        token: `${found.claims.displayName}.${this.keyId}.${count}`,
        keyId: this.keyId,
        issuedAt,
        expiresAt: issuedAt + 300_000,
      }
    )
  }

  assertionKeyId(): string {
    return this.keyId
  }

  /** Where the browser goes when it has signed out; undefined: nowhere. */
  logoutUrl: string | undefined
  async endSession(sessionId: string): Promise<string | undefined> {
    this.ended.push(sessionId)
    this.sessions.delete(sessionId)
    return this.logoutUrl
  }

  /** Passes of messages of sign-out, each good once: `application method url`, and the SHA-256 of the body. */
  readonly logoutPasses = new Map<string, [delivery: string, digest: string]>()
  takeLogoutPass(
    pass: string,
    { applicationId, method, url }: { applicationId: string; method: string; url: string },
  ): string | undefined {
    const [delivery, digest] = this.logoutPasses.get(pass) ?? []
    if (delivery !== `${applicationId} ${method} ${url}`) return undefined
    this.logoutPasses.delete(pass)
    return digest
  }

  /** Forms for applications, each there once: of which host and session, and where it goes. */
  readonly forms = new Map<string, { origin: string; sessionId: string; actionUrl: string }>()
  async takeForm({ id, origin, sessionId }: { id: string; origin: string; sessionId: string }) {
    if (this.isDown) throw Object.assign(new Error('identity is down'), { retryable: true })
    const kept = this.forms.get(id)
    if (kept?.origin !== origin) return { kind: 'gone' as const }
    if (kept.sessionId !== sessionId) return { kind: 'other-session' as const }
    this.forms.delete(id)
    const fields = { SAMLResponse: 'x', RelayState: 'r&d' }
    const form = { purpose: 'sign-on' as const, applicationName: 'Pay', fields }
    return { kind: 'form' as const, form: { ...form, actionUrl: kept.actionUrl } }
  }

  samlStartUrl(applicationId: string): string {
    return `https://login.example.com/saml2/start/${applicationId}`
  }
}

/** What a gateway hears events by: it proves and gives at once, unless a test says otherwise. */
export class Feed {
  denySet: DenySet = {
    endedSessions: [],
    epochs: [],
    revokedConnectorIds: [],
    connectorGroups: [],
  }
  isDown = false
  proofs = 0
  readings = 0
  /** What the next reading waits for, after it was read. */
  gate: Promise<void> | undefined

  async prove(): Promise<void> {
    this.proofs += 1
    if (this.isDown) throw new Error('feed is down')
  }

  async catchUp(): Promise<DenySet> {
    this.readings += 1
    const { denySet } = this
    await this.gate
    return denySet
  }
}

export interface TestGatewayOptions {
  applications: AssignedApplication[]
  port?: number
  trustedProxies?: string[]
  http?: ServerOptions
  portal?: GatewayOptions['portal']
  /** What has ended is not read yet. */
  isStopped?: boolean
  /** Tests that move the clock by hours are not about the feed. */
  feedSilenceLimitMs?: number
}

/** A gateway in memory: its configuration and identity are literals, its clients and connectors are driven by hand. */
export class TestGateway {
  readonly gateway: Gateway
  readonly identity = new Identity()
  readonly records: AccessRecord[] = []
  readonly internalErrors: unknown[] = []
  readonly connectors: TestConnector[] = []
  readonly feed = new Feed()
  cookieKeys = [{ id: '1', secret: Buffer.alloc(32, 1) }]
  readonly started: Promise<void>
  readonly feedChanges: boolean[] = []
  readonly feedErrors: unknown[] = []
  snapshot: Snapshot
  nowAt = startAt
  readonly #t: TestContext
  readonly #port: number
  readonly #isStopped: boolean
  #waiting: (() => void)[] = []

  constructor(t: TestContext, options: TestGatewayOptions) {
    this.#t = t
    this.#port = options.port ?? 443
    this.#isStopped = options.isStopped ?? false
    this.snapshot = this.compile(options.applications)
    this.identity.nowAt = () => this.nowAt
    this.identity.clock = () => this.nowAt
    const identity = this.identity as unknown as GatewayOptions['identity']
    this.gateway = new Gateway({
      snapshot: () => this.snapshot,
      identity,
      feed: this.feed,
      feedSilenceLimitMs: options.feedSilenceLimitMs ?? Number.POSITIVE_INFINITY,
      monotonicMs: () => this.nowAt - startAt,
      onFeedChange: (isSilent) => this.feedChanges.push(isSilent),
      onFeedError: (error) => this.feedErrors.push(error),
      portal:
        options.portal ??
        (async ({ session }): Promise<LocalAnswer> => ({
          statusCode: 200,
          fields: ['Content-Type', 'text/html'],
          body: `portal of ${session.userId}`,
        })),
      cookieKeys: () => this.cookieKeys,
      port: this.#port,
      trustedProxies: options.trustedProxies ?? [],
      absoluteLifetimeMs: 12 * hourMs,
      clock: () => this.nowAt,
      record: (record) => {
        this.records.push(record)
        for (const resolve of this.#waiting.splice(0)) resolve()
      },
      onInternalError: (error) => this.internalErrors.push(error),
      ...(options.http ? { http: options.http } : {}),
    })
    this.started = options.isStopped ? Promise.resolve() : this.gateway.start()
    t.after(async () => {
      await this.gateway.close()
      // Whatever else a test looks at: nothing may be let out of a handler into a tunnel.
      for (const { handlerErrors } of this.connectors) assert.deepEqual(handlerErrors, [])
    })
  }

  compile(applications: AssignedApplication[]): Snapshot {
    count += 1
    return compileSnapshot({
      applications,
      baseDomain: 'example.test',
      port: this.#port,
      version: count,
    })
  }

  /** @param onStream answers at once, where a test need not do so by hand */
  addConnector(facts: ConnectorFacts = {}, onStream?: (relayed: Relayed) => void): TestConnector {
    const connector = new TestConnector(this.#t, this.gateway, facts, onStream)
    this.connectors.push(connector)
    return connector
  }

  /** A connection of a client, in memory. */
  connect(serverName?: string): Wire {
    const [near, far] = duplexPair()
    const serve = () =>
      this.gateway.serveClient(Object.assign(far, { remoteAddress: '192.0.2.1' }), serverName)
    // The first of a test that has not waited yet.
    if (this.gateway.feed.isSilent() && !this.#isStopped) void this.started.then(serve)
    else serve()
    this.#t.after(() => near.destroy())
    return new Wire(near)
  }

  /** A connection of a client over loopback, with real buffers and resets. */
  async connectSocket(): Promise<{ wire: Wire; client: net.Socket; server: net.Socket }> {
    const listener = net.createServer((socket) => this.gateway.serveClient(socket))
    listener.listen(0, '127.0.0.1')
    await once(listener, 'listening')
    const accepted = once(listener, 'connection') as Promise<[net.Socket]>
    const client = net.connect((listener.address() as net.AddressInfo).port, '127.0.0.1')
    const [server] = await accepted
    listener.close()
    this.#t.after(() => client.destroy())
    return { wire: new Wire(client), client, server }
  }

  /** A Cookie value that proves the person on this host; the directory knows the session. */
  cookie(session: IdentitySession, host: string): string {
    this.identity.sessions.set(session.sessionId, session)
    return this.gateway.sessionCookie(session, host).setCookie.split(';')[0]!
  }

  /** Waits for the record with this index. */
  async record(index = 0): Promise<AccessRecord> {
    while (this.records.length <= index)
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    return this.records[index]!
  }
}

/** A request head with Host, CRLF at the end. */
export function request(target: string, host: string, fields: Record<string, string> = {}): string {
  const [method, path] = target.includes(' ') ? target.split(' ') : ['GET', target]
  let text = `${method} ${path} HTTP/1.1\r\nHost: ${host}\r\n`
  for (const [name, value] of Object.entries(fields)) text += `${name}: ${value}\r\n`
  return `${text}\r\n`
}
