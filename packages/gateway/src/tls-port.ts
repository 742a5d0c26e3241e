import { createServer, type Server, type Socket } from 'node:net'
import { type ClientHello, ClientHelloError, parseClientHello } from './client-hello.ts'

/** Takes over a connection whose ClientHello is still unread in it. */
export type TlsRoute = (socket: Socket, hello: ClientHello) => void

const helloTimeoutMs = 10_000

/**
 * Listens on the one TLS port and hands each connection, by what its ClientHello asks for, to the server that is to answer.
 *
 * @param route undefined closes the connection: no server name, or nobody who answers to it
 */
export function listenTls(options: { route(hello: ClientHello): TlsRoute | undefined }): Server {
  return createServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 }, (socket) =>
    collectHello(socket, options.route),
  )
}

function collectHello(socket: Socket, route: (hello: ClientHello) => TlsRoute | undefined): void {
  let parts: Buffer[] = []
  let length = 0
  let needed = 1
  const timer = setTimeout(() => socket.destroy(), helloTimeoutMs)
  const settle = () => {
    clearTimeout(timer)
    socket.off('readable', read)
    socket.off('close', settle)
  }
  const read = () => {
    for (;;) {
      const chunk = socket.read() as Buffer | null
      if (chunk === null) return
      parts.push(chunk)
      length += chunk.length
      // Not before something new can be found: segments of one byte must not cost a parse each.
      if (length < needed) continue
      const bytes = parts.length === 1 ? chunk : Buffer.concat(parts)
      parts = [bytes]
      const hello = findHello(bytes)
      if (typeof hello === 'number') {
        needed = hello
        continue
      }
      settle()
      const accept = hello && route(hello)
      if (!accept) {
        socket.destroy()
        return
      }
      socket.unshift(bytes)
      accept(socket, hello)
      return
    }
  }
  // Errors before there is a server to report them to: the other end is gone.
  socket.on('error', () => socket.destroy())
  socket.on('readable', read)
  socket.on('close', settle)
}

function findHello(bytes: Buffer): ClientHello | number | undefined {
  try {
    return parseClientHello(bytes)
  } catch (error) {
    if (error instanceof ClientHelloError) return undefined
    throw error
  }
}
