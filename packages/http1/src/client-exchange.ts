import type { ClientExchange, ResponseSink } from './client-types.ts'

/** What an exchange asks of its connection. */
export interface ExchangeOwner {
  writeBody(exchange: RequestExchange, chunk: Buffer): boolean
  endBody(exchange: RequestExchange, chunk?: Buffer, trailers?: string[]): void
  updateFlow(): void
  resumeReceiving(exchange: RequestExchange): void
  abortExchange(exchange: RequestExchange): void
}

/** One request; all state that concerns the socket is in the connection. */
export class RequestExchange implements ClientExchange {
  readonly method: string
  readonly upgradeRequested: boolean
  responseBegun = false
  paused = false
  informationalCount = 0
  onDrain?: (() => void) | undefined = undefined
  /** Undefined once it was told the end. */
  sink: ResponseSink | undefined
  readonly #owner: ExchangeOwner

  constructor(owner: ExchangeOwner, method: string, upgradeRequested: boolean, sink: ResponseSink) {
    this.#owner = owner
    this.method = method
    this.upgradeRequested = upgradeRequested
    this.sink = sink
  }

  write(chunk: Buffer): boolean {
    return this.#owner.writeBody(this, chunk)
  }

  end(chunk?: Buffer, trailers?: string[]): void {
    this.#owner.endBody(this, chunk, trailers)
  }

  pause(): void {
    this.paused = true
    this.#owner.updateFlow()
  }

  resume(): void {
    if (!this.paused) return
    this.paused = false
    this.#owner.resumeReceiving(this)
  }

  abort(): void {
    this.#owner.abortExchange(this)
  }
}
