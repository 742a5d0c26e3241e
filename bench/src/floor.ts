// `node bench/src/floor.ts`: small answers over TLS through a relay that looks at nothing, beside Sallyport and nginx + ssh -R,
// in three minutes. What is between the relay and Sallyport is our own code.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CASES } from './cases.ts'
import { makeCertificate } from './certificate.ts'
import { loadWithWrk, type Target } from './load.ts'
import { measure } from './measure.ts'
import { startNginxSsh } from './nginx-ssh.ts'
import { type Origin, startOrigin } from './origin.ts'
import { cpuSeconds, findFreePorts, type Started, startServer } from './processes.ts'
import { startSallyport } from './sallyport.ts'
import { median } from './statistics.ts'

const HOST = 'relay.bench.localhost'
const ROUNDS = 7
const SECONDS = 5
const run = CASES[0]!

interface Cost {
  rps: number
  cpuMicros: number
}

/** @param like whose request is sent, cookie and all: as many bytes */
async function startRelay(folder: string, origin: Origin, like: Target) {
  const [port, tunnelPort] = (await findFreePorts(2)) as [number, number]
  const { certificate, key } = await makeCertificate(folder, HOST)
  const program = join(import.meta.dirname, 'bare-relay.ts')
  const start = (args: (string | number)[], readyPort: number) =>
    startServer(process.execPath, [program, ...args.map(String)], readyPort)
  const gateway = await start(['gateway', port, tunnelPort, certificate, key], tunnelPort)
  const ends: Started[] = [gateway]
  // It listens nowhere; the gateway does when it is connected.
  ends.push(await start(['connector', tunnelPort, origin.port, certificate], port))
  const pids = ends.map(({ pid }) => pid)
  const target = { ...like, url: `https://${HOST}:${port}`, caFile: certificate }
  return {
    async measure(): Promise<Cost> {
      const before = cpuSeconds(pids)
      const { requests, seconds, failed } = await loadWithWrk(target, run.path, {
        seconds: SECONDS,
      })
      if (failed.connect + failed.read + failed.timeout > 0)
        throw new Error(`the relay failed: ${JSON.stringify(failed)}`)
      return {
        rps: requests / seconds,
        cpuMicros: ((cpuSeconds(pids) - before) / requests) * 1e6,
      }
    },
    async close(): Promise<void> {
      for (const end of ends) await end.close()
    },
  }
}

const folder = await mkdtemp(join(tmpdir(), 'sallyport-floor-'))
const origin = await startOrigin(folder)
const peer = await startNginxSsh({ folder: join(folder, 'peer'), originPort: origin.port })
const sallyport = await startSallyport({
  folder: join(folder, 'sallyport'),
  originUrl: origin.url,
})
const relay = await startRelay(folder, origin, sallyport.tls)
try {
  const measured: Record<string, () => Promise<Cost>> = {
    'relay that looks at nothing': relay.measure,
    Sallyport: () => measure(sallyport, origin, run, SECONDS),
    'nginx + ssh -R': () => measure(peer, origin, run, SECONDS),
  }
  const costs = new Map<string, Cost[]>(Object.keys(measured).map((name) => [name, []]))
  for (let round = 0; round <= ROUNDS; round++)
    for (const [name, once] of Object.entries(measured)) {
      const cost = await once()
      // The first round warms up.
      if (round > 0) costs.get(name)!.push(cost)
    }
  const others = costs.get('nginx + ssh -R')!
  for (const [name, list] of costs) {
    const ratio = (of: (cost: Cost) => number) =>
      median(list.map((cost, round) => of(cost) / of(others[round]!))).toFixed(2)
    const micros = median(list.map(({ cpuMicros }) => cpuMicros)).toFixed(1)
    const rps = median(list.map((cost) => cost.rps)).toFixed(0)
    console.log(
      `${name}: ${micros} µs (${ratio((cost) => cost.cpuMicros)}), ${rps}/s (${ratio((cost) => cost.rps)})`,
    )
  }
} finally {
  for (const side of [relay, sallyport, peer, origin]) await side.close()
  await rm(folder, { recursive: true })
}
