import type { FieldList } from './fields.ts'
import type { BodyFraming } from './framing.ts'
import type { HeadLimits, ResponseHead } from './head.ts'
import type { BodySink } from './server-types.ts'

/** Times are coarse: late by up to a quarter, never early. 0 turns one off. */
export interface ClientOptions extends Partial<HeadLimits> {
  /** From the end of the request, or the last informational response, to the final head. Default 0. */
  headTimeoutMs?: number
  /** Without a byte of a response body that is not paused. Default 0. */
  bodyIdleTimeoutMs?: number
  /** A reusable connection that nobody used is closed. Default 60,000. */
  idleTimeoutMs?: number
  /** Without progress of bytes that the server does not take. Default 120,000. */
  writeTimeoutMs?: number
  /** Told how many bytes each read of a socket has brought. */
  onRead?: ((bytes: number) => void) | undefined
}

/** Receives one response. `onError` comes at most once, and nothing after it. */
export interface ResponseSink extends BodySink {
  /** A 1xx other than 101. More than 32 are an error. */
  onInformational(head: ResponseHead): void
  /** The final head; with 101 raw bytes follow until the end. */
  onHead(head: ResponseHead, framing: BodyFraming): void
}

/** One request and its response, seen by the client. Calls after the end do nothing. */
export interface ClientExchange {
  /** Any byte of a response has come. */
  readonly responseBegun: boolean
  /** @returns false: wait for `onDrain` */
  write(chunk: Buffer): boolean
  /** @param trailers sent if the body is chunked, else dropped */
  end(chunk?: Buffer, trailers?: FieldList): void
  onDrain?: (() => void) | undefined
  /** Stops delivery of the response: after this returns no `onData` comes before `resume`. */
  pause(): void
  /** Delivers what is waiting synchronously, then reads on. */
  resume(): void
  /** Destroys the connection; the sink gets `HTTP1_ABORTED` unless the response is complete. */
  abort(): void
}
