import { describeDevice } from '@sallyport/domain'
import type { Command } from 'commander'
import type { Administration } from '../administration.ts'
import { toInteger } from '../arguments.ts'
import { printLine, type Row, toJson } from '../output.ts'

export function addRecordCommands(program: Command, administration: Administration): void {
  const session = program.command('session').description('who is signed in')
  session
    .command('list')
    .description('sessions in force, newest first')
    .option('--user <userName>', 'of this user only')
    .option('--limit <n>', 'at most so many', toInteger(1, 10_000), 1_000)
    .action(async (options: { user?: string; limit: number }) => {
      const sessions = (await administration.execute('session.list', options)) as Row[]
      if (administration.json) return printLine(toJson(sessions))
      administration.print(
        // What a browser says of itself fills the width of two terminals.
        sessions.map((session) => ({
          ...session,
          browser: describeDevice(String(session.userAgent ?? '')),
        })),
        ['userName', 'signedInAt', 'lastUsedAt', 'clientAddress', 'browser', 'methods', 'id'],
        'Nobody is signed in.',
      )
    })
  session
    .command('end <id>')
    .description('end a session: its owner must sign in again everywhere')
    .action((id: string) =>
      administration.change('session.end', { sessionId: id }, () => `session ${id} ended`),
    )
  session
    .command('end-all <userName>')
    .description('end every session of a user')
    .action((userName: string) =>
      administration.change(
        'session.end-all',
        { userName },
        () => `every session of ${userName} ended`,
      ),
    )
}
