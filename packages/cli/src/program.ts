import { Command } from 'commander'
import { Administration } from './administration.ts'
import { explainUsage } from './arguments.ts'
import { addApplicationCommands } from './commands/applications.ts'
import { addAuditCommands } from './commands/audit.ts'
import { addBackupCommands } from './commands/backup.ts'
import { addConnectorCommands } from './commands/connectors.ts'
import { addCredentialCommands } from './commands/credentials.ts'
import { addDatabaseCommands } from './commands/database.ts'
import { addKeyCommands } from './commands/keys.ts'
import { addObjectCommands } from './commands/objects.ts'
import { addPeopleCommands } from './commands/people.ts'
import { addRecordCommands } from './commands/records.ts'
import { addExamples } from './examples.ts'
import { version } from './version.ts'

/** Everything that `sallyport` can do, not yet told what to do. */
export function createProgram(): Command {
  const program = new Command('sallyport')
    .description(
      'Single sign-on access to applications inside, through connectors that only dial out',
    )
    .version(version)
    .option('-c, --config <file>', 'configuration of the service', 'sallyport.yaml')
    .option('--json', 'print JSON')
  const administration = new Administration(program)
  program
    .command('serve')
    .description('run the service')
    .action(async () => {
      // Commands that only ask a running service do not need it.
      const { serve } = await import('./serve.ts')
      await serve(administration.config)
    })
  program
    .command('status')
    .description('whether the service runs, what it holds, and what needs your care')
    .action(() => administration.showStatus())
  addPeopleCommands(program, administration)
  addApplicationCommands(program, administration)
  addConnectorCommands(program, administration)
  addCredentialCommands(program, administration)
  addRecordCommands(program, administration)
  addKeyCommands(program, administration)
  addObjectCommands(program, administration)
  addBackupCommands(program, administration)
  addAuditCommands(program, administration)
  addDatabaseCommands(program, administration)
  addExamples(program)
  explainUsage(program)
  return program
}
