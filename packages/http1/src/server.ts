import { STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import { BodyReader } from './body-reader.ts'
import { Http1Error } from './errors.ts'
import { HeadReader } from './head.ts'
import { HeadCollector } from './head-collector.ts'
import { attach, type SocketListener } from './listeners.ts'
import { MessageWriter } from './message-writer.ts'
import { Exchange } from './server-exchange.ts'
import { resolveServerOptions, type ServerSettings } from './server-settings.ts'
import type { BodyLimits, ServerConnection, ServerHandler, ServerOptions } from './server-types.ts'
import type { Swept } from './sweep.ts'

/**
 * What the bytes that come next are. `head`: of a request. `body`: of the current request. `response`: of the next request,
 * kept back until this one is answered. `discard`: of a body that nobody wanted. `raw`: of another protocol. `closing`: of no
 * interest; we have closed our half.
 */
type Phase = 'head' | 'body' | 'response' | 'discard' | 'raw' | 'closing' | 'closed'

const MAX_DISCARD_BYTES = 256 * 1024
const NEVER = Number.POSITIVE_INFINITY

/**
 * Serves HTTP/1.1 on a socket until it closes. The codec owns the socket from here on: nobody else may read from it, write
 * to it, or change its flow.
 *
 * @param options shared by all connections that are given the same object
 */
export function serveConnection(
  socket: Duplex,
  options: ServerOptions,
  handler: ServerHandler,
): ServerConnection {
  return new Connection(socket, resolveServerOptions(options), handler)
}

export class Connection implements ServerConnection, SocketListener, Swept {
  readonly socket: Duplex
  readonly writer: MessageWriter
  readonly #handler: ServerHandler
  readonly #settings: ServerSettings
  #phase: Phase = 'head'
  #collector: HeadCollector | undefined
  #reader: HeadReader | undefined
  #body: BodyReader | undefined
  #exchange: Exchange | undefined
  /** Bytes that came before they may be read; the socket is paused meanwhile. */
  #pending: Buffer | undefined
  #pumping = false
  #flowing = true
  #keepAlive = true
  #draining = false
  #ended = false
  #error: Error | undefined
  #deadline: number
  #writeDeadline = NEVER
  #windowStart = 0
  #windowBytes = 0
  #discarded = 0
  #bodyLimits: Required<BodyLimits>

  constructor(socket: Duplex, settings: ServerSettings, handler: ServerHandler) {
    this.socket = socket
    this.writer = new MessageWriter(socket)
    this.#settings = settings
    this.#bodyLimits = settings
    this.#handler = handler
    this.#deadline = settings.sweep.deadline(settings.idleTimeoutMs)
    settings.sweep.add(this)
    // Our half is closed by us: after the last response, or when the handler of a raw pipe ends it.
    socket.allowHalfOpen = true
    attach(socket, this)
    if (socket.isPaused()) socket.resume()
  }

  // --- what the outside asks for ---

  closeWhenIdle(): void {
    this.#draining = true
    if (this.#phase === 'head' && !this.#collector?.begun) this.#close()
    else if (this.#phase === 'discard') this.#close()
  }

  destroy(error?: Error): void {
    if (this.#phase === 'closed') return
    this.#error ??= error
    this.#phase = 'closed'
    this.#settings.sweep.delete(this)
    this.writer.buffer.release()
    this.socket.destroy()
  }

  // --- what an exchange asks for ---

  get bodyIncomplete(): boolean {
    return this.#phase === 'body'
  }

  isRaw(exchange: Exchange): boolean {
    return this.#phase === 'raw' && this.#exchange === exchange
  }

  /** RFC 9112 section 9.3, but for what only the response can tell. */
  mayKeepAlive(exchange: Exchange): boolean {
    return this.#keepAlive && !this.#draining && exchange.clientKeepsAlive
  }

  beginResponse(keepAlive: boolean): void {
    this.#keepAlive = keepAlive
  }

  startReceiving(exchange: Exchange): void {
    if (this.#exchange !== exchange || this.#phase === 'closed') {
      this.#finishSink(exchange, closedError(this.#error))
      return
    }
    this.#restartBodyClock()
    if (this.#phase === 'response') {
      const { sink } = exchange
      exchange.sink = undefined
      sink?.onEnd([])
      return
    }
    this.#pump()
  }

  resumeReceiving(exchange: Exchange): void {
    if (this.#exchange !== exchange) return
    this.#restartBodyClock()
    this.#pump()
  }

  limitBody(exchange: Exchange, limits: BodyLimits): void {
    if (this.#exchange !== exchange) return
    this.#bodyLimits = { ...this.#bodyLimits, ...limits }
    this.#restartBodyClock()
  }

  /** The socket flows unless bytes wait, or the exchange does not want those that would come. */
  updateFlow(): void {
    const { socket } = this
    const paused =
      this.#pending !== undefined ||
      (this.#exchange?.paused === true && (this.#phase === 'body' || this.#phase === 'raw'))
    if (this.#phase === 'closed' || paused !== this.#flowing) return
    this.#flowing = !paused
    if (paused) socket.pause()
    else socket.resume()
  }

  writeBlocked(): void {
    const { sweep, writeTimeoutMs } = this.#settings
    if (this.#writeDeadline === NEVER)
      this.#writeDeadline = sweep.deadline(this.writer.buffer.timeoutMs(writeTimeoutMs))
    if (this.#phase === 'raw') sweep.add(this)
  }

  /** From 101 on; what is needed for requests only is let go, because such a connection may idle for days. */
  becomeRaw(): void {
    this.#phase = 'raw'
    this.#collector = undefined
    this.#reader = undefined
    this.#body = undefined
    this.#deadline = NEVER
    this.#settings.sweep.delete(this)
  }

  responseComplete(exchange: Exchange): void {
    if (this.#phase === 'raw') {
      this.socket.end()
      return
    }
    exchange.sink = undefined
    this.#exchange = undefined
    if (!this.#keepAlive) this.#close()
    else if (this.#phase === 'body') this.#discardBody()
    else this.#awaitHead()
  }

  // --- reading ---

  onData(chunk: Buffer): void {
    this.#settings.onRead?.(chunk.length)
    this.#stash(chunk)
    this.#pump()
  }

  // One loop instead of calls that nest: a thousand pipelined requests, each answered at once, must not fill the stack.
  #pump(): void {
    if (this.#pumping) return
    this.#pumping = true
    try {
      while (this.#pending !== undefined && this.#isReading()) {
        const chunk = this.#pending
        this.#pending = undefined
        const rest = this.#step(chunk)
        if (rest !== undefined) this.#unread(rest)
      }
      if (this.#ended && this.#phase === 'raw') this.#endRaw(this.#exchange!)
    } catch (error) {
      this.destroy(error as Error)
      throw error
    } finally {
      this.#pumping = false
      this.updateFlow()
    }
  }

  /** Whether the next bytes may be parsed, or else are to wait. */
  #isReading(): boolean {
    switch (this.#phase) {
      case 'body':
      case 'raw':
        return this.#exchange?.sink !== undefined && !this.#exchange.paused
      case 'response':
        // After the last request on this connection nothing is expected, so nothing is kept.
        return !this.#keepAlive
      case 'head':
        // Or a client that asks and asks, and reads no answer, would fill the memory.
        if (!this.socket.writableNeedDrain) return true
        this.writeBlocked()
        return false
      default:
        return true
    }
  }

  /** @returns what belongs to the next phase */
  #step(chunk: Buffer): Buffer | undefined {
    switch (this.#phase) {
      case 'head':
        return this.#readHead(chunk)
      case 'body':
      case 'discard':
        return this.#readBody(chunk)
      case 'raw':
        this.#exchange!.sink!.onData(chunk)
        return undefined
      default:
        return undefined
    }
  }

  #stash(chunk: Buffer): void {
    this.#pending = this.#pending === undefined ? chunk : Buffer.concat([this.#pending, chunk])
  }

  #unread(rest: Buffer): void {
    this.#pending = this.#pending === undefined ? rest : Buffer.concat([rest, this.#pending])
  }

  #readHead(chunk: Buffer): Buffer | undefined {
    const settings = this.#settings
    this.#collector ??= new HeadCollector('request', settings)
    const collector = this.#collector
    let exchange: Exchange
    try {
      const begun = collector.begun
      const text = collector.take(chunk)
      if (text === undefined) {
        if (!begun) this.#deadline = settings.sweep.deadline(settings.headTimeoutMs)
        return undefined
      }
      this.#reader ??= new HeadReader(settings)
      const request = this.#reader.readRequest(text)
      const { requestFraming, section } = this.#reader
      exchange = new Exchange(this, request, requestFraming, section)
    } catch (error) {
      if (!(error instanceof Http1Error)) throw error
      this.#refuse(error)
      return undefined
    }
    const { consumed } = collector
    this.#exchange = exchange
    this.#deadline = NEVER
    this.#bodyLimits = settings
    const { framing } = exchange
    if (framing.kind === 'none' || (framing.kind === 'length' && framing.length === 0)) {
      this.#phase = 'response'
    } else {
      this.#phase = 'body'
      this.#body = new BodyReader(framing, settings)
    }
    this.#handler.onExchange(exchange)
    return consumed < chunk.length ? chunk.subarray(consumed) : undefined
  }

  #readBody(chunk: Buffer): Buffer | undefined {
    const body = this.#body!
    const exchange = this.#exchange
    const consumed = body.read(chunk)
    const { data, error, done } = body
    const rest = consumed < chunk.length ? chunk.subarray(consumed) : undefined
    if (done) this.#body = undefined
    if (this.#phase === 'discard') {
      this.#discarded += consumed
      if (error !== undefined || this.#discarded > MAX_DISCARD_BYTES) this.#close()
      else if (done) this.#awaitHead()
      return rest
    }
    this.#windowBytes += consumed
    const { sweep } = this.#settings
    this.#deadline = done ? NEVER : sweep.deadline(this.#bodyLimits.bodyIdleTimeoutMs)
    if (done) this.#phase = 'response'
    if (data !== undefined) exchange!.sink!.onData(data)
    if (this.#isClosed()) return undefined
    if (error !== undefined) this.#bodyFailed(error)
    else if (done) this.#endSink(exchange!, body)
    return rest
  }

  /** A callback may have destroyed the connection. */
  #isClosed(): boolean {
    return this.#phase === 'closed'
  }

  #endSink(exchange: Exchange, body: BodyReader): void {
    const { sink } = exchange
    exchange.sink = undefined
    sink?.onEnd(body.trailers)
  }

  #finishSink(exchange: Exchange, error: Error): void {
    const { sink } = exchange
    exchange.sink = undefined
    sink?.onError(error)
  }

  // The end may be told while the bytes before it still wait.
  #endRaw(exchange: Exchange): void {
    const { sink } = exchange
    if (sink === undefined || exchange.paused || this.#pending !== undefined) return
    exchange.sink = undefined
    sink.onEnd([])
  }

  // --- from one request to the next ---

  #awaitHead(): void {
    this.#phase = 'head'
    this.#deadline = this.#settings.sweep.deadline(this.#settings.idleTimeoutMs)
    if (this.#draining) {
      this.#close()
      return
    }
    this.#pump()
  }

  // An answer may come before the body of its request was read: 401, 413. Reading on a little is cheaper than a new
  // connection, and lets the client see the answer.
  #discardBody(): void {
    if (this.#body!.remaining > MAX_DISCARD_BYTES) {
      this.#close()
      return
    }
    this.#phase = 'discard'
    this.#discarded = 0
    this.#deadline = this.#settings.sweep.deadline(this.#settings.lingerTimeoutMs)
    this.#pump()
  }

  // RFC 9112 section 9.6: our half is closed first, and what the client still sends is read for a while, or its stack may
  // throw our last response away.
  #close(): void {
    if (this.#phase === 'closing' || this.#phase === 'closed') return
    const { sweep, writeTimeoutMs } = this.#settings
    this.#phase = 'closing'
    this.#pending = undefined
    this.#collector = undefined
    this.#body = undefined
    this.#deadline = sweep.deadline(this.writer.buffer.timeoutMs(writeTimeoutMs))
    this.socket.end()
    this.updateFlow()
  }

  onFinish(): void {
    const { sweep, lingerTimeoutMs } = this.#settings
    if (this.#phase === 'closing') this.#deadline = sweep.deadline(lingerTimeoutMs)
  }

  // --- what goes wrong ---

  #refuse(error: Http1Error): void {
    this.#phase = 'response'
    this.#keepAlive = false
    this.#collector = undefined
    this.#handler.onError?.(error, this)
    if (!this.socket.writableEnded && !this.socket.destroyed) {
      this.writer.writeText(errorResponse(error.statusCode))
    }
    this.#close()
  }

  // The handler is told first and may answer; a response that it had begun cannot be put right any more.
  #bodyFailed(error: Http1Error): void {
    const exchange = this.#exchange
    if (exchange === undefined) {
      this.#close()
      return
    }
    const { headSent } = exchange
    this.#phase = 'response'
    this.#keepAlive = false
    this.#deadline = NEVER
    this.#finishSink(exchange, error)
    if (exchange.over) return
    if (headSent) {
      this.destroy(error)
    } else if (!exchange.headSent) {
      exchange.over = true
      this.#exchange = undefined
      this.writer.writeText(errorResponse(error.statusCode))
      this.#close()
      exchange.onClose?.(error)
    }
  }

  onEnd(): void {
    this.#ended = true
    switch (this.#phase) {
      case 'raw':
        this.#pump()
        break
      case 'body':
      case 'response':
        // A client that closes while it is owed an answer has left; nobody half-closes on purpose but `nc`, and the
        // origin must not go on working for it. (nginx does the same.)
        this.destroy(closedError(undefined))
        break
      default:
        this.#close()
    }
  }

  onDrain(): void {
    this.writer.buffer.drained()
    if (this.#writeDeadline === NEVER) return
    this.#writeDeadline = NEVER
    if (this.#phase === 'raw') this.#settings.sweep.delete(this)
    const exchange = this.#exchange
    if (exchange !== undefined && !exchange.over) exchange.onDrain?.()
    if (this.#phase === 'head') this.#pump()
  }

  onSocketError(error: Error): void {
    this.destroy(closedError(error))
  }

  onSocketClose(): void {
    this.destroy(closedError(undefined))
    const exchange = this.#exchange
    this.#exchange = undefined
    this.#pending = undefined
    if (exchange !== undefined) {
      const { over } = exchange
      exchange.over = true
      const error = closedError(this.#error)
      this.#finishSink(exchange, error)
      if (!over) exchange.onClose?.(error)
    }
    this.#handler.onClose?.()
  }

  #restartBodyClock(): void {
    if (this.#phase !== 'body') return
    const { sweep } = this.#settings
    this.#deadline = sweep.deadline(this.#bodyLimits.bodyIdleTimeoutMs)
    this.#windowStart = sweep.nowMs
    this.#windowBytes = 0
  }

  sweep(nowMs: number): void {
    if (nowMs >= this.#writeDeadline) {
      this.destroy(new Http1Error('HTTP1_WRITE_TIMEOUT', 'the client takes no bytes'))
      return
    }
    const exchange = this.#exchange
    if (this.#phase === 'body' && (exchange?.sink === undefined || exchange.paused)) return
    if (nowMs >= this.#deadline) this.#timedOut()
    else if (this.#phase === 'body') this.#checkRate(nowMs)
  }

  #timedOut(): void {
    switch (this.#phase) {
      case 'head':
        if (this.#collector?.begun) {
          this.#refuse(new Http1Error('HTTP1_HEAD_TIMEOUT', 'the head took too long'))
        } else {
          this.#close()
        }
        break
      case 'body':
        this.#bodyFailed(new Http1Error('HTTP1_BODY_TIMEOUT', 'no byte of the body came'))
        break
      case 'discard':
        this.#close()
        break
      case 'closing':
        this.destroy()
    }
  }

  #checkRate(nowMs: number): void {
    const { bodyRateWindowMs } = this.#settings
    const elapsedMs = nowMs - this.#windowStart
    if (bodyRateWindowMs === 0 || elapsedMs < bodyRateWindowMs) return
    if (this.#windowBytes * 1000 < this.#bodyLimits.minBodyBytesPerSecond * elapsedMs) {
      this.#bodyFailed(new Http1Error('HTTP1_BODY_TIMEOUT', 'the body comes too slowly'))
      return
    }
    this.#windowStart = nowMs
    this.#windowBytes = 0
  }
}

function closedError(cause: Error | undefined): Error {
  if (cause instanceof Http1Error) return cause
  return new Http1Error(
    'HTTP1_CONNECTION_CLOSED',
    'the client closed the connection',
    cause === undefined ? undefined : { cause },
  )
}

function errorResponse(statusCode: number): string {
  const text = `${statusCode} ${STATUS_CODES[statusCode]}`
  return `HTTP/1.1 ${text}\r\nDate: ${new Date().toUTCString()}\r\nContent-Type: text/plain\r\nContent-Length: ${text.length + 1}\r\nConnection: close\r\n\r\n${text}\n`
}
