import {
  isReservedTarget,
  type Match,
  parseTarget,
  type RequestTarget,
  toInternalPath,
} from '@sallyport/domain'
import { HeadReader } from '@sallyport/http1'
import { ResetCode, type TunnelError, type TunnelStream } from '@sallyport/protocol'
import { responseLimits } from './client.ts'
import {
  connectorFailed,
  describeError,
  failureOf,
  RequestError,
  toRequestError,
} from './failures.ts'
import type { Gateway } from './gateway.ts'
import { toExternalHost } from './host.ts'
import { noConnector, noteRefused, type Opening, openStream } from './stream-opening.ts'
import { readTiming } from './to-client.ts'
import { toOpenText } from './to-origin.ts'
import type { ConnectedTunnel } from './tunnels.ts'

/** What Sallyport itself has to tell an application. */
export interface OwnRequest {
  /** The application has to answer for the URL; nobody else gets the request. */
  applicationId: string
  /** As people would open it. */
  url: string
  body: string
  /** `application/x-www-form-urlencoded` unless it is another one. */
  contentType?: string
  /** Until the answer begins. */
  timeoutMs: number
}

/**
 * A request of Sallyport's own to one application, through a connector of its group: a POST, with no field of any client, and nobody's
 * session. It passes the connector's allow-list like every other. Of the answer only the status is read.
 */
class OwnExchange implements Opening {
  readonly #gateway: Gateway
  readonly #request: OwnRequest
  readonly #match: Match
  readonly #target: RequestTarget
  readonly #host: string
  readonly #id: string
  readonly #at: number
  readonly #startedMs = performance.now()
  readonly #timer: NodeJS.Timeout
  readonly #answer = Promise.withResolvers<number>()
  refused: Set<ConnectedTunnel> | undefined
  tunnel: ConnectedTunnel | undefined
  #stream: TunnelStream | undefined
  #isAccepted = false
  #isEnded = false

  /** @throws RequestError, TargetError */
  constructor(gateway: Gateway, request: OwnRequest) {
    const url = new URL(request.url)
    this.#gateway = gateway
    this.#request = request
    this.#host = url.hostname
    this.#target = parseTarget(url.pathname + url.search)
    // What is matched is what is sent: another application may have been published there meanwhile.
    const match = gateway.view().findApplication(this.#host, this.#target)
    if (match?.compiled.application.id !== request.applicationId || isReservedTarget(this.#target))
      throw new RequestError('APPLICATION_NOT_FOUND', `${url.host} is not that application's`)
    this.#match = match
    this.#id = gateway.nextId()
    this.#at = gateway.options.clock()
    this.#timer = setTimeout(
      () => this.#fail(new RequestError('ORIGIN_TIMEOUT', `no answer in ${request.timeoutMs} ms`)),
      request.timeoutMs,
    )
  }

  run(): Promise<number> {
    try {
      this.#open()
    } catch (error) {
      this.#fail(error)
    }
    return this.#answer.promise
  }

  #open(): void {
    const { tunnels } = this.#gateway
    const { connectorGroup } = this.#match.compiled.application
    const { instruction } = this.#gateway.view().destination(this.#match)
    this.#stream = openStream(this, tunnels, connectorGroup, toOpenText(this.#id, instruction, ''))
    if (!this.#stream) throw noConnector(this, connectorGroup)
    this.#stream.sendHead(this.#toHead())
  }

  #toHead(): string {
    const { application } = this.#match.compiled
    const { port } = this.#gateway.options
    const external = toExternalHost(this.#host, port)
    const { host } = this.#gateway.view().destination(this.#match)
    const { path, query } = this.#target
    return [
      `POST ${toInternalPath(this.#match.compiled, path)}${query} HTTP/1.1`,
      `Host: ${application.hostHeader === 'external' ? external : host}`,
      `Content-Type: ${this.#request.contentType ?? 'application/x-www-form-urlencoded'}`,
      `Content-Length: ${Buffer.byteLength(this.#request.body)}`,
      `X-Forwarded-Host: ${external}`,
      'X-Forwarded-Proto: https',
      `X-Forwarded-Port: ${port}`,
    ].join('\r\n')
  }

  onAccepted(): void {
    this.#isAccepted = true
    this.#stream!.write(Buffer.from(this.#request.body))
    this.#stream!.end()
  }

  onHead(text: string): void {
    try {
      const { statusCode } = new HeadReader(responseLimits).readResponse(
        text,
        readTiming(text)?.end,
      )
      if (statusCode >= 200) this.#succeed(statusCode)
      else if (statusCode === 101)
        throw new RequestError('ORIGIN_RESPONSE_INVALID', 'origin switched protocols unasked')
    } catch (error) {
      this.#fail(error)
    }
  }

  onData(): void {}

  onEnd(): void {
    this.#fail(connectorFailed('connector ended the stream without a response'))
  }

  onWritable(): void {}

  onReset(error: TunnelError): void {
    if (this.#isEnded) return
    this.#stream = undefined
    try {
      if (!error.retryable || this.#isAccepted)
        throw new RequestError(failureOf(error), error.detail ?? error.message)
      noteRefused(this)
      this.#open()
    } catch (failure) {
      this.#fail(failure)
    }
  }

  #succeed(statusCode: number): void {
    if (!this.#finish(statusCode)) return
    this.#stream?.reset(ResetCode.CANCELLED, 'the status is enough')
    this.#answer.resolve(statusCode)
  }

  #fail(error: unknown): void {
    const failure = toRequestError(error)
    if (!this.#finish(502, failure)) return
    if (failure.code === 'INTERNAL') this.#gateway.options.onInternalError(error, this.#id)
    this.#stream?.reset(ResetCode.CANCELLED, failure.code)
    this.#answer.reject(new Error(`${failure.code}: ${describeError(failure)}`, { cause: error }))
  }

  /** @returns false when it has ended before */
  #finish(statusCode: number, failure?: RequestError): boolean {
    if (this.#isEnded) return false
    this.#isEnded = true
    clearTimeout(this.#timer)
    const { application } = this.#match.compiled
    this.#gateway.options.record({
      at: this.#at,
      id: this.#id,
      host: this.#host,
      method: 'POST',
      path: this.#target.path,
      statusCode,
      decision: 'own',
      reason: failure?.code,
      application: application.name,
      applicationId: application.id,
      userId: undefined,
      userName: undefined,
      sessionId: undefined,
      connector: this.tunnel?.connectorName,
      clientAddress: '',
      receivedBytes: 0,
      sentBytes: 0,
      totalMs: performance.now() - this.#startedMs,
      gatewayMs: undefined,
      connectorMs: undefined,
      originMs: undefined,
      detail: failure && describeError(failure),
    })
    return true
  }
}

/**
 * Sends a form of Sallyport's own to an application.
 *
 * @returns the status code of the answer
 * @throws Error whose message begins with the failure's code
 */
export async function sendOwnRequest(gateway: Gateway, request: OwnRequest): Promise<number> {
  return await new OwnExchange(gateway, request).run()
}
