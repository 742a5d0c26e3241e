import { constants } from 'node:crypto'
import { chmodSync, writeFileSync } from 'node:fs'
import {
  createServer as createHttpServer,
  type Server as HttpServer,
  type RequestListener,
  type ServerResponse,
} from 'node:http'
import {
  type AddressInfo,
  createServer as createPlainServer,
  type Server,
  type Socket,
} from 'node:net'
import {
  createSecureContext,
  createServer as createTlsServer,
  getCACertificates,
  type TLSSocket,
  type TlsOptions,
  type Server as TlsServer,
} from 'node:tls'
import { type Control, serveControlSocket, startControl } from '@sallyport/control'
import { ConfigurationError, type Problem, systemHosts, toPeerAddress } from '@sallyport/domain'
import {
  type ClientHello,
  Gateway,
  listenTls,
  sessionLifetimeMs,
  type TlsRoute,
} from '@sallyport/gateway'
import { hashPassword, type Identity, startIdentity } from '@sallyport/identity'
import { TunnelSession } from '@sallyport/protocol'
import { accessState, type Store } from '@sallyport/store'
import type { Logger } from 'pino'
import { AccessLog } from './access-log.ts'
import { answerAdminHost } from './admin-page.ts'
import { CertificateFiles, readCertificates } from './certificate-files.ts'
import { type ServiceConfig, serviceFiles } from './config.ts'
import { checkOwner, makeFolder } from './folders.ts'
import { makeMetrics } from './metrics/make.ts'
import { explainKeyMismatch } from './service-key.ts'
import { describeDatabase, openServiceStore } from './service-store.ts'
import { type SystemHostName, SystemRequests } from './system-requests.ts'
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
      const server = createPlainServer({ noDelay: true }, (socket) => {
        running.serveClient(socket)
        freeWhatWasRead(socket)
      })
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

interface RouteParts {
  control: Control
  gateway: Gateway
  hosts: ReturnType<typeof systemHosts>
  log: Logger
  identity: Pick<Identity, 'handle'>
  /** Run when the service closes. */
  closers: (() => Promise<void> | void)[]
  /** What the system hosts are about to answer. */
  answering: Set<ServerResponse>
  requests: SystemRequests
}

/** Chooses the server for a connection by its ClientHello: three servers behind one port. */
function createRoutes(parts: RouteParts): (hello: ClientHello) => TlsRoute | undefined {
  const { hosts, identity } = parts
  const tunnels = serveTunnels(parts)
  const enrolment = serveEnrolment(parts)
  const login = serveWithNode(parts, 'login', (request, response) =>
    identity.handle(request, response),
  )
  const admin = serveWithNode(parts, 'admin', (request, response) =>
    answerAdminHost(request, response, parts.gateway.portalUrl()),
  )
  const applications = serveApplications(parts)
  return ({ serverName, protocols }) => {
    if (serverName === undefined) return undefined
    if (serverName === hosts.connect) {
      if (protocols.includes('sallyport-tunnel/1')) return tunnels
      return protocols.includes('sallyport-enroll/1') ? enrolment : undefined
    }
    if (serverName === hosts.admin) return admin
    return serverName === hosts.login ? login : applications
  }
}

/** @param onFailure hears of handshakes that came to nothing */
function createHandshaker(
  options: TlsOptions,
  onSecure: (socket: TLSSocket) => void,
  onFailure: (error: Error, socket: TLSSocket) => void,
): TlsServer {
  const server = createTlsServer({ ...options, handshakeTimeout: 10_000 }, onSecure)
  server.on('tlsClientError', (error, socket) => {
    onFailure(error, socket)
    // A handshake that took too long is told and left open: whoever never ends one must not stay.
    socket.destroy()
  })
  return server
}

/** For connections that are given to it; it never listens by itself. */
function createRequestServer(
  { closers, answering, requests }: RouteParts,
  name: SystemHostName,
  handle: RequestListener,
): HttpServer {
  const http = createHttpServer(
    {
      headersTimeout: 10_000,
      requestTimeout: 20_000,
      connectionsCheckingInterval: 1_000,
      maxHeaderSize: 32_768,
    },
    (request, response) => {
      answering.add(response)
      response.on('close', () => answering.delete(response))
      requests.begin(name, request, response)
      handle(request, response)
    },
  )
  // Whoever does not take the answer.
  http.setTimeout(60_000)
  // From this event on Node looks at those deadlines, which nobody would keep otherwise.
  http.emit('listening')
  closers.push(() => void http.close())
  return http
}

const clientTls = { minVersion: 'TLSv1.2', ALPNProtocols: ['http/1.1'] } as const

function serveTunnels({ control, gateway, log }: RouteParts): TlsRoute {
  const server = createHandshaker(
    {
      ...control.connectServerContext(),
      minVersion: 'TLSv1.3',
      requestCert: true,
      rejectUnauthorized: true,
      ca: control.connectorCa.certificatePem,
      ALPNProtocols: ['sallyport-tunnel/1'],
      // A resumed session would skip the certificate.
      secureOptions: constants.SSL_OP_NO_TICKET,
    },
    (socket) => {
      socket.on('error', (error) => log.debug({ err: error }, 'tunnel socket failed'))
      acceptTunnel({ control, gateway, log }, socket).catch((error: unknown) => {
        log.warn({ err: error, address: socket.remoteAddress }, 'connector was refused')
        socket.destroy()
      })
    },
    (error, socket) =>
      log.warn({ err: error, address: socket.remoteAddress }, 'connector handshake failed'),
  )
  return (socket) => server.emit('connection', socket)
}

async function acceptTunnel(
  { control, gateway, log }: Pick<RouteParts, 'control' | 'gateway' | 'log'>,
  socket: TLSSocket,
): Promise<void> {
  const certificate = socket.getPeerX509Certificate()
  if (!certificate) throw new Error('connector showed no certificate')
  const connector = await control.authenticateConnector({
    raw: certificate.raw,
    clientAddress: toPeerAddress(socket.remoteAddress ?? 'unknown'),
  })
  if (socket.destroyed) return
  let remove: (() => void) | undefined
  const session = new TunnelSession(socket, {
    side: 'gateway',
    onHandlerError: (error) => log.error({ err: error }, 'a stream failed'),
    onClose: (error) => {
      remove?.()
      log.info({ connector: connector.name, reason: error?.message }, 'tunnel closed')
    },
  })
  freeWhatWasRead(socket)
  remove = gateway.addTunnel({
    session,
    connectorId: connector.connectorId,
    connectorName: connector.name,
    connectorGroup: connector.connectorGroup,
  })
  log.info({ connector: connector.name, group: connector.connectorGroup }, 'tunnel open')
}

function serveEnrolment(parts: RouteParts): TlsRoute {
  const { control, log } = parts
  const http = createRequestServer(parts, 'connect', (request, response) =>
    control.handleEnrolment(request, response),
  )
  const server = createHandshaker(
    {
      ...control.connectServerContext(),
      minVersion: 'TLSv1.3',
      ALPNProtocols: ['sallyport-enroll/1'],
    },
    (socket) => http.emit('connection', socket),
    (error, socket) =>
      log.debug({ err: error, address: socket.remoteAddress }, 'enrolment handshake failed'),
  )
  return (socket) => server.emit('connection', socket)
}

/** System hosts are served by Node's own HTTP server: few requests, and libraries that expect it. */
function serveWithNode(parts: RouteParts, name: SystemHostName, handle: RequestListener): TlsRoute {
  const { control, log } = parts
  const http = createRequestServer(parts, name, handle)
  const server = createHandshaker(
    { ...clientTls, SNICallback: contextCallback(control) },
    (socket) => http.emit('connection', socket),
    (error) => log.debug({ err: error }, 'TLS handshake failed'),
  )
  return (socket) => server.emit('connection', socket)
}

function serveApplications({ control, gateway, log }: RouteParts): TlsRoute {
  const server = createHandshaker(
    {
      ...clientTls,
      SNICallback: contextCallback(control),
      // Of a session of TLS 1.2 that is taken up again, nobody says the server name.
      secureOptions: constants.SSL_OP_NO_TICKET,
    },
    (socket) => {
      const { servername } = socket as TLSSocket & { servername?: string | false }
      if (!servername) {
        socket.destroy()
        return
      }
      gateway.serveClient(socket, servername.toLowerCase())
      freeWhatWasRead(socket)
    },
    (error) => log.debug({ err: error }, 'TLS handshake failed'),
  )
  return (socket) => server.emit('connection', socket)
}

/** Certificates by server name; a host that has none gets an alert and not somebody else's certificate. */
function contextCallback(control: Control) {
  const contexts = new Map<string, ReturnType<typeof createSecureContext>>()
  return (
    serverName: string,
    done: (error: Error | null, context?: ReturnType<typeof createSecureContext>) => void,
  ): void => {
    const host = serverName.toLowerCase()
    const pair = control.serverContext(host)
    if (!pair) {
      done(new Error(`no certificate for ${host}`))
      return
    }
    const known = contexts.get(pair.cert)
    if (known) {
      done(null, known)
      return
    }
    const context = createSecureContext({ ...pair, minVersion: 'TLSv1.2' })
    if (contexts.size >= 1_000) contexts.clear()
    contexts.set(pair.cert, context)
    done(null, context)
  }
}

interface OpenPort {
  server: Server
  port: number
  sockets: Set<Socket>
}

/**
 * @param name the setting that says where to listen
 * @throws ConfigurationError when it cannot
 */
async function openPort(
  server: Server,
  name: 'listen' | 'plainListen' | 'metricsListen',
  { port, address }: { port: number; address: string },
): Promise<OpenPort> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const explain = listenProblems[error.code ?? '']
      reject(explain ? new ConfigurationError([explain(name, port, address)]) : error)
    })
    server.listen({ port, host: address }, resolve)
  })
  server.removeAllListeners('error')
  return { server, port: (server.address() as AddressInfo).port, sockets }
}

type ListenProblem = (name: string, port: number, address: string) => Problem

/** Why a port cannot be had, and what to do about it. */
const listenProblems: Partial<Record<string, ListenProblem>> = {
  EADDRINUSE: (name, port) => ({
    path: `${name}.port`,
    message: `${port} is in use by another program; stop that program, or choose another port`,
  }),
  EACCES: (name, port) => ({
    path: `${name}.port`,
    message: `${port} is not open to this user; ports below 1024 need CAP_NET_BIND_SERVICE, which the systemd unit gives`,
  }),
  EADDRNOTAVAIL: (name, _port, address) => ({
    path: `${name}.address`,
    message: `${address} is no address of this machine`,
  }),
}

const drainMs = 4_000

/**
 * Takes no new connections, lets the requests that are open finish, then closes what is left: WebSockets, and whatever did not
 * finish in time.
 */
async function closePorts(
  ports: readonly OpenPort[],
  gateway: Gateway,
  answering: ReadonlySet<ServerResponse>,
): Promise<void> {
  const closed = ports.map(
    ({ server }) => new Promise<void>((resolve) => server.close(() => resolve())),
  )
  const signal = AbortSignal.timeout(drainMs)
  await Promise.all([
    gateway.drain(drainMs),
    ...[...answering].map((response) => ended(response, signal)),
  ])
  for (const { sockets } of ports) for (const socket of sockets) socket.destroy()
  await Promise.all(closed)
}

function closePort({ server, sockets }: OpenPort): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  for (const socket of sockets) socket.destroy()
  return closed
}

function ended(response: ServerResponse, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    response.once('close', resolve)
    signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
