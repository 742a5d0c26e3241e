import { setTimeout as delay } from 'node:timers/promises'
import type { Command } from 'commander'
import type { Administration } from '../administration.ts'
import { toInstant, toInteger } from '../arguments.ts'
import { CommandError } from '../failure.ts'
import { printLine, type Row, toJsonLine, toTableLine } from '../output.ts'

interface AuditOptions {
  since?: number
  until?: number
  user?: string
  action?: string
  subject?: string
  limit: number
  follow?: boolean
}

interface Filter {
  kind?: string | undefined
  subject?: string | undefined
  user?: string | undefined
  sinceAt?: number | undefined
  untilAt?: number | undefined
}

const pageLimit = 1_000
const followMs = 500
/** Two who record at once may be seen in either order: so far back an event can still turn up. */
const lateMs = 15_000

/** Columns, and how wide they are while nobody knows what will come. */
const columns = { at: 20, kind: 22, actor: 16, subject: 36, detail: 0 }

export function addAuditCommands(program: Command, administration: Administration): void {
  program
    .command('audit')
    .description('changes and sign-ins: what, when and by whom')
    .command('list')
    .description('newest first; with --follow the newest last, and then whatever happens')
    .option('--since <time>', 'from then on: 30m, 2h, 7d, 2026-01-31, 2026-01-31T08:00Z', instant)
    .option('--until <time>', 'before then', instant)
    .option('--user <user>', 'what this person did, and what was done to them')
    .option('--action <kind>', 'of this kind only, such as user-created or sign-in-failed')
    .option('--subject <id>', 'about this application, connector, session... only')
    .option('--limit <n>', 'at most so many', toInteger(1, 1_000_000), 100)
    .option('-f, --follow', 'go on with what is recorded from now on; with --json a line for each')
    .action(async (options: AuditOptions) => {
      const { since, until, user, action, subject, limit, follow } = options
      const filter = { kind: action, subject, user, sinceAt: since, untilAt: until }
      if (follow) await followAudit(administration, filter, limit)
      else
        administration.print(
          await listAudit((input) => administration.execute('audit.list', input), filter, limit),
          Object.keys(columns),
          'Nothing was recorded.',
        )
    })
}

const instant = (text: string) => toInstant(text)

type Ask = (input: unknown) => Promise<unknown>

/** Page by page: the service gives so many at once and no more. */
async function listAudit(ask: Ask, filter: Filter, limit: number): Promise<Row[]> {
  const rows: Row[] = []
  for (;;) {
    const last = rows.at(-1)
    const pageSize = Math.min(limit - rows.length, pageLimit)
    const page = (await ask({
      ...filter,
      ...(last ? { before: { at: last.at, id: last.id } } : {}),
      limit: pageSize,
    })) as Row[]
    rows.push(...page)
    if (page.length < pageSize || rows.length === limit) return rows
  }
}

/** Until somebody ends it, or nothing more can come before `untilAt`. Waits for a service that is restarted. */
async function followAudit(
  administration: Administration,
  filter: Filter,
  limit: number,
): Promise<void> {
  const print = (rows: readonly Row[]) => {
    for (const row of rows.toReversed())
      printLine(administration.json ? toJsonLine(row) : toTableLine(row, columns))
  }
  // Whoever read what came, such as head(1), has enough.
  process.stdout.on('error', () => process.exit(0))
  const ask: Ask = async (input) => {
    // Not on the store: a service that starts must find it free.
    const answer = await administration.askService('audit.list', input)
    if (!answer) throw new CommandError('the service does not run', 'leave out --follow')
    return answer.result
  }
  const first = await listAudit(ask, filter, limit)
  print(first)
  let newestAt = Number(first[0]?.at ?? filter.sinceAt ?? 0)
  let seen = new Set(first.map(({ id }) => id))
  // What --limit left out of the first list.
  let isLeftOut = ({ at }: Row) => Number(at) < newestAt
  while (Date.now() <= (filter.untilAt ?? Number.POSITIVE_INFINITY) + lateMs) {
    await delay(followMs)
    const sinceAt = Math.max(filter.sinceAt ?? 0, newestAt - lateMs)
    const rows = await listAudit(ask, { ...filter, sinceAt }, Number.POSITIVE_INFINITY).catch(
      isRestart,
    )
    if (!rows) continue
    print(rows.filter((row) => !seen.has(row.id) && !isLeftOut(row)))
    isLeftOut = () => false
    seen = new Set(rows.map(({ id }) => id))
    newestAt = Math.max(newestAt, ...rows.map(({ at }) => Number(at)))
  }
}

/** @throws the error, if it is another */
function isRestart(error: unknown): undefined {
  const { code } = error as { code?: unknown }
  if (error instanceof CommandError || code === 'SOCKET_UNUSABLE' || code === 'CONTROL_FAILED')
    return undefined
  throw error
}
