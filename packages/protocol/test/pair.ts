import { once } from 'node:events'
import { type Duplex, duplexPair } from 'node:stream'
import type { TestContext } from 'node:test'
import {
  type StreamHandler,
  type TunnelError,
  type TunnelOptions,
  TunnelSession,
  type TunnelStream,
} from '../src/index.ts'

/** What happened to a stream, in order, and promises for what will. */
export class Recorder implements StreamHandler {
  readonly events: string[] = []
  readonly heads: string[] = []
  readonly chunks: Buffer[] = []
  trailers: string | undefined
  error: TunnelError | undefined
  #waiting: [event: string, resolve: () => void][] = []

  onHead(head: string, end: boolean): void {
    this.heads.push(head)
    this.#happened(end ? 'head-end' : 'head')
  }
  onData(chunk: Buffer): void {
    this.chunks.push(chunk)
    this.#happened('data')
  }
  onEnd(trailers: string | undefined): void {
    this.trailers = trailers
    this.#happened('end')
  }
  onWritable(): void {
    this.#happened('writable')
  }
  onAccepted(): void {
    this.#happened('accepted')
  }
  onReset(error: TunnelError): void {
    this.error = error
    this.#happened('reset')
  }

  /** What was received: credit comes when it comes. */
  get received(): string[] {
    return this.events.filter((event) => event !== 'writable' && event !== 'accepted')
  }

  get body(): Buffer {
    return Buffer.concat(this.chunks)
  }

  get receivedBytes(): number {
    return this.chunks.reduce((sum, chunk) => sum + chunk.length, 0)
  }

  /** Resolves when the event has happened, or happens. */
  async until(event: string): Promise<void> {
    if (this.events.includes(event)) return
    await this.next(event)
  }

  next(event: string): Promise<void> {
    return new Promise((resolve) => this.#waiting.push([event, resolve]))
  }

  #happened(event: string): void {
    this.events.push(event)
    const due = this.#waiting.filter(([name]) => name === event)
    this.#waiting = this.#waiting.filter(([name]) => name !== event)
    for (const [, resolve] of due) resolve()
  }
}

export interface Served {
  stream: TunnelStream
  recorder: Recorder
}

export interface Pair {
  gateway: TunnelSession
  connector: TunnelSession
  gatewayEnd: Duplex
  connectorEnd: Duplex
  /** `onClose` of each side, as it came. */
  closed: { gateway: Promise<TunnelError | undefined>; connector: Promise<TunnelError | undefined> }
  handlerErrors: unknown[]
  /** Opens a stream; resolves when the connector has it too. */
  open(payload?: string): Promise<{ stream: TunnelStream; recorder: Recorder; served: Served }>
  opening(payload?: string): { stream: TunnelStream; recorder: Recorder }
  nextServed(): Promise<Served>
}

type Overrides = Partial<TunnelOptions>

/** Both ends of a tunnel over an in-memory pair, or over the given ends; gone when the test is. */
export function startPair(
  t: TestContext,
  options: { gateway?: Overrides; connector?: Overrides; ends?: [Duplex, Duplex] } = {},
): Pair {
  const [gatewayEnd, connectorEnd] = options.ends ?? duplexPair()
  const served: Served[] = []
  const takers: ((served: Served) => void)[] = []
  const handlerErrors: unknown[] = []
  const gatewayClosed = Promise.withResolvers<TunnelError | undefined>()
  const connectorClosed = Promise.withResolvers<TunnelError | undefined>()
  const gateway = new TunnelSession(gatewayEnd, {
    side: 'gateway',
    onClose: gatewayClosed.resolve,
    onHandlerError: (error) => handlerErrors.push(error),
    ...options.gateway,
  })
  const connector = new TunnelSession(connectorEnd, {
    side: 'connector',
    onStream(stream) {
      const one = { stream, recorder: new Recorder() }
      stream.handler = one.recorder
      const taker = takers.shift()
      if (taker) taker(one)
      else served.push(one)
    },
    onClose: connectorClosed.resolve,
    onHandlerError: (error) => handlerErrors.push(error),
    ...options.connector,
  })
  t.after(() => {
    gateway.close()
    connector.close()
    gatewayEnd.destroy()
    connectorEnd.destroy()
  })
  const nextServed = async (): Promise<Served> =>
    served.shift() ?? (await new Promise<Served>((resolve) => takers.push(resolve)))
  const opening = (payload = 'to the origin') => {
    const recorder = new Recorder()
    return { stream: gateway.openStream(payload, recorder), recorder }
  }
  return {
    gateway,
    connector,
    gatewayEnd,
    connectorEnd,
    closed: { gateway: gatewayClosed.promise, connector: connectorClosed.promise },
    handlerErrors,
    nextServed,
    opening,
    async open(payload) {
      const opened = opening(payload)
      return { ...opened, served: await nextServed() }
    },
  }
}

/** Writes as much as it may, then waits; until all of `bytes` are written. */
export async function pump(stream: TunnelStream, recorder: Recorder, bytes: Buffer): Promise<void> {
  for (let at = 0; at < bytes.length; at += 65_536) {
    if (!stream.write(bytes.subarray(at, at + 65_536))) await recorder.next('writable')
  }
}

/** Time that passes when the test says so. */
export class TestClock {
  #now = 0
  #timers = new Map<object, { dueAt: number; callback: () => void }>()

  now = (): number => this.#now
  startTimer = (callback: () => void, delayMs: number): object => {
    const handle = {}
    this.#timers.set(handle, { dueAt: this.#now + delayMs, callback })
    return handle
  }
  stopTimer = (handle: unknown): void => {
    this.#timers.delete(handle as object)
  }

  get pendingTimers(): number {
    return this.#timers.size
  }

  /** Timers that have come due. */
  fired = 0

  /** Lets time pass in which nothing runs. */
  skip(ms: number): void {
    this.#now += ms
  }

  /** Passes time, with a turn of the event loop after every timer that is due. */
  async pass(ms: number): Promise<void> {
    const until = this.#now + ms
    for (;;) {
      const due = [...this.#timers].filter(([, timer]) => timer.dueAt <= until)
      due.sort(([, a], [, b]) => a.dueAt - b.dueAt)
      const next = due[0]
      if (!next) break
      const [handle, timer] = next
      this.#timers.delete(handle)
      this.#now = Math.max(this.#now, timer.dueAt)
      this.fired++
      timer.callback()
      await turns(4)
    }
    this.#now = until
  }
}

/**
 * Lets the event loop go round: frames that are on their way arrive in memory, and their answers.
 */
export async function turns(count: number): Promise<void> {
  for (; count > 0; count--) await new Promise((resolve) => setImmediate(resolve))
}

export async function closed(duplex: Duplex): Promise<void> {
  if (!duplex.closed) await once(duplex, 'close')
}
