import { userInfo } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import { callControlSocket } from '@sallyport/control/socket'
import type { Command } from 'commander'
import { readServiceConfig, type ServiceConfig, serviceFiles } from './config.ts'
import { printLine, type Row, toJson, toPrintable, toTable } from './output.ts'
import { describeService, type ServiceStatus } from './status.ts'

/** Commands of administrators: what they ask for, and how the answer is shown. */
export class Administration {
  readonly #program: Command

  /** @param program has the options `--config` and `--json` */
  constructor(program: Command) {
    this.#program = program
  }

  get config(): ServiceConfig {
    return readServiceConfig(this.#program.opts<{ config: string }>().config)
  }

  get json(): boolean {
    return this.#program.opts<{ json?: boolean }>().json === true
  }

  /** Runs a command in the service, or on its store when it does not run. */
  async execute(name: string, input: unknown): Promise<unknown> {
    return (await this.#executeThere(name, input)).result
  }

  /** @returns undefined while no service runs; never works on the store */
  async askService(name: string, input: unknown): Promise<{ result: unknown } | undefined> {
    const { controlSocket } = serviceFiles(this.config)
    const answer = await callControlSocket(controlSocket, name, input, findActor())
    return answer.running ? answer : undefined
  }

  /** @param columns what a person gets to see; programs get all of it */
  async list(
    name: string,
    input: unknown,
    columns: readonly string[],
    empty: string,
  ): Promise<void> {
    this.print((await this.execute(name, input)) as Row[], columns, empty)
  }

  print(rows: readonly Row[], columns: readonly string[], empty: string): void {
    if (this.json) printLine(toJson(rows))
    else printLine(rows.length === 0 ? empty : toTable(rows, columns))
  }

  /** Shows one thing with all its fields. */
  async show(name: string, input: unknown): Promise<void> {
    printLine(toJson(await this.execute(name, input)))
  }

  /** @param done what to say to a person */
  async change<Result>(
    name: string,
    input: unknown,
    done: (result: Result) => string,
  ): Promise<void> {
    const result = await this.execute(name, input)
    printLine(this.json ? toJson(result ?? {}) : toPrintable(done(result as Result)))
  }

  /** Who asks, for the audit log. */
  get actor(): string {
    return findActor()
  }

  /** Whether a service answers. */
  async isRunning(): Promise<boolean> {
    const { controlSocket } = serviceFiles(this.config)
    return (await callControlSocket(controlSocket, 'status', {}, this.actor)).running
  }

  /** What the service says of itself, and whether it runs. */
  async showStatus(): Promise<void> {
    const { running, result } = await this.#executeThere('status', {})
    const status = { running, ...(result as object) } as ServiceStatus
    printLine(this.json ? toJson(status) : describeService(status))
  }

  async #executeThere(
    name: string,
    input: unknown,
  ): Promise<{ running: boolean; result: unknown }> {
    const { config, actor } = this
    const endsAt = performance.now() + patienceMs
    for (;;) {
      const answer = await callControlSocket(serviceFiles(config).controlSocket, name, input, actor)
      if (answer.running) return answer
      try {
        // Loaded only now: with a running service, none of it is needed.
        const { withStoredControl } = await import('./offline.ts')
        const result = await withStoredControl(config, (control) =>
          control.execute(name, input, actor),
        )
        return { running: false, result }
      } catch (error) {
        // A service that starts, or another command.
        const { code } = error as { code?: unknown }
        if (code !== 'STORE_IN_USE' || performance.now() > endsAt) throw error
        await delay(100)
      }
    }
  }
}

const patienceMs = 5_000

/** Who asks, for the audit log. The name is no proof: whoever may open the files is believed. */
function findActor(): string {
  const name = process.env.SUDO_USER ?? findUserName()
  return `cli:${name.replace(/[^\x21-\x7e]/g, '_').slice(0, 100)}`
}

function findUserName(): string {
  try {
    return userInfo().username
  } catch {
    // A container may run as a number that nobody gave a name.
    return String(process.getuid?.() ?? 'unknown')
  }
}
