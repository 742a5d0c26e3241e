import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { openKeyFile, startControl } from '@sallyport/control'
import { hashPassword } from '@sallyport/identity'
import { openStore } from '@sallyport/store'
import { pino } from 'pino'
import type { ServiceConfig } from './config.ts'

/** Carries out a command on the store while no service runs. */
export async function executeOffline(
  config: ServiceConfig,
  name: string,
  input: unknown,
  actor: string,
): Promise<unknown> {
  mkdirSync(config.dataDir, { recursive: true, mode: 0o700 })
  const store = await openStore({ kind: 'sqlite', file: join(config.dataDir, 'sallyport.db') })
  try {
    const control = await startControl({
      store,
      dataDir: config.dataDir,
      keyFile: openKeyFile(config.keyFile ?? join(config.dataDir, 'key')),
      baseDomain: config.baseDomain,
      port: config.publicPort ?? config.listen.port,
      hashPassword,
      acceptInvalidConfiguration: true,
      clock: Date.now,
      log: pino({ level: 'warn' }, pino.destination(2)),
    })
    try {
      return await control.execute(name, input, actor)
    } finally {
      await control.close()
    }
  } finally {
    await store.close()
  }
}
