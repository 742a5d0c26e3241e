import { duplexPair } from 'node:stream'
import type { TestContext } from 'node:test'
import { type AccessEvent, compileSnapshot, type DenySet, type Snapshot } from '@sallyport/domain'
import { Gateway, type RingKey } from '../../src/index.ts'
import { TestConnector } from './connector.ts'
import type { Random } from './random.ts'
import { absoluteLifetimeMs, type Truth } from './truth.ts'
import { Wire } from './wire.ts'

/** How long an event, and an answer of the directory, may be on its way. */
const limitDelayMs = 800
const limitLingerMs = 300
export const feedSilenceLimitMs = 60_000

/** What was asked of one gateway, and when and whether it let it through. */
export interface Visit {
  sessionId: string
  applicationName: string
  wire: Wire
  statusCode: number | undefined
  /** The cookie that came with the answer. */
  cookie: string | undefined
}

/** One gateway far from the store: events come late or never, and its clock is its own. */
export class FarGateway {
  readonly #truth: Truth
  readonly #random: Random
  readonly #ring: () => readonly RingKey[]
  readonly #closers: (() => void)[] = []
  gateway!: Gateway
  /** Its clock less the true one. */
  skewMs = 0
  isLinkUp = true
  isDirectoryUp = true
  /** Since when nothing has been in its way. */
  undisturbedSince: number
  #snapshot: Snapshot
  #onTheWay: { event: AccessEvent; dueAt: number }[] = []
  #provers: { resolve(): void; reject(error: Error): void }[] = []
  #readers: { resolve(): void; dueAt: number }[] = []

  constructor(truth: Truth, random: Random, ring: () => readonly RingKey[]) {
    this.#truth = truth
    this.#random = random
    this.#ring = ring
    this.undisturbedSince = truth.nowAt
    this.#snapshot = this.#compile()
  }

  /** A new process. What it knew is gone, and what was on the way to it too. */
  start(): void {
    this.#onTheWay = []
    const fail = () => Promise.reject(new Error('the store is out of reach'))
    const identity = {
      readSession: async (sessionId: string) => {
        if (!this.isDirectoryUp) return fail()
        const found = this.#truth.read(sessionId)
        // Some answers take a while, and are old when they come.
        await this.#linger()
        return found
      },
      authorizeUrl: () => 'https://login.example.test/authorize',
      redeem: fail,
      takeForm: async () => ({ kind: 'gone' as const }),
      takeLogoutPass: () => undefined,
      samlStartUrl: (id: string) => `https://login.example.com/saml2/start/${id}`,
      endSession: async (sessionId: string) => {
        this.#truth.endSession(sessionId)
        return undefined
      },
      noteUse: async () => undefined,
      signOnAssertion: fail,
      assertion: async ({
        sessionId,
        applicationId,
      }: Record<'sessionId' | 'applicationId', string>) => {
        if (!this.isDirectoryUp)
          throw Object.assign(new Error('the store is out of reach'), { retryable: true })
        const found = this.#truth.read(sessionId)
        await this.#linger()
        const issuedAt = this.#truth.nowAt + this.skewMs
        return (
          found && {
            token: `${found.userId} ${applicationId}`,
            keyId: '1',
            issuedAt,
            expiresAt: issuedAt + 300_000,
          }
        )
      },
      assertionKeyId: () => '1',
      credentialRefused: fail,
    }
    this.gateway = new Gateway({
      snapshot: () => this.#snapshot,
      identity,
      feed: { prove: () => this.#prove(), catchUp: () => this.#catchUp() },
      feedSilenceLimitMs,
      portal: async () => ({ statusCode: 200, fields: [], body: '' }),
      cookieKeys: this.#ring,
      port: 443,
      trustedProxies: [],
      absoluteLifetimeMs,
      clock: () => this.#truth.nowAt + this.skewMs,
      monotonicMs: () => this.#truth.nowAt,
      record: () => undefined,
      onInternalError: (error) => {
        if (!/out of reach|claims changed/.test(String(error))) throw error
      },
    })
    const { gateway } = this
    const scope = { after: (close: () => void) => this.#closers.push(close) }
    new TestConnector(scope as unknown as TestContext, gateway, {}, (relayed) => {
      if (relayed.stream.openText === '') return
      this.#connected.push(relayed)
    })
    this.undisturbedSince = Number.POSITIVE_INFINITY
    void gateway.start().then(
      () => this.#settle(),
      () => undefined,
    )
  }
  #connected: {
    head: unknown
    begin(statusCode: number, fields?: string[]): void
    answer(statusCode: number): void
  }[] = []

  /** Answers what has come to the connector. @param stays leaves the answer open, as a stream is */
  answerOrigins(stays: boolean): void {
    for (const relayed of this.#connected.splice(0)) {
      if (!relayed.head) this.#connected.push(relayed)
      else if (stays) relayed.begin(200, ['Transfer-Encoding', 'chunked'])
      else relayed.answer(200)
    }
  }

  async stop(): Promise<void> {
    for (const { reject } of this.#provers.splice(0)) reject(new Error('the store is out of reach'))
    for (const { resolve } of this.#readers.splice(0)) resolve()
    this.#connected = []
    const closers = this.#closers.splice(0)
    await this.gateway.close()
    for (const close of closers) close()
  }

  /** Asks for the start page of an application. */
  visit(sessionId: string, applicationName: string, cookie: string): Visit {
    const [near, far] = duplexPair()
    this.gateway.serveClient(Object.assign(far, { remoteAddress: '192.0.2.1' }))
    this.#closers.push(() => near.destroy())
    const wire = new Wire(near)
    const visit: Visit = {
      sessionId,
      applicationName,
      wire,
      statusCode: undefined,
      cookie: undefined,
    }
    wire.send(
      `GET / HTTP/1.1\r\nHost: ${applicationName}.example.test\r\nCookie: ${cookie}\r\n\r\n`,
    )
    return visit
  }

  // --- the feed

  publish(event: AccessEvent): void {
    if (!this.isLinkUp) return
    const last = this.#onTheWay.at(-1)?.dueAt ?? 0
    // One connection: nothing overtakes.
    const dueAt = Math.max(last, this.#truth.nowAt + this.#random.below(limitDelayMs))
    this.#onTheWay.push({ event, dueAt })
  }

  /** Lets happen what is due. */
  pass(): void {
    while (this.#onTheWay.length > 0 && this.#onTheWay[0]!.dueAt <= this.#truth.nowAt) {
      const { event } = this.#onTheWay.shift()!
      if (event.kind === 'configuration-changed') this.#snapshot = this.#compile()
      this.gateway.apply(event)
    }
    if (this.isLinkUp && this.#onTheWay.length === 0) {
      for (const { resolve } of this.#provers.splice(0)) resolve()
    }
    const { nowAt } = this.#truth
    for (const { resolve, dueAt } of this.#readers) if (dueAt <= nowAt) resolve()
    this.#readers = this.#readers.filter(({ dueAt }) => dueAt > nowAt)
    this.gateway.feed.tick()
    this.gateway.retry()
  }

  cutLink(): void {
    this.isLinkUp = false
    this.undisturbedSince = Number.POSITIVE_INFINITY
    this.#onTheWay = []
    // A connection that is lost is sometimes noticed, and sometimes not.
    if (this.#random.below(2) === 0)
      for (const { reject } of this.#provers.splice(0))
        reject(new Error('the store is out of reach'))
  }

  healLink(): void {
    if (this.isLinkUp) return
    this.isLinkUp = true
    this.gateway.apply({ kind: 'feed-interrupted', at: this.#truth.nowAt })
    this.#settle()
  }

  setDirectory(isUp: boolean): void {
    if (this.isDirectoryUp === isUp) return
    this.isDirectoryUp = isUp
    if (isUp) this.#settle()
    else this.undisturbedSince = Number.POSITIVE_INFINITY
  }

  #settle(): void {
    if (this.isLinkUp && this.isDirectoryUp) this.undisturbedSince = this.#truth.nowAt
  }

  #prove(): Promise<void> {
    if (!this.isDirectoryUp || !this.isLinkUp)
      return Promise.reject(new Error('the store is out of reach'))
    if (this.#onTheWay.length === 0) return Promise.resolve()
    return new Promise((resolve, reject) => this.#provers.push({ resolve, reject }))
  }

  async #catchUp(): Promise<DenySet> {
    if (!this.isDirectoryUp) throw new Error('the store is out of reach')
    const denySet = this.#truth.denySet()
    const snapshot = this.#compile()
    await this.#linger()
    // As control does: an event may have brought a newer one meanwhile.
    if (snapshot.version >= this.#snapshot.version) this.#snapshot = snapshot
    return denySet
  }

  async #linger(): Promise<void> {
    if (this.#random.below(3) === 0)
      await new Promise<void>((resolve) =>
        this.#readers.push({
          resolve,
          dueAt: this.#truth.nowAt + this.#random.below(limitLingerMs),
        }),
      )
  }

  #compile(): Snapshot {
    return compileSnapshot({
      applications: this.#truth.applications,
      baseDomain: 'example.test',
      port: 443,
      version: this.#truth.configurationVersion,
    })
  }
}
