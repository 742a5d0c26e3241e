import { chmodSync, writeFileSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { createServer as createPlainServer } from 'node:net'
import { getCACertificates } from 'node:tls'
import { type Control, serveControlSocket, startControl } from '@sallyport/control'
import { ConfigurationError, systemHosts } from '@sallyport/domain'
import { Gateway, listenTls, sessionLifetimeMs } from '@sallyport/gateway'
import { hashPassword, type Identity, startIdentity } from '@sallyport/identity'
import { accessState, type Store } from '@sallyport/store'
import type { Logger } from 'pino'
import { AccessLog } from './access-log.ts'
import { CertificateFiles, readCertificates } from './certificate-files.ts'
import { type ServiceConfig, serviceFiles } from './config.ts'
import { checkOwner, makeFolder } from './folders.ts'
import { makeMetrics } from './metrics/make.ts'
import { closePort, closePorts, type OpenPort, openPort } from './ports.ts'
import { explainKeyMismatch } from './service-key.ts'
import { describeDatabase, openServiceStore } from './service-store.ts'
import { SystemRequests } from './system-requests.ts'
import { createRoutes } from './tls-routes.ts'
import { startTracing } from './tracing/start.ts'
import { freeWhatWasRead } from './young-garbage.ts'

/** A running service. */
export interface Service {
  /** Port of the TLS listener. */
  port: number
  plainPort: number | undefined
  metricsPort: number | undefined
  control: Control
  gateway: Gateway
  /** What SIGHUP asks for: opens the access log again, and reads certificates. */
  reload(): Promise<void>
  store: Store
  close(): Promise<void>
}

/**
 * Starts the service: control, identity and gateway in one process behind one TLS port. The composition
 * root: the only place that knows all of them.
 *
 * @param clock epoch milliseconds
 * @throws ConfigurationError when a field of the configuration says something that cannot be; CommandError,
 *   ControlError, StoreError
 */
export async function startService(
  config: ServiceConfig,
  log: Logger,
  clock: () => number = Date.now,
): Promise<Service> {
  const certificates = readCertificates(config.certificates)
  makeFolder(config.dataDir, 'dataDir')
  checkOwner(config.dataDir)
  chmodSync(config.dataDir, 0o700)
  const files = serviceFiles(config)
  const publicPort = config.publicPort ?? config.listen.port
  const hosts = systemHosts(config.baseDomain)
  const url = (host: string) => `https://${host}${publicPort === 443 ? '' : `:${publicPort}`}`
  const closers: (() => Promise<void> | void)[] = []
  const close = async () => {
    for (const closer of closers.reverse()) await closer()
    closers.length = 0
  }
  try {
    let isWaiting = false
    const { store, keyFile } = await openServiceStore(config, {
      // Without its store a service can neither sign in nor revoke: it ends, and is started again.
      onFailure: (error) => {
        log.fatal({ err: error }, 'the store failed')
        process.exit(1)
      },
      onWaiting: (error) => {
        if (!isWaiting) log.warn({ err: error }, 'the database is not there; waiting for it')
        isWaiting = true
      },
      onConnection: (error) => {
        if (error) log.warn({ err: error }, 'the database is away; trying again')
        else log.info('the database is there again')
      },
      onError: (error) => log.warn({ err: error }, 'the database could not be asked'),
    })
    closers.push(() => store.close())
    let gateway: Gateway | undefined
    let people: Identity | undefined
    let certificateFiles: CertificateFiles | undefined
    const control = await startControl({
      store,
      dataDir: config.dataDir,
      keyFile,
      baseDomain: config.baseDomain,
      port: publicPort,
      hashPassword,
      certificates,
      auditRetentionMs: config.auditRetentionDays * 86_400_000,
      countTunnels: (connectorId) =>
        gateway?.tunnels.all().filter((tunnel) => tunnel.connectorId === connectorId).length ?? 0,
      answerSignOnCheck: (question) => {
        if (!people) throw new Error('the service is not up yet')
        return people.signOnCheck(question)
      },
      statusFacts: () => ({
        certificates: certificateFiles?.status() ?? [],
        warnings: certificateFiles?.warnings() ?? [],
      }),
      clock,
      log,
    }).catch(explainKeyMismatch({ key: files.key, database: describeDatabase(config) }))
    closers.push(() => control.close())
    certificateFiles = new CertificateFiles(config.certificates, control, { clock, log })
    const ownCertificates = certificateFiles
    closers.push(() => ownCertificates.close())
    const ports: OpenPort[] = []
    const metrics = await makeMetrics(config, {
      connectorGroups: () =>
        [...control.snapshot().applications.values()].map(
          ({ application }) => application.connectorGroup,
        ),
      tunnels: () => (gateway?.tunnels.all() ?? []).map(({ connectorGroup }) => connectorGroup),
      openStreams: () => gateway?.open.size ?? 0,
      clientConnections: () => ports.reduce((sum, { sockets }) => sum + sockets.size, 0),
      configurationVersion: () => control.snapshot().version,
      certificates: () => ownCertificates.status(),
    })
    const tracing = await startTracing(config, log)
    closers.push(() => tracing?.close())
    const identity = await startIdentity({
      store,
      tenantId: control.tenantId,
      baseDomain: config.baseDomain,
      loginOrigin: url(hosts.login),
      portalOrigin: url(hosts.apps),
      keys: {
        cookies: (lifetimeMs) => control.cookieKeys(lifetimeMs),
        clientSecret: keyFile.derive('client secrets'),
        signOn: () => control.signOnKey(),
        assertions: () => control.assertionKeys(),
        pairwise: keyFile.derive('pairwise names'),
        logoutPasses: keyFile.derive('logout passes'),
      },
      seal: (purpose, bytes) => keyFile.seal(purpose, bytes),
      open: (purpose, sealed) => keyFile.open(purpose, sealed),
      snapshot: () => control.snapshot(),
      passwords: control.passwords,
      onSignIn: (outcome) => metrics?.addSignIn(outcome),
      deliver: async (request) => {
        if (!gateway) throw new Error('the gateway is not there yet')
        return gateway.tell(request)
      },
      onLogoutNotice: (outcome) => metrics?.addLogoutNotice(outcome),
      logout: {
        allow: config.logoutAllow,
        // Applications may have a certificate of ours.
        authorities: [...getCACertificates('default'), control.webCa.certificatePem],
      },
      clock,
      log,
    })
    people = identity
    closers.push(() => identity.close())

    const accessLog = openAccessLog(files.accessLog, config, log)
    closers.push(() => accessLog.close())
    gateway = new Gateway({
      snapshot: () => control.snapshot(),
      identity,
      feed: {
        prove: () => store.prove(),
        async catchUp() {
          await control.reload()
          return accessState.readDenySet(store.db, clock())
        },
      },
      feedSilenceLimitMs: config.feedSilenceLimitMs,
      portal: async ({ method, path, session, id }) => {
        if ((method !== 'GET' && method !== 'HEAD') || path !== '/')
          return identity.portalNotFound(id)
        return identity.portalAnswer(session)
      },
      // Twice: another gateway may have sealed with a key of which it heard late that it is superseded.
      cookieKeys: () => control.cookieKeys(2 * sessionLifetimeMs),
      port: publicPort,
      trustedProxies: config.trustedProxies,
      absoluteLifetimeMs: identity.absoluteLifetimeMs,
      clock,
      record: metrics
        ? (record) => {
            accessLog.write(record)
            metrics.addRequest(record)
          }
        : (record) => accessLog.write(record),
      tracing,
      onInternalError: (error, id) => log.error({ err: error, id }, 'internal error'),
      onFeedError: (error) => log.error({ err: error }, 'the store did not answer'),
      onFeedChange: (isSilent) => log[isSilent ? 'error' : 'info']({}, feedMessages[`${isSilent}`]),
      http: { onRead: freeWhatWasRead },
    })
    const running = gateway
    closers.push(() => running.close())
    closers.push(store.feed.subscribe((event) => running.apply(event)))
    // Before anybody can connect: a gateway that does not know what has ended lets nobody in.
    await running.start()

    // What people may import into a browser: it is constrained to the base domain.
    writeFileSync(files.webCa, control.webCa.certificatePem)
    const answering = new Set<ServerResponse>()
    const route = createRoutes({
      control,
      gateway: running,
      hosts,
      log,
      identity,
      closers,
      answering,
      requests: new SystemRequests(metrics, tracing, clock),
    })
    closers.push(() => closePorts(ports, running, answering))
    const tls = await openPort(listenTls({ route }), 'listen', config.listen)
    ports.push(tls)
    let plain: OpenPort | undefined
    if (config.plainListen) {
      const server = createPlainServer({ noDelay: true }, (socket) => running.serveClient(socket))
      plain = await openPort(server, 'plainListen', config.plainListen)
      ports.push(plain)
    }
    let metricsPort: OpenPort | undefined
    if (config.metricsListen && metrics) {
      const server = metrics.createServer((error) => log.error({ err: error }, 'metrics failed'))
      metricsPort = await openPort(server, 'metricsListen', config.metricsListen)
      closers.push(() => closePort(metricsPort!))
    }
    const socket = await serveControlSocket(control, files.controlSocket)
    closers.push(() => socket.close())
    return {
      port: tls.port,
      plainPort: plain?.port,
      metricsPort: metricsPort?.port,
      control,
      gateway: running,
      async reload() {
        accessLog.reopen()
        ownCertificates.reload()
      },
      store,
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

/** @throws ConfigurationError */
function openAccessLog(
  file: string,
  { accessLogRotation: { maxSizeMiB, maxAgeHours, keep } }: ServiceConfig,
  log: Logger,
): AccessLog {
  try {
    return new AccessLog(
      file,
      (error) => log.error({ err: error }, 'the access log could not be written'),
      { maxBytes: maxSizeMiB * 1_048_576, maxAgeMs: maxAgeHours * 3_600_000, keep },
    )
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new ConfigurationError([
      { path: 'accessLog', message: `${file} cannot be written (${code})` },
    ])
  }
}

const feedMessages = {
  true: 'it is not known whose access has ended: applications that need a sign-in answer 503',
  false: 'what has ended is known: applications answer',
}
