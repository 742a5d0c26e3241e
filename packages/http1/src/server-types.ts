import type { Duplex } from 'node:stream'
import type { Http1Error } from './errors.ts'
import type { FieldList } from './fields.ts'
import type { BodyFraming } from './framing.ts'
import type { HeadLimits, RequestHead, ResponseHead } from './head.ts'
import type { ResponseLines } from './response-lines.ts'

/** Receives one body, or the raw bytes after an upgrade. After `onEnd` or `onError` nothing more is called. */
export interface BodySink {
  /** The chunk belongs to the receiver; it is never empty. */
  onData(chunk: Buffer): void
  /** @param trailers empty but for a chunked body that had some */
  onEnd(trailers: FieldList): void
  /** The body will not be complete. Called at most once. */
  onError(error: Error): void
}

/** Times are coarse: late by up to a quarter, never early. 0 turns one off. */
export interface ServerOptions extends Partial<HeadLimits> {
  /** From the first byte of a head to its last; then 408. Default 20,000. */
  headTimeoutMs?: number
  /** Without a request, on a new connection too; then closed silently. Default 75,000. */
  idleTimeoutMs?: number
  /** Without a byte of a request body that is being received and not paused; then 408. Default 60,000. */
  bodyIdleTimeoutMs?: number
  /** Mean rate over each window in which the body was received and not paused; below it 408. Default 100. */
  minBodyBytesPerSecond?: number
  /** Default 15,000. */
  bodyRateWindowMs?: number
  /** Without progress of bytes that the client does not take; then the connection is destroyed. Default 120,000. */
  writeTimeoutMs?: number
  /** How long the client may take to close after we did. Default 3,000. */
  lingerTimeoutMs?: number
  /** Told how many bytes each read of a socket has brought. */
  onRead?: ((bytes: number) => void) | undefined
}

/** Limits of one request body, for protocols that send little for hours (Remote Desktop Gateway, gRPC). 0 is off. */
export interface BodyLimits {
  bodyIdleTimeoutMs?: number
  minBodyBytesPerSecond?: number
}

export interface ServerHandler {
  /** One request has come. It may be answered at any time; the next one is not parsed before. */
  onExchange(exchange: ServerExchange): void
  /**
   * A head that could not be accepted, or came too slowly. The codec then answers `error.statusCode` with a fixed plain
   * text and closes; unless the handler has ended the socket with bytes of its own (`connection.socket.end`).
   */
  onError?(error: Http1Error, connection: ServerConnection): void
  /** The socket is closed. Once. */
  onClose?(): void
}

/** The server side of one HTTP/1.1 connection. */
export interface ServerConnection {
  readonly socket: Duplex
  /** Drains: a current exchange ends with `Connection: close`, an idle connection is closed now. Upgraded ones stay. */
  closeWhenIdle(): void
  destroy(error?: Error): void
}

/** The response that a handler wants to send. The codec adds framing, `Connection` and, if absent, the reason. */
export interface ResponseStart {
  /** 200 to 599, or 101. */
  statusCode: number
  reason?: string
  /** For 101 a list. */
  fields: FieldList | ResponseLines
}

/**
 * One request and its response. Calls after the connection is gone do nothing, so that a race needs no test; calls in an
 * order that cannot be right throw a TypeError.
 */
export interface ServerExchange {
  readonly request: RequestHead
  readonly framing: BodyFraming
  /** The client waits for 100 (Continue) before it sends the body. */
  readonly expectsContinue: boolean
  /** `Connection` lists upgrade, `Upgrade` is present, HTTP/1.1, and there is no body. */
  readonly upgradeRequested: boolean
  readonly connection: ServerConnection
  /** True once the final head was given to `sendHead`. */
  readonly headSent: boolean
  /** Starts delivery of the body; nothing of it is delivered before. What has already come is delivered synchronously. */
  receive(sink: BodySink): void
  /** Stops delivery of the request body: after this returns no `onData` comes before `resume`. */
  pause(): void
  /** Delivers what is waiting synchronously, then reads on. */
  resume(): void
  /** Changes the limits for this request body. */
  limitBody(limits: BodyLimits): void
  /** Sends 100 (Continue) if the client waits for it, at most once. */
  sendContinue(): void
  /** Sends a 1xx other than 101; nothing to a 1.0 client. */
  sendInformational(head: ResponseHead): void
  /**
   * Sends the final head. It leaves together with the first part of the body, or at the end of the tick. A
   * Content-Length is kept and enforced: too much or too little destroys the connection. Without one, a body that is
   * complete in the same tick gets one, else it is chunked (to a 1.0 client: ends with the connection).
   *
   * After 101 the exchange is a raw pipe: `receive` delivers bytes until the end, `write` and `end` send them, `end`
   * closes our half.
   *
   * @param options `end`: there is no body
   * @throws Http1Error `HTTP1_HEAD_INVALID`, `HTTP1_FRAMING_INVALID`: nothing was sent, another head may be
   * @throws TypeError when the fields hold Transfer-Encoding or Connection, or a head was sent before
   */
  sendHead(head: ResponseStart, options?: { end?: boolean }): void
  /** @returns false: wait for `onDrain` */
  write(chunk: Buffer): boolean
  /** @param trailers sent if the body is chunked, else dropped */
  end(chunk?: Buffer, trailers?: FieldList): void
  onDrain?: (() => void) | undefined
  /** The connection went away before the response was complete. Once, never after a complete response. */
  onClose?: ((error?: Error) => void) | undefined
  /** Destroys the connection. */
  abort(): void
}
