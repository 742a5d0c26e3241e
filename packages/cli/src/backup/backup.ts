import {
  closeSync,
  constants,
  copyFileSync,
  existsSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs'
import { resolve } from 'node:path'
import { openKeyFile } from '@sallyport/control'
import { writeBackupFacts } from '@sallyport/store'
import { type ServiceConfig, serviceFiles } from '../config.ts'
import { CommandError } from '../failure.ts'
import { keyCheckOf, toFactRows } from './facts.ts'
import { requireSqlite } from './kind.ts'
import { sealKey } from './sealed-key.ts'

export interface BackupOptions {
  config: ServiceConfig
  /** Where the backup goes. */
  file: string
  /** Whether a file that is there may be written over. */
  replace: boolean
  /** Seals the key file into the backup; undefined: it is left out. */
  passphrase: string | undefined
  /** Has the owner of the database copy it into a folder, which is removed here. */
  copy(): Promise<{ folder: string; file: string; at: number }>
}

export interface BackupResult {
  file: string
  at: number
  bytes: number
  holdsKey: boolean
  keyFile: string
}

/** @throws CommandError, ControlError, StoreError; no half a backup has the name of a whole one then */
export async function makeBackup(options: BackupOptions): Promise<BackupResult> {
  const { config, passphrase } = options
  requireSqlite(config)
  const file = resolve(options.file)
  checkTarget(file, options.replace)
  const { key, database } = serviceFiles(config)
  if (!existsSync(database))
    throw new CommandError(
      `${database}: does not exist, so that there is nothing to back up`,
      'name the configuration of the service with --config FILE',
    )
  const copied = await options.copy()
  const part = `${file}.part`
  try {
    const keyFile = openKeyFile(key)
    writeBackupFacts(
      copied.file,
      toFactRows({
        at: copied.at,
        baseDomain: config.baseDomain,
        keyCheck: keyCheckOf(keyFile),
        sealedKey:
          passphrase === undefined ? undefined : sealKey(readFileSync(key, 'utf8'), passphrase),
      }),
    )
    rmSync(part, { force: true })
    copyPrivate(copied.file, part)
    renameSync(part, file)
    return {
      file,
      at: copied.at,
      bytes: statSync(file).size,
      holdsKey: passphrase !== undefined,
      keyFile: key,
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === undefined || !/^E[A-Z]+$/.test(code)) throw error
    throw new CommandError(
      `${file}: cannot be written (${code})`,
      'choose a folder that this user may write to, with enough room',
    )
  } finally {
    rmSync(part, { force: true })
    rmSync(copied.folder, { recursive: true, force: true })
  }
}

function checkTarget(file: string, replace: boolean): void {
  const facts = statSync(file, { throwIfNoEntry: false })
  if (facts && !facts.isFile())
    throw new CommandError(`${file}: is no file`, 'name the file that the backup goes into')
  if (facts && !replace)
    throw new CommandError(`${file}: exists`, 'choose another name, or give --replace')
  if (!existsSync(resolve(file, '..')))
    throw new CommandError(`${file}: there is no such folder`, 'make it first')
}

/** The modes of the copy are those of the original, 0600, from its first byte on. */
function copyPrivate(from: string, to: string): void {
  closeSync(openSync(to, 'wx', 0o600))
  copyFileSync(from, to, constants.COPYFILE_FICLONE)
  const descriptor = openSync(to, 'r')
  fsyncSync(descriptor)
  closeSync(descriptor)
}
