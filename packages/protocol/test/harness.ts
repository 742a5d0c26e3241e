import { Duplex } from 'node:stream'
import {
  findResetName,
  GoAwayCode,
  type StreamHandler,
  TunnelError,
  TunnelSession,
  type TunnelStream,
} from '../src/index.ts'
import { decodeFrames, type Outcome, type SessionCase } from './independent-decoder.ts'

/** A transport whose other end is the test: `feed` is what arrives, `written` what was sent. */
export class Wire extends Duplex {
  readonly written: Buffer[] = []

  feed(bytes: Buffer): void {
    if (!this.destroyed) this.emit('data', bytes)
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.written.push(chunk)
    done()
  }

  override _final(done: () => void): void {
    done()
  }
}

/** A transport that takes one write and then no more until it is told to. */
export class Stuck extends Wire {
  #release: (() => void) | undefined
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.written.push(chunk)
    this.#release = done
  }
  override _writev(chunks: { chunk: Buffer }[], done: () => void): void {
    this.written.push(Buffer.concat(chunks.map(({ chunk }) => chunk)))
    this.#release = done
  }
  release(): void {
    const release = this.#release
    this.#release = undefined
    release?.()
  }
}

export const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

const helloOf = { gateway: 1, connector: 2 }

/** A valid HELLO as the given side sends it. */
export function hello(side: 'gateway' | 'connector'): Buffer {
  return Buffer.from(`00000d000000000000535054310101${`0${helloOf[side]}`}0000004e2000`, 'hex')
}

/** Type, flags, stream id and payload as hex, to bytes. */
export function frame(type: number, flags: number, streamId: number, payload: string): Buffer {
  const header = Buffer.alloc(9)
  header.writeUIntBE(payload.length / 2, 0, 3)
  header[3] = type
  header[4] = flags
  header.writeUInt32BE(streamId, 5)
  return Buffer.concat([header, Buffer.from(payload, 'hex')])
}

const goAwayNames = new Map<number, string>(
  Object.entries(GoAwayCode).map(([name, code]) => [code, name]),
)

export interface SessionRun {
  outcome: Outcome
  /** A handler was called after `onReset`, or told of its end twice. */
  disorder: string[]
  session: TunnelSession
}

/**
 * Puts a session into the situation that SPEC.md section 10 describes, feeds it the pieces, and
 * lists what it did in the form of the oracle.
 */
export async function runSession(setup: SessionCase, pieces: Buffer[]): Promise<SessionRun> {
  const wire = new Wire()
  const heads: [number, string][] = []
  const streams: TunnelStream[] = []
  const disorder: string[] = []
  const watch = (idOf: () => number): StreamHandler => {
    let reset = false
    let ended = false
    const called = (what: string) => {
      if (reset) disorder.push(`${what} after onReset of stream ${idOf()}`)
      if (ended && what !== 'onReset' && what !== 'onWritable') {
        disorder.push(`${what} after the end of stream ${idOf()}`)
      }
    }
    return {
      onHead(head, end) {
        called('onHead')
        heads.push([idOf(), head])
        ended = end
      },
      onData: () => called('onData'),
      onEnd() {
        called('onEnd')
        ended = true
      },
      onWritable: () => called('onWritable'),
      onReset(error) {
        called('onReset')
        if (!(error instanceof TunnelError)) disorder.push('onReset without a TunnelError')
        reset = true
      },
    }
  }
  let closed = false
  const session = new TunnelSession(wire, {
    side: setup.side,
    limits: setup.maxStreams === undefined ? {} : { maxStreams: setup.maxStreams },
    clock: stoppedClock,
    onStream(stream) {
      stream.handler = watch(() => stream.id)
      streams.push(stream)
      if (setup.reader !== 'paused') return
      stream.pause()
      stream.accept()
    },
    onClose() {
      if (closed) disorder.push('onClose twice')
      closed = true
    },
  })
  for (let count = setup.opened ?? 0; count > 0; count--) {
    const stream: TunnelStream = session.openStream(
      '',
      watch(() => stream.id),
    )
    stream.sendHead('POST / HTTP/1.1')
    stream.pause()
    streams.push(stream)
  }
  if (setup.hello !== false) wire.feed(hello(setup.side === 'gateway' ? 'connector' : 'gateway'))
  for (const piece of pieces) wire.feed(piece)
  for (const stream of streams) stream.resume()
  await nextTurn()
  const outcome: Outcome = { resets: [], heads, open: [] }
  for (const frame of decodeFrames(Buffer.concat(wire.written)).frames) {
    if (frame.type === 'RESET') {
      outcome.resets.push([frame.streamId, findResetName(frame.code!) ?? String(frame.code)])
    } else if (frame.type === 'GOAWAY' && frame.code !== 0) {
      outcome.goAway = goAwayNames.get(frame.code!) ?? String(frame.code)
    }
  }
  outcome.open = Array.from({ length: session.openStreamCount }, (_, index) => index)
  session.close()
  wire.destroy()
  return { outcome, disorder, session }
}

/** For sessions that live for one turn of the event loop: no timer ever fires. */
export const stoppedClock = { now: () => 0, startTimer: () => undefined, stopTimer: () => {} }
