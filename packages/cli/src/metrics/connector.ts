import type { ConnectorStatus } from '@sallyport/connector'
import { Counter, Gauge, Registry } from 'prom-client'

/**
 * What a connector says of itself, in the text format of Prometheus. A connector listens nowhere, so somebody
 * beside it fetches this and puts it where a collector looks.
 */
export function toConnectorMetrics(status: ConnectorStatus): Promise<string> {
  const registry = new Registry()
  const registers = [registry]
  const named = (name: string, help: string, ...labelNames: string[]) => ({
    name: `sallyport_connector_${name}`,
    help,
    labelNames,
    registers,
  })
  const { tunnels, exchanges, certificate, origins } = status

  const states = new Gauge(named('tunnels', 'Tunnels by state', 'state'))
  for (const state of ['connected', 'connecting', 'waiting', 'stopped'])
    states.set({ state }, tunnels.filter((tunnel) => tunnel.state === state).length)
  const trips = tunnels.flatMap(({ roundTripMs }) => roundTripMs ?? [])
  if (trips.length > 0)
    new Gauge(named('round_trip_seconds', 'Longest round trip of a tunnel to the service')).set(
      Math.max(...trips) / 1000,
    )
  const outcomes = new Counter(
    named('exchanges_total', 'Requests by what became of them', 'outcome'),
  )
  for (const outcome of ['started', 'failed', 'cancelled', 'retried'] as const)
    outcomes.inc({ outcome }, exchanges[outcome])
  new Gauge(named('exchanges_active', 'Requests and WebSockets that are open')).set(
    exchanges.active,
  )
  const connections = new Gauge(
    named('origin_connections', 'Connections to applications by whether one is in use', 'state'),
  )
  const idle = origins.reduce((sum, origin) => sum + origin.idle, 0)
  const all = origins.reduce((sum, origin) => sum + origin.connections, 0)
  connections.set({ state: 'idle' }, idle)
  connections.set({ state: 'used' }, all - idle)
  new Gauge(named('certificate_not_after_seconds', 'When the certificate ends, Unix time')).set(
    certificate.notAfterAt / 1000,
  )
  const shown = new Gauge(
    named(
      'client_certificate_not_after_seconds',
      'When a certificate that is shown to applications ends, Unix time; 0: none can be shown',
      'file',
    ),
  )
  for (const { certificateFile, notAfterAt = 0 } of status.originClientCertificates)
    shown.set({ file: certificateFile }, notAfterAt / 1000)
  new Gauge(named('start_time_seconds', 'When the connector was started, Unix time')).set(
    status.startedAt / 1000,
  )
  return registry.metrics()
}
