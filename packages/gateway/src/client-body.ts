import type { BodySink, FieldList } from '@sallyport/http1'
import type { Exchange } from './exchange.ts'

/** Receives what the client sends; made only for requests that have a body, and for WebSockets. */
export class ClientBody implements BodySink {
  readonly #exchange: Exchange

  constructor(exchange: Exchange) {
    this.#exchange = exchange
  }

  onData(chunk: Buffer): void {
    this.#exchange.takeClientData(chunk)
  }

  onEnd(trailers: FieldList): void {
    this.#exchange.takeClientEnd(trailers)
  }

  onError(error: Error): void {
    this.#exchange.clientLeft(error)
  }
}
