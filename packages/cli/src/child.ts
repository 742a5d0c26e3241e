import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { CommandError } from './failure.ts'

/** Turns a command into one that runs it elsewhere, such as in a network namespace. */
export type Launcher = (
  command: string,
  args: readonly string[],
) => { command: string; args: string[] }

export interface ChildOptions {
  /** Such as `connector`; stands in front of what it prints. */
  name: string
  command: string
  args: readonly string[]
  env?: NodeJS.ProcessEnv
  /** Written to its standard input, which is then closed. */
  input?: string
  /** Takes each line of its standard output, in place of our own. */
  onLine?(line: string): void
  launcher?: Launcher | undefined
  /** Takes what it writes to standard error. */
  onErrorText?(text: string): void
}

/** A child process that is ended with us. */
export class Child {
  readonly name: string
  readonly process: ChildProcess
  /** Resolves when it has ended, with its status; null when a signal ended it, or it could not be started. */
  readonly exited: Promise<number | null>
  readonly #closed: Promise<void>
  #errorText = ''

  constructor(options: ChildOptions) {
    this.name = options.name
    const { command, args } = options.launcher?.(options.command, options.args) ?? options
    this.process = spawn(command, args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, ...options.env },
    })
    this.exited = new Promise((resolve) => {
      this.process.once('exit', resolve)
      this.process.once('error', (error) => {
        this.#errorText += error.message
        resolve(null)
      })
    })
    this.#closed = new Promise((resolve) => void this.process.once('close', () => resolve()))
    this.process.stdin!.on('error', () => this.process.stdin!.destroy())
    this.process.stdin!.end(options.input ?? '')
    createInterface({ input: this.process.stdout! }).on('line', (line) => options.onLine?.(line))
    this.process.stderr!.on('data', (chunk: Buffer) => {
      this.#errorText = (this.#errorText + chunk.toString('utf8')).slice(-4_096)
      options.onErrorText?.(chunk.toString('utf8'))
    })
  }

  get pid(): number {
    return this.process.pid ?? 0
  }

  /** The end of what it wrote to standard error. */
  get errorText(): string {
    return this.#errorText.trim()
  }

  /** Why it ended, for a person; waits for the last of what it wrote. */
  async explainEnd(): Promise<CommandError> {
    const code = await this.exited
    // A process that it left behind may hold its standard error open.
    await Promise.race([this.#closed, delay(500, undefined, { ref: false })])
    const how = code === null ? 'was ended by a signal' : `ended with status ${code}`
    return new CommandError(
      `${this.name} ${how}${this.errorText === '' ? '' : `: ${this.errorText}`}`,
    )
  }

  /** Asks it to end; after five seconds it is ended. */
  async stop(): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return
    this.process.kill('SIGTERM')
    const timer = setTimeout(() => this.process.kill('SIGKILL'), 5_000)
    await this.exited
    clearTimeout(timer)
  }
}

/**
 * Waits for the first line of a child that is JSON with this key.
 *
 * @param keep gets the child as soon as there is one, whatever becomes of it
 * @throws CommandError when the child ends before
 */
export function startChild(
  options: Omit<ChildOptions, 'onLine'>,
  readyKey: string,
  keep: (child: Child) => void = () => {},
): Promise<{ child: Child; ready: Record<string, unknown> }> {
  return new Promise((resolve, reject) => {
    const child = new Child({
      ...options,
      onLine: (line) => {
        const ready = findJson(line)
        if (ready && readyKey in ready) resolve({ child, ready })
      },
    })
    keep(child)
    void child.explainEnd().then(reject)
  })
}

function findJson(line: string): Record<string, unknown> | undefined {
  if (!line.startsWith('{')) return undefined
  try {
    return JSON.parse(line) as Record<string, unknown>
  } catch {
    return undefined
  }
}
