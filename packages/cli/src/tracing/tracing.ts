import {
  type Context,
  diag,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  type TextMapGetter,
  type Tracer,
  trace as traceApi,
} from '@opentelemetry/api'
import { W3CTraceContextPropagator } from '@opentelemetry/core'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { resourceFromAttributes } from '@opentelemetry/resources'
import {
  BatchSpanProcessor,
  ParentBasedSampler,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace'
import type { AccessRecord, Trace, Tracing } from '@sallyport/gateway'
import type { Logger } from 'pino'
import { version } from '../version.ts'

export interface TracingOptions {
  endpoint: string
  sampleRatio: number
  /** How long spans wait for others, milliseconds. */
  delayMs?: number
}

/** A service that ends waits no longer for a collector that does not answer. */
const closeMs = 2_000
/** Spans that wait for a collector that is slow; more are dropped. */
const limitWaiting = 4_096

/** OpenTelemetry's names of methods; a client may send any, and names of spans are to be few. */
const methods: ReadonlySet<string> = new Set(
  'GET HEAD POST PUT PATCH DELETE OPTIONS TRACE CONNECT'.split(' '),
)

/**
 * Makes a span of each request, with one for the connector and one for the origin below it, and sends them to a
 * collector.
 */
export class RequestTracing implements Tracing {
  readonly #provider: TracerProvider
  readonly #tracer: Tracer
  readonly #propagator = new W3CTraceContextPropagator()

  constructor({ endpoint, sampleRatio, delayMs = 2_000 }: TracingOptions, log: Logger) {
    reportTo(log)
    this.#provider = new TracerProvider({
      resource: resourceFromAttributes({
        'service.name': 'sallyport',
        'service.version': version,
      }),
      sampler: new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(sampleRatio) }),
      spanProcessors: [
        new BatchSpanProcessor({
          exporter: new OTLPTraceExporter({ url: toTracesUrl(endpoint), timeoutMillis: 5_000 }),
          maxQueueSize: limitWaiting,
          scheduledDelayMillis: delayMs,
        }),
      ],
    })
    this.#tracer = this.#provider.getTracer('sallyport', version)
  }

  begin(at: number, fields: readonly string[] | undefined): Trace {
    const parent = fields
      ? this.#propagator.extract(ROOT_CONTEXT, fields, fieldGetter)
      : ROOT_CONTEXT
    const span = this.#tracer.startSpan('request', { startTime: at, kind: SpanKind.SERVER }, parent)
    const own = traceApi.setSpan(parent, span)
    let originLines = ''
    this.#propagator.inject(own, undefined, {
      set: (_, name, value) => {
        originLines += `\r\n${name}: ${value}`
      },
    })
    return { originLines, end: (record) => this.#end(span, own, record) }
  }

  /**
   * A request to a host of the service itself has come.
   *
   * @returns to be called when it has been answered, with the instant of that
   */
  beginSystem(
    host: string,
    method: string,
    at: number,
  ): (statusCode: number, endedAt: number) => void {
    const known = methods.has(method)
    const attributes = {
      'http.request.method': known ? method : '_OTHER',
      'sallyport.system_host': host,
    }
    const name = `${known ? method : 'HTTP'} ${host}`
    const span = this.#tracer.startSpan(
      name,
      { startTime: at, kind: SpanKind.SERVER, attributes },
      ROOT_CONTEXT,
    )
    return (statusCode, endedAt) => {
      span.setAttribute('http.response.status_code', statusCode)
      if (statusCode >= 500) span.setStatus({ code: SpanStatusCode.ERROR })
      span.end(endedAt)
    }
  }

  async close(): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    const enough = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, closeMs)
    })
    // What could not be sent was said in the log.
    await Promise.race([this.#provider.shutdown().catch(() => {}), enough])
    clearTimeout(timer)
  }

  #end(span: Span, own: Context, record: AccessRecord): void {
    if (span.isRecording()) {
      const { application, statusCode, method } = record
      const known = methods.has(method) ? method : 'HTTP'
      span.updateName(application === undefined ? known : `${known} ${application}`)
      span.setAttributes(attributesOf(record))
      if (statusCode >= 500) span.setStatus({ code: SpanStatusCode.ERROR })
      this.#addParts(own, record)
    }
    span.end(record.at + record.totalMs)
  }

  /**
   * How long each part took is known, and not when it began: each stands in the middle of the one around it, as if
   * the way there took as long as the way back.
   */
  #addParts(own: Context, { at, gatewayMs, connectorMs, originMs }: AccessRecord): void {
    if (gatewayMs === undefined || connectorMs === undefined) return
    const connectorAt = at + gatewayMs / 2
    const connector = this.#tracer.startSpan('connector', { startTime: connectorAt }, own)
    if (originMs !== undefined && originMs <= connectorMs) {
      const originAt = connectorAt + (connectorMs - originMs) / 2
      const inside = traceApi.setSpan(own, connector)
      this.#tracer.startSpan('origin', { startTime: originAt }, inside).end(originAt + originMs)
    }
    connector.end(connectorAt + connectorMs)
  }
}

/** No path, no user and no address: they stand in the access log, under the same correlation ID. */
function attributesOf(record: AccessRecord): Record<string, string | number> {
  const { reason, application, connector } = record
  return {
    'http.request.method': methods.has(record.method) ? record.method : '_OTHER',
    'http.response.status_code': record.statusCode,
    'sallyport.correlation_id': record.id,
    'sallyport.decision': record.decision,
    ...(reason === undefined ? {} : { 'sallyport.reason': reason }),
    ...(application === undefined ? {} : { 'sallyport.application': application }),
    ...(connector === undefined ? {} : { 'sallyport.connector': connector }),
  }
}

/** Reads name, value, name, value; a field that stands twice is none, as the specification has it. */
const fieldGetter: TextMapGetter<readonly string[]> = {
  keys: () => [],
  get(fields, wanted) {
    const values: string[] = []
    for (let index = 0; index < fields.length; index += 2)
      if (fields[index]!.toLowerCase() === wanted) values.push(fields[index + 1]!)
    if (wanted === 'tracestate') return values.length === 0 ? undefined : values.join(',')
    return values.length === 1 ? values[0] : undefined
  },
}

/** A collector's address alone means its usual path. */
function toTracesUrl(endpoint: string): string {
  const url = new URL(endpoint)
  if (url.pathname === '/') url.pathname = '/v1/traces'
  return url.href
}

/** The library says what goes wrong to one place in the process; it is heard of once a minute. */
function reportTo(log: Logger): void {
  let saidAt = Number.NEGATIVE_INFINITY
  const say = (message: string, ...args: unknown[]) => {
    const nowAt = performance.now()
    if (nowAt - saidAt < 60_000) return
    saidAt = nowAt
    log.warn({ detail: [message, ...args].map(String).join(' ') }, 'traces could not be sent')
  }
  const nothing = () => {}
  diag.setLogger(
    { error: say, warn: say, info: nothing, debug: nothing, verbose: nothing },
    { suppressOverrideMessage: true },
  )
}
