import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import type { Scope } from '@sallyport/testkit/scope'

/** A connection to PostgreSQL that tests can watch, change, hold up and cut. */
export interface Relay {
  port: number
  /** Sees what a client sends; returns what is sent on. */
  toServer: (data: Buffer, cut: () => void) => Buffer
  /** Sees what the server answers; returns what is sent on. */
  toClient: (data: Buffer) => Buffer
  /** Swallows everything, as a network that fell apart does. */
  silent: boolean
}

export async function startRelay(scope: Scope, targetPort: number): Promise<Relay> {
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    const upstream = connect(targetPort, '127.0.0.1')
    const cut = () => client.destroy()
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(from)
      from.on('error', () => {})
      from.on('close', () => {
        sockets.delete(from)
        // What was sent on before shall arrive.
        to.end()
      })
      from.on('data', (data: Buffer) => {
        if (relay.silent) return
        to.write(from === client ? relay.toServer(data, cut) : relay.toClient(data))
      })
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const relay: Relay = {
    port: (server.address() as AddressInfo).port,
    toServer: (data) => data,
    toClient: (data) => data,
    silent: false,
  }
  scope.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return relay
}
