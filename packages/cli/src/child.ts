import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'

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
  /** Resolves when it has ended. */
  readonly exited: Promise<number | null>
  #errorText = ''

  constructor(options: ChildOptions) {
    this.name = options.name
    const { command, args } = options.launcher?.(options.command, options.args) ?? options
    this.process = spawn(command, args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, ...options.env },
    })
    this.exited = once(this.process, 'exit').then(([code]) => code as number | null)
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

  /** Asks it to end; after five seconds it is ended. */
  async stop(): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return
    this.process.kill('SIGTERM')
    const timer = setTimeout(() => this.process.kill('SIGKILL'), 5_000)
    await this.exited
    clearTimeout(timer)
  }
}

/** Waits for the first line of a child that is JSON with this key; rejects when the child ends before. */
export function startChild(
  options: Omit<ChildOptions, 'onLine'>,
  readyKey: string,
): Promise<{ child: Child; ready: Record<string, unknown> }> {
  return new Promise((resolve, reject) => {
    const child = new Child({
      ...options,
      onLine: (line) => {
        const ready = findJson(line)
        if (ready && readyKey in ready) resolve({ child, ready })
      },
    })
    child.process.on('error', reject)
    child.exited.then((code) =>
      reject(new Error(`${options.name} ended with status ${code}\n${child.errorText}`)),
    )
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
