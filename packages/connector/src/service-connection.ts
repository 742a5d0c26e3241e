import { isIP, type Socket } from 'node:net'
import { connect, type TLSSocket } from 'node:tls'
import { isLocalhostName } from './allow-list.ts'
import { connectThroughProxy } from './connect-proxy.ts'
import { dialTcp, type Resolve, resolveServiceName } from './dial.ts'
import { ConnectorError, type ConnectorErrorCode, findErrorCode, toError } from './errors.ts'

export const tunnelProtocol = 'sallyport-tunnel/1'
export const enrolmentProtocol = 'sallyport-enroll/1'

/** How the service is reached. */
export interface ServiceRoute {
  /** `https://connect.<base domain>[:port]`. */
  service: URL
  proxy: URL | undefined
  resolve: Resolve
}

export interface ServiceTls {
  protocol: typeof tunnelProtocol | typeof enrolmentProtocol
  /** PEM: the only CAs that are believed. The system's are not asked. */
  ca: string
  /** The connector's identity, for tunnels. */
  client?: { keyPem: string; certificatePem: string }
}

/** Whole way to an authenticated connection: name, TCP, proxy, TLS. */
export const serviceDialTimeoutMs = 20_000

/**
 * Connects to the service over TLS 1.3, directly or through the HTTP proxy.
 *
 * @returns a socket whose other end has proved to be the service; owned by the caller
 * @throws ConnectorError `SERVICE_…`, `PROXY_…`, `CLIENT_CERTIFICATE_REFUSED`; the signal's reason
 */
export async function dialService(
  route: ServiceRoute,
  tls: ServiceTls,
  signal: AbortSignal,
): Promise<TLSSocket> {
  const timeout = AbortSignal.timeout(serviceDialTimeoutMs)
  const either = AbortSignal.any([signal, timeout])
  try {
    const socket = await dialPlain(route, either)
    return await secure(socket, route, tls, either)
  } catch (error) {
    if (signal.aborted || !timeout.aborted || error instanceof ConnectorError) throw error
    throw new ConnectorError(
      'SERVICE_TIMEOUT',
      `${route.service.host} did not answer within ${serviceDialTimeoutMs} ms`,
      { cause: error },
    )
  }
}

/** The TCP connection alone, through the proxy if there is one. */
export async function dialPlain(route: ServiceRoute, signal: AbortSignal): Promise<Socket> {
  const { service, proxy, resolve } = route
  const { host, port } = hostAndPort(service)
  if (proxy) {
    // No proxy can resolve *.localhost.
    const seen = isLocalhostName(host) ? '127.0.0.1' : host
    return connectThroughProxy(proxy, seen, port, signal, resolve)
  }
  try {
    return await dialTcp(await resolveServiceName(host, resolve), port, signal)
  } catch (cause) {
    if (signal.aborted) throw cause
    throw new ConnectorError(
      'SERVICE_UNREACHABLE',
      `no connection to ${service.host}: ${toError(cause).message}`,
      { cause },
    )
  }
}

export function hostAndPort(service: URL): { host: string; port: number } {
  return {
    host: service.hostname.replace(/^\[|\]$/g, ''),
    port: Number(service.port || 443),
  }
}

function secure(
  plain: Socket,
  { service }: ServiceRoute,
  { protocol, ca, client }: ServiceTls,
  signal: AbortSignal,
): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const { host } = hostAndPort(service)
    const socket = connect({
      socket: plain,
      host,
      servername: isIP(host) ? '' : host,
      ca,
      ...(client ? { key: client.keyPem, cert: client.certificatePem } : {}),
      minVersion: 'TLSv1.3',
      ALPNProtocols: [protocol],
      // Checked below, where the certificate can still be named.
      rejectUnauthorized: false,
    })
    const finish = (error: Error | undefined) => {
      socket.removeListener('error', onError)
      socket.removeListener('close', onClose)
      signal.removeEventListener('abort', onAbort)
      if (!error) return resolve(socket)
      socket.destroy()
      return reject(error)
    }
    const onError = (error: Error) => finish(toServiceError(error, service))
    const onClose = () =>
      finish(
        new ConnectorError(
          'SERVICE_PROTOCOL_MISMATCH',
          `${service.host} closed the connection during the TLS handshake`,
        ),
      )
    const onAbort = () => finish(toError(signal.reason))
    socket.once('error', onError)
    socket.once('close', onClose)
    signal.addEventListener('abort', onAbort)
    socket.once('secureConnect', () => finish(findProblem(socket, service, protocol)))
    if (signal.aborted) onAbort()
  })
}

/**
 * Verification errors that say "issued by the pinned CA, but not usable", not "issued by somebody
 * else".
 */
const pinnedButInvalid = /^(?:CERT_HAS_EXPIRED|CERT_NOT_YET_VALID|ERR_TLS_CERT_ALTNAME_INVALID)$/

function findProblem(socket: TLSSocket, service: URL, protocol: string): Error | undefined {
  if (socket.authorized !== true) {
    const cause = socket.authorizationError
    const code = typeof cause === 'string' ? cause : (findErrorCode(cause) ?? String(cause))
    if (pinnedButInvalid.test(code))
      return new ConnectorError(
        'SERVICE_CERTIFICATE_INVALID',
        `the certificate of ${service.host} cannot be used (${code}); check this machine's clock too`,
      )
    return notPinned(socket, service, code)
  }
  if (socket.alpnProtocol !== protocol)
    return new ConnectorError(
      'SERVICE_PROTOCOL_MISMATCH',
      `${service.host} does not speak ${protocol}`,
    )
  return undefined
}

/** TLS interception, mostly: a box on the way shows a certificate of its own. Says whose. */
export function notPinned(socket: TLSSocket, service: URL, reason: string): ConnectorError {
  const { issuer } = socket.getPeerCertificate()
  const issuedBy = issuer ? [issuer.O, issuer.CN].flat().filter(Boolean).join(', ') : 'unknown'
  return new ConnectorError(
    'SERVICE_CERTIFICATE_NOT_PINNED',
    `the certificate shown for ${service.host} was not issued by the pinned CA but by "${issuedBy}" (${reason}): something on the way intercepts TLS; exempt ${service.host} from inspection`,
  )
}

// OpenSSL's reasons, as Node spells them: alerts that the other end sent.
const alerts: readonly [pattern: RegExp, code: ConnectorErrorCode, meaning: string][] = [
  [/ALERT_NO_APPLICATION_PROTOCOL/, 'SERVICE_PROTOCOL_MISMATCH', 'does not speak our protocol'],
  [
    /ALERT_PROTOCOL_VERSION|UNSUPPORTED_PROTOCOL|WRONG_VERSION_NUMBER/,
    'SERVICE_PROTOCOL_MISMATCH',
    'does not speak TLS 1.3',
  ],
  [/ALERT_UNRECOGNIZED_NAME/, 'SERVICE_PROTOCOL_MISMATCH', 'does not know its own name'],
  [
    /ALERT_.*(?:CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED)/,
    'CLIENT_CERTIFICATE_REFUSED',
    "refused the connector's certificate",
  ],
]

/** Any error of a connection to the service, named. */
export function toServiceError(error: Error, service: URL): ConnectorError {
  if (error instanceof ConnectorError) return error
  const code = findErrorCode(error) ?? ''
  for (const [pattern, named, meaning] of alerts)
    if (pattern.test(code))
      return new ConnectorError(named, `${service.host} ${meaning} (${code})`, { cause: error })
  return new ConnectorError('SERVICE_UNREACHABLE', `${service.host}: ${error.message}`, {
    cause: error,
  })
}
