import { isatty } from 'node:tty'
import { describeError, reportError } from './failure.ts'

/**
 * A terminal sends Ctrl-C to every process of a group, and npm and our launcher pass it on: within this time
 * it is the same key.
 */
const sameKeyMs = 1_000

/**
 * Runs `close` once at SIGINT, SIGTERM or SIGHUP, then ends the process with status 0. Whoever asks again ends it
 * at once.
 *
 * @param program name in front of an error of `close`
 * @param reload what SIGHUP asks for instead, unless a terminal says by it that it is gone
 */
export function closeOnSignal(
  program: string,
  close: () => Promise<void>,
  reload?: () => Promise<void>,
): void {
  let askedAt: number | undefined
  const onSignal = () => {
    const nowAt = performance.now()
    if (askedAt !== undefined) {
      if (nowAt - askedAt > sameKeyMs) process.exit(130)
      return
    }
    askedAt = nowAt
    close().then(
      () => process.exit(0),
      (error: unknown) => reportError(program, error),
    )
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, onSignal)
  process.on('SIGHUP', () => {
    if (reload && !hasTerminal())
      reload().catch((error: unknown) => {
        for (const line of describeError(error)) process.stderr.write(`${program}: ${line}\n`)
      })
    else onSignal()
  })
}

function hasTerminal(): boolean {
  return [0, 1, 2].some((descriptor) => isatty(descriptor))
}
