import http from 'node:http'
import { type Duplex, duplexPair } from 'node:stream'
import type { ReadRequest, ReadResponse } from './drive.ts'

/** What another implementation made of some bytes. */
export interface OracleRequests {
  requests: ReadRequest[]
  /** `refused`, or `done`: the sentinel was reached, or the connection closed in good order. */
  outcome: 'refused' | 'done' | 'stuck'
}

/** A request that shows where the oracle thinks that the one before it ended. */
export const SENTINEL = 'GET /sentinel HTTP/1.1\r\nHost: s\r\n\r\n'

const MAX_TURNS = 200

/** What node:http (llhttp) makes of requests; resolves when it has reached the sentinel, refused, or closed. */
export class NodeServerOracle {
  readonly #server: http.Server
  readonly #reading = new Map<Duplex, OracleRequests & { finish: () => void }>()

  constructor() {
    const onRequest = (request: http.IncomingMessage, response: http.ServerResponse) => {
      const reading = this.#reading.get(request.socket)
      if (reading === undefined) return
      const chunks: Buffer[] = []
      request.on('data', (chunk: Buffer) => chunks.push(chunk))
      request.on('end', () => {
        response.end()
        if (request.url === '/sentinel') {
          reading.outcome = 'done'
          reading.finish()
          return
        }
        reading.requests.push({
          method: request.method!,
          target: request.url!,
          versionMinor: request.httpVersionMinor as 0 | 1,
          fields: request.rawHeaders,
          body: Buffer.concat(chunks).toString('latin1'),
          trailers: request.rawTrailers,
        })
      })
    }
    this.#server = http.createServer({ maxHeaderSize: 64 * 1024 }, onRequest)
    this.#server.on('checkContinue', onRequest)
    this.#server.on('checkExpectation', onRequest)
    this.#server.on('clientError', (_error, socket) => {
      const reading = this.#reading.get(socket)
      if (reading === undefined) return
      reading.outcome = 'refused'
      reading.finish()
    })
  }

  async read(text: string): Promise<OracleRequests> {
    const [client, socket] = duplexPair()
    const { promise, resolve } = Promise.withResolvers<void>()
    const reading: OracleRequests & { finish: () => void } = {
      requests: [],
      outcome: 'stuck',
      finish: resolve,
    }
    this.#reading.set(socket, reading)
    client.resume()
    client.on('error', () => undefined)
    client.on('end', () => {
      if (reading.outcome === 'stuck') reading.outcome = 'done'
      resolve()
    })
    this.#server.emit('connection', socket)
    client.write(text, 'latin1')
    let over = false
    const waited = (async () => {
      for (let turn = 0; turn < MAX_TURNS && !over; turn++) await new Promise(setImmediate)
    })()
    await Promise.race([promise, waited])
    over = true
    this.#reading.delete(socket)
    client.destroy()
    socket.destroy()
    return { requests: reading.requests, outcome: reading.outcome }
  }

  close(): void {
    this.#server.close()
  }
}

/** What the client of node:http makes of one response. */
export async function readResponseByNode(
  method: string,
  text: string,
  end: boolean,
): Promise<Omit<ReadResponse, 'consumed'>> {
  const [server, socket] = duplexPair()
  const result: Omit<ReadResponse, 'consumed'> = {
    informational: [],
    head: undefined,
    body: '',
    trailers: [],
    outcome: 'waiting',
  }
  const { promise, resolve } = Promise.withResolvers<void>()
  const request = http.request({
    method,
    host: 'a',
    createConnection: () => socket,
    maxHeaderSize: 64 * 1024,
  })
  request.on('information', ({ statusCode }) => result.informational.push(statusCode))
  request.on('error', () => {
    if (result.outcome === 'waiting') result.outcome = 'refused'
    resolve()
  })
  request.on('response', (response) => {
    result.head = {
      statusCode: response.statusCode!,
      reason: response.statusMessage!,
      versionMinor: response.httpVersionMinor as 0 | 1,
      fields: response.rawHeaders,
    }
    response.on('data', (chunk: Buffer) => {
      result.body += chunk.toString('latin1')
    })
    response.on('error', () => undefined)
    response.on('end', () => {
      result.trailers = response.rawTrailers
      result.outcome = 'complete'
      resolve()
    })
  })
  server.resume()
  server.on('error', () => undefined)
  request.end()
  server.write(text, 'latin1')
  if (end) server.end()
  let over = false
  const waited = (async () => {
    for (let turn = 0; turn < MAX_TURNS && !over; turn++) await new Promise(setImmediate)
  })()
  await Promise.race([promise, waited])
  over = true
  request.destroy()
  server.destroy()
  socket.destroy()
  return result
}
