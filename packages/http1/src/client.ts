import type { Duplex } from 'node:stream'
import { BodyReader } from './body-reader.ts'
import { type ExchangeOwner, RequestExchange } from './client-exchange.ts'
import { type ClientSettings, resolveClientOptions } from './client-settings.ts'
import type { ClientExchange, ClientOptions, ResponseSink } from './client-types.ts'
import { Http1Error } from './errors.ts'
import type { FieldSection } from './field-section.ts'
import type { FieldList } from './fields.ts'
import { type BodyFraming, isBodiless, toResponseFraming } from './framing.ts'
import { formatRequestLine, HeadReader, type RequestHead, type ResponseHead } from './head.ts'
import { HeadCollector } from './head-collector.ts'
import { attach, type SocketListener } from './listeners.ts'
import { MessageWriter } from './message-writer.ts'
import { formatRequestLines, type RequestLines } from './request-lines.ts'
import type { Swept } from './sweep.ts'

/** What the bytes that come next are. Nothing may come while `idle`. */
type Phase = 'idle' | 'head' | 'body' | 'raw' | 'closed'

const MAX_INFORMATIONAL = 32
const NEVER = Number.POSITIVE_INFINITY
const noOptions: ClientOptions = {}

/**
 * The client side of one HTTP/1.1 connection: one exchange at a time, no pipelining. The codec owns the socket from here
 * on; it need not be connected yet.
 */
export class ClientConnection implements ExchangeOwner, SocketListener, Swept {
  readonly socket: Duplex
  /** The connection became `reusable` again. */
  onIdle?: (() => void) | undefined = undefined
  /**
   * The socket is closed. Once. The error says why if it was not in good order; `HTTP1_UNSOLICITED` when bytes came that
   * no request had asked for (they are never taken for a response).
   */
  onClose?: ((error?: Error) => void) | undefined = undefined
  readonly #settings: ClientSettings
  readonly #writer: MessageWriter
  #phase: Phase = 'idle'
  #collector: HeadCollector | undefined
  #reader: HeadReader | undefined
  #body: BodyReader | undefined
  #exchange: RequestExchange | undefined
  /** Bytes that came before they may be delivered; the socket is paused meanwhile. */
  #pending: Buffer | undefined
  #pumping = false
  #flowing = true
  #keepAlive = true
  #settling = false
  #ended = false
  #closeReported = false
  #error: Error | undefined
  #deadline = NEVER
  #writeDeadline = NEVER

  /** @param options shared by all connections that are given the same object */
  constructor(socket: Duplex, options: ClientOptions = noOptions) {
    this.socket = socket
    this.#settings = resolveClientOptions(options)
    this.#writer = new MessageWriter(socket)
    const { sweep, idleTimeoutMs } = this.#settings
    this.#deadline = sweep.deadline(idleTimeoutMs)
    sweep.add(this)
    // The other half is closed by us, or after 101 by whoever ends the raw pipe.
    socket.allowHalfOpen = true
    attach(socket, this)
    if (socket.isPaused()) socket.resume()
  }

  /** Idle, both sides agreed to keep alive, and nothing came that was not asked for. */
  get reusable(): boolean {
    return this.#phase === 'idle' && this.#keepAlive && !this.#settling && !this.socket.destroyed
  }

  destroy(error?: Error): void {
    if (this.#phase === 'closed') return
    this.#error ??= error
    this.#phase = 'closed'
    this.#settings.sweep.delete(this)
    this.#writer.buffer.release()
    this.socket.destroy()
  }

  /**
   * Sends a request.
   *
   * @param head Content-Length and Transfer-Encoding in its fields are replaced by what `framing` says; Connection and
   *   Upgrade are the caller's. Its fields may have been formatted before, for this same framing
   * @param framing how the body is sent; not `close`. With `none`, or a length of 0, the request is complete at once
   * @returns the exchange; its sink is not called before this returns
   * @throws Http1Error `HTTP1_HEAD_INVALID`: nothing was sent, the connection is as it was
   * @throws TypeError when the connection is not reusable, or the framing or method is not possible
   */
  request(
    head: Omit<RequestHead, 'fields'> & { fields: FieldList | RequestLines },
    framing: BodyFraming,
    sink: ResponseSink,
  ): ClientExchange {
    if (!this.reusable) throw new TypeError('the connection is not idle')
    if (head.method === 'CONNECT') throw new TypeError('CONNECT makes a tunnel, not an exchange')
    if (framing.kind === 'chunked' && head.versionMinor === 0) {
      throw new TypeError('a 1.0 request cannot be chunked')
    }
    const { fields } = head
    const lines = Array.isArray(fields) ? formatRequestLines(fields, framing) : fields
    if (lines.framing !== framing) throw new TypeError('fields were formatted for another framing')
    const text = formatRequestLine(head) + lines.text
    const exchange = new RequestExchange(this, head.method, lines.upgrade, sink)
    this.#exchange = exchange
    this.#phase = 'head'
    this.#deadline = NEVER
    this.#keepAlive = !lines.listsClose && (head.versionMinor === 1 || lines.listsKeepAlive)
    // Bytes that the socket holds but has not given us yet cannot be the answer to what is only now being sent.
    if (this.socket.readableLength > 0) {
      this.destroy(unsolicited())
      return exchange
    }
    if (framing.kind === 'none' || (framing.kind === 'length' && framing.length === 0)) {
      this.#writer.beginWhole(text)
      this.#deadline = this.#settings.sweep.deadline(this.#settings.headTimeoutMs)
    } else if (framing.kind === 'length') {
      this.#writer.begin(text, 'length', framing.length)
    } else {
      this.#writer.begin(text, 'chunked')
    }
    return exchange
  }

  // --- what an exchange asks for ---

  writeBody(exchange: RequestExchange, chunk: Buffer): boolean {
    if (this.#exchange !== exchange || this.#writer.mode === 'idle') return false
    if (!this.#writer.fits(chunk.length)) {
      this.destroy(lengthMismatch())
      return false
    }
    if (this.#writer.write(chunk)) return true
    const { sweep, writeTimeoutMs } = this.#settings
    if (this.#writeDeadline === NEVER)
      this.#writeDeadline = sweep.deadline(this.#writer.buffer.timeoutMs(writeTimeoutMs))
    if (this.#phase === 'raw') sweep.add(this)
    return false
  }

  endBody(exchange: RequestExchange, chunk?: Buffer, trailers?: FieldList): void {
    if (this.#exchange !== exchange || this.#writer.mode === 'idle') return
    if (!this.#writer.completes(chunk?.length ?? 0)) this.destroy(lengthMismatch())
    else this.#requestComplete(chunk, trailers)
  }

  #requestComplete(chunk: Buffer | undefined, trailers: FieldList | undefined): void {
    this.#writer.end(chunk, trailers)
    const { sweep, headTimeoutMs } = this.#settings
    if (this.#phase === 'raw') this.socket.end()
    else if (this.#phase === 'head') this.#deadline = sweep.deadline(headTimeoutMs)
  }

  updateFlow(): void {
    const paused = this.#pending !== undefined || this.#exchange?.paused === true
    if (this.#phase === 'closed' || paused !== this.#flowing) return
    this.#flowing = !paused
    if (paused) this.socket.pause()
    else this.socket.resume()
  }

  resumeReceiving(exchange: RequestExchange): void {
    if (this.#exchange !== exchange) return
    if (this.#phase === 'body') {
      this.#deadline = this.#settings.sweep.deadline(this.#settings.bodyIdleTimeoutMs)
    }
    this.#pump()
  }

  abortExchange(exchange: RequestExchange): void {
    if (this.#exchange !== exchange) return
    this.destroy(new Http1Error('HTTP1_ABORTED', 'the exchange was aborted'))
  }

  // --- reading ---

  onData(chunk: Buffer): void {
    this.#settings.onRead?.(chunk.length)
    this.#pending = this.#pending === undefined ? chunk : Buffer.concat([this.#pending, chunk])
    this.#pump()
  }

  #pump(): void {
    if (this.#pumping) return
    this.#pumping = true
    try {
      while (this.#pending !== undefined && this.#exchange?.paused !== true) {
        const chunk = this.#pending
        this.#pending = undefined
        const rest = this.#step(chunk)
        if (rest === undefined) continue
        this.#pending = this.#pending === undefined ? rest : Buffer.concat([rest, this.#pending])
      }
      if (this.#ended && this.#pending === undefined) this.#readEnd()
    } catch (error) {
      this.destroy(error as Error)
      throw error
    } finally {
      this.#pumping = false
      this.updateFlow()
    }
  }

  /** @returns what the next step is to read */
  #step(chunk: Buffer): Buffer | undefined {
    switch (this.#phase) {
      case 'idle':
        this.destroy(unsolicited())
        return undefined
      case 'head':
        return this.#readHead(this.#exchange!, chunk)
      case 'body':
        return this.#readBody(this.#exchange!, chunk)
      case 'raw':
        this.#exchange!.sink?.onData(chunk)
        return undefined
      case 'closed':
        return undefined
    }
  }

  #readHead(exchange: RequestExchange, chunk: Buffer): Buffer | undefined {
    exchange.responseBegun = true
    this.#collector ??= new HeadCollector('response', this.#settings)
    const collector = this.#collector
    let head: ResponseHead
    let framing: BodyFraming
    let section: FieldSection
    try {
      const text = collector.take(chunk)
      if (text === undefined) return undefined
      this.#reader ??= new HeadReader(this.#settings)
      head = this.#reader.readResponse(text)
      section = this.#reader.section
      framing = toResponseFraming(section.framing, head.statusCode, exchange.method)
    } catch (error) {
      if (!(error instanceof Http1Error)) throw error
      this.destroy(invalid('the response cannot be read', error))
      return undefined
    }
    const { consumed } = collector
    const rest = consumed < chunk.length ? chunk.subarray(consumed) : undefined
    // RFC 9110 section 15.2: HTTP/1.0 has no such responses, and others take what follows for bytes after the end.
    if (head.statusCode < 200 && head.versionMinor === 0) {
      this.destroy(invalid('an informational response of HTTP/1.0'))
      return undefined
    }
    if (head.statusCode >= 200) this.#beginResponse(exchange, head, section, framing, rest)
    else if (head.statusCode === 101) this.#becomeRaw(exchange, head, framing)
    else this.#informational(exchange, head)
    return this.#gone() ? undefined : rest
  }

  /** A callback may have destroyed the connection. */
  #gone(): boolean {
    return this.#phase === 'closed'
  }

  #informational(exchange: RequestExchange, head: ResponseHead): void {
    exchange.informationalCount++
    if (exchange.informationalCount > MAX_INFORMATIONAL) {
      this.destroy(invalid(`more than ${MAX_INFORMATIONAL} informational responses`))
      return
    }
    const { sweep, headTimeoutMs } = this.#settings
    if (this.#writer.mode === 'idle') this.#deadline = sweep.deadline(headTimeoutMs)
    exchange.sink?.onInformational(head)
  }

  #becomeRaw(exchange: RequestExchange, head: ResponseHead, framing: BodyFraming): void {
    if (!exchange.upgradeRequested || this.#writer.mode !== 'idle') {
      this.destroy(invalid('101 to a request that asked for no upgrade, or is not complete'))
      return
    }
    // Such a connection may idle for days: what is needed for messages only is let go.
    this.#phase = 'raw'
    this.#collector = undefined
    this.#reader = undefined
    this.#deadline = NEVER
    this.#settings.sweep.delete(this)
    this.#writer.mode = 'raw'
    exchange.sink?.onHead(head, framing)
  }

  #beginResponse(
    exchange: RequestExchange,
    head: ResponseHead,
    section: FieldSection,
    framing: BodyFraming,
    rest: Buffer | undefined,
  ): void {
    // RFC 9112 section 9.3.
    if (framing.kind === 'close' || !section.keepsAlive) this.#keepAlive = false
    const body = new BodyReader(framing, this.#settings)
    this.#phase = 'body'
    this.#body = body
    this.#deadline = this.#settings.sweep.deadline(this.#settings.bodyIdleTimeoutMs)
    exchange.sink?.onHead(head, framing)
    if (!body.done || this.#gone()) return
    // A server that sends a body all the same (to HEAD, with 204 or 304) sends it now. Before the connection is given away
    // again, the socket is looked at once more.
    const suspect = exchange.method === 'HEAD' || isBodiless(head.statusCode)
    this.#complete(exchange, body, rest !== undefined, suspect)
  }

  #readBody(exchange: RequestExchange, chunk: Buffer): Buffer | undefined {
    const body = this.#body!
    const consumed = body.read(chunk)
    const { data, error, done } = body
    const rest = consumed < chunk.length ? chunk.subarray(consumed) : undefined
    this.#deadline = this.#settings.sweep.deadline(this.#settings.bodyIdleTimeoutMs)
    if (data !== undefined) exchange.sink?.onData(data)
    if (this.#gone()) return undefined
    if (error !== undefined) this.destroy(invalid('the response cannot be read', error))
    else if (done) this.#complete(exchange, body, rest !== undefined, false)
    return this.#exchange === undefined ? undefined : rest
  }

  #complete(
    exchange: RequestExchange,
    body: BodyReader,
    moreCame: boolean,
    suspect: boolean,
  ): void {
    const { sink } = exchange
    const writer = this.#writer
    // The body has its length, only `end` was not called yet.
    if (writer.mode === 'length' && writer.completes(0)) writer.end(undefined, undefined)
    const agreed = this.#keepAlive && writer.mode === 'idle' && !this.#ended
    exchange.sink = undefined
    this.#exchange = undefined
    this.#body = undefined
    this.#writeDeadline = NEVER
    if (agreed && !moreCame) {
      this.#phase = 'idle'
      this.#settling = suspect
      this.#deadline = this.#settings.sweep.deadline(this.#settings.idleTimeoutMs)
    } else {
      this.destroy(agreed ? unsolicited() : undefined)
    }
    sink?.onEnd(body.trailers)
    if (this.#settling) setImmediate(() => this.#settle())
    else if (this.reusable) this.onIdle?.()
  }

  #settle(): void {
    if (!this.#settling) return
    this.#settling = false
    if (this.reusable) this.onIdle?.()
  }

  onEnd(): void {
    this.#ended = true
    this.#pump()
  }

  // The end may be told while the bytes before it still wait.
  #readEnd(): void {
    const exchange = this.#exchange
    if (exchange?.paused === true || this.#phase === 'closed') return
    if (this.#phase === 'raw' && exchange !== undefined) {
      const { sink } = exchange
      exchange.sink = undefined
      sink?.onEnd([])
    } else if (this.#phase === 'body' && this.#body!.endsWithConnection) {
      this.#complete(exchange!, this.#body!, false, false)
    } else {
      this.destroy(exchange === undefined ? undefined : closedError(undefined))
    }
  }

  onDrain(): void {
    this.#writer.buffer.drained()
    if (this.#writeDeadline === NEVER) return
    this.#writeDeadline = NEVER
    if (this.#phase === 'raw') this.#settings.sweep.delete(this)
    this.#exchange?.onDrain?.()
  }

  onSocketError(error: Error): void {
    this.destroy(closedError(error))
  }

  onSocketClose(): void {
    if (this.#closeReported) return
    this.#closeReported = true
    const exchange = this.#exchange
    this.destroy(exchange?.sink === undefined ? undefined : closedError(undefined))
    this.#exchange = undefined
    this.#pending = undefined
    this.#body = undefined
    this.#settling = false
    if (exchange?.sink !== undefined) {
      const { sink } = exchange
      exchange.sink = undefined
      sink.onError(this.#error ?? closedError(undefined))
    }
    this.onClose?.(this.#error)
  }

  sweep(nowMs: number): void {
    if (nowMs >= this.#writeDeadline) {
      this.destroy(new Http1Error('HTTP1_WRITE_TIMEOUT', 'the server takes no bytes'))
    } else if (nowMs >= this.#deadline && this.#exchange?.paused !== true) {
      if (this.#phase === 'idle') this.destroy()
      else if (this.#phase === 'head') {
        this.destroy(new Http1Error('HTTP1_HEAD_TIMEOUT', 'no response head came'))
      } else {
        this.destroy(new Http1Error('HTTP1_BODY_TIMEOUT', 'no byte of the body came'))
      }
    }
  }
}

function invalid(message: string, cause?: unknown): Http1Error {
  return new Http1Error('HTTP1_RESPONSE_INVALID', message, { cause })
}

function unsolicited(): Http1Error {
  return new Http1Error('HTTP1_UNSOLICITED', 'bytes came that no request had asked for')
}

function lengthMismatch(): Http1Error {
  return new Http1Error('HTTP1_LENGTH_MISMATCH', 'the body does not have its Content-Length')
}

function closedError(cause: Error | undefined): Http1Error {
  return new Http1Error(
    'HTTP1_CONNECTION_CLOSED',
    'the server closed the connection',
    cause === undefined ? undefined : { cause },
  )
}
