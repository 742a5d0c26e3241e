import { toPrintable } from './output.ts'

/** An error that an administrator can act on: what was attempted, and what to do next. */
export class CommandError extends Error {
  override readonly name = 'CommandError'
  readonly code = 'COMMAND_FAILED'
  readonly hint: string | undefined
  constructor(message: string, hint?: string) {
    super(message)
    this.hint = hint
  }
}

/**
 * Exit codes: what was asked for could not be done, or could not be understood (`EX_USAGE` of sysexits.h);
 * `apply --plan` has found something different, as `diff` and others say it to scripts.
 */
export const exitCodes = { failed: 1, different: 2, usage: 64 } as const

/** Prints an error for a person and ends with status 1. */
export function reportError(program: string, error: unknown): never {
  for (const line of describeError(error)) process.stderr.write(`${program}: ${line}\n`)
  process.exit(exitCodes.failed)
}

/** One line for each problem, then the hint; a mistake of ours keeps its stack. */
export function describeError(error: unknown): string[] {
  if (!isExpected(error))
    return [error instanceof Error ? (error.stack ?? error.message) : String(error)]
  const { hint } = error as { hint?: unknown }
  return [...error.message.split('\n'), ...(typeof hint === 'string' ? [hint] : [])]
    .filter((line) => line !== '')
    .map(toPrintable)
}

/** Errors with a code are foreseen; Node marks the mistakes of programmers with `ERR_`. */
function isExpected(error: unknown): error is Error {
  const { code } = (error ?? {}) as { code?: unknown }
  return error instanceof Error && typeof code === 'string' && !code.startsWith('ERR_')
}
