import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ConnectorStatus } from '@sallyport/connector'
import { describeConnector, describeService, type ServiceStatus } from '../src/status.ts'

const service: ServiceStatus = {
  running: true,
  baseDomain: 'access.example.com',
  port: 443,
  applications: 3,
  users: 12,
  groups: 2,
  connectors: { enrolled: 2, online: 1, revoked: 1 },
  sessions: 7,
  certificates: [
    {
      certificateFile: '/etc/tls/a.pem',
      hosts: ['*.access.example.com', 'www.example.com'],
      notAfterAt: Date.UTC(2027, 1, 3),
    },
    { certificateFile: '/etc/tls/b.pem', hosts: ['b.example.com'], notAfterAt: 0 },
  ],
  warnings: ['/etc/tls/b.pem (b.example.com) has expired on 1970-01-01; put a new one there'],
}

test('the status of a service is a page of facts, and ends with what to do something about', () => {
  assert.deepEqual(describeService(service).split('\n'), [
    'Service       running, port 443',
    'Base domain   access.example.com',
    'Applications  3',
    'Users         12',
    'Groups        2',
    'Connectors    1 of 2 online, 1 revoked',
    'Sessions      7',
    'Certificates  *.access.example.com, www.example.com, until 2027-02-03, /etc/tls/a.pem',
    '              b.example.com, until 1970-01-01, /etc/tls/b.pem',
    'Warnings      /etc/tls/b.pem (b.example.com) has expired on 1970-01-01; put a new one there',
  ])
})

test('a service without certificates of its own says whose it shows', () => {
  const text = describeService({ ...service, certificates: [], warnings: [] })
  assert.match(text, /^Certificates {2}of the built-in authority$/m)
  assert.match(text, /^Warnings {6}none$/m)
})

test('a service that does not run says nothing of what only a running one knows', () => {
  const { certificates: _, warnings: __, ...stored } = service
  const text = describeService({ ...stored, running: false })
  assert.match(text, /^Service {7}not running$/m)
  assert.match(text, /^Connectors {4}2 enrolled, 1 revoked$/m)
  assert.doesNotMatch(text, /online|Certificates|Warnings/)
})

const at = Date.UTC(2026, 10, 24, 8, 30)
const connector: ConnectorStatus = {
  connectorId: '236c27a0-160d-4297-96b4-1e5858d1ebe9',
  connectorGroup: 'default',
  name: 'edge-1',
  service: 'https://connect.access.example.com',
  sealingKey: { fingerprint: 'x'.repeat(43), announced: true },
  originClientCertificates: [],
  instanceId: 'fcda6e9e-c382-451a-a9c6-724e618975fa',
  processId: 71,
  startedAt: at,
  tunnels: [
    { state: 'connected', streams: 2, attempts: 1, connectedAt: at, roundTripMs: 0.99004 },
    {
      state: 'waiting',
      streams: 0,
      attempts: 4,
      lastError: { code: 'SERVICE_UNREACHABLE', message: 'connection refused', at },
    },
  ],
  certificate: { serial: '6ea4', notAfterAt: at + 30 * 86_400_000, renewAt: at + 20 * 86_400_000 },
  allow: ['wiki.internal:8080', '10.20.0.0/16:443'],
  origins: [{ url: 'http://wiki.internal:8080', validate: true, connections: 2, idle: 1 }],
  exchanges: { started: 5, active: 2, failed: 0, cancelled: 1, retried: 0 },
}

test('the status of a connector says of each tunnel whether it is there, and if not, why', () => {
  assert.deepEqual(describeConnector(connector).split('\n'), [
    'Connector    edge-1 (236c27a0-160d-4297-96b4-1e5858d1ebe9)',
    'Group        default',
    'Service      https://connect.access.example.com',
    'Running      since 2026-11-24 08:30:00Z, process 71',
    'Tunnels      connected since 2026-11-24 08:30:00Z, 1.0 ms away, open streams: 2',
    '             waiting, attempt 4: connection refused (SERVICE_UNREACHABLE)',
    'Certificate  until 2026-12-24, renewed from 2026-12-14',
    'May reach    wiki.internal:8080',
    '             10.20.0.0/16:443',
    'Origins      http://wiki.internal:8080, connections: 2, idle: 1',
    'Requests     5 started, 2 active, 0 failed, 1 cancelled, 0 retried',
  ])
})

test('a connector that may reach nothing, or could not renew its certificate, says so', () => {
  const text = describeConnector({
    ...connector,
    allow: [],
    origins: [],
    proxy: 'http://proxy.internal:3128',
    certificate: {
      ...connector.certificate,
      lastError: { code: 'CONNECTOR_REVOKED', message: 'the connector was revoked' },
    },
  })
  assert.match(text, /^May reach {4}nothing$/m)
  assert.match(text, /^Service .* through http:\/\/proxy\.internal:3128$/m)
  assert.match(text, /^ {13}not renewed: the connector was revoked \(CONNECTOR_REVOKED\)$/m)
  assert.doesNotMatch(text, /^Origins/m)
})

test('a connector says which origins are shown which certificate, until when, and what is wrong', () => {
  const entry = {
    applications: ['4b0c6f3e-6a0e-4a43-9d1e-0d5b9a3c2f11'],
    origins: ['hr.internal:8443'],
    certificateFile: '/etc/c.pem',
  }
  const problem = { code: 'ORIGIN_CLIENT_KEY_MISMATCH', message: 'another key' }
  const text = describeConnector({
    ...connector,
    originClientCertificates: [
      { ...entry, subject: 'CN=edge-1', serial: '01', notAfterAt: at },
      { ...entry, problem },
    ],
  })
  assert.match(
    text,
    /^Shows {8}CN=edge-1, until 2026-11-24, to hr\.internal:8443 for 4b0c6f3e-\S+ \(\/etc\/c\.pem\)$/m,
  )
  assert.match(text, /^ +none can be shown, .*; another key \(ORIGIN_CLIENT_KEY_MISMATCH\)$/m)
})

test('what another machine wrote does not reach the terminal as control characters', () => {
  assert.doesNotMatch(describeConnector({ ...connector, name: 'x\u001b[2J' }), /\u001b/)
})
