import { chmodSync, rmSync } from 'node:fs'
import { connect, createServer, type Server } from 'node:net'
import type { ClientCertificateStatus } from './client-certificate.ts'
import { ConnectorError, findErrorCode, toError } from './errors.ts'
import type { ExchangeCounters } from './exchange-host.ts'
import { statusSocketPath } from './state.ts'
import type { TunnelStatus } from './tunnel-keeper.ts'

/** What a running connector says about itself. Holds no secret. Instants are epoch milliseconds. */
export interface ConnectorStatus {
  connectorId: string
  connectorGroup: string
  name: string
  service: string
  proxy?: string
  /** Random, one per process. */
  instanceId: string
  processId: number
  startedAt: number
  tunnels: TunnelStatus[]
  certificate: {
    serial: string
    notAfterAt: number
    renewAt: number
    lastError?: { code: string; message: string }
  }
  /** What passwords are sealed to. `announced`: the service knows it. */
  sealingKey: { fingerprint: string; announced: boolean }
  /** What is shown to origins that ask for a certificate. */
  originClientCertificates: ClientCertificateStatus[]
  allow: string[]
  origins: { url: string; validate: boolean; connections: number; idle: number }[]
  exchanges: ExchangeCounters
}

/**
 * Longer paths do not fit into a Unix socket's address (`sun_path`, unix(7)), and are cut without a
 * word.
 */
const maxPathBytes = 107
const maxStatusBytes = 1024 * 1024

/**
 * Answers every connection on the Unix socket `status.sock` (mode 0600) with the status as JSON,
 * then closes it. The socket also tells a second connector that this state directory is in use.
 *
 * @throws ConnectorError `STATE_IN_USE`, `STATE_INVALID`
 */
export async function serveStatus(
  stateDir: string,
  status: () => ConnectorStatus,
): Promise<{ close(): Promise<void> }> {
  const path = checkedPath(stateDir)
  if (await answers(path))
    throw new ConnectorError('STATE_IN_USE', `another connector runs with ${stateDir}`)
  // Left behind by a process that was killed.
  rmSync(path, { force: true })
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy())
    socket.end(JSON.stringify(status()))
  })
  await listen(server, path)
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
      }),
  }
}

/**
 * Asks the connector that runs with this state directory.
 *
 * @throws ConnectorError `NOT_RUNNING` when none runs; `STATE_INVALID` when the answer cannot be
 *   read
 */
export function readStatus(stateDir: string): Promise<ConnectorStatus> {
  const path = checkedPath(stateDir)
  return new Promise((resolve, reject) => {
    const socket = connect(path)
    const chunks: Buffer[] = []
    let length = 0
    socket.setTimeout(5_000, () => socket.destroy(new Error('no answer within 5000 ms')))
    socket.on('data', (chunk) => {
      chunks.push(chunk)
      length += chunk.length
      if (length > maxStatusBytes) socket.destroy(new Error('the answer is too long'))
    })
    socket.on('error', (cause) => {
      const absent = /^(?:ENOENT|ECONNREFUSED)$/.test(findErrorCode(cause) ?? '')
      reject(
        absent
          ? new ConnectorError('NOT_RUNNING', `no connector runs with ${stateDir}`, { cause })
          : new ConnectorError('STATE_INVALID', `${path}: ${cause.message}`, { cause }),
      )
    })
    socket.on('end', () => {
      try {
        resolve(JSON.parse(Buffer.concat(chunks).toString('utf8')) as ConnectorStatus)
      } catch (cause) {
        reject(new ConnectorError('STATE_INVALID', `${path}: ${toError(cause).message}`, { cause }))
      }
    })
  })
}

function checkedPath(stateDir: string): string {
  const path = statusSocketPath(stateDir)
  if (Buffer.byteLength(path) > maxPathBytes)
    throw new ConnectorError(
      'STATE_INVALID',
      `the path ${path} is too long for a Unix socket (${maxPathBytes} bytes): use a shorter state directory`,
    )
  return path
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path, () => {
      socket.destroy()
      resolve(true)
    })
    socket.on('error', () => resolve(false))
  })
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause) =>
      reject(
        findErrorCode(cause) === 'EADDRINUSE'
          ? new ConnectorError('STATE_IN_USE', `${path} is in use`, { cause })
          : new ConnectorError('STATE_INVALID', `${path}: ${cause.message}`, { cause }),
      ),
    )
    // The mode is the process's umask's until chmod; the directory is closed to others anyway.
    server.listen(path, () => {
      chmodSync(path, 0o600)
      resolve()
    })
  })
}
