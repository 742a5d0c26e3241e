import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import type { Case } from './cases.ts'
import { interruption } from './interruption.ts'
import { loadWithWrk, requestWithCurl } from './load.ts'
import { type Origin, TRANSFER_BYTES } from './origin.ts'
import { cpuSeconds, peakMemoryBytes, resetPeakMemory } from './processes.ts'
import type { Side } from './side.ts'

/** One measurement, as it stands in the JSON report. For a transfer a request is the transfer. */
export interface Measurement {
  rps: number
  /** User and system time of all proxy processes, per request. */
  cpuMicros: number
  p50Ms: number
  p99Ms: number
  mbPerSecond: number
  /** Sum over the proxy processes of each one's peak. */
  rssMb: number
}

interface Outcome {
  requests: number
  seconds: number
  bytes: number
  p50Ms: number
  p99Ms: number
}

/**
 * Runs one case on one side.
 *
 * @throws Error when a request fails, or when the access log does not hold one line for each
 */
export async function measure(
  side: Side,
  origin: Origin,
  run: Case,
  seconds: number,
): Promise<Measurement> {
  const logAt = await settledSize(side.accessLog)
  resetPeakMemory(side.pids)
  const cpuBefore = cpuSeconds(side.pids)
  const outcome =
    run.kind === 'load' ? await load(side, run, seconds) : await transfer(side, origin, run)
  const cpu = cpuSeconds(side.pids) - cpuBefore
  const rss = peakMemoryBytes(side.pids)
  await checkAccessLog(side, logAt, outcome.requests, run)
  return {
    rps: outcome.requests / outcome.seconds,
    cpuMicros: (cpu / outcome.requests) * 1e6,
    p50Ms: outcome.p50Ms,
    p99Ms: outcome.p99Ms,
    mbPerSecond: outcome.bytes / outcome.seconds / 1e6,
    rssMb: rss / 1e6,
  }
}

/** @throws Error when a request fails, is refused, or gets too short an answer */
export async function load(
  side: Pick<Side, 'tls' | 'plain'>,
  run: Case,
  seconds: number,
): Promise<Outcome> {
  const result = await loadWithWrk(side[run.edge], run.path, { seconds })
  const { connect, read, write, timeout } = result.failed
  if (result.requests === 0 || connect + read + write + timeout + result.refused > 0) {
    throw new Error(`${run.name}: requests failed: ${JSON.stringify(result)}`)
  }
  // A redirect to a sign-in page would be fast, too.
  if (result.bytes < result.requests * run.bytes) {
    throw new Error(`${run.name}: answers are too short: ${JSON.stringify(result)}`)
  }
  return result
}

async function transfer(side: Side, origin: Origin, run: Case): Promise<Outcome> {
  const upload = run.kind === 'upload' ? { upload: origin.uploadFile } : {}
  const answer = await requestWithCurl(side[run.edge], run.path, upload)
  const bytes = run.kind === 'upload' ? answer.uploaded : answer.downloaded
  if (answer.status !== 200 || bytes !== TRANSFER_BYTES) {
    throw new Error(`${run.name}: not all arrived: ${JSON.stringify(answer)}`)
  }
  const ms = answer.seconds * 1000
  return { requests: 1, seconds: answer.seconds, bytes, p50Ms: ms, p99Ms: ms }
}

// wrk leaves at the end with a request open on each of its 64 connections: those may be logged, too.
const LEFT_OPEN = 64
const LOG_LIMIT_MS = 5000

// Both sides write their logs in blocks, at least five times a second.
async function settledSize(file: string): Promise<number> {
  let size = -1
  for (;;) {
    const now = (await stat(file)).size
    if (now === size) return size
    size = now
    await delay(500, undefined, { signal: interruption })
  }
}

/** One record for each request, each with an ID of its own, and each an answer of the origin. */
async function checkAccessLog(side: Side, from: number, requests: number, run: Case) {
  const most = requests + (run.kind === 'load' ? LEFT_OPEN : 0)
  const limitAt = Date.now() + LOG_LIMIT_MS
  let log = await readLog(side, from)
  while (log.served < requests && Date.now() < limitAt) {
    await delay(100)
    log = await readLog(side, from)
  }
  if (log.served < requests || log.records > most || log.repeated > 0) {
    throw new Error(`${run.name}: access log for ${requests} requests: ${JSON.stringify(log)}`)
  }
}

async function readLog(side: Side, from: number) {
  const ids = new Set<string>()
  const log = { records: 0, served: 0, repeated: 0 }
  const lines = createInterface({ input: createReadStream(side.accessLog, { start: from }) })
  for await (const line of lines) {
    const { id, isServed } = side.readRecord(line)
    log.records += 1
    if (isServed) log.served += 1
    if (id !== undefined && ids.has(id)) log.repeated += 1
    if (id !== undefined) ids.add(id)
  }
  return log
}
