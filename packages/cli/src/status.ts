import type { ConnectorStatus } from '@sallyport/connector'
import { toPrintable } from './output.ts'

/** What `status` of a service answers. Instants are epoch milliseconds. */
export interface ServiceStatus {
  running: boolean
  baseDomain: string
  port: number
  applications: number
  users: number
  groups: number
  connectors: { enrolled: number; online: number; revoked: number }
  sessions: number
  /** Only of a service that runs. */
  certificates?: { certificateFile: string; hosts: string[]; notAfterAt: number }[]
  warnings?: string[]
}

/** For a person: what runs, what it holds, and what somebody should do something about. */
export function describeService(status: ServiceStatus): string {
  const { running, port, connectors, certificates = [], warnings = [] } = status
  const { online, enrolled, revoked } = connectors
  const own = certificates.map(
    ({ hosts, notAfterAt, certificateFile }) =>
      `${hosts.join(', ')}, until ${toDay(notAfterAt)}, ${certificateFile}`,
  )
  return toFacts([
    ['Service', [running ? `running, port ${port}` : 'not running']],
    ['Base domain', [status.baseDomain]],
    ['Applications', [String(status.applications)]],
    ['Users', [String(status.users)]],
    ['Groups', [String(status.groups)]],
    [
      'Connectors',
      [
        // Nobody knows of tunnels while nothing runs.
        `${running ? `${online} of ${enrolled} online` : `${enrolled} enrolled`}${revoked > 0 ? `, ${revoked} revoked` : ''}`,
      ],
    ],
    ['Sessions', [String(status.sessions)]],
    ['Certificates', running && own.length === 0 ? ['of the built-in authority'] : own],
    ['Warnings', running && warnings.length === 0 ? ['none'] : warnings],
  ])
}

/** For a person: whether requests can come through, and if not, why. */
export function describeConnector(status: ConnectorStatus): string {
  const { certificate, exchanges } = status
  const { lastError } = certificate
  return toFacts([
    ['Connector', [`${status.name} (${status.connectorId})`]],
    ['Group', [status.connectorGroup]],
    ['Service', [`${status.service}${status.proxy ? ` through ${status.proxy}` : ''}`]],
    ['Running', [`since ${toTime(status.startedAt)}, process ${status.processId}`]],
    ['Tunnels', status.tunnels.map(describeTunnel)],
    [
      'Certificate',
      [
        `until ${toDay(certificate.notAfterAt)}, renewed from ${toDay(certificate.renewAt)}`,
        ...(lastError ? [`not renewed: ${lastError.message} (${lastError.code})`] : []),
      ],
    ],
    ['May reach', status.allow.length === 0 ? ['nothing'] : status.allow],
    ['Shows', status.originClientCertificates.map(describeClientCertificate)],
    [
      'Origins',
      status.origins.map(
        ({ url, connections, idle }) => `${url}, connections: ${connections}, idle: ${idle}`,
      ),
    ],
    [
      'Requests',
      [
        Object.entries(exchanges)
          .map(([name, count]) => `${count} ${name}`)
          .join(', '),
      ],
    ],
  ])
}

function describeClientCertificate(
  certificate: ConnectorStatus['originClientCertificates'][number],
): string {
  const { origins, applications, certificateFile, subject, notAfterAt, problem } = certificate
  const shown =
    subject === undefined || notAfterAt === undefined
      ? 'none can be shown'
      : `${subject}, until ${toDay(notAfterAt)}`
  const why = problem ? `; ${problem.message} (${problem.code})` : ''
  return `${shown}, to ${origins.join(', ')} for ${applications.join(', ')} (${certificateFile})${why}`
}

function describeTunnel(tunnel: ConnectorStatus['tunnels'][number]): string {
  const { state, connectedAt, roundTripMs, streams, attempts, lastError } = tunnel
  if (state !== 'connected') {
    const why = lastError ? `: ${lastError.message} (${lastError.code})` : ''
    return `${state}, attempt ${attempts}${why}`
  }
  const far = roundTripMs === undefined ? '' : `, ${roundTripMs.toFixed(1)} ms away`
  return `connected since ${toTime(connectedAt!)}${far}, open streams: ${streams}`
}

/** Labels in one column; a fact with several lines has its label once, one without any is left out. */
function toFacts(facts: readonly (readonly [label: string, lines: readonly string[]])[]): string {
  const width = Math.max(...facts.map(([label]) => label.length))
  return facts
    .flatMap(([label, lines]) =>
      lines.map((line, index) => `${(index === 0 ? label : '').padEnd(width)}  ${line}`),
    )
    .map(toPrintable)
    .join('\n')
}

const toTime = (at: number) => `${new Date(at).toISOString().slice(0, 19).replace('T', ' ')}Z`
const toDay = (at: number) => new Date(at).toISOString().slice(0, 10)
