import type { BodySink, FieldList } from '@sallyport/http1'
import type { Exchange } from './exchange.ts'

/** Keeps a body that has to be looked at before anybody gets it. */
export class WholeBody implements BodySink {
  readonly #exchange: Exchange
  readonly #parts: Buffer[] = []
  readonly #onWhole: (body: Buffer) => void

  /** @param onWhole not called when the body does not come to its end */
  constructor(exchange: Exchange, onWhole: (body: Buffer) => void) {
    this.#exchange = exchange
    this.#onWhole = onWhole
  }

  onData(chunk: Buffer): void {
    this.#parts.push(chunk)
  }

  onEnd(): void {
    this.#onWhole(Buffer.concat(this.#parts))
  }

  onError(error: Error): void {
    this.#exchange.clientLeft(error)
  }
}

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
