import type { BodyFraming, FieldList, ResponseHead, ResponseSink } from '@sallyport/http1'

/** Whom an answer is for. */
export interface ResponseReceiver {
  onInformational(head: ResponseHead): void
  onResponseHead(head: ResponseHead, framing: BodyFraming): void
  onResponseData(chunk: Buffer): void
  onResponseEnd(trailers: FieldList): void
  onOriginError(error: Error): void
  /** One of the above has thrown. */
  fail(error: unknown): void
}

/**
 * The origin's side of an exchange, as the codec wants it: its method names are those of the
 * tunnel's handler. An error in here would come out where the socket is read, and take the process
 * with it.
 */
export class ResponseRelay implements ResponseSink {
  /** Undefined when the exchange has no interest in it any more. */
  #exchange: ResponseReceiver | undefined

  constructor(exchange: ResponseReceiver) {
    this.#exchange = exchange
  }

  detach(): void {
    this.#exchange = undefined
  }

  onInformational(head: ResponseHead): void {
    try {
      this.#exchange?.onInformational(head)
    } catch (error) {
      this.#exchange?.fail(error)
    }
  }

  onHead(head: ResponseHead, framing: BodyFraming): void {
    try {
      this.#exchange?.onResponseHead(head, framing)
    } catch (error) {
      this.#exchange?.fail(error)
    }
  }

  onData(chunk: Buffer): void {
    try {
      this.#exchange?.onResponseData(chunk)
    } catch (error) {
      this.#exchange?.fail(error)
    }
  }

  onEnd(trailers: FieldList): void {
    try {
      this.#exchange?.onResponseEnd(trailers)
    } catch (error) {
      this.#exchange?.fail(error)
    }
  }

  onError(error: Error): void {
    this.#exchange?.onOriginError(error)
  }
}
