import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Metrics } from './metrics/metrics.ts'
import type { RequestTracing } from './tracing/tracing.ts'

/** Hosts of the service itself; the portal is an application to the gateway. */
export const systemHostNames = ['login', 'admin', 'connect'] as const
export type SystemHostName = (typeof systemHostNames)[number]

/** The client left before it was answered; nginx's number for it, as in the access log. */
const clientLeft = 499

/** Counts and follows requests to system hosts, which no gateway sees. */
export class SystemRequests {
  readonly #metrics: Metrics | undefined
  readonly #tracing: RequestTracing | undefined
  readonly #clock: () => number

  constructor(
    metrics: Metrics | undefined,
    tracing: RequestTracing | undefined,
    clock: () => number,
  ) {
    this.#metrics = metrics
    this.#tracing = tracing
    this.#clock = clock
  }

  begin(host: SystemHostName, request: IncomingMessage, response: ServerResponse): void {
    const at = this.#clock()
    const startedMs = performance.now()
    const endSpan = this.#tracing?.beginSystem(host, request.method ?? '', at)
    response.once('close', () => {
      const statusCode = response.headersSent ? response.statusCode : clientLeft
      const totalMs = performance.now() - startedMs
      this.#metrics?.addSystemRequest(host, statusCode, totalMs)
      endSpan?.(statusCode, at + totalMs)
    })
  }
}
