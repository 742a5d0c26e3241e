// `node bench/src/compare.ts CHECKOUT [PAIRS]`: what a small request over TLS costs this state, as a share of what it costs another
// checkout of Sallyport. Two processes that run the same code differ by 5 %, by where things happen to lie in memory, and a
// shared machine by far more from minute to minute; so each pair is started anew, and both are loaded at the same time.
// Twenty seconds for each pair; seven pairs tell 1 %.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { CASES } from './cases.ts'
import { load } from './measure.ts'
import { startOrigin } from './origin.ts'
import { cpuSeconds } from './processes.ts'
import { type SallyportSide, startSallyport } from './sallyport.ts'

const WARM_SECONDS = 5
const SECONDS = 8
const run = CASES[0]!

/** Microseconds for a request, and how many a second. */
async function measureCost(side: SallyportSide) {
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

const checkout = resolve(process.argv[2] ?? '')
const pairs = Number(process.argv[3] ?? 7)
if (process.argv[2] === undefined || !Number.isInteger(pairs) || pairs < 2)
  throw new Error('usage: node bench/src/compare.ts CHECKOUT [PAIRS, at least 2]')
const other: typeof startSallyport = (await import(join(checkout, 'bench/src/sallyport.ts')))
  .startSallyport
const folder = await mkdtemp(join(tmpdir(), 'sallyport-compare-'))
const origin = await startOrigin(folder)
const ratios: Record<string, number[]> = { both: [], gateway: [], connector: [], rate: [] }
try {
  for (let pair = 0; pair < pairs; pair++) {
    const sides: SallyportSide[] = []
    try {
      for (const start of [startSallyport, other]) {
        const own = join(folder, `${pair}-${sides.length}`)
        sides.push(await start({ folder: own, originUrl: origin.url }))
      }
      await Promise.all(sides.map((side) => load(side, run, WARM_SECONDS)))
      const [mine, theirs] = await Promise.all(sides.map(measureCost))
      for (const [name, list] of Object.entries(ratios)) {
        const key = name as keyof typeof mine
        list.push(mine![key] / theirs![key])
      }
    } finally {
      for (const side of sides.reverse()) await side.close()
    }
  }
  console.log(`processor time for a request: ${summarize(ratios.both!)}`)
  console.log(`  of the gateway ${summarize(ratios.gateway!)}`)
  console.log(`  of the connector ${summarize(ratios.connector!)}`)
  console.log(`requests per second, both at once: ${summarize(ratios.rate!)}`)
} finally {
  await origin.close()
  await rm(folder, { recursive: true })
}
