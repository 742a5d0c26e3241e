import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { type IncomingMessage, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { ConnectorStatus } from '@sallyport/connector'
import type { AccessRecord } from '@sallyport/gateway'
import { toConnectorMetrics } from '../src/metrics/connector.ts'
import { Metrics, type MetricsSource } from '../src/metrics/metrics.ts'

const idle: MetricsSource = {
  connectorGroups: () => ['default', 'branch'],
  tunnels: () => ['default', 'default'],
  openStreams: () => 3,
  clientConnections: () => 7,
  configurationVersion: () => 12,
  certificates: () => [
    { certificateFile: '/etc/a.pem', notAfterAt: 1_800_000_000_000 },
    { certificateFile: '/etc/b.pem', notAfterAt: 1_900_000_000_000, problem: 'is not the key' },
  ],
}

const record = (more: Partial<AccessRecord>): AccessRecord => ({
  at: 0,
  id: 'x',
  host: 'evil"\n.example',
  method: 'GET',
  path: '/chosen-by-a-client',
  statusCode: 200,
  decision: 'allow',
  reason: undefined,
  application: 'hr',
  applicationId: undefined,
  userId: undefined,
  userName: 'ana',
  sessionId: undefined,
  connector: 'one',
  clientAddress: '192.0.2.1',
  receivedBytes: 1,
  sentBytes: 100,
  totalMs: 20,
  gatewayMs: undefined,
  connectorMs: undefined,
  originMs: undefined,
  detail: undefined,
  ...more,
})

/** Sample lines, without comments. */
const samplesOf = (text: string) =>
  new Map(
    text
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => [line.slice(0, line.lastIndexOf(' ')), line.slice(line.lastIndexOf(' ') + 1)]),
  )

test('requests are counted by decision, class of status, reason and code', async () => {
  const metrics = new Metrics(idle)
  metrics.addRequest(record({}))
  metrics.addRequest(record({ statusCode: 206 }))
  metrics.addRequest(record({ statusCode: 101 }))
  metrics.addRequest(record({ statusCode: 302, decision: 'sign-in', reason: 'session-missing' }))
  metrics.addRequest(record({ statusCode: 403, decision: 'deny', reason: 'user-not-assigned' }))
  metrics.addRequest(record({ statusCode: 503, reason: 'NO_CONNECTOR' }))
  metrics.addRequest(record({ statusCode: 499, reason: 'client-left' }))
  metrics.addSignIn('succeeded')
  metrics.addSignIn('password-wrong')
  const samples = samplesOf(await metrics.toText())
  const has = (name: string, value: string | undefined) => assert.equal(samples.get(name), value)
  has('sallyport_requests_total{decision="allow",status="2xx"}', '2')
  has('sallyport_requests_total{decision="allow",status="1xx"}', '1')
  has('sallyport_requests_total{decision="sign-in",status="3xx"}', '1')
  has('sallyport_requests_total{decision="deny",status="4xx"}', '1')
  has('sallyport_denials_total{reason="user-not-assigned"}', '1')
  has('sallyport_denials_total{reason="session-missing"}', undefined)
  has('sallyport_failures_total{code="NO_CONNECTOR"}', '1')
  has('sallyport_failures_total{code="client-left"}', '1')
  has('sallyport_sign_ins_total{outcome="password-wrong"}', '1')
  has('sallyport_received_bytes_total', '7')
  has('sallyport_sent_bytes_total', '700')
  has('sallyport_tunnels{connector_group="default"}', '2')
  has('sallyport_tunnels{connector_group="branch"}', '0')
  has('sallyport_streams_open', '3')
  has('sallyport_certificate_not_after_seconds{certificate="/etc/a.pem"}', '1800000000')
  has('sallyport_certificate_problems', '1')
  // Asked a second time, it says the same and not twice as much.
  assert.equal(
    samplesOf(await metrics.toText()).get('sallyport_denials_total{reason="user-not-assigned"}'),
    '1',
  )
})

test('times go into the bucket whose bound they do not exceed, each part by itself', async () => {
  const metrics = new Metrics(idle)
  metrics.addRequest(record({ totalMs: 100, gatewayMs: 0.5, connectorMs: 99, originMs: 96.5 }))
  metrics.addRequest(record({ totalMs: 3_600_000 }))
  const samples = samplesOf(await metrics.toText())
  const name = 'sallyport_request_duration_seconds'
  const bucket = (part: string, le: string) =>
    Number(samples.get(`${name}_bucket{le="${le}",part="${part}"}`))
  assert.deepEqual(
    [bucket('total', '0.05'), bucket('total', '0.1'), bucket('total', '60')],
    [0, 1, 1],
  )
  assert.equal(bucket('total', '+Inf'), 2)
  assert.deepEqual([bucket('gateway', '0.0005'), bucket('gateway', '+Inf')], [1, 1])
  assert.deepEqual([bucket('connector', '0.001'), bucket('connector', '0.0025')], [0, 1])
  assert.deepEqual([bucket('origin', '0.05'), bucket('origin', '0.1')], [0, 1])
  assert.equal(samples.get(`${name}_sum{part="total"}`), '3600.1')
  assert.equal(samples.get(`${name}_count{part="origin"}`), '1')
})

test('nothing that a client chooses becomes a label, and words are bounded in number', async () => {
  const metrics = new Metrics(idle)
  for (let index = 0; index < 500; index++)
    metrics.addRequest(record({ statusCode: 400, decision: 'deny', reason: `word-${index}` }))
  const text = await metrics.toText()
  assert.doesNotMatch(text, /chosen-by-a-client|evil|ana\b|192\.0\.2\.1/)
  const reasons = [...samplesOf(text).keys()].filter((name) => name.startsWith('sallyport_denials'))
  assert.equal(reasons.length, 101)
  assert.equal(samplesOf(text).get('sallyport_denials_total{reason="other"}'), '400')
})

test('docs/operating.md lists every metric that there is, and no other', async () => {
  const text = readFileSync(join(import.meta.dirname, '../../../docs/operating.md'), 'utf8')
  const documented = [...text.matchAll(/^\| (`(?:sallyport|nodejs|process)_[^|]*`) +\|/gm)].flatMap(
    ([, cell]) => [...cell!.matchAll(/`([a-z0-9_]+)`/g)].map(([, name]) => name!),
  )
  const service = new Metrics(idle).names()
  const connector = [...(await toConnectorMetrics(status)).matchAll(/^# TYPE (\S+)/gm)].map(
    ([, name]) => name!,
  )
  assert.deepEqual(documented.sort(), [...service, ...connector].sort())
})

const status: ConnectorStatus = {
  connectorId: 'id',
  connectorGroup: 'default',
  name: 'one',
  service: 'https://connect.example.com',
  sealingKey: { fingerprint: 'x'.repeat(43), announced: true },
  originClientCertificates: [],
  instanceId: 'instance',
  processId: 1,
  startedAt: 1_795_000_000_000,
  tunnels: [
    { state: 'connected', roundTripMs: 20, streams: 1 },
    { state: 'waiting', streams: 0 },
  ] as unknown as ConnectorStatus['tunnels'],
  certificate: { serial: '01', notAfterAt: 1_796_000_000_000, renewAt: 1_795_500_000_000 },
  allow: [],
  origins: [{ url: 'http://hr', validate: true, connections: 5, idle: 2 }],
  exchanges: { started: 10, active: 1, failed: 2, cancelled: 3, retried: 4 },
}

test('a connector says its numbers in the same format', async () => {
  const samples = samplesOf(await toConnectorMetrics(status))
  assert.equal(samples.get('sallyport_connector_tunnels{state="connected"}'), '1')
  assert.equal(samples.get('sallyport_connector_tunnels{state="stopped"}'), '0')
  assert.equal(samples.get('sallyport_connector_round_trip_seconds'), '0.02')
  assert.equal(samples.get('sallyport_connector_exchanges_total{outcome="failed"}'), '2')
  assert.equal(samples.get('sallyport_connector_origin_connections{state="used"}'), '3')
  assert.equal(samples.get('sallyport_connector_certificate_not_after_seconds'), '1796000000')
})

async function listen(t: TestContext) {
  const server = new Metrics(idle).createServer((error) => assert.fail(String(error)))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => void server.close())
  const { port } = server.address() as AddressInfo
  return (path: string, headers: Record<string, string>, method = 'GET') =>
    new Promise<{ status: number; text: string; headers: IncomingMessage['headers'] }>(
      (resolve, reject) => {
        request({ host: '127.0.0.1', port, path, method, headers, agent: false }, (response) => {
          const chunks: Buffer[] = []
          response.on('data', (chunk: Buffer) => chunks.push(chunk))
          response.on('end', () => {
            const text = Buffer.concat(chunks).toString()
            resolve({ status: response.statusCode!, text, headers: response.headers })
          })
        })
          .on('error', reject)
          .end()
      },
    )
}

test('attack 59: whoever comes under another name, or from a page, gets no number', async (t) => {
  const get = await listen(t)
  for (const host of [
    '127.0.0.1:9464',
    '127.0.0.1',
    'localhost:1',
    '[::1]:9464',
    '127.9.9.9',
    'LOCALHOST',
  ])
    assert.equal((await get('/metrics', { host })).status, 200, host)
  for (const host of [
    'evil.example',
    'evil.example:9464',
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    '127.evil.example',
    'evil.example@127.0.0.1',
    '[::1].evil.example',
    '[::1',
    '10.0.0.1',
    '0.0.0.0',
    '127.1',
    '[::ffff:127.0.0.1]',
  ]) {
    const { status, text } = await get('/metrics', { host })
    assert.equal(status, 421, host)
    assert.doesNotMatch(text, /sallyport|evil/)
  }
  const host = '127.0.0.1'
  assert.equal((await get('/metrics', { host, origin: 'http://127.0.0.1:80' })).status, 403)
  assert.equal((await get('/metrics', { host, 'sec-fetch-site': 'cross-site' })).status, 403)
  // Somebody who types the address.
  assert.equal((await get('/metrics', { host, 'sec-fetch-site': 'none' })).status, 200)
})

test('there is GET /metrics and nothing else', async (t) => {
  const get = await listen(t)
  const host = 'localhost'
  const answer = await get('/metrics', { host })
  assert.match(answer.headers['content-type']!, /^text\/plain; version=0\.0\.4/)
  assert.equal(answer.headers['cache-control'], 'no-store')
  assert.match(answer.text, /^# TYPE sallyport_requests_total counter$/m)
  assert.equal((await get('/metrics', { host }, 'HEAD')).text, '')
  for (const path of ['/', '/metrics/', '/metrics?x', '//metrics', '/debug'])
    assert.equal((await get(path, { host })).status, 404, path)
  const { status, headers } = await get('/metrics', { host }, 'POST')
  assert.deepEqual([status, headers.allow], [405, 'GET, HEAD'])
})
