import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { callControlSocket } from '@sallyport/control/socket'
import { ConfigurationError } from '@sallyport/domain'
import { readServiceConfig, type ServiceConfig, serviceFiles } from './config.ts'
import { CommandError } from './failure.ts'
import { makeFolder } from './folders.ts'

/**
 * Sees to it that the folder can hold this demo: it is empty, or holds one of the same domain that does not run.
 * What depends on the port is moved to the one asked for.
 *
 * @param config what the service will be started with
 * @throws CommandError
 */
export async function prepareDemoFolder(configFile: string, config: ServiceConfig): Promise<void> {
  const { dataDir, baseDomain } = config
  makeFolder(dataDir, '--data-dir')
  const files = serviceFiles(config)
  if (!existsSync(files.database)) {
    // Of a database that is gone: no new one would know it.
    rmSync(join(dataDir, 'connector'), { recursive: true, force: true })
    return
  }
  if (!existsSync(join(dataDir, 'demo.json')))
    throw new CommandError(
      `--data-dir: ${dataDir} belongs to a service that is not a demo`,
      'choose another folder',
    )
  if ((await callControlSocket(files.controlSocket, 'status', {}, 'demo')).running)
    throw new CommandError(
      `--data-dir: a demo runs with ${dataDir} already`,
      'use that one, end it, or choose another folder',
    )
  const earlier = readEarlier(configFile)
  if (earlier && earlier.baseDomain !== baseDomain)
    throw new CommandError(
      `--domain: ${dataDir} belongs to ${earlier.baseDomain}, and the domain of a service cannot change`,
      'choose another folder with --data-dir',
    )
  if (earlier?.listen.port !== config.listen.port) await moveApplications(config)
}

/** @returns undefined when the file is not as we left it */
function readEarlier(configFile: string): ServiceConfig | undefined {
  try {
    return readServiceConfig(configFile)
  } catch (error) {
    if (error instanceof ConfigurationError) return undefined
    throw error
  }
}

/** The port is part of every external URL, and the service refuses to start with others. */
async function moveApplications(config: ServiceConfig): Promise<void> {
  const { withStoredControl } = await import('./offline.ts')
  const warn = () => {
    // That the ports are wrong is what we are here for.
  }
  await withStoredControl(
    config,
    async (control) => {
      const applications = (await control.execute('app.list', {}, 'demo')) as {
        name: string
        externalUrl: string
      }[]
      for (const { name, externalUrl } of applications) {
        const url = new URL(externalUrl)
        url.port = String(config.listen.port)
        if (url.href !== externalUrl)
          await control.execute('app.update', { name, set: { externalUrl: url.href } }, 'demo')
      }
    },
    warn,
  )
}
