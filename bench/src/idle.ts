// What an idle WebSocket costs in memory: through Sallyport, and at a bare Node TLS server.
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { makeCertificate } from './certificate.ts'
import { interruption } from './interruption.ts'
import type { Target } from './load.ts'
import { endProcess, memoryBytes } from './processes.ts'
import { startSallyport } from './sallyport.ts'

export interface IdleMemory {
  sockets: number
  /** Kilobytes (1000 bytes) of resident memory per WebSocket, gateway and connector. */
  plain: { gatewayKb: number; connectorKb: number }
  tls: { gatewayKb: number; connectorKb: number }
  bareTlsKb: number
}

// Counting begins here, so that compiled code and first buffers are not divided among the sockets.
const WARM = 500

export async function measureIdleMemory(folder: string, sockets: number): Promise<IdleMemory> {
  const through = async (edge: 'plain' | 'tls') => {
    const origin = await startIdleServer()
    const originUrl = `http://127.0.0.1:${origin.port}`
    const side = await startSallyport({ folder: join(folder, `idle-${edge}`), originUrl })
    try {
      const groups = [side.gatewayPids, side.connectorPids]
      const [gatewayKb, connectorKb] = await perSocket(side[edge], groups, sockets)
      return { gatewayKb: gatewayKb!, connectorKb: connectorKb! }
    } finally {
      await side.close()
      await endProcess(origin.child)
    }
  }
  const plain = await through('plain')
  const tls = await through('tls')
  return { sockets, plain, tls, bareTlsKb: await measureBareTls(folder, sockets) }
}

async function measureBareTls(folder: string, sockets: number): Promise<number> {
  const host = 'bare.localhost'
  const { certificate, key } = await makeCertificate(folder, host)
  const server = await startIdleServer([certificate, key])
  const target = { url: `https://${host}:${server.port}`, caFile: certificate }
  try {
    const [kilobytes] = await perSocket(target, [[server.child.pid!]], sockets)
    return kilobytes!
  } finally {
    await endProcess(server.child)
  }
}

/** Growth of each group of processes, in kilobytes per WebSocket. */
async function perSocket(target: Target, groups: number[][], sockets: number): Promise<number[]> {
  const client = forkHere('idle-client.ts', ['/idle', JSON.stringify(target)])
  try {
    const hold = async (count: number) => {
      client.send(count)
      await replyOf(client)
      return Promise.all(groups.map(settledMemory))
    }
    const before = await hold(WARM)
    const after = await hold(sockets)
    return after.map((bytes, index) => (bytes - before[index]!) / (sockets - WARM) / 1000)
  } finally {
    await endProcess(client)
  }
}

/** Resident memory once it has not changed by more than 0.5 % in two seconds, or after 30 s. */
async function settledMemory(pids: number[]): Promise<number> {
  let last = memoryBytes(pids)
  for (let round = 0; round < 15; round += 1) {
    await delay(2000, undefined, { signal: interruption })
    const now = memoryBytes(pids)
    if (Math.abs(now - last) < last * 0.005) return now
    last = now
  }
  return last
}

async function startIdleServer(args: string[] = []) {
  const child = forkHere('idle-server.ts', args)
  return { child, port: await replyOf(child) }
}

function forkHere(file: string, args: string[]): ChildProcess {
  return fork(join(import.meta.dirname, file), args, {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
}

async function replyOf(child: ChildProcess): Promise<number> {
  const ended = once(child, 'exit').then(() => {
    throw new Error(`${child.spawnargs[1]} ended`)
  })
  const [reply] = await Promise.race([once(child, 'message', { signal: interruption }), ended])
  return reply as number
}
