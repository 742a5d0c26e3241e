import { type Duplex, duplexPair } from 'node:stream'
import type { TestContext } from 'node:test'
import { parseRequestHead, type RequestHead } from '@sallyport/http1'
import {
  type ResetCode,
  type StreamHandler,
  type TunnelClock,
  type TunnelError,
  TunnelSession,
  type TunnelStream,
} from '@sallyport/protocol'
import type { ConnectedTunnel, Gateway } from '../../src/index.ts'

/** One stream as a connector gets it, to be answered by hand. */
export class Relayed implements StreamHandler {
  readonly stream: TunnelStream
  /** Correlation ID and instruction of OPEN. */
  readonly id: string
  readonly instruction: Record<string, unknown>
  /** What follows the instruction. */
  readonly assertion: string | undefined
  head!: RequestHead
  hasBody = false
  body = ''
  trailers: string | undefined
  ended = false
  error: TunnelError | undefined
  #waiting: (() => void)[] = []

  constructor(stream: TunnelStream) {
    this.stream = stream
    const opening = Buffer.from(stream.openText, 'latin1')
    const length = opening[0]!
    this.id = opening.toString('latin1', 1, 1 + length)
    const [instruction, assertion] = opening.toString('utf8', 1 + length).split('\n')
    this.instruction = JSON.parse(instruction!)
    this.assertion = assertion
  }

  onHead(head: string, end: boolean): void {
    // A stream that says whom to forget asks for nothing of an origin.
    if ('forget' in this.instruction) return
    this.head = parseRequestHead(head)
    this.hasBody = !end
    this.ended = end
    this.#wake()
  }
  onData(chunk: Buffer): void {
    this.body += chunk.toString('latin1')
    this.#wake()
  }
  onEnd(trailers: string | undefined): void {
    this.trailers = trailers
    this.ended = true
    this.#wake()
  }
  onWritable(): void {
    this.#wake()
  }
  onReset(error: TunnelError): void {
    this.error = error
    this.#wake()
  }

  async until(isTrue: () => boolean): Promise<void> {
    while (!isTrue()) await new Promise<void>((resolve) => this.#waiting.push(resolve))
  }

  /** Values of a request field. */
  all(name: string): string[] {
    const { fields } = this.head
    return fields.filter((_, index) => index % 2 === 1 && fields[index - 1]!.toLowerCase() === name)
  }

  /** Answers as the connector does, with a length. */
  answer(statusCode: number, fields: string[] = [], body = ''): void {
    this.begin(statusCode, [...fields, 'Content-Length', String(body.length)])
    if (body !== '') this.stream.write(Buffer.from(body, 'latin1'))
    this.stream.end()
  }

  /** The head of an answer with a body. */
  begin(statusCode: number, fields: string[] = []): void {
    let text = `HTTP/1.1 ${statusCode} X\r\nsallyport-origin-ms: 1;2;3`
    for (let index = 0; index < fields.length; index += 2)
      text += `\r\n${fields[index]}: ${fields[index + 1]}`
    this.stream.sendHead(text)
  }

  write(text: string): boolean {
    return this.stream.write(Buffer.from(text, 'latin1'))
  }

  reset(code: ResetCode, detail?: string): void {
    this.stream.reset(code, detail)
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve()
  }
}

/** What a connector is to be; by default `c1` of the default group. */
export interface ConnectorFacts {
  group?: string
  id?: string
  maxStreams?: number
  ends?: [Duplex, Duplex]
  /** Of both ends. */
  clock?: TunnelClock
}

/** The other end of a tunnel of the gateway: what a connector is to it. */
export class TestConnector {
  readonly session: TunnelSession
  readonly tunnel: ConnectedTunnel
  readonly ends: [Duplex, Duplex]
  /** Every stream that was opened, in order. */
  readonly streams: Relayed[] = []
  /** Errors that a handler of the gateway let out; none, ever. */
  readonly handlerErrors: unknown[] = []
  closed = false
  #waiting: (() => void)[] = []

  constructor(
    t: TestContext,
    gateway: Gateway,
    facts: ConnectorFacts,
    onStream?: (relayed: Relayed) => void,
  ) {
    this.ends = facts.ends ?? duplexPair()
    let remove: (() => void) | undefined
    const gatewaySession = new TunnelSession(this.ends[0], {
      side: 'gateway',
      onClose: () => {
        this.closed = true
        remove?.()
        this.#wake()
      },
      onHandlerError: (error) => this.handlerErrors.push(error),
      ...(facts.clock ? { clock: facts.clock } : {}),
    })
    this.session = new TunnelSession(this.ends[1], {
      side: 'connector',
      onStream: (stream) => {
        const relayed = new Relayed(stream)
        stream.handler = relayed
        this.streams.push(relayed)
        onStream?.(relayed)
        this.#wake()
      },
      onClose: () => undefined,
      ...(facts.clock ? { clock: facts.clock } : {}),
      ...(facts.maxStreams === undefined ? {} : { limits: { maxStreams: facts.maxStreams } }),
    })
    this.tunnel = {
      session: gatewaySession,
      connectorId: facts.id ?? 'c1',
      connectorName: facts.id ?? 'c1',
      connectorGroup: facts.group ?? 'default',
    }
    remove = gateway.addTunnel(this.tunnel)
    t.after(() => {
      this.session.close()
      gatewaySession.close()
      for (const end of this.ends) end.destroy()
    })
  }

  /** The stream with this index, with its head. */
  async stream(index: number): Promise<Relayed> {
    await this.until(() => this.streams.length > index)
    const relayed = this.streams[index]!
    await relayed.until(() => relayed.head !== undefined || relayed.error !== undefined)
    return relayed
  }

  async until(isTrue: () => boolean): Promise<void> {
    while (!isTrue()) await new Promise<void>((resolve) => this.#waiting.push(resolve))
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve()
  }
}
