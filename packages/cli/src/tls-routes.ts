import { constants } from 'node:crypto'
import {
  createServer as createHttpServer,
  type Server as HttpServer,
  type RequestListener,
  type ServerResponse,
} from 'node:http'
import {
  createSecureContext,
  createServer as createTlsServer,
  type TLSSocket,
  type TlsOptions,
  type Server as TlsServer,
} from 'node:tls'
import type { Control } from '@sallyport/control'
import { type systemHosts, toPeerAddress } from '@sallyport/domain'
import type { ClientHello, Gateway, TlsRoute } from '@sallyport/gateway'
import type { Identity } from '@sallyport/identity'
import { TunnelSession } from '@sallyport/protocol'
import type { Logger } from 'pino'
import { answerAdminHost } from './admin-page.ts'
import type { SystemHostName, SystemRequests } from './system-requests.ts'
import { freeWhatWasRead } from './young-garbage.ts'

/** What the servers behind the one TLS port are made of. */
export interface RouteParts {
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
export function createRoutes(parts: RouteParts): (hello: ClientHello) => TlsRoute | undefined {
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
    onRead: freeWhatWasRead,
    onHandlerError: (error) => log.error({ err: error }, 'a stream failed'),
    onClose: (error) => {
      remove?.()
      log.info({ connector: connector.name, reason: error?.message }, 'tunnel closed')
    },
  })
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
