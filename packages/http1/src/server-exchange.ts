import { STATUS_CODES } from 'node:http'
import { Http1Error } from './errors.ts'
import type { FieldSection } from './field-section.ts'
import type { FieldList } from './fields.ts'
import { formatFieldLine, isNamed } from './fields.ts'
import { type BodyFraming, isBodiless } from './framing.ts'
import {
  formatResponseHead,
  formatStatusLine,
  type RequestHead,
  type ResponseHead,
} from './head.ts'
import type { BodyMode } from './message-writer.ts'
import { formatResponseLines, refuseConnectionField } from './response-lines.ts'
import type { Connection } from './server.ts'
import type { BodyLimits, BodySink, ResponseStart, ServerExchange } from './server-types.ts'

/** The writing half of one exchange; `Connection` does the reading half and owns the socket. */
export class Exchange implements ServerExchange {
  readonly request: RequestHead
  readonly framing: BodyFraming
  readonly connection: Connection
  readonly expectsContinue: boolean
  readonly upgradeRequested: boolean
  /** RFC 9112 section 9.3, as far as the request tells. */
  readonly clientKeepsAlive: boolean
  onDrain?: (() => void) | undefined = undefined
  onClose?: ((error?: Error) => void) | undefined = undefined
  headSent = false
  /** Set by `receive`, cleared when it was told the end. Read by the connection. */
  sink: BodySink | undefined = undefined
  paused = false
  /** The response is complete, or never will be. */
  over = false
  #received = false
  #continued = false

  constructor(
    connection: Connection,
    request: RequestHead,
    framing: BodyFraming,
    section: FieldSection,
  ) {
    this.connection = connection
    this.request = request
    this.framing = framing
    this.clientKeepsAlive = section.keepsAlive
    const hasBody = framing.kind === 'chunked' || (framing.kind === 'length' && framing.length > 0)
    const speaksBoth = request.versionMinor === 1
    // RFC 9110 sections 7.8 and 10.1.1: both are ignored in a 1.0 request. An upgrade with a body would leave it open
    // where the new protocol begins, so the request is answered as if Upgrade were absent.
    this.expectsContinue = hasBody && speaksBoth && section.expectsContinue
    this.upgradeRequested = !hasBody && speaksBoth && section.hasUpgrade && section.listsUpgrade
  }

  receive(sink: BodySink): void {
    if (this.#received) throw new TypeError('receive was called before')
    this.#received = true
    this.sink = sink
    this.connection.startReceiving(this)
  }

  pause(): void {
    this.paused = true
    this.connection.updateFlow()
  }

  resume(): void {
    if (!this.paused) return
    this.paused = false
    this.connection.resumeReceiving(this)
  }

  limitBody(limits: BodyLimits): void {
    this.connection.limitBody(this, limits)
  }

  sendContinue(): void {
    if (!this.expectsContinue || this.#continued || this.headSent || this.over) return
    this.#continued = true
    this.connection.writer.writeText('HTTP/1.1 100 Continue\r\n\r\n')
  }

  sendInformational(head: ResponseHead): void {
    const { statusCode } = head
    if (statusCode < 100 || statusCode > 199 || statusCode === 101) {
      throw new TypeError(`${statusCode} is no informational response`)
    }
    if (this.headSent) throw new TypeError('the final head was sent before')
    const text = formatResponseHead({ ...head, versionMinor: 1 })
    // RFC 9110 section 15.2: a 1.0 client would take it for the final response.
    if (this.over || this.request.versionMinor === 0) return
    if (statusCode === 100) this.#continued = true
    this.connection.writer.writeText(`${text}\r\n\r\n`)
  }

  sendHead(head: ResponseStart, options?: { end?: boolean }): void {
    if (this.over) return
    if (this.headSent) throw new TypeError('sendHead was called before')
    if (head.statusCode === 101) {
      this.#upgrade(head)
      return
    }
    const { statusCode } = head
    const { method, versionMinor } = this.request
    if (statusCode < 200) throw new TypeError(`${statusCode} is no final status code`)
    if (method === 'CONNECT' && statusCode < 300) {
      throw new TypeError('a 2xx answer to CONNECT would make the connection a tunnel')
    }
    const { fields } = head
    const lines = Array.isArray(fields) ? formatResponseLines(fields, statusCode) : fields
    if (lines.isNoContent !== (statusCode === 204))
      throw new TypeError(`lines of another status code than ${statusCode}`)
    const { length, upgrade } = lines
    let text = statusLine(head) + lines.text
    let mode: BodyMode = length === undefined ? 'auto' : 'length'
    let keepAlive = this.connection.mayKeepAlive(this)
    // RFC 9110 section 10.1.1: whether a client that was not told to continue sends its body is not known, so what follows
    // could be either that or a request.
    if (this.expectsContinue && !this.#continued && this.connection.bodyIncomplete)
      keepAlive = false
    if (method === 'HEAD' || isBodiless(statusCode)) {
      mode = 'none'
    } else if (mode === 'auto' && versionMinor === 0) {
      mode = 'raw'
      keepAlive = false
    }
    // RFC 9110 section 7.8: Upgrade (in a 426) is an option of this connection too.
    if (!keepAlive) text += `\r\nConnection: close${upgrade ? ', upgrade' : ''}`
    else if (versionMinor === 0) text += '\r\nConnection: keep-alive'
    else if (upgrade) text += '\r\nConnection: upgrade'
    this.headSent = true
    this.connection.beginResponse(keepAlive)
    this.connection.writer.begin(text, mode, length)
    if (options?.end) this.end()
  }

  #upgrade(head: ResponseStart): void {
    if (!this.upgradeRequested) throw new TypeError('101 to a request that asked for no upgrade')
    const { fields } = head
    if (!Array.isArray(fields)) throw new TypeError('101 with fields that were formatted before')
    let text = statusLine(head)
    let upgrade = false
    for (let index = 0; index < fields.length; index += 2) {
      const name = fields[index]
      if (name === undefined) continue
      refuseConnectionField(name)
      // RFC 9110 section 8.6: no Content-Length in a 1xx.
      if (isNamed(name, 'content-length')) continue
      upgrade ||= isNamed(name, 'upgrade')
      text += formatFieldLine(name, fields[index + 1])
    }
    if (!upgrade) throw new TypeError('101 without Upgrade')
    this.headSent = true
    this.#received = false
    this.sink = undefined
    this.connection.writer.begin(`${text}\r\nConnection: Upgrade`, 'raw')
    this.connection.becomeRaw()
  }

  write(chunk: Buffer): boolean {
    if (this.over) return false
    if (!this.headSent) throw new TypeError('write before sendHead')
    const { writer } = this.connection
    if (!writer.fits(chunk.length)) {
      this.connection.destroy(lengthMismatch())
      return false
    }
    if (writer.write(chunk)) return true
    this.connection.writeBlocked()
    return false
  }

  end(chunk?: Buffer, trailers?: FieldList): void {
    if (this.over) return
    if (!this.headSent) throw new TypeError('end before sendHead')
    const { writer } = this.connection
    if (!writer.completes(chunk?.length ?? 0)) {
      this.connection.destroy(lengthMismatch())
      return
    }
    writer.end(chunk, trailers)
    this.over = true
    this.connection.responseComplete(this)
  }

  abort(): void {
    if (this.over && !this.connection.isRaw(this)) return
    this.connection.destroy(new Http1Error('HTTP1_ABORTED', 'the exchange was aborted'))
  }
}

const statusLines = new Map<number, string>()

function statusLine({ statusCode, reason }: ResponseStart): string {
  const standard = STATUS_CODES[statusCode] ?? ''
  if (reason !== undefined && reason !== standard)
    return formatStatusLine({ statusCode, reason, versionMinor: 1 })
  let line = statusLines.get(statusCode)
  if (line === undefined) {
    line = formatStatusLine({ statusCode, reason: standard, versionMinor: 1 })
    statusLines.set(statusCode, line)
  }
  return line
}

function lengthMismatch(): Http1Error {
  return new Http1Error('HTTP1_LENGTH_MISMATCH', 'the body does not have its Content-Length')
}
