/** Prints rows as columns, or as JSON for programs. */
export function printRows(
  rows: readonly Record<string, unknown>[],
  json: boolean,
  empty: string,
): void {
  if (json) {
    process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`)
    return
  }
  if (rows.length === 0) {
    process.stdout.write(`${empty}\n`)
    return
  }
  const names = Object.keys(rows[0]!)
  const table = [
    names.map((name) => name.toUpperCase()),
    ...rows.map((row) => names.map((name) => toCell(row[name]))),
  ]
  const widths = names.map((_, column) => Math.max(...table.map((cells) => cells[column]!.length)))
  for (const cells of table)
    process.stdout.write(
      `${cells
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('  ')
        .trimEnd()}\n`,
    )
}

function toCell(value: unknown): string {
  if (value === undefined || value === null || value === '') return '-'
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}

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

/** Prints an error for a person and ends with status 1; a mistake of ours keeps its stack. */
export function reportError(program: string, error: unknown): never {
  const { code, problems, hint } = (error ?? {}) as {
    code?: unknown
    problems?: readonly { path: string; message: string }[]
    hint?: string
  }
  if (problems && problems.length > 0)
    for (const { path, message } of problems)
      process.stderr.write(`${program}: ${path}: ${message}\n`)
  else if (error instanceof Error && typeof code === 'string')
    process.stderr.write(`${program}: ${error.message}\n`)
  else process.stderr.write(`${program}: ${error instanceof Error ? error.stack : String(error)}\n`)
  if (hint) process.stderr.write(`${program}: ${hint}\n`)
  process.exit(1)
}

/** Reads standard input to its end; for secrets, which never stand in arguments. */
export async function readStandardInput(): Promise<string> {
  const parts: Buffer[] = []
  for await (const chunk of process.stdin) parts.push(chunk as Buffer)
  return Buffer.concat(parts).toString('utf8').trim()
}

/** Runs `close` once at SIGINT or SIGTERM, then ends the process; a second signal ends it at once. */
export function closeOnSignal(close: () => Promise<void>): void {
  let closing = false
  const onSignal = () => {
    if (closing) process.exit(130)
    closing = true
    close().then(
      () => process.exit(0),
      (error: unknown) => reportError('sallyport', error),
    )
  }
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
}
