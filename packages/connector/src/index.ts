/**
 * The connector: an agent beside the origins that only ever dials out. `enroll` gives it an
 * identity, `startConnector` keeps tunnels to the service up and serves what comes over them,
 * `readStatus` asks a running one through its Unix socket.
 *
 * The service faces the internet and may fall, so the connector believes little of it: every
 * destination is checked against the local allow-list on the address that is dialled, every request
 * head is parsed as strictly as at the edge. It listens on no TCP or UDP socket.
 */
export {
  AllowList,
  type AllowRule,
  parseAllowRules,
  privateRules,
  type Verdict,
} from './allow-list.ts'
export { type ConfiguredCheck, checkKerberosSignOn, type KerberosCheckTarget } from './check.ts'
export type { ClientCertificateSettings, ClientCertificateStatus } from './client-certificate.ts'
export { describeProxy, parseProxyUrl } from './connect-proxy.ts'
export { type Connector, type ConnectorOptions, startConnector } from './connector.ts'
export type { Resolve } from './dial.ts'
export { type Enrolment, type EnrolOptions, enroll } from './enroll.ts'
export { ConnectorError, type ConnectorErrorCode } from './errors.ts'
export type { Log } from './log.ts'
export { defaultOriginLimits, type OriginLimits } from './origin.ts'
export { type ResealOptions, readSealingKeyFingerprint, resealFor } from './sealing-key.ts'
export { GssapiEngine, type GssapiEngineOptions } from './sign-on/gssapi/engine.ts'
export type { KerberosStep } from './sign-on/kerberos-check.ts'
export type { KerberosEngineName, KerberosSettings } from './sign-on/kerberos-settings.ts'
export { type ConnectorSettings, type ConnectorState, isEnrolled, readState } from './state.ts'
export { type ConnectorStatus, readStatus } from './status.ts'
export type { TunnelStatus } from './tunnel-keeper.ts'
