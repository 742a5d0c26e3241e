import type { Command } from 'commander'
import type { Administration } from '../administration.ts'
import { readServiceConfig } from '../config.ts'
import { printLine, toPrintable } from '../output.ts'

const progressIntervalMs = 1_000

export function addDatabaseCommands(program: Command, administration: Administration): void {
  program
    .command('db')
    .description('where everything is kept')
    .command('copy')
    .description('copy everything to the database of another configuration, while no service runs')
    .requiredOption('--to-config <file>', 'configuration that names the other database')
    .option('--replace', 'remove what the other database holds')
    .action(async (options: { toConfig: string; replace?: boolean }) => {
      const from = administration.config
      const to = readServiceConfig(options.toConfig)
      // Loaded only now: no other command needs it.
      const { copyDatabase } = await import('../copy-database.ts')
      const copied = await copyDatabase(from, to, {
        replace: options.replace === true,
        onProgress: showProgress(),
      })
      administration.print(
        copied.map((row) => ({ ...row })),
        ['table', 'rows'],
        '',
      )
      if (!administration.json)
        printLine(
          toPrintable(
            `Everything was copied and compared. A service that is started with ${options.toConfig} uses the copy.`,
          ),
        )
    })
}

/** One line for each second that a copy takes, for a person who waits. */
function showProgress() {
  let shownAt = performance.now()
  return ({ table, rows, total }: { table: string; rows: number; total: number }) => {
    if (performance.now() - shownAt < progressIntervalMs) return
    shownAt = performance.now()
    process.stderr.write(`sallyport: ${table}: ${rows} of ${total} rows\n`)
  }
}
