/**
 * Kerberos constrained delegation in plain TypeScript: with nothing but the keytab of a service account, `KerberosEngine`
 * makes tokens that prove to an application which user asks, without that user's password (AS exchange, S4U2Self,
 * S4U2Proxy, AP exchange: RFC 4120, MS-SFU). `Kdcs` finds and reaches the domain controllers, over TCP, each with a limit
 * of its own. Sockets are the only contact to the outside: no krb5.conf, no environment, no ticket on disk. What answers
 * say is checked before it is used: nonce, names, integrity, and what the ticket itself says about its user under the
 * seal of our own key. `DelegationEngine` is what a connector has to know of all this. No dependencies.
 */

export {
  type ApplicationFacts,
  createToken,
  readApplicationReply,
  type Token,
  type TokenOptions,
  unproved,
} from './ap-exchange.ts'
export { requestTgt } from './as-exchange.ts'
export { toEndPointBinding } from './channel-binding.ts'
export { CircuitBreaker } from './circuit-breaker.ts'
export type {
  AccountFacts,
  Authorization,
  DelegationEngine,
  DelegationRequest,
} from './delegation.ts'
export { explainByEvidence } from './denial.ts'
export { type Dns, discoverKdcs } from './discovery.ts'
export { createDns } from './dns.ts'
export { KerberosEngine, type KerberosEngineOptions, untilAborted } from './engine.ts'
export {
  KerberosError,
  type KerberosErrorCode,
  type KerberosFacts,
  type KerberosStage,
  kerberosErrorCodes,
} from './errors.ts'
export { findEtype } from './etypes.ts'
export {
  checkEvidence,
  type EvidenceContent,
  openEvidence,
  toAccountName,
} from './evidence.ts'
export type { ExchangeContext, ExchangeFacts, Ticket } from './exchange.ts'
export { readSentTicket, type TokenFormat, wrapSpnego } from './gss.ts'
export { KdcClock } from './kdc-clock.ts'
export type { Connect, KdcAddress } from './kdc-connection.ts'
export { toKerberosError } from './kdc-errors.ts'
export { Kdcs, type KdcsOptions } from './kdcs.ts'
export { EncryptionKey } from './key.ts'
export { formatKeytab, type KeytabEntry, keysOf, parseKeytab } from './keytab.ts'
export { readKeytabFile } from './keytab-file.ts'
export {
  formatName,
  formatPrincipal,
  NameType,
  type Principal,
  parsePrincipal,
  parseSpn,
  parseUser,
  type UserName,
} from './names.ts'
export type { DirectoryAccount } from './pac.ts'
export { findPrivilege } from './privileged.ts'
export { RefusedKeys } from './refused-keys.ts'
export { requestEvidence, requestServiceTicket } from './s4u.ts'
export { requestCrossRealmTgt, requestTicket } from './tgs-exchange.ts'
