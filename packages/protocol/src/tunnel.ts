import type { ResetCode, TunnelError } from './errors.ts'

/**
 * Receives what happens to one stream. One object with methods, so that an idle stream holds no
 * closures; it may be replaced at any time (`stream.handler = other`), for instance when a request
 * becomes a WebSocket.
 *
 * Methods are called synchronously while a read of the tunnel is worked through, and must not
 * block. One that throws costs its stream (RESET INTERNAL), not the tunnel; see
 * `TunnelOptions.onHandlerError`.
 */
export interface StreamHandler {
  /**
   * @param head latin1: start line and fields separated by CRLF, without the final empty line. From
   *   connector to gateway it may come several times: informational (1xx) heads first
   * @param end the peer sends no body and no trailers
   */
  onHead(head: string, end: boolean): void
  /**
   * @param chunk owned by the receiver; a view of a larger read buffer, so copy what is kept for
   * long
   */
  onData(chunk: Buffer): void
  /**
   * The peer half-closed; our own direction stays open.
   *
   * @param trailers latin1 lines separated by CRLF
   */
  onEnd(trailers: string | undefined): void
  /** There is room again after `write()` returned false; also once when the stream was accepted. */
  onWritable(): void
  /**
   * Gateway side: the connector accepted the stream. Before any `onHead`, and before the first
   * `onWritable`.
   */
  onAccepted?(): void
  /**
   * The peer reset the stream or broke its rules, or the tunnel ended (`TUNNEL_CLOSED`). At most
   * once, last of all calls; never after both sides ended, nor after our own `reset()`.
   */
  onReset(error: TunnelError): void
}

/** One exchange, or one upgraded byte pipe, inside a tunnel. */
export interface TunnelStream {
  readonly id: number
  /** Connector side: the payload of OPEN, each byte one latin1 character. Empty on the gateway side. */
  readonly openText: string
  handler: StreamHandler
  /**
   * Gateway side: the connector granted credit or answered. Connector side: `accept()` was called.
   */
  readonly accepted: boolean

  /**
   * Sends a head. Before any `write`; the gateway sends one, the connector as many as it has
   * informational ones. On the connector side it accepts the stream.
   *
   * @param head latin1 text, at most 256 KiB; see `StreamHandler.onHead`
   * @param end nothing follows: half-closes
   * @throws TypeError when called twice by the gateway, after `write` or `end`, or for text beyond
   *   latin1
   */
  sendHead(head: string, end?: boolean): void
  /**
   * Queues bytes. The buffer belongs to the stream from here on and must not be changed.
   *
   * @returns false when the caller should stop until `onWritable`; the chunk was taken all the
   *   same, unless the stream is over
   * @throws TunnelError `TUNNEL_QUEUE_FULL` when the caller went on far beyond that; the stream was
   *   reset
   */
  write(chunk: Buffer): boolean
  /**
   * Half-closes after what is queued.
   *
   * @param trailers latin1 lines separated by CRLF, at most 64 KiB
   */
  end(trailers?: string): void
  /**
   * Gives the stream up: what is queued is dropped, no further handler call is made.
   *
   * `NO_ERROR` after `end()` is gentle: queued bytes and the end go out first, then the peer is
   * told that nothing more is needed from it.
   *
   * @param detail for the peer's log, cut at 1024 bytes
   * @throws TypeError for `REFUSED` after the stream was accepted: the peer would repeat what was
   *   acted upon
   */
  reset(code: ResetCode, detail?: string): void
  /** Connector side: takes the stream on, and grants credit for its body. */
  accept(): void
  /**
   * Stops `onData` and `onEnd`, and with them the credit; what was granted before may still be
   * buffered.
   */
  pause(): void
  resume(): void
}

/** Time, so that tests can have their own. Milliseconds; only differences of `now()` matter. */
export interface TunnelClock {
  now(): number
  /** One shot. The handle is only given back to `stopTimer`. */
  startTimer(callback: () => void, delayMs: number): unknown
  stopTimer(timer: unknown): void
}

/** Bounds of one tunnel; every one has a default (see `defaultLimits`). */
export interface TunnelLimits {
  /** Streams open at once: what a connector takes, what a gateway opens. */
  maxStreams: number
  /** Unconsumed bytes held for readers, above which windows shrink to 64 KiB. */
  memoryBytes: number
  /** The largest window of one stream. */
  maxWindowBytes: number
  /** Heads, resets and other control frames waiting for the socket; beyond it the tunnel ends. */
  controlBacklogBytes: number
  /**
   * Silence after which a ping is sent, and after which the tunnel is dead. Noticed up to 1 s
   * earlier.
   */
  pingAfterMs: number
  deadAfterMs: number
  /** The peer's HELLO must be there by then. */
  handshakeTimeoutMs: number
  /** The id of the first stream (1 to 2^32-1); a tunnel that has used them up drains. */
  firstStreamId: number
}

export interface TunnelOptions {
  side: 'gateway' | 'connector'
  /** Connector side: must set `stream.handler` before it returns. */
  onStream?(stream: TunnelStream): void
  /** The peer's HELLO arrived: versions agree, `peerCapabilities` is filled. */
  onReady?(): void
  /** Exactly once, after every stream was told. Undefined after a drain or our own `close()`. */
  onClose(error: TunnelError | undefined): void
  /** The peer takes or opens no new streams; those that are open go on. */
  onGoAway?(reason: string): void
  /**
   * A handler threw; its stream was reset. Without it the error is thrown where nobody catches it.
   */
  onHandlerError?(error: unknown, stream: TunnelStream): void
  /** Told how many bytes each read of the Duplex has brought. */
  onRead?: ((bytes: number) => void) | undefined
  /** Words of at most 255 ASCII bytes; those the peer does not know it ignores. */
  capabilities?: readonly string[]
  limits?: Partial<TunnelLimits>
  clock?: TunnelClock
}
