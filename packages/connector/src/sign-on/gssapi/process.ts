import { type ChildProcess, fork } from 'node:child_process'
import { existsSync, mkdtempSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Answer, ChildSettings, FromChild, Question, ToChild } from './messages.ts'

export interface GssapiProcessOptions extends ChildSettings {
  /** Text of krb5.conf. */
  configuration: string
  /** How long one answer may take; then the process is killed. */
  timeoutMs: number
}

/** Why there is no answer. */
export class GssapiProcessError extends Error {
  override readonly name = 'GssapiProcessError'
  /** `unavailable`: the library is not there; `timeout`: it did not answer, and is gone; `ended`: it ended by itself */
  readonly reason: 'unavailable' | 'timeout' | 'ended'

  constructor(reason: 'unavailable' | 'timeout' | 'ended', message: string) {
    super(message)
    this.reason = reason
  }
}

interface Waiting {
  resolve(answer: Answer): void
  reject(error: Error): void
}

const program = join(import.meta.dirname, 'child.ts')
const startMs = 20_000
const maxErrorText = 2_000

/**
 * A process with MIT's library, for one account. It cannot be interrupted while it waits for a KDC, so it is killed when it takes
 * too long; with it go all tickets, and whatever else waits for it.
 */
export class GssapiProcess {
  readonly #options: GssapiProcessOptions
  readonly #child: ChildProcess
  readonly #dir: string
  /** krb5.conf, all that is in there. */
  readonly #file: string
  readonly #waiting = new Map<number, Waiting>()
  readonly #ready = Promise.withResolvers<void>()
  #timer: NodeJS.Timeout | undefined
  #lastId = 0
  #ended: GssapiProcessError | undefined
  #said = ''

  /** @throws what the machine says: no space, no descriptors */
  constructor(options: GssapiProcessOptions) {
    this.#options = options
    const { account, keytab, configuration } = options
    // Whoever asks hears of it.
    this.#ready.promise.catch(() => undefined)
    this.#dir = mkdtempSync(join(tmpdir(), 'sallyport-gssapi-'))
    this.#file = join(this.#dir, 'krb5.conf')
    try {
      writeFileSync(this.#file, configuration, { mode: 0o600 })
      this.#child = start({ account, keytab }, this.#file)
    } catch (error) {
      this.#removeFiles()
      throw error
    }
    this.#child.on('error', (error) =>
      this.#end(new GssapiProcessError('ended', `it could not be started: ${error.message}`)),
    )
    this.#child.once('close', (code, signal) =>
      this.#end(
        new GssapiProcessError('ended', `it ended with ${signal ?? code}: ${this.#said.trim()}`),
      ),
    )
    this.#child.on('message', (message: FromChild) => {
      if ('ready' in message) {
        this.#ready.resolve()
        this.#watchNext()
      } else if ('unavailable' in message)
        this.#end(new GssapiProcessError('unavailable', message.unavailable))
      else this.#answered(message)
    })
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.#said = `${this.#said}${chunk.toString('utf8')}`.slice(-maxErrorText)
    })
    this.#watch(startMs)
  }

  /** Whether it has come to its end: another one is needed. */
  get isOver(): boolean {
    return this.#ended !== undefined
  }

  /** Undefined when it could not be started. */
  get processId(): number | undefined {
    return this.#child.pid
  }

  /** @throws GssapiProcessError */
  async ask(question: Question): Promise<Answer> {
    await this.#ready.promise
    if (this.#ended) throw this.#ended
    this.#lastId += 1
    const message: ToChild = { id: this.#lastId, question }
    return new Promise<Answer>((resolve, reject) => {
      this.#waiting.set(message.id, { resolve, reject })
      if (this.#waiting.size === 1) this.#watch(this.#options.timeoutMs)
      this.#child.send(message, (error) => {
        if (error) this.#end(new GssapiProcessError('ended', error.message))
      })
    })
  }

  close(): void {
    this.#end(new GssapiProcessError('ended', 'the connector is stopping'))
  }

  #answered({ id, answer }: Extract<FromChild, { id: number }>): void {
    const waiting = this.#waiting.get(id)
    this.#waiting.delete(id)
    this.#watchNext()
    waiting?.resolve(answer)
  }

  /** The limit is for one answer: they come one after another. */
  #watchNext(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#waiting.size > 0 && !this.#ended) this.#watch(this.#options.timeoutMs)
  }

  #watch(timeoutMs: number): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(
      () => this.#end(new GssapiProcessError('timeout', `no answer within ${timeoutMs} ms`)),
      timeoutMs,
    )
    this.#timer.unref()
  }

  #end(error: GssapiProcessError): void {
    if (this.#ended) return
    this.#ended = error
    clearTimeout(this.#timer)
    this.#child.kill('SIGKILL')
    // Now: a connector that stops does not wait to hear of its end.
    this.#removeFiles()
    this.#ready.reject(error)
    for (const { reject } of this.#waiting.values()) reject(error)
    this.#waiting.clear()
  }

  /** By name, which takes no descriptor: there may be none left. Others may have cleaned up before. */
  #removeFiles(): void {
    rmSync(this.#file, { force: true })
    if (existsSync(this.#dir)) rmdirSync(this.#dir)
  }
}

/** @param configuration path of krb5.conf */
function start(settings: ChildSettings, configuration: string): ChildProcess {
  return fork(program, [JSON.stringify(settings)], {
    execArgv: [],
    // Nothing that the machine or the caller has set about Kerberos counts.
    env: { KRB5_CONFIG: configuration, KRB5CCNAME: 'MEMORY:unused', KRB5RCACHENAME: 'none:' },
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  })
}
