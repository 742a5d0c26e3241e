import { Duplex } from 'node:stream'
import {
  ClientConnection,
  type FieldList,
  type Http1Error,
  type RequestHead,
  type ResponseHead,
  serveConnection,
} from '../../src/index.ts'
import type { Random } from './random.ts'

/** One request that was read to its end. */
export interface ReadRequest extends RequestHead {
  body: string
  trailers: FieldList
}

export interface ReadRequests {
  requests: ReadRequest[]
  /** `waiting`: for more. `closing`: as the last request wanted. Else the code of the error. */
  outcome: string
  /** How many bytes the requests have together. */
  consumed: number
}

export interface ReadResponse {
  informational: number[]
  head: ResponseHead | undefined
  body: string
  trailers: FieldList
  /** `complete`, `waiting`, `unsolicited` (complete, but more came), or the code of the error. */
  outcome: string
  consumed: number
}

/** A socket that is driven synchronously: bytes are emitted, and what is written is dropped. */
class Rig extends Duplex {
  override _read(): void {}
  override _write(_chunk: unknown, _encoding: unknown, done: () => void): void {
    done()
  }
  feed(text: string): void {
    this.emit('data', Buffer.from(text, 'latin1'))
  }
}

/** Cuts a text into pieces: whole, byte by byte, or at random. */
export function cut(text: string, how: 'whole' | 'bytes' | Random): string[] {
  if (how === 'whole') return [text]
  if (how === 'bytes') return [...text]
  const pieces: string[] = []
  for (let at = 0; at < text.length; ) {
    const length = 1 + how.below(how.chance(50) ? 4 : text.length)
    pieces.push(text.slice(at, at + length))
    at += length
  }
  return pieces
}

/** What our server makes of these bytes. */
export function readRequests(pieces: string[]): ReadRequests {
  const socket = new Rig()
  const result: ReadRequests = { requests: [], outcome: 'waiting', consumed: 0 }
  let fed = 0
  const connection = serveConnection(
    socket,
    {},
    {
      onExchange(exchange) {
        const { method, target, versionMinor, fields } = exchange.request
        let body = ''
        exchange.sendContinue()
        exchange.receive({
          onData(chunk) {
            body += chunk.toString('latin1')
          },
          onEnd(trailers) {
            result.requests.push({ method, target, versionMinor, fields, body, trailers })
            result.consumed = fed
            exchange.sendHead({ statusCode: 200, fields: ['Content-Length', '0'] }, { end: true })
            if (socket.writableEnded) result.outcome = 'closing'
          },
          onError(error) {
            result.outcome = (error as Http1Error).code
          },
        })
      },
      onError(error) {
        result.outcome = error.code
      },
    },
  )
  for (const piece of pieces) {
    fed += piece.length
    socket.feed(piece)
  }
  connection.destroy()
  return result
}

/** What our client makes of these bytes. */
export function readResponse(method: string, pieces: string[], end: boolean): ReadResponse {
  const socket = new Rig()
  const result: ReadResponse = {
    informational: [],
    head: undefined,
    body: '',
    trailers: [],
    outcome: 'waiting',
    consumed: 0,
  }
  let fed = 0
  const connection = new ClientConnection(socket)
  const head = { method, target: '/', versionMinor: 1 as const, fields: ['Host', 'a'] }
  connection.request(
    head,
    { kind: 'none' },
    {
      onInformational: ({ statusCode }) => result.informational.push(statusCode),
      onHead(responseHead) {
        result.head = responseHead
      },
      onData(chunk) {
        result.body += chunk.toString('latin1')
      },
      onEnd(trailers) {
        result.trailers = trailers
        if (result.outcome === 'waiting') result.outcome = 'complete'
        result.consumed = fed
      },
      onError() {},
    },
  )
  // Errors are told when the socket has closed, which is later; the reason is known at once.
  const destroy = connection.destroy.bind(connection)
  connection.destroy = (error) => {
    const code = (error as Http1Error | undefined)?.code
    if (code === 'HTTP1_UNSOLICITED') result.outcome = 'unsolicited'
    else if (code !== undefined) result.outcome = code
    destroy(error)
  }
  for (const piece of pieces) {
    fed += piece.length
    socket.feed(piece)
  }
  if (end) socket.emit('end')
  destroy()
  return result
}
