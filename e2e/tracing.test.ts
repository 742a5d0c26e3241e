import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { lastFirst, type Scope, type System, startSystem } from '@sallyport/testkit'

interface OtlpSpan {
  traceId: string
  spanId: string
  parentSpanId?: string
  name: string
  kind: number
  startTimeUnixNano: string
  endTimeUnixNano: string
  attributes: { key: string; value: { stringValue?: string; intValue?: number } }[]
  status: { code?: number }
}

/** Takes OTLP over HTTP, as any collector does (OTLP 1.x, section OTLP/HTTP, JSON encoding). */
async function startCollector(scope: Scope) {
  const spans: OtlpSpan[] = []
  /** Of requests to hosts of the service, such as the enrolment of the connector. */
  const systemSpans: OtlpSpan[] = []
  const resources: unknown[] = []
  const waiting: (() => void)[] = []
  const server = createServer((incoming, response) => {
    const parts: Buffer[] = []
    incoming.on('data', (part: Buffer) => parts.push(part))
    incoming.on('end', () => {
      assert.equal(incoming.url, '/v1/traces')
      assert.equal(incoming.headers['content-type'], 'application/json')
      const body = JSON.parse(Buffer.concat(parts).toString())
      for (const { resource, scopeSpans } of body.resourceSpans) {
        resources.push(resource)
        for (const span of scopeSpans.flatMap((group: { spans: OtlpSpan[] }) => group.spans)) {
          const isSystem = attribute(span, 'sallyport.system_host') !== undefined
          ;(isSystem ? systemSpans : spans).push(span)
        }
      }
      response.setHeader('content-type', 'application/json')
      response.end('{}')
      for (const resolve of waiting.splice(0)) resolve()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  scope.after(() => {
    server.closeAllConnections()
    return new Promise<void>((resolve) => server.close(() => resolve()))
  })
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    spans,
    systemSpans,
    resources,
    async until(count: number, list = spans): Promise<void> {
      while (list.length < count) await new Promise<void>((resolve) => waiting.push(resolve))
    },
  }
}

const attribute = ({ attributes }: OtlpSpan, name: string) => {
  const value = attributes.find(({ key }) => key === name)?.value
  return value?.stringValue ?? value?.intValue
}

async function start(t: TestContext, config = '') {
  const scope = lastFirst(t)
  const collector = await startCollector(scope)
  const system = await startSystem(scope, {
    applications: [{ name: 'open', preAuthentication: 'passthrough' }],
    config: `tracing: { endpoint: "${collector.url}" }\n${config}`,
  })
  return { collector, system }
}

const foreignTrace = '0af7651916cd43dd8448eb211c80319c'
const foreignParent = 'b7ad6b7169203331'
const foreign = {
  traceparent: `00-${foreignTrace}-${foreignParent}-01`,
  tracestate: 'vendor=1',
}

/** By the plain listener, as a balancer would ask. */
function askPlain(system: System, headers: Record<string, string | string[]>): Promise<number> {
  return new Promise((resolve, reject) => {
    request(
      {
        host: '127.0.0.1',
        port: system.plainPort,
        path: '/private/path?query',
        headers: { host: `${system.host('open')}:${system.port}`, ...headers },
        agent: false,
      },
      (response) => response.resume().on('end', () => resolve(response.statusCode!)),
    )
      .on('error', reject)
      .end()
  })
}

test('a request is a span with its parts below it, and the origin can carry the trace on', async (t) => {
  const { collector, system } = await start(t)
  assert.equal(await askPlain(system, foreign), 200)
  await collector.until(3)
  const [request, connector, origin] = ['GET open', 'connector', 'origin'].map(
    (name) => collector.spans.find((span) => span.name === name)!,
  ) as [OtlpSpan, OtlpSpan, OtlpSpan]
  assert.equal(connector.parentSpanId, request.spanId)
  assert.equal(origin.parentSpanId, connector.spanId)
  assert.equal(request.kind, 2, 'SERVER')
  assert.equal(request.parentSpanId, undefined)
  for (const { traceId } of [connector, origin]) assert.equal(traceId, request.traceId)
  const times = [request, connector, origin].map((span) => [
    BigInt(span.startTimeUnixNano),
    BigInt(span.endTimeUnixNano),
  ]) as [bigint, bigint][]
  for (const [index, [begin, end]] of times.entries()) {
    assert.ok(begin <= end)
    if (index > 0) assert.ok(begin >= times[index - 1]![0] && end <= times[index - 1]![1])
  }
  const record = system.records.find(({ statusCode }) => statusCode === 200)!
  assert.equal(attribute(request, 'sallyport.correlation_id'), record.id)
  assert.equal(attribute(request, 'sallyport.application'), 'open')
  assert.equal(attribute(request, 'http.response.status_code'), 200)
  // A stranger has no say in it, and its tracestate goes no further.
  const [seen] = system.origin('open').requests
  assert.equal(seen!.headers.traceparent, `00-${request.traceId}-${request.spanId}-01`)
  assert.equal(seen!.headers.tracestate, undefined)
  assert.notEqual(request.traceId, foreignTrace)
  assert.match(JSON.stringify(collector.resources[0]), /"service\.name".*"sallyport"/)
  assert.doesNotMatch(JSON.stringify(collector.spans), /private|query|127\.0\.0\.1/)
})

test('what a trusted proxy says of the trace is believed, if it says it once and well', async (t) => {
  const { collector, system } = await start(t, 'trustedProxies: [127.0.0.1]\n')
  const seen = () => system.origin('open').requests.at(-1)!.headers
  await askPlain(system, foreign)
  assert.match(String(seen().traceparent), new RegExp(`^00-${foreignTrace}-[0-9a-f]{16}-01$`))
  assert.equal(seen().tracestate, 'vendor=1')
  await collector.until(3)
  const span = collector.spans.find(({ name }) => name === 'GET open')!
  assert.deepEqual([span.traceId, span.parentSpanId], [foreignTrace, foreignParent])

  // The proxy has decided that this one is not followed.
  await askPlain(system, { traceparent: foreign.traceparent.replace(/01$/, '00') })
  assert.match(String(seen().traceparent), new RegExp(`^00-${foreignTrace}-[0-9a-f]{16}-00$`))
  for (const traceparent of [
    [foreign.traceparent, foreign.traceparent.replace('0af7', '1af7')],
    `00-${'0'.repeat(32)}-${foreignParent}-01`,
    `ff-${foreignTrace}-${foreignParent}-01`,
    foreign.traceparent.toUpperCase(),
    `${foreign.traceparent}-x`,
    'x',
  ]) {
    await askPlain(system, { traceparent })
    assert.doesNotMatch(String(seen().traceparent), new RegExp(foreignTrace), String(traceparent))
  }
  // Eight requests, one of them not followed.
  await collector.until(3 * 7)
  assert.equal(collector.spans.length, 3 * 7)
})

test('a denied request is a span without parts, and an error of ours is marked as one', async (t) => {
  const { collector, system } = await start(t)
  assert.equal(await askPlain(system, { host: `nowhere.${system.domain}:${system.port}` }), 404)
  await collector.until(1)
  const [denied] = collector.spans
  assert.equal(denied!.name, 'GET')
  assert.equal(attribute(denied!, 'sallyport.reason'), 'application-not-found')
  assert.equal(denied!.status.code ?? 0, 0)
  await Promise.all(system.connectors.map((connector) => connector.close()))
  while (system.service.gateway.tunnels.pick('default')) await new Promise(setImmediate)
  assert.equal(await askPlain(system, {}), 503)
  await collector.until(2)
  assert.equal(collector.spans[1]!.status.code, 2, 'ERROR')
  assert.equal(attribute(collector.spans[1]!, 'sallyport.reason'), 'NO_CONNECTOR')
})

test('a request to a host of the service is a span, without who and where', async (t) => {
  const { collector, system } = await start(t)
  const client = system.client()
  const { systemSpans } = collector
  assert.equal((await client.fetch(system.url('login', '/secret?ana'))).status, 404)
  // Others are of the connector: its enrolment, and the key that passwords are sealed to.
  const isLogin = ({ name }: { name: string }) => name === 'GET login'
  while (!systemSpans.some(isLogin)) await collector.until(systemSpans.length + 1, systemSpans)
  assert.deepEqual([...new Set(systemSpans.map(({ name }) => name))].toSorted(), [
    'GET login',
    'POST connect',
  ])
  const span = systemSpans.find(isLogin)!
  assert.equal(attribute(span, 'sallyport.system_host'), 'login')
  assert.equal(attribute(span, 'http.response.status_code'), 404)
  assert.ok(BigInt(span.startTimeUnixNano) <= BigInt(span.endTimeUnixNano))
  assert.doesNotMatch(JSON.stringify(systemSpans), /secret|ana|127\.0\.0\.1/)
})

test('without tracing nothing is added and nothing of a client’s is taken away', async (t) => {
  const system = await startSystem(t, {
    applications: [{ name: 'open', preAuthentication: 'passthrough' }],
  })
  await askPlain(system, foreign)
  await askPlain(system, {})
  const [first, second] = system.origin('open').requests
  assert.equal(first!.headers.traceparent, foreign.traceparent)
  assert.equal(first!.headers.tracestate, foreign.tracestate)
  assert.equal(second!.headers.traceparent, undefined)
})

test('a collector that is gone costs requests nothing, and the service ends in time', async (t) => {
  const system = await startSystem(t, {
    applications: [{ name: 'open', preAuthentication: 'passthrough' }],
    // The port of discard(9): nobody is there.
    config: 'tracing: { endpoint: "http://127.0.0.1:9" }\n',
  })
  for (let count = 0; count < 50; count++) assert.equal(await askPlain(system, {}), 200)
  const startedAt = performance.now()
  await system.service.close()
  assert.ok(performance.now() - startedAt < 8_000)
})

test('OpenTelemetry and Prometheus are loaded by nobody but who was asked for them', () => {
  const folder = join(import.meta.dirname, '../packages/cli/src')
  const importing = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .filter((file) =>
      /^(?:import|export)(?! type)[^'"]*from '(?:@opentelemetry\/|prom-client|.*\/(?:tracing|metrics|connector)\.ts')/m.test(
        readFileSync(join(folder, file), 'utf8'),
      ),
    )
  assert.deepEqual(importing.sort(), [
    'metrics/connector.ts',
    'metrics/metrics.ts',
    'tracing/tracing.ts',
  ])
})
