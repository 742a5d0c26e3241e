import { accessSync, constants } from 'node:fs'
import type { KeyFile } from '@sallyport/control'
import { readBackupFacts } from '@sallyport/store'
import { z } from 'zod'
import { CommandError } from '../failure.ts'

/** What a backup says of itself. */
export interface BackupFacts {
  /** When the database was copied; epoch milliseconds. */
  at: number
  baseDomain: string
  /** Tells whether a key file is the one of the database, and nothing about the key. */
  keyCheck: string
  /** The key file, sealed with a passphrase. */
  sealedKey: string | undefined
}

const schema = z.object({
  format: z.literal('1'),
  at: z.coerce.number().int(),
  baseDomain: z.string().min(1),
  keyCheck: z.string().min(1),
  sealedKey: z
    .string()
    .regex(/^[\w-]+\.[\w-]+\.[\w-]+$/)
    .optional(),
})

export function toFactRows(facts: BackupFacts): Record<string, string> {
  const { at, baseDomain, keyCheck, sealedKey } = facts
  return {
    format: '1',
    at: String(at),
    baseDomain,
    keyCheck,
    ...(sealedKey === undefined ? {} : { sealedKey }),
  }
}

/** @throws CommandError when it is no whole backup */
export function readBackup(file: string): BackupFacts {
  try {
    // SQLite says of everything only that it cannot open it.
    accessSync(file, constants.R_OK)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new CommandError(
      `${file}: ${code === 'ENOENT' ? 'does not exist' : `cannot be read (${code})`}`,
    )
  }
  const result = schema.safeParse(readBackupFacts(file))
  if (!result.success)
    throw new CommandError(
      `${file}: is a backup that this version cannot read`,
      'restore it with the version that made it, or a newer one',
    )
  return { ...result.data, sealedKey: result.data.sealedKey }
}

export function keyCheckOf(keyFile: KeyFile): string {
  return keyFile.derive('backup key check', 16).toString('base64url')
}
