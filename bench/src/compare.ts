// `node bench/src/compare.ts CHECKOUT [PAIRS]`: what a small request over TLS costs this state, as a share of what it costs another
// checkout of Sallyport. Two processes that run the same code differ by 5 %, by where things happen to lie in memory, and a
// shared machine by far more from minute to minute; so each pair is started anew, and both are loaded at the same time.
// Twenty seconds for each pair; seven pairs tell 1 %.
import { mkdtemp, realpath, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CASES } from './cases.ts'
import { load } from './measure.ts'
import { startOrigin } from './origin.ts'
import { cpuSeconds } from './processes.ts'
import { type SallyportSide, startSallyport } from './sallyport.ts'

const WARM_SECONDS = 5
const SECONDS = 8
const run = CASES[0]!

/** Microseconds of processor time for a request, and how many requests a second. */
interface Cost {
  both: number
  gateway: number
  connector: number
  rate: number
}

async function measureCost(side: SallyportSide): Promise<Cost> {
  const pids = [side.gatewayPids, side.connectorPids]
  const before = pids.map(cpuSeconds)
  const { requests, seconds } = await load(side, run, SECONDS)
  const [gateway, connector] = pids.map(
    (list, index) => ((cpuSeconds(list) - before[index]!) / requests) * 1e6,
  ) as [number, number]
  return { both: gateway + connector, gateway, connector, rate: requests / seconds }
}

/** Geometric mean of the ratios, and its standard error. */
function summarize(ratios: number[]): string {
  const logs = ratios.map(Math.log)
  const mean = logs.reduce((sum, value) => sum + value, 0) / logs.length
  const squares = logs.reduce((sum, value) => sum + (value - mean) ** 2, 0)
  const error = Math.sqrt(squares / (logs.length - 1) / logs.length)
  return `${Math.exp(mean).toFixed(3)} ± ${error.toFixed(3)}`
}

const [, , path, count = '7'] = process.argv
const pairs = Number(count)
if (path === undefined || !Number.isInteger(pairs) || pairs < 2)
  throw new Error('usage: node bench/src/compare.ts CHECKOUT [PAIRS, at least 2]')
const checkout = await realpath(path)
// Where its modules are those of somebody else, that state would be compared.
const modules = await realpath(join(checkout, 'node_modules/@sallyport/cli'))
if (modules !== join(checkout, 'packages/cli'))
  throw new Error(`${checkout} uses ${modules}: run npm ci there`)
const other: typeof startSallyport = (await import(join(checkout, 'bench/src/sallyport.ts')))
  .startSallyport
const folder = await mkdtemp(join(tmpdir(), 'sallyport-compare-'))
const ratios: Record<keyof Cost, number[]> = { both: [], gateway: [], connector: [], rate: [] }
const started: { close(): Promise<void> }[] = []
const stopAll = async (from: number) => {
  const ended = await Promise.allSettled(started.splice(from).map((part) => part.close()))
  for (const end of ended) if (end.status === 'rejected') throw end.reason
}
try {
  const origin = await startOrigin(folder)
  started.push(origin)
  for (let pair = 0; pair < pairs; pair++) {
    const sides: SallyportSide[] = []
    // Each is first in half of the pairs.
    const starts = pair % 2 === 0 ? [startSallyport, other] : [other, startSallyport]
    for (const start of starts) {
      const own = join(folder, `${pair}-${sides.length}`)
      const side = await start({ folder: own, originUrl: origin.url })
      started.push(side)
      sides.push(side)
    }
    await Promise.all(sides.map((side) => load(side, run, WARM_SECONDS)))
    const costs = await Promise.all(sides.map(measureCost))
    const [mine, theirs] = (pair % 2 === 0 ? costs : costs.toReversed()) as [Cost, Cost]
    for (const name of Object.keys(ratios) as (keyof Cost)[])
      ratios[name].push(mine[name] / theirs[name])
    await stopAll(1)
  }
  console.log(`processor time for a request: ${summarize(ratios.both)}`)
  console.log(`  of the gateway ${summarize(ratios.gateway)}`)
  console.log(`  of the connector ${summarize(ratios.connector)}`)
  console.log(`requests per second, both at once: ${summarize(ratios.rate)}`)
} finally {
  await stopAll(0)
  await rm(folder, { recursive: true })
}
