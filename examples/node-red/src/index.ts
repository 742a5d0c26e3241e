/** Unmodified Node-RED as a process of its own: a rich application with an editor and a WebSocket. */

import { spawn } from 'node:child_process'
import { mkdir } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

export interface NodeRed {
  /** The editor, without a slash at the end. */
  url: string
  pid: number
  /** Resolves when the process has ended, for whatever reason. */
  closed: Promise<void>
  /** Stops the flows and waits for the process to end. */
  close(): Promise<void>
}

const SETTINGS = join(import.meta.dirname, 'settings.cjs')
const PROGRAM = createRequire(import.meta.url).resolve('node-red/red.js')

/**
 * Starts Node-RED on loopback and resolves once editor and flows answer.
 *
 * @param options.userDir keeps flows and credentials; made when it is not there
 * @param options.port 0 takes a free one
 * @throws Error with the last lines of Node-RED's own log when it ends before it is ready
 */
export async function startNodeRed(options: { userDir: string; port?: number }): Promise<NodeRed> {
  await mkdir(options.userDir, { recursive: true, mode: 0o700 })
  const child = spawn(
    process.execPath,
    [
      ...[PROGRAM, '--settings', SETTINGS, '--userDir', options.userDir],
      ...['--port', String(options.port ?? 0)],
    ],
    { cwd: options.userDir, stdio: ['ignore', 'pipe', 'pipe'] },
  )
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()))
  const log: string[] = []
  const ready = new Promise<string>((resolve, reject) => {
    let url: string | undefined
    let isStarted = false
    const read = (line: string) => {
      log.push(line)
      if (log.length > 20) log.shift()
      url ??= /Server now running at (http:\/\/\S+?)\/?$/.exec(line)?.[1]
      isStarted ||= /Started flows|Waiting for missing types/.test(line)
      if (url && isStarted) resolve(url)
    }
    createInterface(child.stdout).on('line', read)
    createInterface(child.stderr).on('line', read)
    child.once('error', reject)
    closed.then(() => reject(new Error(`Node-RED ended before it was ready:\n${log.join('\n')}`)))
  })
  const close = async () => {
    child.kill('SIGTERM')
    await closed
  }
  return { url: await ready, pid: child.pid!, closed, close }
}
