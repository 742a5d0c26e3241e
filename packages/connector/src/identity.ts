import { sign } from 'node:crypto'
import { type CertificateFacts, checkIssued, readBundle, readCertificate } from './certificate.ts'
import { parseProxyUrl } from './connect-proxy.ts'
import { type Resolve, resolveName } from './dial.ts'
import { ConnectorError, findErrorCode, toError } from './errors.ts'
import type { Log } from './log.ts'
import { dialService, enrolmentProtocol, type ServiceRoute } from './service-connection.ts'
import { postJson, readText } from './service-request.ts'
import { type ConnectorState, writeRenewed } from './state.ts'

/**
 * Longer waits are cut in pieces: a machine that slept, or whose clock was set, is noticed within
 * it.
 */
const maxWaitMs = 3_600_000
const firstRetryMs = 60_000
const maxRetryMs = 3_600_000

export interface IdentityOptions {
  state: ConnectorState
  stateDir: string
  route: ServiceRoute
  log: Log
  clock: () => number
  /** A new certificate is stored and will be shown at the next dial. */
  onRenewed(): void
}

/** For a command that asks the service a few things beside the connector that runs. */
export function openIdentity({
  state,
  stateDir,
  log,
  resolve = resolveName,
}: Pick<IdentityOptions, 'state' | 'stateDir' | 'log'> & {
  resolve?: Resolve | undefined
}): Identity {
  const { service, proxy } = state.settings
  return new Identity({
    state,
    stateDir,
    route: {
      service: new URL(service),
      proxy: proxy ? parseProxyUrl(proxy) : undefined,
      resolve,
    },
    log,
    clock: Date.now,
    onRenewed: () => {},
  })
}

/** The connector's key and certificate, and the care that the certificate never runs out. */
export class Identity {
  readonly keyPem: string
  readonly #options: IdentityOptions
  #certificatePem: string
  #caPem: string
  #facts: CertificateFacts
  #timer: NodeJS.Timeout | undefined
  #renewing: Promise<void> | undefined
  /** The latest of what is asked outside of tunnels. */
  #turn: Promise<void> = Promise.resolve()
  #failures = 0
  #retryAt = 0
  #renewedAt = Number.NEGATIVE_INFINITY
  #lastError: ConnectorError | undefined
  readonly #stopping = new AbortController()

  constructor(options: IdentityOptions) {
    this.#options = options
    this.keyPem = options.state.keyPem
    this.#certificatePem = options.state.certificatePem
    this.#caPem = options.state.caPem
    this.#facts = readCertificate(this.#certificatePem)
  }

  get certificatePem(): string {
    return this.#certificatePem
  }

  get caPem(): string {
    return this.#caPem
  }

  get facts(): CertificateFacts {
    return this.#facts
  }

  get lastError(): ConnectorError | undefined {
    return this.#lastError
  }

  /** Renews in the background from now on, when it is time. */
  start(): void {
    this.#schedule()
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#stopping.abort(new ConnectorError('SERVICE_TIMEOUT', 'the connector is stopping'))
  }

  /**
   * Renews first if the certificate has expired: no dial can succeed with it.
   *
   * @throws ConnectorError when that fails
   */
  async ensureValid(): Promise<void> {
    if (this.#options.clock() >= this.#facts.notAfterAt) await this.renew()
  }

  /**
   * The service says that the certificate is not valid: renews, unless that was tried a moment ago.
   */
  renewSoon(): void {
    const { clock } = this.#options
    if (this.#renewing || clock() < this.#retryAt || clock() - this.#renewedAt < firstRetryMs)
      return
    this.renew().catch(() => {})
  }

  /** Renews now; whoever asks meanwhile shares the outcome. */
  renew(): Promise<void> {
    this.#renewing ??= this.#renew().finally(() => {
      this.#renewing = undefined
      this.#schedule()
    })
    return this.#renewing
  }

  #schedule(): void {
    clearTimeout(this.#timer)
    if (this.#stopping.signal.aborted) return
    const dueAt = Math.max(this.#facts.renewAt, this.#retryAt)
    const waitMs = Math.min(Math.max(dueAt - this.#options.clock(), 0), maxWaitMs)
    this.#timer = setTimeout(() => {
      if (this.#options.clock() < dueAt) this.#schedule()
      // The outcome is kept in lastError and logged there.
      else this.renew().catch(() => {})
    }, waitMs)
    this.#timer.unref()
  }

  async #renew(): Promise<void> {
    const { log, clock } = this.#options
    try {
      await this.#inTurn(() => this.#requestCertificate())
    } catch (error) {
      this.#lastError = toConnectorError(error)
      this.#retryAt = clock() + Math.min(firstRetryMs * 2 ** this.#failures, maxRetryMs)
      this.#failures += 1
      const { code, message } = this.#lastError
      if (!this.#stopping.signal.aborted)
        log.warn({ code, detail: message, retryAt: this.#retryAt }, 'certificate not renewed')
      throw this.#lastError
    }
    this.#failures = 0
    this.#retryAt = 0
    this.#renewedAt = clock()
    this.#lastError = undefined
    log.info(
      { serial: this.#facts.serial, notAfterAt: this.#facts.notAfterAt },
      'certificate renewed',
    )
    this.#options.onRenewed()
  }

  async #requestCertificate(): Promise<void> {
    const { route, stateDir } = this.#options
    const { createSigningRequest } = await import('./csr.ts')
    const answer = await this.#ask('/v1/renew', { csr: await createSigningRequest(this.keyPem) })
    const renewed = readText(answer, 'certificate')
    const caPem = readBundle(answer, this.#caPem)
    checkIssued(renewed, this.keyPem, caPem)
    const facts = readCertificate(renewed)
    if (facts.notAfterAt <= this.#facts.notAfterAt)
      throw new ConnectorError(
        'SERVICE_RESPONSE_INVALID',
        `${route.service.host} issued a certificate that ends no later than the old one`,
      )
    writeRenewed(stateDir, renewed, caPem)
    this.#certificatePem = renewed
    this.#caPem = caPem
    this.#facts = facts
  }

  /**
   * Asks the service outside of a tunnel, with proof that it is this connector who asks.
   *
   * @throws ConnectorError as `dialService` and `postJson`
   */
  ask(path: string, body: object): Promise<Record<string, unknown>> {
    return this.#inTurn(() => this.#ask(path, body))
  }

  /** A certificate that is shown after the one that was renewed meanwhile is what a thief would show. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work)
    this.#turn = turn.then(
      () => undefined,
      () => undefined,
    )
    return turn
  }

  async #ask(path: string, body: object): Promise<Record<string, unknown>> {
    const certificate = this.#certificatePem
    const challenge = readText(await this.#post('/v1/challenge', { certificate }), 'challenge')
    const signature = signChallenge(challenge, this.keyPem)
    return this.#post(path, { ...body, certificate, challenge, signature })
  }

  async #post(path: string, body: object): Promise<Record<string, unknown>> {
    const { route } = this.#options
    const socket = await dialService(
      route,
      { protocol: enrolmentProtocol, ca: this.#caPem },
      this.#stopping.signal,
    )
    return postJson(socket, route.service.host, path, body)
  }
}

/**
 * Proof that we hold the key of an expired certificate: ECDSA with P-256 and SHA-256 over the
 * challenge as it was sent.
 *
 * @returns base64url of the DER signature
 */
export function signChallenge(challenge: string, keyPem: string): string {
  return sign('sha256', Buffer.from(challenge, 'utf8'), keyPem).toString('base64url')
}

function toConnectorError(error: unknown): ConnectorError {
  if (error instanceof ConnectorError) return error
  const { message } = toError(error)
  return new ConnectorError(
    'SERVICE_UNREACHABLE',
    `${findErrorCode(error) ?? 'error'}: ${message}`,
    { cause: error },
  )
}
