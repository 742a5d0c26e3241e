import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { readStatus } from '@sallyport/connector'
import { callControlSocket } from '@sallyport/control'
import { Child, type ChildOptions, type Launcher, startChild } from './child.ts'
import { CommandError } from './output.ts'

/** Carries out an administrator's command in the running service. */
export type Execute = (name: string, input: unknown) => Promise<unknown>

/** The entry of a program of this package. */
export function programFile(name: 'sallyport' | 'sallyport-connector'): string {
  return join(import.meta.dirname, `${name}.ts`)
}

export function controlOf(dataDir: string): Execute {
  return async (name, input) => {
    const answer = await callControlSocket(join(dataDir, 'control.sock'), name, input, 'demo')
    if (!answer.running) throw new CommandError('the service does not run')
    return answer.result
  }
}

/** Starts `sallyport serve` and waits until it listens. */
export async function startServiceProcess(
  configFile: string,
  more: Pick<ChildOptions, 'onErrorText' | 'launcher'> = {},
): Promise<{ child: Child; port: number; plainPort: number | undefined }> {
  const { child, ready } = await startChild(
    {
      name: 'service',
      command: process.execPath,
      args: [programFile('sallyport'), '--config', configFile, 'serve'],
      ...more,
    },
    'ready',
  )
  return { child, port: ready.port as number, plainPort: ready.plainPort as number | undefined }
}

/** Enrols a connector in a process of its own, by a one-time token on its standard input. */
export async function enrollConnectorProcess(options: {
  execute: Execute
  service: string
  stateDir: string
  name: string
  connectorGroup?: string
  args?: readonly string[]
  launcher?: Launcher
}): Promise<void> {
  const { token } = (await options.execute('token.create', {
    connectorGroup: options.connectorGroup ?? 'default',
    lifetimeMs: 600_000,
  })) as { token: string }
  const child = new Child({
    name: 'enrol',
    command: process.execPath,
    args: [
      programFile('sallyport-connector'),
      '--state-dir',
      options.stateDir,
      'enroll',
      '--service',
      options.service,
      '--token-file',
      '-',
      '--name',
      options.name,
      ...(options.args ?? []),
    ],
    input: token,
    launcher: options.launcher,
  })
  if ((await child.exited) !== 0)
    throw new CommandError(`the connector could not enrol: ${child.errorText}`)
}

/** Sets what a connector of ours may reach. */
export function writeAllowList(stateDir: string, allow: readonly string[]): void {
  const file = join(stateDir, 'connector.json')
  const state = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>
  writeFileSync(file, `${JSON.stringify({ ...state, allow }, null, 2)}\n`, { mode: 0o600 })
}

export function spawnConnector(
  stateDir: string,
  {
    args = [],
    ...more
  }: Pick<ChildOptions, 'onErrorText' | 'launcher'> & { args?: readonly string[] } = {},
): Child {
  return new Child({
    name: 'connector',
    command: process.execPath,
    args: [programFile('sallyport-connector'), '--state-dir', stateDir, 'run', ...args],
    ...more,
  })
}

/** Waits until the connector says that its tunnels are up; rejects when it ends before. */
export async function connectorOnline(
  stateDir: string,
  child: Child,
  timeoutMs = 30_000,
): Promise<void> {
  const endsAt = Date.now() + timeoutMs
  let lastError: unknown
  let ended = false
  void child.exited.then(() => {
    ended = true
  })
  while (Date.now() < endsAt) {
    if (ended) throw new CommandError(`the connector ended: ${child.errorText}`)
    try {
      const status = await readStatus(stateDir)
      if (status.tunnels.filter(({ state }) => state === 'connected').length > 0) return
    } catch (error) {
      // Its socket is not there yet.
      lastError = error
    }
    await delay(25)
  }
  throw new CommandError(
    `the connector did not come online within ${timeoutMs / 1000} s: ${child.errorText || String(lastError)}`,
  )
}
