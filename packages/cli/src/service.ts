import { constants } from 'node:crypto'
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import {
  createServer as createHttpServer,
  type Server as HttpServer,
  type RequestListener,
} from 'node:http'
import {
  type AddressInfo,
  createServer as createPlainServer,
  type Server,
  type Socket,
} from 'node:net'
import { join } from 'node:path'
import {
  createSecureContext,
  createServer as createTlsServer,
  type TLSSocket,
  type TlsOptions,
  type Server as TlsServer,
} from 'node:tls'
import { type Control, openKeyFile, serveControlSocket, startControl } from '@sallyport/control'
import { systemHosts } from '@sallyport/domain'
import { type ClientHello, Gateway, listenTls, type TlsRoute } from '@sallyport/gateway'
import { hashPassword, type Identity, startIdentity } from '@sallyport/identity'
import { TunnelSession } from '@sallyport/protocol'
import { openStore } from '@sallyport/store'
import type { Logger } from 'pino'
import { AccessLog } from './access-log.ts'
import { answerAdminHost } from './admin-page.ts'
import type { ServiceConfig } from './config.ts'
import { freeWhatWasRead } from './young-garbage.ts'

/** A running service. */
export interface Service {
  /** Port of the TLS listener. */
  port: number
  plainPort: number | undefined
  control: Control
  gateway: Gateway
  close(): Promise<void>
}

/**
 * Starts the service: control, identity and gateway in one process behind one TLS port. The composition
 * root: the only place that knows all of them.
 */
export async function startService(config: ServiceConfig, log: Logger): Promise<Service> {
  mkdirSync(config.dataDir, { recursive: true, mode: 0o700 })
  chmodSync(config.dataDir, 0o700)
  const publicPort = config.publicPort ?? config.listen.port
  const hosts = systemHosts(config.baseDomain)
  const url = (host: string) => `https://${host}${publicPort === 443 ? '' : `:${publicPort}`}`
  const clock = Date.now
  const closers: (() => Promise<void> | void)[] = []
  const close = async () => {
    for (const closer of closers.reverse()) await closer()
    closers.length = 0
  }
  try {
    const store = await openStore({
      kind: 'sqlite',
      file: join(config.dataDir, 'sallyport.db'),
      // Without its store a service can neither sign in nor revoke: it ends, and is started again.
      onFailure: (error) => {
        log.fatal({ err: error }, 'the store failed')
        process.exit(1)
      },
    })
    closers.push(() => store.close())
    let gateway: Gateway | undefined
    const keyFile = openKeyFile(config.keyFile ?? join(config.dataDir, 'key'))
    const control = await startControl({
      store,
      dataDir: config.dataDir,
      keyFile,
      baseDomain: config.baseDomain,
      port: publicPort,
      hashPassword,
      certificates: config.certificates.map((files) => ({
        certificatePem: readFileSync(files.certificateFile, 'utf8'),
        keyPem: readFileSync(files.keyFile, 'utf8'),
      })),
      countTunnels: (connectorId) =>
        gateway?.tunnels.all().filter((tunnel) => tunnel.connectorId === connectorId).length ?? 0,
      clock,
      log,
    })
    closers.push(() => control.close())
    const identity = await startIdentity({
      store,
      tenantId: control.tenantId,
      baseDomain: config.baseDomain,
      loginOrigin: url(hosts.login),
      portalOrigin: url(hosts.apps),
      keys: {
        cookies: [keyFile.derive('identity cookies')],
        clientSecret: keyFile.derive('client secrets'),
      },
      seal: (purpose, bytes) => keyFile.seal(purpose, bytes),
      open: (purpose, sealed) => keyFile.open(purpose, sealed),
      snapshot: () => control.snapshot(),
      clock,
      log,
    })
    closers.push(() => identity.close())

    const accessLog = new AccessLog(
      config.accessLog ?? join(config.dataDir, 'access.log'),
      (error) => log.error({ err: error }, 'the access log could not be written'),
    )
    closers.push(() => accessLog.close())
    gateway = new Gateway({
      snapshot: () => control.snapshot(),
      identity,
      portal: async ({ method, path, session, id }) => {
        if ((method !== 'GET' && method !== 'HEAD') || path !== '/')
          return identity.portalNotFound(id)
        return identity.portalAnswer(session)
      },
      cookieKeys: [{ id: '1', secret: keyFile.derive('session cookies') }],
      port: publicPort,
      trustedProxies: config.trustedProxies,
      absoluteLifetimeMs: identity.absoluteLifetimeMs,
      clock,
      record: (record) => accessLog.write(record),
      onInternalError: (error, id) => log.error({ err: error, id }, 'internal error'),
    })
    const running = gateway
    closers.push(() => running.close())
    closers.push(store.feed.subscribe((event) => running.apply(event)))

    // What people may import into a browser: it is constrained to the base domain.
    writeFileSync(join(config.dataDir, 'web-ca.pem'), control.webCa.certificatePem)
    const route = createRoutes({ control, gateway: running, hosts, log, identity, closers })
    const tls = listenTls({ route })
    await listen(tls, config.listen.port, config.listen.address)
    closers.push(() => closeServer(tls, running))
    let plainPort: number | undefined
    if (config.plainListen) {
      const plain = createPlainServer({ noDelay: true }, (socket) => {
        running.serveClient(socket)
        freeWhatWasRead(socket)
      })
      await listen(plain, config.plainListen.port, config.plainListen.address)
      closers.push(() => closeServer(plain, running))
      plainPort = (plain.address() as AddressInfo).port
    }
    const socket = await serveControlSocket(control, join(config.dataDir, 'control.sock'))
    closers.push(() => socket.close())
    return {
      port: (tls.address() as AddressInfo).port,
      plainPort,
      control,
      gateway: running,
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

interface RouteParts {
  control: Control
  gateway: Gateway
  hosts: ReturnType<typeof systemHosts>
  log: Logger
  identity: Pick<Identity, 'handle'>
  /** Run when the service closes. */
  closers: (() => Promise<void> | void)[]
}

/** Chooses the server for a connection by its ClientHello: three servers behind one port. */
function createRoutes(parts: RouteParts): (hello: ClientHello) => TlsRoute | undefined {
  const { hosts, identity } = parts
  const tunnels = serveTunnels(parts)
  const enrolment = serveEnrolment(parts)
  const login = serveWithNode(parts, (request, response) => identity.handle(request, response))
  const admin = serveWithNode(parts, (request, response) =>
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
function createRequestServer({ closers }: RouteParts, handle: RequestListener): HttpServer {
  const http = createHttpServer(
    {
      headersTimeout: 10_000,
      requestTimeout: 20_000,
      connectionsCheckingInterval: 1_000,
      maxHeaderSize: 32_768,
    },
    handle,
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
  const connector = await control.authenticateConnector({ raw: certificate.raw })
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
  const http = createRequestServer(parts, (request, response) =>
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
function serveWithNode(parts: RouteParts, handle: RequestListener): TlsRoute {
  const { control, log } = parts
  const http = createRequestServer(parts, handle)
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

const openSockets = new WeakMap<Server, Set<Socket>>()

function listen(server: Server, port: number, address: string): Promise<void> {
  const sockets = new Set<Socket>()
  openSockets.set(server, sockets)
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ port, host: address }, () => {
      server.off('error', reject)
      resolve()
    })
  })
}

const drainMs = 4_000

/**
 * Takes no new connections, lets the requests that are open finish, then closes what is left: WebSockets, and whatever did not
 * finish in time.
 */
async function closeServer(server: Server, gateway: Gateway): Promise<void> {
  const sockets = openSockets.get(server)!
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  await gateway.drain(drainMs)
  for (const socket of sockets) socket.destroy()
  await closed
}
