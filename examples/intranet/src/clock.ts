import type { IncomingMessage, Server } from 'node:http'
import { WebSocketServer } from 'ws'

/**
 * The WebSocket at `/clock`: the time at once and then every second, and whatever a client sends
 * comes back. The first subprotocol a client offers is chosen. The answer to the upgrade sets a
 * cookie and a field of its own, as chat and terminal servers do.
 */
export function acceptClock(server: Server): { close(): void } {
  const sockets = new WebSocketServer({ noServer: true, maxPayload: 16 * 1024 * 1024 })
  sockets.on('headers', (headers, req) => {
    headers.push('Set-Cookie: clock=ticking; Path=/; HttpOnly', 'X-Clock: quartz')
    headers.push(`X-Clock-Cookies: ${countCookies(req)}`)
  })
  sockets.on('connection', (socket) => {
    const tell = () => socket.send(JSON.stringify({ now: new Date() }))
    const timer = setInterval(tell, 1000)
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }))
    socket.on('close', () => clearInterval(timer))
    // `ws` closes the socket after an error by itself; without a listener the process would end.
    socket.on('error', () => {})
    tell()
  })
  server.on('upgrade', (req, socket, head) => {
    if (new URL(req.url ?? '/', 'http://intranet').pathname === '/clock') {
      sockets.handleUpgrade(req, socket, head, (client) => sockets.emit('connection', client, req))
    } else {
      socket.end('HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
    }
  })
  return {
    close: () => {
      for (const client of sockets.clients) client.terminate()
      sockets.close()
    },
  }
}

function countCookies(req: IncomingMessage): number {
  return (req.headers.cookie ?? '').split(';').filter((pair) => pair.trim() !== '').length
}
