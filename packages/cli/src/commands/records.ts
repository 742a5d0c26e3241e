import type { Command } from 'commander'
import type { Administration } from '../administration.ts'
import { toInteger } from '../arguments.ts'
import type { Row } from '../output.ts'

const pageLimit = 1_000

export function addRecordCommands(program: Command, administration: Administration): void {
  const session = program.command('session').description('who is signed in')
  session
    .command('list')
    .description('sessions in force, newest first')
    .option('--user <userName>', 'of this user only')
    .option('--limit <n>', 'at most so many', toInteger(1, 10_000), 1_000)
    .action((options: { user?: string; limit: number }) =>
      administration.list(
        'session.list',
        options,
        [
          'userName',
          'signedInAt',
          'lastUsedAt',
          'absoluteExpiresAt',
          'methods',
          'clientAddress',
          'userAgent',
          'id',
        ],
        'Nobody is signed in.',
      ),
    )
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

  program
    .command('audit')
    .description('what was changed, when and by whom')
    .command('list')
    .description('newest first')
    .option('--kind <kind>', 'of this kind only, such as user-created')
    .option('--subject <id>', 'of this user, application, connector... only')
    .option('--limit <n>', 'at most so many', toInteger(1, 1_000_000), 100)
    .action(async ({ limit, ...filter }: { kind?: string; subject?: string; limit: number }) =>
      administration.print(
        await listAudit(administration, filter, limit),
        ['at', 'kind', 'actor', 'subject', 'detail'],
        'Nothing was changed.',
      ),
    )
}

/** Page by page: the service gives so many at once and no more. */
async function listAudit(
  administration: Administration,
  filter: { kind?: string; subject?: string },
  limit: number,
): Promise<Row[]> {
  const rows: Row[] = []
  for (;;) {
    const last = rows.at(-1)
    const pageSize = Math.min(limit - rows.length, pageLimit)
    const page = (await administration.execute('audit.list', {
      ...filter,
      ...(last ? { before: { at: last.at, id: last.id } } : {}),
      limit: pageSize,
    })) as Row[]
    rows.push(...page)
    if (page.length < pageSize || rows.length === limit) return rows
  }
}
