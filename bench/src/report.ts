// Medians, ratios, the gate, and how they are written down.
import { readFile, writeFile } from 'node:fs/promises'
import { cpus, totalmem } from 'node:os'
import { CASES, type Case, type Gate, GOAL } from './cases.ts'
import type { IdleMemory } from './idle.ts'
import type { LookupTime } from './lookup.ts'
import type { Measurement } from './measure.ts'
import { type SignOnRate, signOnLine } from './sign-on.ts'
import { median } from './statistics.ts'

/** One case measured on all three systems, one after another. */
export interface Round {
  sallyport: Measurement
  nginxSsh: Measurement
  nginxSshNoDelay: Measurement
}

/** Ours divided by theirs; in `cpu` and `p99` less is better. */
export interface Ratio {
  rps: number
  cpu: number
  p99: number
  throughput: number
}

export interface Result {
  name: string
  sallyport: Measurement
  nginxSsh: Measurement
  ratio: Ratio
}

export interface Report {
  /** As the JSON report holds them: medians; a ratio is the median of the pairs' ratios. */
  results: Result[]
  /** The same against ssh with TCP_NODELAY. */
  noDelay: Result[]
  /** Sentences, one for each ratio that is not what it must be. */
  missed: string[]
}

export function makeReport(rounds: Map<Case, Round[]>): Report {
  const compare = (peer: 'nginxSsh' | 'nginxSshNoDelay') =>
    [...rounds].map(([{ name }, list]) => ({
      name,
      sallyport: medians(list.map((round) => round.sallyport)),
      nginxSsh: medians(list.map((round) => round[peer])),
      ratio: medians(list.map((round) => ratioOf(round.sallyport, round[peer]))),
    }))
  const results = compare('nginxSsh')
  const missed = results.flatMap(({ name, ratio }) => {
    const gate = CASES.find((run) => run.name === name)?.gate
    return gate ? misses(ratio, gate).map((miss) => `${name}: ${miss}`) : []
  })
  return { results, noDelay: compare('nginxSshNoDelay'), missed }
}

function medians<Record extends Measurement | Ratio>(list: Record[]): Record {
  const keys = Object.keys(list[0]!) as (keyof Record)[]
  const entries = keys.map((key) => [key, median(list.map((one) => one[key] as number))])
  return Object.fromEntries(entries)
}

function ratioOf(ours: Measurement, theirs: Measurement): Ratio {
  return {
    rps: ours.rps / theirs.rps,
    cpu: ours.cpuMicros / theirs.cpuMicros,
    p99: ours.p99Ms / theirs.p99Ms,
    throughput: ours.mbPerSecond / theirs.mbPerSecond,
  }
}

function misses(ratio: Ratio, gate: Gate): string[] {
  const { minRps, maxCpu, maxP99, minThroughput } = gate
  const say = (what: string, value: number, limit: string) => `${what} ${times(value)}, ${limit}`
  return [
    ...(minRps !== undefined && ratio.rps < minRps
      ? [say('requests per second', ratio.rps, `at least ${minRps}`)]
      : []),
    ...(maxCpu !== undefined && ratio.cpu > maxCpu
      ? [say('CPU per request', ratio.cpu, `at most ${maxCpu}`)]
      : []),
    ...(maxP99 !== undefined && ratio.p99 > maxP99
      ? [say('p99', ratio.p99, `at most ${maxP99}`)]
      : []),
    ...(minThroughput !== undefined && ratio.throughput < minThroughput
      ? [say('throughput', ratio.throughput, `at least ${minThroughput}`)]
      : []),
  ]
}

/** The report for people, in Markdown. */
export function toMarkdown(
  report: Report,
  facts: {
    pairs: number
    versions: string
    /** Of the processors, that programs had which are no part of this, 0 to 1. */
    otherShare: number
    revocation: string
    signOns: SignOnRate
    lookups: LookupTime[]
    idle: IdleMemory | string
  },
): string {
  const { results, noDelay, missed } = report
  const [cpu] = cpus()
  const memory = Math.round(totalmem() / 2 ** 30)
  return [
    `Machine: ${cpus().length} cores (${cpu?.model.trim()}), ${memory} GiB; ${facts.versions}.`,
    `Medians of ${facts.pairs} interleaved rounds. A ratio is Sallyport divided by the other, the`,
    'median over the rounds; for CPU and p99 less is better.',
    otherWork(facts.otherShare),
    '',
    '| case | system | requests/s | CPU per request | p50 | p99 | MB/s | peak memory |',
    '|---|---|--:|--:|--:|--:|--:|--:|',
    ...results.flatMap((result, index) => {
      const tuned = noDelay[index]!
      return [
        row(result.name, 'Sallyport', result.sallyport),
        row('', 'nginx + `ssh -R`', result.nginxSsh),
        ratioRow('**ratio**', result.ratio),
        row('', 'nginx + `ssh -tt -R`', tuned.nginxSsh),
        ratioRow('ratio', tuned.ratio),
      ]
    }),
    '',
    missed.length === 0 ? 'The gate holds.' : `**The gate does not hold:** ${missed.join('; ')}.`,
    ...goalLines(results),
    '',
    `Revocation in the middle of a run: ${facts.revocation}.`,
    '',
    signOnLine(facts.signOns),
    '',
    'Time to find the application of a request:',
    '',
    '| apps | requests for 16 of them | for any of them |',
    '|--:|--:|--:|',
    ...facts.lookups.map(
      ({ apps, fewNs, anyNs }) =>
        `| ${apps.toLocaleString('en')} | ${Math.round(fewNs)} ns | ${Math.round(anyNs)} ns |`,
    ),
    '',
    ...idleLines(facts.idle),
    '',
  ].join('\n')
}

// What the kernel does in interrupts belongs to nobody, even on a machine that is all ours.
const QUIET = 0.1

function otherWork(share: number): string {
  const percent = `${Math.round(share * 100)} %`
  return share <= QUIET
    ? `Other work on the machine: ${percent} of its processors.`
    : `**Other work took ${percent} of the processors: these results are not to be trusted.**`
}

function row(name: string, system: string, one: Measurement): string {
  const cpu =
    one.cpuMicros >= 1e5
      ? `${(one.cpuMicros / 1e6).toFixed(2)} s`
      : `${one.cpuMicros.toFixed(1)} µs`
  const rps = one.rps >= 10 ? Math.round(one.rps).toLocaleString('en') : one.rps.toFixed(2)
  const ms = (value: number) => `${value >= 100 ? Math.round(value) : value.toFixed(2)} ms`
  const cells = [name, system, rps, cpu, ms(one.p50Ms), ms(one.p99Ms)]
  return `| ${cells.join(' | ')} | ${one.mbPerSecond.toFixed(1)} | ${Math.round(one.rssMb)} MB |`
}

function ratioRow(name: string, ratio: Ratio): string {
  const cells = [times(ratio.rps), times(ratio.cpu), '', times(ratio.p99), times(ratio.throughput)]
  return `| | ${name} | ${cells.join(' | ')} | |`
}

// The gate's cases only: for the others there is nothing to reach.
function goalLines(results: Result[]): string[] {
  const far = results.flatMap(({ name, ratio }) => {
    const gate = CASES.find((run) => run.name === name)?.gate
    if (!gate) return []
    const goal: Gate = Object.fromEntries(
      Object.entries(GOAL).filter(([key]) => gate[key as keyof Gate] !== undefined),
    )
    return misses(ratio, goal).map((miss) => `- ${name}: ${miss}`)
  })
  return far.length === 0 ? ['So does the goal.'] : ['', 'Still missing to the goal:', ...far]
}

function idleLines(idle: IdleMemory | string): string[] {
  if (typeof idle === 'string') return [`Idle WebSockets were not measured: ${idle}.`]
  const { plain, tls, bareTlsKb, sockets } = idle
  const kb = (value: number) => `${value.toFixed(1)} KB`
  const line = (name: string, { gatewayKb, connectorKb }: typeof plain) =>
    `| ${name} | ${kb(gatewayKb)} | ${kb(connectorKb)} | ${kb(gatewayKb + connectorKb)} |`
  return [
    `Resident memory per idle WebSocket, ${sockets.toLocaleString('en')} of them:`,
    '',
    '| edge | gateway | connector | together |',
    '|---|--:|--:|--:|',
    line('plain', plain),
    line('TLS', tls),
    '',
    `A bare Node \`tls\` server takes ${kb(bareTlsKb)} for each: the gateway's TLS edge is ` +
      `${times(tls.gatewayKb / bareTlsKb)} times that, gateway and connector together ` +
      `${times((tls.gatewayKb + tls.connectorKb) / bareTlsKb)} times.`,
  ]
}

function times(value: number): string {
  return value.toFixed(2)
}

/** Replaces what stands between the markers `<!-- name: begin -->` and `<!-- name: end -->` of a file. */
export async function writeBetweenMarkers(file: string, name: string, text: string): Promise<void> {
  const [begin, end] = [`<!-- ${name}: begin -->`, `<!-- ${name}: end -->`]
  const old = await readFile(file, 'utf8')
  const from = old.indexOf(begin)
  const to = old.indexOf(end)
  if (from < 0 || to < from) throw new Error(`${file} has no ${begin} and ${end}`)
  await writeFile(file, `${old.slice(0, from + begin.length)}\n${text}\n${old.slice(to)}`)
}
