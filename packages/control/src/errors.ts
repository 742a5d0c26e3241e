import type { Problem } from '@sallyport/domain'
import type { SignOnCheckRefusal } from './sign-on-check.ts'

export type ControlErrorCode =
  // What an administrator asked for
  | 'COMMAND_UNKNOWN'
  | 'INPUT_INVALID'
  | 'NOT_FOUND'
  | 'CONFLICT'
  | 'CONFIGURATION_INVALID'
  // How the service was started
  | 'KEY_FILE_INVALID'
  | 'KEY_FILE_MISMATCH'
  | 'BASE_DOMAIN_CHANGED'
  | 'SERVER_CERTIFICATE_INVALID'
  | 'SOCKET_UNUSABLE'
  // What a connector showed or sent
  | 'REQUEST_INVALID'
  | 'TOKEN_INVALID'
  | 'TOKEN_USED'
  | 'TOKEN_EXPIRED'
  | 'CSR_INVALID'
  | 'CHALLENGE_INVALID'
  | 'CERTIFICATE_INVALID'
  | 'CERTIFICATE_EXPIRED'
  | 'CERTIFICATE_SUPERSEDED'
  | 'CONNECTOR_UNKNOWN'
  | 'CONNECTOR_REVOKED'
  | 'SEALING_KEY_UNKNOWN'
  | 'SEALING_KEY_NOT_APPROVED'
  | SignOnCheckRefusal
  | 'RATE_LIMITED'
  | 'OVERLOADED'
  // Over the control socket
  | 'CONTROL_FAILED'

/** Something that was refused. `problems` names every field that is wrong, and the remedy. */
export class ControlError extends Error {
  override readonly name = 'ControlError'
  readonly code: ControlErrorCode
  readonly problems: readonly Problem[]
  constructor(
    code: ControlErrorCode,
    message: string,
    options: { cause?: unknown; problems?: readonly Problem[] } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.problems = options.problems ?? []
  }
}

/** One or more wrong fields of what was asked for. */
export function refuse(code: ControlErrorCode, ...problems: Problem[]): ControlError {
  return new ControlError(
    code,
    problems.map(({ path, message }) => `${path}: ${message}`).join('\n'),
    { problems },
  )
}
