import { existsSync, rmSync } from 'node:fs'
import { openKeyFile } from '@sallyport/control'
import {
  type CopiedTable,
  type CopyOptions,
  copyStore,
  type Store,
  StoreError,
  settings,
} from '@sallyport/store'
import { type ServiceConfig, serviceFiles } from './config.ts'
import { CommandError } from './failure.ts'
import { checkOwner, makeFolder } from './folders.ts'
import { describeDatabase, openAlone } from './service-store.ts'

/**
 * Copies the database of one configuration to that of another. Both are closed to everybody else meanwhile.
 *
 * @throws CommandError, ConfigurationError, StoreError; the target is as it was before then
 */
export async function copyDatabase(
  from: ServiceConfig,
  to: ServiceConfig,
  options: CopyOptions = {},
): Promise<CopiedTable[]> {
  checkPair(from, to)
  const source = serviceFiles(from)
  if (from.database.kind === 'sqlite' && !existsSync(source.database))
    throw new CommandError(`${source.database}: does not exist, so there is nothing to copy`)
  checkOwner(from.dataDir)
  const fromStore = await openAlone(from)
  try {
    // What only holds tables would make an empty service of a full one.
    if ((await settings.findSetting(fromStore.db, 'tenantId')) === undefined)
      throw new CommandError(`${describeDatabase(from)}: holds nothing; no service has used it yet`)
    return await copyTo(to, fromStore, options)
  } finally {
    await fromStore.close()
  }
}

async function copyTo(
  to: ServiceConfig,
  fromStore: Store,
  options: CopyOptions,
): Promise<CopiedTable[]> {
  makeFolder(to.dataDir, 'dataDir')
  checkOwner(to.dataDir)
  const { database: file } = serviceFiles(to)
  const isNewFile = to.database.kind === 'sqlite' && !existsSync(file)
  let isDone = false
  try {
    const toStore = await openAlone(to)
    try {
      const copied = await copyStore(fromStore, toStore, options).catch((error: unknown) => {
        if (!(error instanceof StoreError) || error.code !== 'STORE_NOT_EMPTY') throw error
        throw new CommandError(
          `${describeDatabase(to)}: ${error.message}`,
          'add --replace to remove what it holds, or name another database',
        )
      })
      isDone = true
      return copied
    } finally {
      await toStore.close()
    }
  } finally {
    // What came to nothing leaves no file that looks like a database of a service.
    if (isNewFile && !isDone)
      for (const suffix of ['', '-wal', '-shm', '-journal']) rmSync(file + suffix, { force: true })
  }
}

/** @throws CommandError when the copy would be of no use */
function checkPair(from: ServiceConfig, to: ServiceConfig): void {
  if (describeDatabase(from) === describeDatabase(to))
    throw new CommandError(
      `${describeDatabase(to)}: is where it is already`,
      'let --to-config name a configuration with another database',
    )
  if (from.baseDomain !== to.baseDomain)
    throw new CommandError(
      `baseDomain: is ${from.baseDomain} here and ${to.baseDomain} there`,
      'the base domain of a service cannot be changed; use the same in both configurations',
    )
  const [key, other] = [serviceFiles(from).key, serviceFiles(to).key]
  if (key === other) return
  const mine = existsSync(key) && openKeyFile(key).derive('comparison')
  if (mine && existsSync(other) && openKeyFile(other).derive('comparison').equals(mine)) return
  throw new CommandError(
    `keyFile ${other}: is not ${key}, which alone opens what is sealed in the database`,
    'name the same keyFile in both configurations, or copy it there first',
  )
}
