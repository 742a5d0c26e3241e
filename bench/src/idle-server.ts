// A bare Node TLS server that upgrades and then holds what connects: what TLS itself costs in Node.
// Without a certificate the same over plain TCP, as the origin of idle WebSockets.
import { readFileSync } from 'node:fs'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'

// RFC 6455 section 1.3: the answer to the key that our client sends.
const ANSWER = [
  'HTTP/1.1 101 Switching Protocols',
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=',
].join('\r\n')

const [certificate, key] = process.argv.slice(2)

function hold(socket: Socket): void {
  let head = ''
  const read = (chunk: Buffer) => {
    head += chunk.toString('latin1')
    if (!head.includes('\r\n\r\n')) return
    const isUpgrade = /^upgrade:/im.test(head)
    head = ''
    // Signing in opens a page first.
    if (!isUpgrade) {
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
      return
    }
    socket.off('data', read)
    socket.resume()
    socket.write(`${ANSWER}\r\n\r\n`)
  }
  socket.on('data', read)
  // A client that is killed resets; the bench counts those that are lost on the other side.
  socket.on('error', () => socket.destroy())
}

const server =
  certificate === undefined || key === undefined
    ? createServer(hold)
    : createTlsServer({ cert: readFileSync(certificate), key: readFileSync(key) }, hold)
server.listen({ port: 0, host: '127.0.0.1', backlog: 1024 }, () => {
  process.send!((server.address() as AddressInfo).port)
})
process.on('disconnect', () => process.exit())
