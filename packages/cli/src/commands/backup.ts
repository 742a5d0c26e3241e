import { type Command, Option } from 'commander'
import type { Administration } from '../administration.ts'
import { CommandError } from '../failure.ts'
import { printLine, toJson, toPrintable } from '../output.ts'
import { readSecret } from '../standard-input.ts'

export function addBackupCommands(program: Command, administration: Administration): void {
  program
    .command('backup <file>')
    .description('write all that the service has stored into one file, while it runs or not')
    .option(
      '--include-key',
      'put the key file into it too, sealed with a passphrase that is asked for or read from standard input',
    )
    .option('--replace', 'write over a file that is there')
    .action(async (file: string, options: { includeKey?: boolean; replace?: boolean }) => {
      const { makeBackup } = await import('../backup/backup.ts')
      const result = await makeBackup({
        config: administration.config,
        file,
        replace: options.replace ?? false,
        passphrase: options.includeKey ? await readSecret('Passphrase') : undefined,
        copy: () => administration.execute('backup.copy', {}) as never,
      })
      if (administration.json) return printLine(toJson(result))
      printLine(toPrintable(`backup written to ${result.file} (${result.bytes} bytes, mode 0600)`))
      printLine(
        toPrintable(
          result.holdsKey
            ? 'It holds the key file, sealed with the passphrase: keep that apart from the backup.'
            : `Not in it: the key file ${result.keyFile}, without which nobody can restore it. Keep a copy of that apart from backups.`,
        ),
      )
      printLine('Not in it either: sallyport.yaml, certificates of your own, and the access log.')
    })

  program
    .command('restore [file]')
    .description(
      'put a backup in the place of the database, while the service is stopped; every session ends',
    )
    .option('--check', 'only look whether it is a whole backup of this service')
    .addOption(
      new Option(
        '--in-place',
        'without a file: the database was brought back by other means, such as pg_restore; end in it what must not come back',
      ).conflicts('check'),
    )
    .action(async (file: string | undefined, options: { check?: boolean; inPlace?: boolean }) => {
      const { checkBackup, restoreBackup, serviceRuns } = await import('../backup/restore.ts')
      const { config } = administration
      if ((file === undefined) !== (options.inPlace === true))
        throw new CommandError('give either the file of a backup, or --in-place')
      const print = (
        { at, status }: { at: number; status: Record<string, unknown> },
        restored: string,
        keptIn?: string,
      ) => {
        if (administration.json) return printLine(toJson({ at, keptIn: keptIn ?? null, ...status }))
        printLine(
          toPrintable(
            `${restored} ${describeTime(at)}: ${status.applications} applications, ${status.users} users, ${status.groups} groups`,
          ),
        )
        if (keptIn !== undefined)
          printLine(
            toPrintable(`What was there before is kept in ${keptIn}; remove it when all is well.`),
          )
        printLine(
          'Everybody must sign in again. Start the service, then look at: sallyport connector list',
        )
      }
      const { actor } = administration
      const nowAt = Date.now()
      if (file === undefined) {
        if (await administration.isRunning()) throw serviceRuns()
        const { settleInPlace } = await import('../backup/in-place.ts')
        return print(
          await settleInPlace({ config, actor, nowAt }),
          'settled what there is, of which the newest event is of',
        )
      }
      if (options.check) {
        const { at, sealedKey } = checkBackup(config, file)
        const holdsKey = sealedKey !== undefined
        if (administration.json) return printLine(toJson({ at, holdsKey }))
        printLine(
          toPrintable(
            `${file}: a whole backup of ${config.baseDomain}, made ${describeTime(at)}, ${holdsKey ? 'with' : 'without'} the key file`,
          ),
        )
        return
      }
      if (await administration.isRunning()) throw serviceRuns()
      const restored = await restoreBackup({
        config,
        file,
        actor,
        nowAt,
        readPassphrase: () => readSecret('Passphrase'),
      })
      print(restored, 'restored what there was', restored.keptIn)
    })
}

function describeTime(at: number): string {
  return `${new Date(at).toISOString().slice(0, 19).replace('T', ' ')}Z`
}
