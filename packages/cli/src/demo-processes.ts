import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type ConnectorSettings, readStatus } from '@sallyport/connector'
import { callControlSocket } from '@sallyport/control/socket'
import { Child, type ChildOptions, type Launcher, startChild } from './child.ts'
import { CommandError } from './failure.ts'
import { nodeFlags } from './node-flags.ts'

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
  keep?: (child: Child) => void,
): Promise<{ child: Child; port: number; plainPort: number | undefined }> {
  const { child, ready } = await startChild(
    {
      name: 'the service',
      command: process.execPath,
      args: [...nodeFlags, programFile('sallyport'), '--config', configFile, 'serve'],
      ...more,
    },
    'ready',
    keep,
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
    name: 'the enrolment',
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
  if ((await child.exited) !== 0) throw await child.explainEnd()
}

/** Changes settings of a connector of ours that does not run. */
export function changeConnectorSettings(
  stateDir: string,
  changes: Partial<Pick<ConnectorSettings, 'service' | 'allow'>>,
): void {
  const file = join(stateDir, 'connector.json')
  const settings = JSON.parse(readFileSync(file, 'utf8')) as ConnectorSettings
  const text = `${JSON.stringify({ ...settings, ...changes }, null, 2)}\n`
  writeFileSync(`${file}.part`, text, { mode: 0o600 })
  renameSync(`${file}.part`, file)
}

/** Sets what a connector of ours may reach. */
export function writeAllowList(stateDir: string, allow: readonly string[]): void {
  changeConnectorSettings(stateDir, { allow })
}

export function spawnConnector(
  stateDir: string,
  {
    args = [],
    ...more
  }: Pick<ChildOptions, 'onErrorText' | 'launcher' | 'env'> & { args?: readonly string[] } = {},
): Child {
  return new Child({
    name: 'the connector',
    command: process.execPath,
    args: [
      ...nodeFlags,
      programFile('sallyport-connector'),
      '--state-dir',
      stateDir,
      'run',
      ...args,
    ],
    ...more,
  })
}

/** Waits until the connector says that its tunnels are up; rejects when it ends before. */
export async function connectorOnline(
  stateDir: string,
  child: Child,
  timeoutMs = 30_000,
): Promise<void> {
  const endsAt = performance.now() + timeoutMs
  let reason = 'it says nothing'
  let ended = false
  void child.exited.then(() => {
    ended = true
  })
  while (performance.now() < endsAt) {
    if (ended) throw await child.explainEnd()
    try {
      const { tunnels } = await readStatus(stateDir)
      if (tunnels.some(({ state }) => state === 'connected')) return
      reason = tunnels.find(({ lastError }) => lastError)?.lastError?.message ?? reason
    } catch (error) {
      // Its socket is not there yet.
      reason = (error as Error).message
    }
    await delay(25)
  }
  throw new CommandError(`the connector is not online after ${timeoutMs / 1000} s: ${reason}`)
}
