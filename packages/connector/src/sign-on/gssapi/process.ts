import { type ChildProcess, fork } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
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
    const file = openNameless(configuration)
    try {
      this.#child = start({ account, keytab }, file)
    } finally {
      closeSync(file)
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
    this.#ready.reject(error)
    for (const { reject } of this.#waiting.values()) reject(error)
    this.#waiting.clear()
  }
}

/**
 * A file that nobody else finds: neither somebody who cleans up temporary files, and would leave the library with settings of
 * its own, nor who looks for what a connector that was killed has left.
 *
 * @returns its descriptor, to be read
 */
function openNameless(text: string): number {
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-gssapi-'))
  const file = join(dir, 'krb5.conf')
  try {
    writeFileSync(file, text, { mode: 0o600 })
    return openSync(file, 'r')
  } finally {
    // Without a look inside, which takes a descriptor: there may be none left.
    rmSync(file, { force: true })
    rmdirSync(dir)
  }
}

/** What the process knows the file by: it comes after those that are always there, and the channel. */
const configurationFd = 4

/** @param configuration descriptor of krb5.conf */
function start(settings: ChildSettings, configuration: number): ChildProcess {
  return fork(program, [JSON.stringify(settings)], {
    execArgv: [],
    // Nothing that the machine or the caller has set about Kerberos counts.
    env: {
      KRB5_CONFIG: `/proc/self/fd/${configurationFd}`,
      KRB5CCNAME: 'MEMORY:unused',
      KRB5RCACHENAME: 'none:',
    },
    stdio: ['ignore', 'ignore', 'pipe', 'ipc', configuration],
  })
}
