// How long access outlives its reason: from the change that an administrator or a person has made to the last byte.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Client } from '@sallyport/testkit'
import { ENDINGS, type Ending, groupName, type Trial } from './ending-events.ts'
import { type EndlessOrigin, startEndlessOrigin } from './ending-origin.ts'
import { beginTraffic, KINDS, type Kind, requestOnce } from './ending-traffic.ts'
import { PASSWORD, type SallyportSide, signInAt, startSallyport } from './sallyport.ts'
import { median } from './statistics.ts'

/** What is promised (docs/sessions.md). */
export const LIMIT_MS = 2000
// So that what is late can be told from what never ends.
const PATIENCE_MS = 10_000

/** Milliseconds since the change was acknowledged; less than zero when access had ended before. */
export interface Ends {
  medianMs: number
  maxMs: number
}

export interface EndingResult {
  event: string
  rounds: number
  /** From sending the command, or the form, to its answer. */
  acknowledgedAfterMs: number
  kinds: Record<Kind, Ends>
}

/** One round of one event. */
interface Round {
  acknowledgedAfterMs: number
  kinds: Record<Kind, number>
}

/**
 * @param folder keeps what service and connector write
 * @throws Error when access does not end at all, or comes back
 */
export async function measureEndings(folder: string, rounds: number): Promise<EndingResult[]> {
  const origin = await startEndlessOrigin()
  try {
    const side = await startSallyport({ folder: join(folder, 'endings'), originUrl: origin.url })
    try {
      const results: EndingResult[] = []
      for (const [index, ending] of ENDINGS.entries()) {
        const list: Round[] = []
        for (let round = 0; round < rounds; round += 1)
          list.push(await measureEnding(ending, `trial-${index}-${round}`, side, origin))
        results.push(summarise(ending.name, list))
        console.log(toRow(results.at(-1)!))
      }
      return results
    } finally {
      await side.close()
    }
  } finally {
    await origin.close()
  }
}

async function measureEnding(
  ending: Ending,
  name: string,
  side: SallyportSide,
  origin: EndlessOrigin,
): Promise<Round> {
  const { execute } = side
  const ca = await readFile(side.tls.caFile!, 'utf8')
  const url = side.originOf(name)
  const browser = new Client(Number(new URL(url).port), ca)
  const trial: Trial = {
    name,
    execute,
    appUrl: url,
    loginUrl: side.originOf('login'),
    browser,
  }
  await execute('user.create', { userName: name, password: PASSWORD })
  await execute('app.create', { name, externalUrl: `${url}/`, internalUrl: `${origin.url}/` })
  await (ending.allow?.(trial) ?? execute('app.assign', { name, user: name }))
  await signInAt(browser, `${url}/`, name)
  const access = { url, ca, cookie: browser.cookieHeader(new URL(url).hostname) }
  const traffic = await beginTraffic(access, ending.status)
  try {
    const sentMs = performance.now()
    await ending.end(trial)
    const acknowledgedMs = performance.now()
    const ended = await traffic.endedWithin(PATIENCE_MS)
    const path = `/after/${name}`
    const status = await requestOnce(access, path)
    if (status !== ending.status || origin.seen.has(path))
      throw new Error(`a request after it was answered ${status}, or reached the origin`)
    const since = KINDS.map((kind) => [kind, ended[kind] - acknowledgedMs])
    return {
      acknowledgedAfterMs: acknowledgedMs - sentMs,
      kinds: Object.fromEntries(since) as Record<Kind, number>,
    }
  } catch (cause) {
    throw new Error(`access did not end as it must: ${ending.name}`, { cause })
  } finally {
    traffic.close()
    browser.close()
    await tidy(trial)
  }
}

/** The next trial finds a directory of the same size. */
async function tidy({ execute, name }: Trial): Promise<void> {
  const groups = (await execute('group.list', {})) as { name: string }[]
  for (const group of groups)
    if (group.name.startsWith(groupName(name, 0).slice(0, -1)))
      await execute('group.delete', { name: group.name })
  const apps = (await execute('app.list', {})) as { name: string }[]
  if (apps.some((app) => app.name === name)) await execute('app.delete', { name })
  const users = (await execute('user.list', {})) as { userName: string }[]
  if (users.some(({ userName }) => userName === name))
    await execute('user.delete', { userName: name })
}

function summarise(event: string, list: Round[]): EndingResult {
  const ends = KINDS.map((kind) => {
    const values = list.map(({ kinds }) => kinds[kind])
    return [kind, { medianMs: median(values), maxMs: Math.max(...values) }]
  })
  return {
    event,
    rounds: list.length,
    acknowledgedAfterMs: median(list.map(({ acknowledgedAfterMs }) => acknowledgedAfterMs)),
    kinds: Object.fromEntries(ends) as Record<Kind, Ends>,
  }
}

/** @returns sentences, one for each kind of traffic that went on for longer than is promised */
export function missedEndings(results: EndingResult[]): string[] {
  return results.flatMap(({ event, kinds }) =>
    KINDS.filter((kind) => kinds[kind].maxMs > LIMIT_MS).map(
      (kind) => `${event}: ${kind} went on for ${Math.round(kinds[kind].maxMs)} ms`,
    ),
  )
}

/** The table for people, in Markdown. */
export function endingsToMarkdown(results: EndingResult[]): string {
  const missed = missedEndings(results)
  const slowest = Math.max(
    ...results.flatMap(({ kinds }) => KINDS.map((kind) => kinds[kind].maxMs)),
  )
  return [
    `Median / maximum of ${results[0]!.rounds} rounds, in milliseconds after the change was acknowledged; less than zero when access had`,
    'ended before the answer was there.',
    '',
    `| event | acknowledged after | ${KINDS.join(' | ')} |`,
    `|---|--:|${KINDS.map(() => '--:').join('|')}|`,
    ...results.map(toRow),
    '',
    missed.length === 0
      ? `The limit of ${LIMIT_MS} ms holds; the longest was ${slowest.toFixed(1)} ms.`
      : `**The limit of ${LIMIT_MS} ms does not hold:** ${missed.join('; ')}.`,
  ].join('\n')
}

function toRow({ event, acknowledgedAfterMs, kinds }: EndingResult): string {
  const cells = KINDS.map((kind) => {
    const { medianMs, maxMs } = kinds[kind]
    return `${medianMs.toFixed(1)} / ${maxMs.toFixed(1)}`
  })
  return `| ${event} | ${acknowledgedAfterMs.toFixed(1)} | ${cells.join(' | ')} |`
}
