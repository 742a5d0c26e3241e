import { existsSync } from 'node:fs'
import { type KeyFile, openKeyFile } from '@sallyport/control'
import { CommandError } from './failure.ts'

interface Files {
  key: string
  /** What to call the database. */
  database: string
}

/**
 * Opens the key file; makes it when there is nothing yet that was sealed with one. To be called before anything is, so
 * that a first start that is interrupted leaves a key without a database, and not the other way round.
 *
 * @param isMade the database holds something
 * @throws CommandError, ControlError `KEY_FILE_INVALID`
 */
export function openServiceKey({ key, database, isMade }: Files & { isMade: boolean }): KeyFile {
  // A new key would not open what the lost one has sealed.
  if (isMade && !existsSync(key))
    throw new CommandError(
      `keyFile ${key}: does not exist, and ${database} was made with it`,
      remedy,
    )
  return openKeyFile(key)
}

/** For `catch`: control does not know where the files are. */
export function explainKeyMismatch({ key, database }: Files) {
  return (error: unknown): never => {
    if ((error as { code?: unknown }).code !== 'KEY_FILE_MISMATCH') throw error
    throw new CommandError(`keyFile ${key}: is not the key that ${database} was made with`, remedy)
  }
}

const remedy =
  'put the right one back from your backup; without it the secrets in the database are lost'
