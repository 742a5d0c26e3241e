/**
 * What can go wrong between the connector and the service, or while it is set up. Failures towards
 * an origin are reset codes of the tunnel instead (see `failure.ts`).
 *
 * - `TOKEN_INVALID` the enrolment token is not of the form `sp1.<secret>.<fingerprint>`
 * - `ALREADY_ENROLLED` the state directory holds an identity
 * - `NOT_ENROLLED` the state directory holds none
 * - `NOT_RUNNING` no connector runs with the state directory
 * - `STATE_INVALID` a file of the state directory is missing, damaged, or readable by others
 * - `STATE_IN_USE` another connector runs with this state directory
 * - `ALLOW_RULE_INVALID` a rule of the allow-list cannot be read; `problems` has all of them
 * - `SERVICE_UNREACHABLE` no TCP connection to the service
 * - `SERVICE_CERTIFICATE_NOT_PINNED` the certificate was not issued by the pinned CA: TLS is
 *   intercepted
 * - `SERVICE_CERTIFICATE_INVALID` issued by the pinned CA, but expired or for another host
 * - `SERVICE_PROTOCOL_MISMATCH` the other end does not speak our protocol (ALPN)
 * - `SERVICE_REFUSED` the service answered with an error of its own; `serviceCode` has its word
 * - `SERVICE_RESPONSE_INVALID` the service's answer cannot be used
 * - `SERVICE_TIMEOUT` the service, or a proxy on the way, took too long
 * - `CLIENT_CERTIFICATE_REFUSED` the service does not accept the connector's certificate
 * - `PROXY_UNREACHABLE` no connection to the HTTP proxy
 * - `PROXY_AUTHENTICATION_REQUIRED` the proxy answered 407
 * - `PROXY_REFUSED` the proxy answered CONNECT with another status; `statusCode` has it
 * - `PROXY_RESPONSE_INVALID` what answered CONNECT is no HTTP proxy
 * - `PROXY_INVALID` the proxy URL cannot be used
 * - `ORIGIN_CLIENT_CERTIFICATE_MISSING` a file of a client certificate cannot be read
 * - `ORIGIN_CLIENT_CERTIFICATE_INVALID` it holds no certificate that can be used
 * - `ORIGIN_CLIENT_CERTIFICATE_EXPIRED`, `ORIGIN_CLIENT_CERTIFICATE_NOT_YET_VALID` by this machine's clock
 * - `ORIGIN_CLIENT_KEY_INVALID` its key cannot be read, or opens by another passphrase
 * - `ORIGIN_CLIENT_KEY_MISMATCH` its key is another one's
 * - `ORIGIN_CLIENT_KEY_EXPOSED` its key can be read by others
 */
export type ConnectorErrorCode =
  | 'TOKEN_INVALID'
  | 'ALREADY_ENROLLED'
  | 'NOT_ENROLLED'
  | 'NOT_RUNNING'
  | 'STATE_INVALID'
  | 'STATE_IN_USE'
  | 'ALLOW_RULE_INVALID'
  | 'SERVICE_UNREACHABLE'
  | 'SERVICE_CERTIFICATE_NOT_PINNED'
  | 'SERVICE_CERTIFICATE_INVALID'
  | 'SERVICE_PROTOCOL_MISMATCH'
  | 'SERVICE_REFUSED'
  | 'SERVICE_RESPONSE_INVALID'
  | 'SERVICE_TIMEOUT'
  | 'CLIENT_CERTIFICATE_REFUSED'
  | 'PROXY_UNREACHABLE'
  | 'PROXY_AUTHENTICATION_REQUIRED'
  | 'PROXY_REFUSED'
  | 'PROXY_RESPONSE_INVALID'
  | 'PROXY_INVALID'
  | 'ORIGIN_CLIENT_CERTIFICATE_MISSING'
  | 'ORIGIN_CLIENT_CERTIFICATE_INVALID'
  | 'ORIGIN_CLIENT_CERTIFICATE_EXPIRED'
  | 'ORIGIN_CLIENT_CERTIFICATE_NOT_YET_VALID'
  | 'ORIGIN_CLIENT_KEY_INVALID'
  | 'ORIGIN_CLIENT_KEY_MISMATCH'
  | 'ORIGIN_CLIENT_KEY_EXPOSED'

export interface ConnectorErrorFacts {
  cause?: unknown
  /** The proxy's status code. */
  statusCode?: number
  /** The service's own error code. */
  serviceCode?: string
  problems?: readonly string[]
}

export class ConnectorError extends Error {
  override readonly name = 'ConnectorError'
  readonly code: ConnectorErrorCode
  readonly statusCode: number | undefined
  readonly serviceCode: string | undefined
  readonly problems: readonly string[]

  constructor(code: ConnectorErrorCode, message: string, facts: ConnectorErrorFacts = {}) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause })
    this.code = code
    this.statusCode = facts.statusCode
    this.serviceCode = facts.serviceCode
    this.problems = facts.problems ?? []
  }
}

/** The `code` of any error, as Node spells it; undefined when it has none. */
export function findErrorCode(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | undefined)?.code
  return typeof code === 'string' ? code : undefined
}

export function toError(value: unknown): Error {
  return value instanceof Error ? value : new Error(String(value))
}
