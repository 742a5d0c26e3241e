import { type BodySink, type FieldList, formatFields } from '@sallyport/http1'
import type { Exchange } from './exchange.ts'
import { RequestError } from './failures.ts'

const limitTrailerBytes = 65_536

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
class ClientBody implements BodySink {
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

/** Receives the body of a request that a connector has accepted, or what comes over a WebSocket. */
export function receiveBody(exchange: Exchange): void {
  const { server, compiled } = exchange
  // The origin may take its time to say that it wants the body.
  if (server.expectsContinue)
    server.limitBody({
      minBodyBytesPerSecond: 0,
      bodyIdleTimeoutMs: Math.max(60_000, compiled.application.backendTimeoutMs),
    })
  server.receive(new ClientBody(exchange))
}

/**
 * @returns the lines of a request's trailers as the origin shall see them; undefined when it shall see none
 * @throws RequestError when they are too large for a frame
 */
export function toOriginTrailers(
  trailers: FieldList,
  { gateway, compiled }: Exchange,
): string | undefined {
  const kept = formatFields(gateway.view().fieldFilter(compiled).trailers(trailers))
  if (kept.length > limitTrailerBytes)
    throw new RequestError('REQUEST_INVALID', `trailers of ${kept.length} bytes`)
  return kept === '' ? undefined : kept
}
