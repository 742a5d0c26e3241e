// `node bench/src/floor.ts`: small answers over TLS through a relay that looks at nothing, beside Sallyport and nginx + ssh -R,
// in three minutes. What is between the relay and Sallyport is our own code.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CASES } from './cases.ts'
import { makeCertificate } from './certificate.ts'
import type { Target } from './load.ts'
import { load, measure } from './measure.ts'
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

/**
 * @param like whose request is sent, cookie and all: as many bytes
 * @param keep is given what was started
 */
async function startRelay(
  origin: Origin,
  like: Target,
  keep: (end: Started) => void,
): Promise<() => Promise<Cost>> {
  const [port, tunnelPort] = (await findFreePorts(2)) as [number, number]
  const { certificate, key } = await makeCertificate(folder, HOST)
  const pids: number[] = []
  const start = async (args: (string | number)[], readyPort: number) => {
    const program = join(import.meta.dirname, 'bare-relay.ts')
    const end = await startServer(process.execPath, [program, ...args.map(String)], readyPort)
    keep(end)
    pids.push(end.pid)
  }
  await start(['gateway', port, tunnelPort, certificate, key], tunnelPort)
  // It listens nowhere; the gateway does when it is connected.
  await start(['connector', tunnelPort, origin.port, certificate], port)
  const target = { ...like, url: `https://${HOST}:${port}`, caFile: certificate }
  return async () => {
    const before = cpuSeconds(pids)
    const { requests, seconds } = await load({ tls: target, plain: target }, run, SECONDS)
    const cpu = cpuSeconds(pids) - before
    return { rps: requests / seconds, cpuMicros: (cpu / requests) * 1e6 }
  }
}

const folder = await mkdtemp(join(tmpdir(), 'sallyport-floor-'))
const started: { close(): Promise<void> }[] = []
try {
  const origin = await startOrigin(folder)
  started.push(origin)
  const peer = await startNginxSsh({ folder: join(folder, 'peer'), originPort: origin.port })
  started.push(peer)
  const sallyport = await startSallyport({
    folder: join(folder, 'sallyport'),
    originUrl: origin.url,
  })
  started.push(sallyport)
  const relay = await startRelay(origin, sallyport.tls, (end) => started.push(end))
  const measured: Record<string, () => Promise<Cost>> = {
    'relay that looks at nothing': relay,
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
  for (const part of started.reverse()) await part.close()
  await rm(folder, { recursive: true })
}
