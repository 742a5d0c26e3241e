import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type Child,
  connectorOnline,
  controlOf,
  type Execute,
  enrollConnectorProcess,
  spawnConnector,
  startServiceProcess,
} from '@sallyport/cli'
import { findFreePort } from './ports.ts'
import type { Scope } from './scope.ts'

/** Service and connectors as the processes that an administrator would run, with one open application. */
export interface ProcessSystem {
  dir: string
  service: Child
  connectors: Child[]
  execute: Execute
  /** Options for `node:http` requests to the application, over the plain listener. */
  target: { host: string; port: number; headers: Record<string, string> }
}

/**
 * @param options `originPort` on 127.0.0.1 is published, without pre-authentication; `config` has further lines of
 *   the service's YAML
 */
export async function startProcesses(
  scope: Scope,
  options: {
    originPort: number
    connectors: readonly string[]
    config?: string
    /** Before the service starts. */
    prepare?(dir: string): void
  },
): Promise<ProcessSystem> {
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-processes-'))
  scope.after(() => rmSync(dir, { recursive: true, force: true }))
  const domain = 'sallyport.localhost'
  const port = await findFreePort()
  const configFile = join(dir, 'sallyport.yaml')
  writeFileSync(
    configFile,
    `baseDomain: ${domain}\ndataDir: service\nlisten: { address: 127.0.0.1, port: ${port} }\nplainListen: { port: 0 }\nlogLevel: error\n${options.config ?? ''}`,
  )
  options.prepare?.(dir)
  const { child: service, plainPort } = await startServiceProcess(configFile)
  scope.after(() => service.stop())
  const execute = controlOf(join(dir, 'service'))
  const destination = `127.0.0.1:${options.originPort}`
  const connectors: Child[] = []
  for (const name of options.connectors) {
    const stateDir = join(dir, name)
    await enrollConnectorProcess({
      execute,
      service: `https://connect.${domain}:${port}`,
      stateDir,
      name,
      args: ['--allow', destination],
    })
    const connector = spawnConnector(stateDir)
    scope.after(() => connector.stop())
    await connectorOnline(stateDir, connector)
    connectors.push(connector)
  }
  await execute('app.create', {
    name: 'app',
    displayName: 'app',
    externalUrl: `https://app.${domain}:${port}/`,
    internalUrl: `http://${destination}/`,
    preAuthentication: 'passthrough',
  })
  return {
    dir,
    service,
    connectors,
    execute,
    target: {
      host: '127.0.0.1',
      port: plainPort!,
      headers: { host: `app.${domain}:${port}`, accept: 'application/json' },
    },
  }
}
