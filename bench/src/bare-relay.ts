// One end of a relay that looks at nothing: what Node, its TLS and the kernel take for the way of a request, and nobody else.
// `gateway PORT TUNNEL_PORT CERTIFICATE KEY` or `connector TUNNEL_PORT ORIGIN_PORT CERTIFICATE`.
import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { connect as connectTls, createServer, type TLSSocket } from 'node:tls'

// Number of the client and length, two bytes each; the loads here are small.
const headerBytes = 4
const host = '127.0.0.1'

/** Bytes of many clients over one connection; what comes up in one turn of the event loop goes out together. */
class Tunnel {
  readonly #socket: TLSSocket
  #parts: string[] = []
  #rest: Buffer | undefined

  constructor(socket: TLSSocket, deliver: (client: number, bytes: string) => void) {
    this.#socket = socket.setNoDelay(true)
    socket.on('data', (chunk: Buffer) => {
      const bytes = this.#rest ? Buffer.concat([this.#rest, chunk]) : chunk
      let at = 0
      while (bytes.length - at >= headerBytes) {
        const end = at + headerBytes + bytes.readUInt16LE(at + 2)
        if (end > bytes.length) break
        deliver(bytes.readUInt16LE(at), bytes.toString('latin1', at + headerBytes, end))
        at = end
      }
      this.#rest = at < bytes.length ? bytes.subarray(at) : undefined
    })
  }

  send(client: number, chunk: Buffer): void {
    const { length } = chunk
    const header = String.fromCharCode(client & 255, client >> 8, length & 255, length >> 8)
    if (this.#parts.push(header + chunk.toString('latin1')) > 1) return
    setImmediate(() => this.#socket.write(this.#parts.splice(0).join(''), 'latin1'))
  }
}

/** Listens for clients as soon as the connector is there. */
function startGateway([port, tunnelPort]: number[], tls: { cert: Buffer; key: Buffer }): void {
  createServer({ ...tls, minVersion: 'TLSv1.3' }, (socket) => {
    const clients = new Map<number, Socket>()
    const tunnel = new Tunnel(socket, (client, bytes) =>
      clients.get(client)?.write(bytes, 'latin1'),
    )
    let last = 0
    createServer(tls, (socket) => {
      const client = ++last
      clients.set(client, socket.setNoDelay(true))
      socket.on('data', (chunk: Buffer) => tunnel.send(client, chunk))
      // The load resets its connections at the end.
      socket.on('error', () => socket.destroy())
      socket.on('close', () => clients.delete(client))
    }).listen(port, host)
  }).listen(tunnelPort, host)
}

function startConnector([tunnelPort, originPort]: number[], ca: Buffer): void {
  const origins = new Map<number, Socket>()
  const tunnel = new Tunnel(
    connectTls({ port: tunnelPort!, host, ca, checkServerIdentity: () => undefined }),
    (client, bytes) => {
      let origin = origins.get(client)
      if (!origin) {
        origin = connect({ port: originPort!, host, noDelay: true })
        origin.on('data', (chunk: Buffer) => tunnel.send(client, chunk))
        origins.set(client, origin)
      }
      origin.write(bytes, 'latin1')
    },
  )
}

const [role, first, second, certificate, key] = process.argv.slice(2)
const ports = [Number(first), Number(second)]
const cert = readFileSync(certificate!)
if (role === 'gateway') startGateway(ports, { cert, key: readFileSync(key!) })
else startConnector(ports, cert)
