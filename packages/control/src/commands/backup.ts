import { lstat, mkdtemp, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { copyDatabase } from '@sallyport/store'
import { type CommandDefinition, nothing, query } from '../command.ts'

/** Nobody else names a folder so: what is forgotten is removed. */
const prefix = '.copy-for-backup-'
const ours = /^\.copy-for-backup-[A-Za-z0-9]{6}$/

/** A copy that nobody has fetched by then, its command was killed. */
const keptMs = 3_600_000

export const backupCommands: Record<string, CommandDefinition> = {
  'backup.copy': query(
    'Copies the database as it is now into a new folder in the data folder; whoever asks removes that.',
    nothing,
    async ({ db, dataDir, clock }) => {
      await removeForgotten(dataDir, clock())
      const folder = await mkdtemp(join(dataDir, prefix))
      const file = join(folder, 'sallyport.db')
      try {
        await copyDatabase(db, file)
      } catch (error) {
        await rm(folder, { recursive: true, force: true })
        throw error
      }
      return { folder, file, at: clock() }
    },
  ),
}

async function removeForgotten(dataDir: string, nowAt: number): Promise<void> {
  for (const name of await readdir(dataDir)) {
    if (!ours.test(name)) continue
    const path = join(dataDir, name)
    const facts = await lstat(path).catch(() => undefined)
    if (facts?.isDirectory() && nowAt - facts.mtimeMs > keptMs)
      await rm(path, { recursive: true, force: true })
  }
}
