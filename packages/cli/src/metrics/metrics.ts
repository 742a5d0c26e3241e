import type { Server } from 'node:http'
import type { AccessRecord } from '@sallyport/gateway'
import { Counter, collectDefaultMetrics, Gauge, type Metric, Registry } from 'prom-client'
import { type SystemHostName, systemHostNames } from '../system-requests.ts'
import { version } from '../version.ts'
import { createMetricsServer } from './listener.ts'
import {
  type Durations,
  durationBoundsMs,
  RequestCounts,
  SystemRequestCounts,
  Words,
} from './requests.ts'

/** What the running service is asked when somebody reads its numbers. */
export interface MetricsSource {
  /** Connector groups that applications use, and those that have tunnels. */
  connectorGroups(): Iterable<string>
  /** Connector group of each tunnel that is open. */
  tunnels(): Iterable<string>
  openStreams(): number
  clientConnections(): number
  configurationVersion(): number
  certificates(): Iterable<{ certificateFile: string; notAfterAt: number; problem?: string }>
}

/** The numbers of one service. docs/operating.md has each of them; a test compares. */
export class Metrics {
  readonly #requests = new RequestCounts()
  readonly #signIns = new Words()
  readonly #logoutNotices = new Words()
  readonly #systemRequests = Object.fromEntries(
    systemHostNames.map((host) => [host, new SystemRequestCounts()]),
  ) as Record<SystemHostName, SystemRequestCounts>
  readonly #registry = new Registry()

  constructor(source: MetricsSource) {
    collectDefaultMetrics({ register: this.#registry })
    this.#addRequests()
    this.#addSystemRequests()
    this.#addState(source)
  }

  /** Costs each request some tenths of a microsecond. */
  addRequest(record: AccessRecord): void {
    this.#requests.add(record)
  }

  addSignIn(outcome: string): void {
    this.#signIns.add(outcome)
  }

  addLogoutNotice(outcome: string): void {
    this.#logoutNotices.add(outcome)
  }

  addSystemRequest(host: SystemHostName, statusCode: number, totalMs: number): void {
    this.#systemRequests[host].add(statusCode, totalMs)
  }

  createServer(onError: (error: unknown) => void): Server {
    return createMetricsServer(this, onError)
  }

  get contentType(): string {
    return this.#registry.contentType
  }

  /** The names of all there is. */
  names(): string[] {
    return this.#registry.getMetricsAsArray().map(({ name }) => name)
  }

  /** In the text format of Prometheus. */
  toText(): Promise<string> {
    return this.#registry.metrics()
  }

  #addRequests(): void {
    const requests = this.#requests
    this.#counter('requests_total', 'Requests by decision and class of status code', {
      labels: ['decision', 'status'],
      read: (set) => {
        for (const { decision, status, count } of requests.outcomes())
          set({ decision, status }, count)
      },
    })
    this.#counter('denials_total', 'Requests that were denied, by reason', {
      labels: ['reason'],
      read: (set) => {
        for (const [reason, count] of requests.denials.counts) set({ reason }, count)
      },
    })
    this.#counter('failures_total', 'Requests that failed although they were not denied, by code', {
      labels: ['code'],
      read: (set) => {
        for (const [code, count] of requests.failures.counts) set({ code }, count)
      },
    })
    this.#counter('received_bytes_total', 'Bytes of bodies from clients', {
      read: (set) => set({}, requests.receivedBytes),
    })
    this.#counter('sent_bytes_total', 'Bytes of bodies to clients', {
      read: (set) => set({}, requests.sentBytes),
    })
    this.#counter('sign_ins_total', 'Sign-ins by outcome', {
      labels: ['outcome'],
      read: (set) => {
        for (const [outcome, count] of this.#signIns.counts) set({ outcome }, count)
      },
    })
    this.#counter(
      'logout_notices_total',
      'Attempts to tell applications that a session has ended',
      {
        labels: ['outcome'],
        read: (set) => {
          for (const [outcome, count] of this.#logoutNotices.counts) set({ outcome }, count)
        },
      },
    )
    this.#registry.registerMetric(
      toHistogram(
        'sallyport_request_duration_seconds',
        'Time by part of the way',
        'part',
        requests.parts,
      ),
    )
  }

  #addSystemRequests(): void {
    const hosts = Object.entries(this.#systemRequests)
    this.#counter('system_requests_total', 'Requests to hosts of the service by class of status', {
      labels: ['host', 'status'],
      read: (set) => {
        for (const [host, counts] of hosts)
          for (const { status, count } of counts.outcomes()) set({ host, status }, count)
      },
    })
    this.#registry.registerMetric(
      toHistogram(
        'sallyport_system_request_duration_seconds',
        'Time to the end of the answer, by host of the service',
        'host',
        Object.fromEntries(hosts.map(([host, { durations }]) => [host, durations])),
      ),
    )
  }

  #addState(source: MetricsSource): void {
    this.#gauge('info', 'Always 1; the version is a label', {
      labels: ['version'],
      read: (set) => set({ version }, 1),
    })
    this.#gauge('tunnels', 'Open tunnels of connectors by connector group', {
      labels: ['connector_group'],
      read: (set) => {
        const counts = new Map<string, number>()
        // One without a tunnel must be seen, and not be missing.
        for (const group of source.connectorGroups()) counts.set(group, 0)
        for (const group of source.tunnels()) counts.set(group, (counts.get(group) ?? 0) + 1)
        for (const [group, count] of counts) set({ connector_group: group }, count)
      },
    })
    this.#gauge('streams_open', 'Requests, downloads and WebSockets that are open', {
      read: (set) => set({}, source.openStreams()),
    })
    this.#gauge('client_connections', 'Open TCP connections of people and connectors', {
      read: (set) => set({}, source.clientConnections()),
    })
    this.#gauge('configuration_version', 'Number of the configuration in force', {
      read: (set) => set({}, source.configurationVersion()),
    })
    this.#gauge('certificate_not_after_seconds', 'When a configured certificate ends, Unix time', {
      labels: ['certificate'],
      read: (set) => {
        for (const { certificateFile, notAfterAt } of source.certificates())
          set({ certificate: certificateFile }, notAfterAt / 1000)
      },
    })
    this.#gauge('certificate_problems', 'Configured certificates whose files cannot be used', {
      read: (set) => set({}, [...source.certificates()].filter(({ problem }) => problem).length),
    })
  }

  #counter(name: string, help: string, { labels = [], read }: Reading): void {
    new Counter({
      name: `sallyport_${name}`,
      help,
      labelNames: labels,
      registers: [this.#registry],
      collect() {
        this.reset()
        read((given, value) => this.inc(given, value))
      },
    })
  }

  #gauge(name: string, help: string, { labels = [], read }: Reading): void {
    new Gauge({
      name: `sallyport_${name}`,
      help,
      labelNames: labels,
      registers: [this.#registry],
      collect() {
        this.reset()
        read((given, value) => this.set(given, value))
      },
    })
  }
}

interface Reading {
  labels?: string[]
  read(set: (labels: Record<string, string>, value: number) => void): void
}

/**
 * A histogram of numbers that were counted elsewhere: the library's own looks up its labels at every observation,
 * which costs more than everything else here.
 */
function toHistogram(
  name: string,
  help: string,
  label: string,
  byValue: Record<string, Durations>,
): Metric {
  const facts = { name, help, type: 'histogram', aggregator: 'sum' }
  const metric = {
    ...facts,
    get: async () => ({
      ...facts,
      values: Object.entries(byValue).flatMap(([value, durations]) =>
        toSamples(name, { [label]: value }, durations),
      ),
    }),
    reset() {},
  }
  return metric as unknown as Metric
}

function toSamples(name: string, labels: Record<string, string>, { counts, sumMs }: Durations) {
  let count = 0
  const buckets = [...counts].map((more, index) => {
    count += more
    const bound = durationBoundsMs[index]
    const le = bound === undefined ? '+Inf' : bound / 1000
    return { metricName: `${name}_bucket`, labels: { le, ...labels }, value: count }
  })
  return [
    ...buckets,
    { metricName: `${name}_sum`, labels, value: sumMs / 1000 },
    { metricName: `${name}_count`, labels, value: count },
  ]
}
