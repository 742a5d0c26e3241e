// Starting programs, and reading from /proc what they cost.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { connect, createServer } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'

/** Something that was started; `close` ends it and waits until it has ended. */
export interface Started {
  pid: number
  close(): Promise<void>
}

// USER_HZ, which Linux fixes at 100 for every architecture that Node runs on.
const TICKS_PER_SECOND = 100
const READY_LIMIT_MS = 20_000

/**
 * Starts a program and resolves when it accepts connections on `port`.
 *
 * @throws Error with the program's last words when it ends first, or is not ready in 20 s
 */
export async function startServer(
  command: string,
  args: string[],
  port: number,
  options: { cwd?: string } = {},
): Promise<Started> {
  const child = spawn(command, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] })
  let words = ''
  const listen = (chunk: Buffer) => {
    words = (words + chunk.toString()).slice(-4000)
  }
  child.stdout.on('data', listen)
  child.stderr.on('data', listen)
  const failed = new Promise<never>((_, reject) => {
    child.once('error', reject)
    child.once('exit', () => reject(new Error(`${command} ended before it was ready:\n${words}`)))
  })
  // After it is ready its end is no failure any more.
  failed.catch(() => {})
  const close = () => endProcess(child)
  try {
    await Promise.race([untilAccepting(port), failed])
  } catch (error) {
    await close()
    throw error
  }
  return { pid: child.pid!, close }
}

export async function endProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return
  const exited = once(child, 'exit')
  child.kill('SIGTERM')
  const stubborn = setTimeout(() => child.kill('SIGKILL'), 5000)
  await exited
  clearTimeout(stubborn)
}

async function untilAccepting(port: number): Promise<void> {
  const limitAt = Date.now() + READY_LIMIT_MS
  while (!(await accepts(port))) {
    if (Date.now() > limitAt) throw new Error(`nothing accepts connections on port ${port}`)
    await delay(20)
  }
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
}

/** Ports that were free a moment ago, for programs that cannot be told to take any. */
export async function findFreePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer().listen(0, '127.0.0.1')
      await once(server, 'listening')
      return server
    }),
  )
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(servers.map((server) => once(server.close(), 'close')))
  return ports
}

/**
 * The processes and everything they have started, directly or not, once that has stopped changing:
 * sshd begins each connection in a process that soon ends.
 */
export async function settledProcesses(roots: number[]): Promise<number[]> {
  for (let last: number[] = []; ; ) {
    const now = roots.flatMap(processTree)
    if (now.length === last.length && now.every((pid) => last.includes(pid))) return now
    last = now
    await delay(500)
  }
}

function processTree(root: number): number[] {
  const parents = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      const fields = readStat(Number(name))
      return fields ? [[Number(name), Number(fields[1])] as const] : []
    })
  const tree = [root]
  for (const pid of tree) {
    tree.push(...parents.filter(([, parent]) => parent === pid).map(([child]) => child))
  }
  return tree
}

/**
 * User and system time that the processes have used so far, all threads, in seconds.
 *
 * @throws Error when one of them has ended: what it used could not be counted
 */
export function cpuSeconds(pids: number[]): number {
  return pids
    .map((pid) => {
      const fields = readStat(pid)
      if (!fields) throw new Error(`process ${pid} ended while it was measured`)
      return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
    })
    .reduce((sum, seconds) => sum + seconds, 0)
}

/**
 * What the processors of the machine have worked since it started, and what of it was for this
 * process and all that it has started, also what has ended since.
 *
 * @returns seconds, over all processors
 */
export function readBusySeconds(): { machine: number; ours: number } {
  const [, user, nice, system, , , irq, softirq] = /^cpu .*$/m
    .exec(readFileSync('/proc/stat', 'utf8'))![0]
    .split(/\s+/)
    .map(Number) as [number, number, number, number, number, number, number, number]
  const ours = processTree(process.pid)
    .flatMap((pid) => readStat(pid)?.slice(11, 15) ?? [])
    .reduce((sum, ticks) => sum + Number(ticks), 0)
  return {
    machine: (user + nice + system + irq + softirq) / TICKS_PER_SECOND,
    ours: ours / TICKS_PER_SECOND,
  }
}

/** Lets the peak of resident memory begin anew. */
export function resetPeakMemory(pids: number[]): void {
  for (const pid of pids) writeFileSync(`/proc/${pid}/clear_refs`, '5')
}

/** Sum of each process's peak of resident memory, in bytes; pages they share count for each. */
export function peakMemoryBytes(pids: number[]): number {
  return sumStatus(pids, 'VmHWM')
}

/** Resident memory now, in bytes. */
export function memoryBytes(pids: number[]): number {
  return sumStatus(pids, 'VmRSS')
}

function sumStatus(pids: number[], field: 'VmHWM' | 'VmRSS'): number {
  const pattern = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm')
  return pids
    .map((pid) => Number(pattern.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1024)
    .reduce((sum, bytes) => sum + bytes, 0)
}

// The fields after the program's name, which may itself hold spaces and parentheses: proc(5).
function readStat(pid: number): string[] | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ESRCH') return undefined
    throw error
  }
}
