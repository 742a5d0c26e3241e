import type { Duplex } from 'node:stream'
import type { TestContext } from 'node:test'
import {
  type BodySink,
  type FieldList,
  type Http1Error,
  type ServerConnection,
  type ServerExchange,
  type ServerOptions,
  serveConnection,
} from '../../src/index.ts'
import { connect, type Transport, Wire } from './wire.ts'

/** What a sink was told, in a form that can be compared. */
export class RecordedBody implements BodySink {
  text = ''
  chunks: string[] = []
  trailers: FieldList | undefined
  error: (Error & { code?: string }) | undefined
  /** How often `onEnd` or `onError` was called. */
  ends = 0
  onChunk: (() => void) | undefined
  readonly finished: Promise<this>
  #finish: (value: this) => void

  constructor() {
    const { promise, resolve } = Promise.withResolvers<this>()
    this.finished = promise
    this.#finish = resolve
  }

  onData(chunk: Buffer): void {
    const text = chunk.toString('latin1')
    this.text += text
    this.chunks.push(text)
    this.onChunk?.()
  }

  onEnd(trailers: FieldList): void {
    this.trailers = trailers
    this.#end()
  }

  onError(error: Error): void {
    this.error = error
    this.#end()
  }

  #end(): void {
    this.ends++
    this.#finish(this)
  }
}

export interface TestServer {
  wire: Wire
  socket: Duplex
  connection: ServerConnection
  exchanges: ServerExchange[]
  errors: Http1Error[]
  /** Resolves when the connection of the server is closed. */
  closed: Promise<void>
}

/** Serves one connection, whose other end is driven by hand. */
export async function serve(
  t: TestContext,
  onExchange: (exchange: ServerExchange) => void,
  options: ServerOptions = {},
  transport: Transport = 'memory',
): Promise<TestServer> {
  const [client, socket] = await connect(t, transport)
  const exchanges: ServerExchange[] = []
  const errors: Http1Error[] = []
  const { promise: closed, resolve } = Promise.withResolvers<void>()
  const connection = serveConnection(socket, options, {
    onExchange(exchange) {
      exchanges.push(exchange)
      onExchange(exchange)
    },
    onError(error) {
      errors.push(error)
    },
    onClose: resolve,
  })
  return { wire: new Wire(client), socket, connection, exchanges, errors, closed }
}

/** Answers with what was received, after all of it was. */
export function echo(exchange: ServerExchange): void {
  const body = record(exchange)
  body.finished.then(
    () => {
      if (body.error === undefined) answer(exchange, `${exchange.request.method}:${body.text}`)
    },
    () => undefined,
  )
}

export function record(exchange: ServerExchange): RecordedBody {
  const body = new RecordedBody()
  exchange.receive(body)
  return body
}

/** One response in one call. */
export function answer(exchange: ServerExchange, text = '', fields: FieldList = []): void {
  exchange.sendHead({ statusCode: 200, fields })
  exchange.end(Buffer.from(text, 'latin1'))
}
