import {
  closeSync,
  copyFileSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { type KeyFile, openKeyFile } from '@sallyport/control'
import {
  audit,
  openStore,
  replaceDatabase,
  type Store,
  settings,
  settleRestored,
} from '@sallyport/store'
import { type ServiceConfig, serviceFiles } from '../config.ts'
import { CommandError } from '../failure.ts'
import { checkOwner, makeFolder } from '../folders.ts'
import { withStoredControl } from '../offline.ts'
import { type BackupFacts, keyCheckOf, readBackup } from './facts.ts'
import { requireSqlite } from './kind.ts'
import { openKey } from './sealed-key.ts'

export interface RestoreOptions {
  config: ServiceConfig
  file: string
  actor: string
  nowAt: number
  readPassphrase(): Promise<string>
}

export interface RestoreResult {
  /** When the backup was made; epoch milliseconds. */
  at: number
  /** Where what was there before is kept; undefined when there was nothing. */
  keptIn: string | undefined
  status: Record<string, unknown>
}

/**
 * Puts a backup in the place of the database, once a service could run on it: the same steps as at its start are gone
 * through with a copy. The service must be stopped.
 *
 * @throws CommandError, ControlError, StoreError; nothing has changed then
 */
export async function restoreBackup(options: RestoreOptions): Promise<RestoreResult> {
  const { config, file } = options
  const facts = checkBackup(config, file)
  makeFolder(config.dataDir, 'dataDir')
  checkOwner(config.dataDir)
  const files = serviceFiles(config)
  // In the data folder: what is moved must be on one file system.
  const work = mkdtempSync(join(config.dataDir, 'restore-'))
  try {
    const key = await findKey(facts, files.key, work, options.readPassphrase)
    const copy = join(work, 'sallyport.db')
    writeFileSync(copy, '', { mode: 0o600, flag: 'wx' })
    copyFileSync(file, copy)
    const store = await openStore({ kind: 'sqlite', file: copy })
    try {
      await settle(store, facts, options)
    } finally {
      await store.close()
    }
    const status = await withStoredControl(
      { ...config, dataDir: work, keyFile: key },
      (control) => control.execute('status', {}, options.actor) as Promise<Record<string, unknown>>,
    )
    const isFirst = !existsSync(files.database)
    const aside = mkdtempSync(join(config.dataDir, `before-restore-${toName(options.nowAt)}-`))
    try {
      replaceDatabase(files.database, copy, aside, () => {
        // Before the database: a service that is started in between says that the key does not fit, and a second
        // restoration goes on. A database without its key would be lost.
        if (key !== files.key) replaceKey(files.key, key, aside)
      })
    } catch (error) {
      if ((error as { code?: unknown }).code === 'STORE_IN_USE') {
        rmSync(aside, { recursive: true })
        throw serviceRuns()
      }
      throw error
    }
    if (isFirst && !existsSync(join(aside, 'key'))) rmSync(aside, { recursive: true })
    return { at: facts.at, keptIn: existsSync(aside) ? aside : undefined, status }
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

export function serviceRuns(): CommandError {
  return new CommandError(
    'the service runs, or another command works on its database',
    'stop it first, such as with: systemctl stop sallyport',
  )
}

/** @throws CommandError, StoreError when it is no whole backup of this service */
export function checkBackup(config: ServiceConfig, file: string): BackupFacts {
  requireSqlite(config)
  const facts = readBackup(file)
  if (facts.baseDomain !== config.baseDomain)
    throw new CommandError(
      `${file}: is a backup of ${facts.baseDomain}, and the configuration says ${config.baseDomain}`,
      'restore it with the configuration of that service',
    )
  return facts
}

/** @returns the key file to go on with: that in its place if it fits, otherwise that of the backup */
async function findKey(
  facts: BackupFacts,
  inPlace: string,
  work: string,
  readPassphrase: () => Promise<string>,
): Promise<string> {
  const exists = existsSync(inPlace)
  if (exists && fits(openKeyFile(inPlace), facts)) return inPlace
  if (facts.sealedKey === undefined)
    throw new CommandError(
      exists
        ? `keyFile ${inPlace}: is not the key of this backup, and the backup does not hold its key`
        : `keyFile ${inPlace}: does not exist, and the backup does not hold its key`,
      'put the key file of that time there, with the mode 0600; without it nobody can restore the backup',
    )
  const key = join(work, 'key')
  writeFileSync(key, openKey(facts.sealedKey, await readPassphrase()), { mode: 0o600, flag: 'wx' })
  if (!fits(openKeyFile(key), facts))
    throw new CommandError('the key in the backup is not that of its database')
  return key
}

function fits(keyFile: KeyFile, { keyCheck }: BackupFacts): boolean {
  return keyCheckOf(keyFile) === keyCheck
}

/** Ends what must not come back. */
export async function settle(
  { db }: Store,
  { at, baseDomain }: Pick<BackupFacts, 'at' | 'baseDomain'>,
  { actor, nowAt }: Pick<RestoreOptions, 'actor' | 'nowAt'>,
): Promise<void> {
  await settleRestored(db, nowAt)
  // Until when certificates were issued that this database does not know of.
  await settings.saveSetting(db, 'restored', JSON.stringify({ backupAt: at, restoredAt: nowAt }))
  await audit.recordAudit(db, {
    at: nowAt,
    kind: 'database-restored',
    actor,
    subject: baseDomain,
    detail: { backupAt: at },
  })
}

function replaceKey(inPlace: string, by: string, aside: string): void {
  if (existsSync(inPlace)) {
    writeFileSync(join(aside, 'key'), readFileSync(inPlace), { mode: 0o600, flag: 'wx' })
    syncFile(join(aside, 'key'))
  }
  // It may lie on another file system than the data folder.
  const part = `${inPlace}.part`
  mkdirSync(dirname(inPlace), { recursive: true, mode: 0o700 })
  rmSync(part, { force: true })
  writeFileSync(part, readFileSync(by), { mode: 0o600, flag: 'wx' })
  syncFile(part)
  renameSync(part, inPlace)
  syncFile(dirname(inPlace))
}

function syncFile(path: string): void {
  const descriptor = openSync(path, 'r')
  fsyncSync(descriptor)
  closeSync(descriptor)
}

function toName(at: number): string {
  return new Date(at).toISOString().slice(0, 19).replace(/:/g, '')
}
