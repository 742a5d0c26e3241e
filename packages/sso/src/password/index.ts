/**
 * Sign-on with a password that somebody keeps for an application. It is sealed in the process that
 * receives it, once for each connector, and opened where it is used: whoever has the database or the
 * gateway cannot read it. `./form` finds sign-in forms in pages and fills them in.
 */
export { basicProblem, toBasicValue } from './basic.ts'
export {
  type Credential,
  type CredentialBinding,
  fingerprintOf,
  isSealingPublicKey,
  openCredential,
  readSealingKey,
  recipientOf,
  SealingError,
  type SealingErrorCode,
  type SealingKey,
  sealCredential,
} from './sealing.ts'
