/**
 * The gateway is the public reverse proxy. Every request is parsed once, matched to an application,
 * decided, and relayed over a tunnel to a connector, or answered with a page of ours. It holds no
 * database and no directory: configuration comes as an immutable Snapshot, people by their sessions,
 * and endings as events.
 */
export type { AccessRecord } from './access-record.ts'
export type { Assertion, AssertionSource } from './assertions.ts'
export { type ClientHello, ClientHelloError, parseClientHello } from './client-hello.ts'
export { cookieNames } from './cookies.ts'
export { type FailureCode, failures } from './failures.ts'
export type { AccessFeed } from './feed-watch.ts'
export {
  type ConnectedTunnel,
  Gateway,
  type GatewayOptions,
  type IdentityProvider,
  type LocalAnswer,
  type PortalRequest,
} from './gateway.ts'
export type { OwnRequest } from './own-request.ts'
export type { RingKey } from './seal.ts'
export { sessionLifetimeMs } from './session-cookie.ts'
export { listenTls, type TlsRoute } from './tls-port.ts'
export type { Trace, Tracing } from './trace.ts'
