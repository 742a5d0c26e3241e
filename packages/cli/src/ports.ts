import type { ServerResponse } from 'node:http'
import type { AddressInfo, Server, Socket } from 'node:net'
import { ConfigurationError, type Problem } from '@sallyport/domain'
import type { Gateway } from '@sallyport/gateway'

/** A port that is listened on, with the connections that came by it. */
export interface OpenPort {
  server: Server
  port: number
  sockets: Set<Socket>
}

/**
 * Listens.
 *
 * @param name the setting that says where to listen
 * @throws ConfigurationError when it cannot
 */
export async function openPort(
  server: Server,
  name: 'listen' | 'plainListen' | 'metricsListen',
  { port, address }: { port: number; address: string },
): Promise<OpenPort> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const explain = listenProblems[error.code ?? '']
      reject(explain ? new ConfigurationError([explain(name, port, address)]) : error)
    })
    server.listen({ port, host: address }, resolve)
  })
  server.removeAllListeners('error')
  return { server, port: (server.address() as AddressInfo).port, sockets }
}

type ListenProblem = (name: string, port: number, address: string) => Problem

/** Why a port cannot be had, and what to do about it. */
const listenProblems: Partial<Record<string, ListenProblem>> = {
  EADDRINUSE: (name, port) => ({
    path: `${name}.port`,
    message: `${port} is in use by another program; stop that program, or choose another port`,
  }),
  EACCES: (name, port) => ({
    path: `${name}.port`,
    message: `${port} is not open to this user; ports below 1024 need CAP_NET_BIND_SERVICE, which the systemd unit gives`,
  }),
  EADDRNOTAVAIL: (name, _port, address) => ({
    path: `${name}.address`,
    message: `${address} is no address of this machine`,
  }),
}

const drainMs = 4_000

/**
 * Takes no new connections, lets the requests that are open finish, then closes what is left: WebSockets, and whatever did not
 * finish in time.
 */
export async function closePorts(
  ports: readonly OpenPort[],
  gateway: Gateway,
  answering: ReadonlySet<ServerResponse>,
): Promise<void> {
  const closed = ports.map(
    ({ server }) => new Promise<void>((resolve) => server.close(() => resolve())),
  )
  const signal = AbortSignal.timeout(drainMs)
  await Promise.all([
    gateway.drain(drainMs),
    ...[...answering].map((response) => ended(response, signal)),
  ])
  for (const { sockets } of ports) for (const socket of sockets) socket.destroy()
  await Promise.all(closed)
}

/** Takes no new connections, and closes those that there are. */
export function closePort({ server, sockets }: OpenPort): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  for (const socket of sockets) socket.destroy()
  return closed
}

function ended(response: ServerResponse, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    response.once('close', resolve)
    signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
