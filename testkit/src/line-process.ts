import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'

/** A process that answers each JSON object on a line with another one, in their order. */
export class LineProcess {
  readonly #child: ChildProcess
  readonly #waiting: {
    resolve(answer: Record<string, unknown>): void
    reject(error: Error): void
  }[] = []
  #errors = ''

  /** It ends with us, however we end. */
  constructor(command: string, args: readonly string[], env: Record<string, string>) {
    this.#child = spawn('setpriv', ['--pdeathsig=KILL', command, ...args], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    })
    createInterface({ input: this.#child.stdout! }).on('line', (line) => {
      // Libraries print what nobody asked for.
      if (!line.startsWith('{')) return
      const { resolve, reject } = this.#waiting.shift()!
      const answer = JSON.parse(line) as Record<string, unknown>
      if (typeof answer.error === 'string') reject(new Error(answer.error))
      else resolve(answer)
    })
    this.#child.stderr!.on('data', (chunk) => {
      this.#errors += chunk
    })
    this.#child.once('close', (code) => {
      const error = new Error(`${args[0] ?? command} ended with ${code}: ${this.#errors}`)
      for (const { reject } of this.#waiting.splice(0)) reject(error)
    })
  }

  /** The next answer; the first may come without a question. */
  answer<T = Record<string, unknown>>(): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#waiting.push({ resolve: (answer) => resolve(answer as T), reject })
    })
  }

  /** @throws what the process says went wrong */
  ask<T = Record<string, unknown>>(question: object): Promise<T> {
    this.#child.stdin!.write(`${JSON.stringify(question)}\n`)
    return this.answer<T>()
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exited = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await exited
  }
}
