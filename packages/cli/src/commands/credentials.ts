import { readFileSync } from 'node:fs'
import type { Command } from 'commander'
import type { Administration } from '../administration.ts'
import { CommandError } from '../failure.ts'
import { readSecret } from '../standard-input.ts'

interface SubjectOptions {
  user?: string
  group?: string
}

interface SetOptions extends SubjectOptions {
  login: string
  passwordFile: string
}

export function addCredentialCommands(program: Command, administration: Administration): void {
  const credential = program
    .command('credential')
    .description('passwords for applications that have a sign-in of their own; none can be read')
  credential
    .command('set <app>')
    .description('keep a password for a user, or one that a group shares')
    .option('--user <name>', 'whose it is')
    .option('--group <name>', 'whose members share it')
    .requiredOption('--login <name>', 'user name in the application')
    .requiredOption(
      '--password-file <file>',
      'file that holds the password; - asks for it, or reads standard input',
    )
    .action(async (application: string, options: SetOptions) =>
      administration.change<{ connectors: number }>(
        'credential.set',
        {
          application,
          ...toSubject(options),
          userName: options.login,
          password: await readPassword(options.passwordFile),
        },
        ({ connectors }) =>
          `password kept; ${connectors === 1 ? 'one connector' : `${connectors} connectors`} can open it`,
      ),
    )
  credential
    .command('list')
    .description('for whom passwords are kept; never the passwords')
    .option('--app <name>', 'only those for one application')
    .action((options: { app?: string }) =>
      administration.list(
        'credential.list',
        options.app === undefined ? {} : { application: options.app },
        ['application', 'kind', 'name', 'setBy', 'updatedAt', 'refusedAt', 'connectors'],
        'No passwords are kept. Keep one: sallyport credential set APP --user NAME --login NAME --password-file -',
      ),
    )
  credential
    .command('delete <app>')
    .description('forget the password of a user, or one that a group shares')
    .option('--user <name>')
    .option('--group <name>')
    .action((application: string, options: SubjectOptions) =>
      administration.change(
        'credential.delete',
        { application, ...toSubject(options) },
        () => 'password forgotten',
      ),
    )
}

function toSubject({ user, group }: SubjectOptions): SubjectOptions {
  if ((user === undefined) === (group === undefined))
    throw new CommandError('give either --user or --group')
  return user === undefined ? { group: group! } : { user }
}

async function readPassword(file: string): Promise<string> {
  if (file === '-') return readSecret('Password in the application')
  try {
    return readFileSync(file, 'utf8').replace(/\r?\n$/, '')
  } catch (error) {
    throw new CommandError(
      `--password-file: ${file} cannot be read (${(error as NodeJS.ErrnoException).code})`,
    )
  }
}
