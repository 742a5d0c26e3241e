import { once } from 'node:events'
import net from 'node:net'
import { type Duplex, duplexPair } from 'node:stream'
import type { TestContext } from 'node:test'
import tls from 'node:tls'

/** What lies between the two ends: nothing, a loopback connection, or TLS over one. */
export type Transport = 'memory' | 'tcp' | 'tls'
export const transports: Transport[] = ['memory', 'tcp', 'tls']

/** Two ends of one connection; both are destroyed after the test. */
export async function connect(t: TestContext, transport: Transport): Promise<[Duplex, Duplex]> {
  const ends = transport === 'memory' ? duplexPair() : await connectSockets(t, transport)
  t.after(() => {
    for (const end of ends) end.destroy()
  })
  return ends
}

// Pre-shared keys spare the tests a certificate.
const psk = Buffer.alloc(32, 1)
const tlsOptions = { ciphers: 'PSK-AES128-GCM-SHA256', maxVersion: 'TLSv1.2' as const }

async function connectSockets(t: TestContext, transport: 'tcp' | 'tls'): Promise<[Duplex, Duplex]> {
  const server =
    transport === 'tcp'
      ? net.createServer({ allowHalfOpen: true })
      : tls.createServer({ ...tlsOptions, allowHalfOpen: true, pskCallback: () => psk })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  const accepted = once(server, transport === 'tcp' ? 'connection' : 'secureConnection')
  const options = { port, host: '127.0.0.1', allowHalfOpen: true }
  const client =
    transport === 'tcp'
      ? net.connect(options)
      : tls.connect({
          ...options,
          ...tlsOptions,
          checkServerIdentity: () => undefined,
          pskCallback: () => ({ psk, identity: 'test' }),
        })
  const [socket] = (await accepted) as [Duplex]
  server.close()
  t.after(() => server.close())
  return [client, socket]
}

/** One end of a connection, driven by hand. Bytes are latin1 strings. */
export class Wire {
  /** All that came so far. */
  text = ''
  /** One entry for each piece in which it came. */
  readonly pieces: string[] = []
  ended = false
  closed = false
  error: Error | undefined
  readonly socket: Duplex
  readonly #waiting = new Set<() => void>()

  constructor(socket: Duplex) {
    this.socket = socket
    socket.on('data', (chunk: Buffer) => {
      const piece = chunk.toString('latin1')
      this.text += piece
      this.pieces.push(piece)
      this.#wake()
    })
    socket.on('end', () => {
      this.ended = true
      this.#wake()
    })
    socket.on('error', (error) => {
      this.error = error
    })
    socket.on('close', () => {
      this.closed = true
      this.#wake()
    })
  }

  send(...texts: string[]): void {
    for (const text of texts) this.socket.write(text, 'latin1')
  }

  end(): void {
    this.socket.end()
  }

  #wake(): void {
    for (const look of this.#waiting) look()
  }

  /** Resolves when the condition holds; looked at whenever something comes. */
  until(condition: (wire: this) => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const look = () => {
        if (condition(this)) resolve()
        else if (this.closed) reject(new Error(`closed after ${JSON.stringify(this.text)}`))
        else return
        this.#waiting.delete(look)
      }
      this.#waiting.add(look)
      look()
    })
  }

  /** Resolves when the text matches. */
  async has(pattern: RegExp | string): Promise<string> {
    await this.until(({ text }) =>
      typeof pattern === 'string' ? text.includes(pattern) : pattern.test(text),
    )
    return this.text
  }

  /** Resolves with all that came when the other end has closed its half. */
  async all(): Promise<string> {
    await this.until(({ ended, closed }) => ended || closed)
    return this.text
  }

  /** Forgets what came. */
  clear(): void {
    this.text = ''
    this.pieces.length = 0
  }
}

/** Resolves after what was begun in memory has settled: some turns of the event loop. */
export async function settle(turns = 5): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await new Promise(setImmediate)
}
