/**
 * What administrators and connectors talk to: the configuration and the commands that change it, the
 * certificate authorities, and the enrolment of connectors. A change is validated as a whole, stored,
 * compiled into a new Snapshot and announced; what would not compile is refused, and the old one stays.
 */
export type { AssertionJwk, AssertionRing } from './assertion-keys.ts'
export type { Command, CommandTable } from './command.ts'
export type { AuthenticatedConnector } from './connector-authentication.ts'
export { type Control, type ControlOptions, startControl } from './control.ts'
export { type ControlAnswer, callControlSocket, serveControlSocket } from './control-socket.ts'
export type { CookieKey } from './cookie-keys.ts'
export { ControlError, type ControlErrorCode } from './errors.ts'
export { KeyFile, openKeyFile } from './key-file.ts'
export type { Log } from './log.ts'
export type { ConfiguredCertificate, ServerPair } from './web-certificates.ts'
