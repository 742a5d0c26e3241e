// The origin whose answers do not end by themselves: whatever ends them is measured.
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'

export interface EndlessOrigin {
  url: string
  /** Paths of the requests that have reached it. */
  seen: ReadonlySet<string>
  close(): Promise<void>
}

// Often enough that the last message says when it ended, to a hundredth of what is promised.
const TICK_MS = 20
const PART = Buffer.alloc(65_536, 'x')

/** `/` answers at once; `/events`, `/download` and a WebSocket on `/socket` go on until they are closed. */
export async function startEndlessOrigin(): Promise<EndlessOrigin> {
  const seen = new Set<string>()
  const sockets = new Set<Duplex>()
  const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
    seen.add(request.url!)
    if (request.url === '/events') sendEvents(response)
    else if (request.url === '/download') sendWithoutEnd(response)
    else response.end('ok')
  })
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  server.on('upgrade', (request, socket) => {
    seen.add(request.url!)
    acceptWebSocket(request.headers['sec-websocket-key'] ?? '', socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    close: async () => {
      const closed = once(server.close(), 'close')
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}

function sendEvents(response: ServerResponse): void {
  response.writeHead(200, { 'Content-Type': 'text/event-stream' })
  every(response, () => response.write('data: news\n\n'))
}

function sendWithoutEnd(response: ServerResponse): void {
  response.writeHead(200, { 'Content-Type': 'application/octet-stream' })
  const fill = () => {
    while (!response.destroyed && response.write(PART));
  }
  response.on('drain', fill)
  fill()
}

// RFC 6455 section 4.2.2; then a text message (section 5.2) again and again.
function acceptWebSocket(key: string, socket: Duplex): void {
  const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
  socket.on('error', () => socket.destroy())
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept.digest('base64')}\r\n\r\n`,
  )
  every(socket, () => socket.write('\x81\x04tick', 'latin1'))
}

function every(stream: Duplex | ServerResponse, send: () => void): void {
  const timer = setInterval(send, TICK_MS)
  stream.on('close', () => clearInterval(timer))
}
