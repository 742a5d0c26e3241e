import { randomUUID } from 'node:crypto'
import type { TunnelLimits } from '@sallyport/protocol'
import { readSealingKey } from '@sallyport/sso/password'
import { AllowList, type AllowRule, parseAllowRules } from './allow-list.ts'
import { type ClientCertificateSettings, ClientCertificates } from './client-certificate.ts'
import { describeProxy, parseProxyUrl } from './connect-proxy.ts'
import { Deadlines } from './deadlines.ts'
import { parseDestination } from './destination.ts'
import { type Resolve, resolveName } from './dial.ts'
import { type ConnectorError, findErrorCode } from './errors.ts'
import { Exchange } from './exchange.ts'
import type { ExchangeHost } from './exchange-host.ts'
import { Identity } from './identity.ts'
import { Instructions } from './instruction.ts'
import type { Log } from './log.ts'
import { defaultOriginLimits, type OriginLimits, Origins, originNetwork } from './origin.ts'
import { OriginRequests } from './origin-request.ts'
import { OriginTls } from './origin-tls.ts'
import { SealingKeyAnnouncement } from './sealing-key.ts'
import {
  dialService,
  type ServiceRoute,
  toServiceError,
  tunnelProtocol,
} from './service-connection.ts'
import { Assertions } from './sign-on/assertion.ts'
import { KerberosSignOn } from './sign-on/kerberos.ts'
import { type KerberosSettings, openKerberosAccounts } from './sign-on/kerberos-settings.ts'
import { PasswordSignOn } from './sign-on/password/password-sign-on.ts'
import { SignOn } from './sign-on/sign-on.ts'
import { type ConnectorSettings, readAuthorities, readSealingKeyPem, readState } from './state.ts'
import { type ConnectorStatus, serveStatus } from './status.ts'
import { TunnelKeeper } from './tunnel-keeper.ts'

export interface ConnectorOptions {
  /** Written by `enroll`; what it holds is the default for everything below. */
  stateDir: string
  service?: URL
  /** The destinations that may be dialled; none permits nothing. */
  allow?: readonly AllowRule[]
  /** Tunnels to keep up. Default 2. */
  tunnels?: number
  /** HTTP proxy towards the service, perhaps with credentials. */
  proxy?: URL
  /** HTTP proxy towards origins. */
  originProxy?: URL
  /** Accounts by which people are signed on by Kerberos. */
  kerberos?: readonly KerberosSettings[]
  /** What is shown to origins that ask for a certificate. */
  originClientCertificates?: readonly ClientCertificateSettings[]
  /** PEM of a private CA that origins' certificates may come from, beside the system's. */
  originCa?: string
  log: Log
  /** Epoch milliseconds. */
  clock?: () => number
  /** 0 to 1; for the backoff. */
  random?: () => number
  resolve?: Resolve
  /** Addresses of this machine, which no rule permits unless it names them. */
  ownAddresses?: () => readonly string[]
  originLimits?: Partial<OriginLimits>
  tunnelLimits?: Partial<TunnelLimits>
  /** How long `close()` waits for open exchanges. Default 10,000. */
  drainMs?: number
  /** Told how many bytes each read of a socket, to the service or to an origin, has brought. */
  onRead?: (bytes: number) => void
  /** A tunnel came up or went down. */
  onStateChange?: (status: ConnectorStatus) => void
}

export interface Connector {
  status(): ConnectorStatus
  /**
   * Takes no new exchanges, lets those that are open finish (raw pipes are ended), then closes
   * everything.
   */
  close(): Promise<void>
  /** Resolves when `close()` is done. */
  readonly closed: Promise<void>
}

/** The origins that this connector may reach, and how it reaches them. */
export function openOrigins(
  settings: ConnectorSettings,
  options: Pick<
    ConnectorOptions,
    | 'allow'
    | 'ownAddresses'
    | 'originCa'
    | 'originClientCertificates'
    | 'originProxy'
    | 'originLimits'
    | 'log'
    | 'onRead'
  > & { resolve: Resolve; clock: () => number },
): { origins: Origins; allowList: AllowList; certificates: ClientCertificates } {
  const certificates = new ClientCertificates(
    options.originClientCertificates ?? settings.originClientCertificates ?? [],
    options,
  )
  const allowList = new AllowList(
    options.allow ?? parseAllowRules(settings.allow),
    options.ownAddresses,
  )
  const origins = new Origins(
    originNetwork(
      {
        allowList,
        resolve: options.resolve,
        certificates,
        tls: new OriginTls(
          options.originCa ??
            (settings.originCaFile ? readAuthorities(settings.originCaFile) : undefined),
        ),
        proxy:
          options.originProxy ??
          (settings.originProxy ? parseProxyUrl(settings.originProxy) : undefined),
        limits: { ...defaultOriginLimits, ...options.originLimits },
      },
      options.onRead,
    ),
  )
  return { origins, allowList, certificates }
}

/**
 * Starts the agent: keeps tunnels to the service up, and serves what comes over them from the
 * origins that the allow-list permits. It listens on no TCP or UDP socket.
 *
 * @throws ConnectorError `NOT_ENROLLED`, `STATE_INVALID`, `STATE_IN_USE`, `ALLOW_RULE_INVALID`,
 *   `PROXY_INVALID`. An unreachable service is no error: it is dialled again until it answers
 */
export async function startConnector(options: ConnectorOptions): Promise<Connector> {
  const { stateDir, log } = options
  const state = readState(stateDir)
  const { settings } = state
  const clock = options.clock ?? Date.now
  const random = options.random ?? Math.random
  const resolve = options.resolve ?? resolveName
  const route: ServiceRoute = {
    service: options.service ?? new URL(settings.service),
    proxy: options.proxy ?? (settings.proxy ? parseProxyUrl(settings.proxy) : undefined),
    resolve,
  }
  const { origins, allowList, certificates } = openOrigins(settings, {
    ...options,
    resolve,
    clock,
  })
  const sealingKey = readSealingKey(readSealingKeyPem(stateDir))
  const host: ExchangeHost = {
    instructions: new Instructions(origins),
    origins,
    requests: new OriginRequests(),
    assertions: new Assertions({
      caPem: () => identity.caPem,
      serviceHost: route.service.hostname,
      connectorId: settings.connectorId,
      clock,
    }),
    signOn: new SignOn({
      password: new PasswordSignOn({
        key: sealingKey,
        findOrigin: (url, validate, applicationId) =>
          origins.find(parseDestination(url), validate, applicationId),
        clock,
      }),
      kerberos: new KerberosSignOn(
        openKerberosAccounts(options.kerberos ?? settings.kerberos ?? [], (warning) =>
          log.warn({ code: warning.code, ...warning.facts }, warning.message),
        ),
      ),
    }),
    deadlines: new Deadlines(),
    log,
    counters: { started: 0, active: 0, failed: 0, cancelled: 0, retried: 0 },
    pipes: new Set(),
  }
  const instanceId = randomUUID()
  const startedAt = clock()

  const identity = new Identity({
    state,
    stateDir,
    route,
    log,
    clock,
    onRenewed: () => {
      // A dial that is under way shows the old certificate; the service takes that for theft once
      // it has seen the new one.
      void Promise.all(keepers.map((keeper) => keeper.settled())).then(() => {
        for (const keeper of keepers) keeper.replace()
      })
    },
  })
  const announcement = new SealingKeyAnnouncement({
    identity,
    publicKey: sealingKey.publicKey,
    log,
    onAnnounced: () => options.onStateChange?.(status()),
  })
  const dial = async (signal: AbortSignal) => {
    await identity.ensureValid()
    return dialService(
      route,
      {
        protocol: tunnelProtocol,
        ca: identity.caPem,
        client: { keyPem: identity.keyPem, certificatePem: identity.certificatePem },
      },
      signal,
    )
  }
  const explain = (error: Error): ConnectorError => {
    // Our clock says that it is valid, theirs that it is not: a renewal settles it.
    if (/ALERT_CERTIFICATE_EXPIRED/.test(findErrorCode(error) ?? '')) identity.renewSoon()
    return toServiceError(error, route.service)
  }
  const status = (): ConnectorStatus => ({
    connectorId: settings.connectorId,
    connectorGroup: settings.connectorGroup,
    name: settings.name,
    service: route.service.origin,
    ...(route.proxy ? { proxy: describeProxy(route.proxy) } : {}),
    instanceId,
    processId: process.pid,
    startedAt,
    tunnels: keepers.map((keeper) => keeper.status),
    certificate: {
      serial: identity.facts.serial,
      notAfterAt: identity.facts.notAfterAt,
      renewAt: identity.facts.renewAt,
      ...(identity.lastError
        ? { lastError: { code: identity.lastError.code, message: identity.lastError.message } }
        : {}),
    },
    sealingKey: { fingerprint: sealingKey.fingerprint, announced: announcement.isDone },
    originClientCertificates: certificates.status(),
    allow: [...new Set(allowList.rules.map((rule) => rule.text))],
    origins: [...origins.list()].map((origin) => ({
      url: origin.destination.url,
      validate: origin.validate,
      connections: origin.connectionCount,
      idle: origin.idleCount,
    })),
    exchanges: { ...host.counters },
  })
  const keepers = Array.from(
    { length: options.tunnels ?? 2 },
    (_, index) =>
      new TunnelKeeper({
        dial,
        explain,
        capabilities: [`instance=${instanceId}`],
        limits: options.tunnelLimits ?? {},
        onStream: (stream) => {
          stream.handler = new Exchange(host, stream)
        },
        onStateChange: (state) => {
          if (state === 'connected') announcement.begin()
          options.onStateChange?.(status())
        },
        onRead: options.onRead,
        // The tunnel has reset the stream; what it held towards the origin is let go too.
        onHandlerError: (error, stream) => (stream.handler as Exchange).fail(error),
        log,
        clock,
        random,
        name: String(index + 1),
      }),
  )

  const statusServer = await serveStatus(stateDir, status)
  for (const keeper of keepers) keeper.start()
  identity.start()
  log.info(
    { connectorId: settings.connectorId, service: route.service.origin, instanceId },
    'connector started',
  )

  const stop = async () => {
    identity.stop()
    const drained = Promise.all(keepers.map((keeper) => keeper.drain('the connector is stopping')))
    for (const pipe of host.pipes) pipe.endPipe()
    const timer = setTimeout(() => {
      for (const keeper of keepers) keeper.close()
    }, options.drainMs ?? 10_000)
    await drained
    await announcement.settled
    clearTimeout(timer)
    origins.close()
    certificates.close()
    host.signOn.close()
    host.deadlines.close()
    await statusServer.close()
    log.info({ connectorId: settings.connectorId }, 'connector stopped')
    finished()
  }
  let finished = () => {}
  const closed = new Promise<void>((done) => {
    finished = done
  })
  let stopping: Promise<void> | undefined
  return {
    status,
    close: () => {
      stopping ??= stop()
      return stopping
    },
    closed,
  }
}
