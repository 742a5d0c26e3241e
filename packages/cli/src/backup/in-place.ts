import { existsSync } from 'node:fs'
import { audit, type Store, settings } from '@sallyport/store'
import { type ServiceConfig, serviceFiles } from '../config.ts'
import { CommandError } from '../failure.ts'
import { checkOwner } from '../folders.ts'
import { withStoredControl } from '../offline.ts'
import { describeDatabase, openAlone } from '../service-store.ts'
import { type RestoreOptions, type RestoreResult, serviceRuns, settle } from './restore.ts'

/**
 * For a database that other means have brought back, such as pg_restore: ends in it what must not come back, once a
 * service could run on it. The service must be stopped, and nothing have been changed since.
 *
 * @returns with the time of the newest event in it as that of the backup
 * @throws CommandError, ConfigurationError, ControlError, StoreError; nothing has changed then
 */
export async function settleInPlace({
  config,
  ...options
}: Pick<RestoreOptions, 'config' | 'actor' | 'nowAt'>): Promise<Omit<RestoreResult, 'keptIn'>> {
  checkOwner(config.dataDir)
  const askStatus = () =>
    withStoredControl(
      config,
      (control) => control.execute('status', {}, options.actor) as Promise<Record<string, unknown>>,
    )
  if (!(await isUsed(config)))
    throw new CommandError(
      `${describeDatabase(config)}: holds nothing`,
      'put the database back first, such as with pg_restore',
    )
  await askStatus()
  const at = await withDatabase(config, async (store) => {
    const [newest] = await audit.listAudit(store.db, { limit: 1 })
    const at = newest?.at ?? options.nowAt
    await settle(store, { at, baseDomain: config.baseDomain }, options)
    return at
  })
  return { at, status: await askStatus() }
}

async function isUsed(config: ServiceConfig): Promise<boolean> {
  // Opening would make the file.
  if (config.database.kind === 'sqlite' && !existsSync(serviceFiles(config).database)) return false
  return withDatabase(
    config,
    async ({ db }) => (await settings.findSetting(db, 'tenantId')) !== undefined,
  )
}

async function withDatabase<T>(config: ServiceConfig, work: (store: Store) => Promise<T>) {
  const store = await openAlone(config).catch((error: unknown) => {
    throw (error as { code?: unknown }).code === 'STORE_IN_USE' ? serviceRuns() : error
  })
  try {
    return await work(store)
  } finally {
    await store.close()
  }
}
