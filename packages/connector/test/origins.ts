import { once } from 'node:events'
import { createServer as createHttpServer, type RequestListener, type Server } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import type { TestContext } from 'node:test'
import { createSecureContext, TLSSocket } from 'node:tls'
import type { Issued } from './authority.ts'
import { Inbox } from './inbox.ts'

export interface HttpOrigin {
  server: Server
  port: number
  url: string
  /** Connections accepted so far. */
  connections: Inbox<Socket>
}

/** A real HTTP server on loopback. */
export async function startHttpOrigin(
  t: TestContext,
  listener: RequestListener,
  tls?: Issued,
): Promise<HttpOrigin> {
  const server = tls
    ? createHttpsServer({ key: tls.keyPem, cert: tls.certificatePem }, listener)
    : createHttpServer(listener)
  const connections = new Inbox<Socket>()
  server.on('connection', (socket: Socket) => connections.put(socket))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return { server, port, url: `http${tls ? 's' : ''}://127.0.0.1:${port}`, connections }
}

/** One connection of a raw origin: what it was sent, cut at the end of heads. */
export class RawConnection {
  readonly socket: Socket
  readonly requests = new Inbox<string>()
  /** The other end has ended its half, or everything. */
  readonly closed: Promise<void>
  readonly #transport: Socket
  #received = ''

  /** @param transport what carries the bytes: below TLS, or the same */
  constructor(socket: Socket, transport: Socket) {
    this.socket = socket
    this.#transport = transport
    this.closed = new Promise((resolve) => {
      socket.once('end', resolve)
      socket.once('close', () => resolve())
    })
    socket.on('error', () => {})
    socket.setEncoding('latin1')
    socket.on('data', (text: string) => {
      this.#received += text
      for (;;) {
        const end = this.#received.indexOf('\r\n\r\n')
        if (end < 0) return
        const head = this.#received.slice(0, end)
        this.#received = this.#received.slice(end + 4)
        this.requests.put(head)
      }
    })
  }

  /** Breaks off: the other end hears of an error, not of an end. */
  reset(): void {
    this.#transport.resetAndDestroy()
  }

  /** Bytes behind the last complete head. */
  get rest(): string {
    return this.#received
  }
}

export interface RawOrigin {
  url: string
  port: number
  connections: Inbox<RawConnection>
}

/** A server that answers whatever the test writes. */
export async function startRawOrigin(t: TestContext, tls?: Issued): Promise<RawOrigin> {
  const secureContext = tls && createSecureContext({ key: tls.keyPem, cert: tls.certificatePem })
  const connections = new Inbox<RawConnection>()
  const open = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (transport) => {
    open.add(transport)
    transport.once('close', () => open.delete(transport))
    transport.on('error', () => {})
    const socket = secureContext
      ? new TLSSocket(transport, { isServer: true, secureContext })
      : transport
    connections.put(new RawConnection(socket, transport))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    for (const socket of open) socket.destroy()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return { url: `http${tls ? 's' : ''}://127.0.0.1:${port}`, port, connections }
}
