import { accessSync, constants, mkdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { CommandError } from './failure.ts'

/**
 * Makes a folder for its owner only, with those above it, and sees to it that files can be made in it.
 *
 * @param name the setting that names it, for the error
 * @throws CommandError
 */
export function makeFolder(path: string, name: string): void {
  try {
    makeEach(path)
    accessSync(path, constants.W_OK | constants.X_OK)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    const why = code === 'ENOTDIR' ? 'a part of the path is no folder' : code
    throw new CommandError(
      `${name} ${path}: cannot be written (${why})`,
      'choose a folder that this user may write to',
    )
  }
}

/** Not `recursive`: Node never returns from that where a folder cannot hold others, such as /proc. */
function makeEach(path: string): void {
  const facts = statSync(path, { throwIfNoEntry: false })
  if (facts && !facts.isDirectory()) throw Object.assign(new Error(path), { code: 'ENOTDIR' })
  if (facts) return
  if (dirname(path) !== path) makeEach(dirname(path))
  try {
    mkdirSync(path, { mode: 0o700 })
  } catch (error) {
    // Somebody else was first.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
}

/**
 * Files that root makes in the folder of another user are files that this user's service cannot open later.
 *
 * @param circumstance stands in front of what is wrong
 * @throws CommandError
 */
export function checkOwner(dataDir: string, circumstance = ''): void {
  // With a database elsewhere there is only the key.
  const facts = ['sallyport.db', 'key']
    .map((name) => statSync(join(dataDir, name), { throwIfNoEntry: false }))
    .find(Boolean)
  if (!facts || process.geteuid?.() !== 0 || facts.uid === 0) return
  throw new CommandError(
    `${circumstance}dataDir ${dataDir}: belongs to the user with the ID ${facts.uid}, and this is root`,
    `run it as that user: ${asOwner(facts, readFileSync('/etc/passwd', 'utf8'))} sallyport ...`,
  )
}

/** @returns what stands in front of a command that root wants run as the owner of a file */
export function asOwner({ uid, gid }: { uid: number; gid: number }, passwd: string): string {
  const name = passwd
    .split('\n')
    .map((line) => line.split(':'))
    .find(([, , id]) => id === String(uid))?.[0]
  // A container may have users without a name.
  if (name === undefined) return `setpriv --reuid ${uid} --regid ${gid} --clear-groups`
  return `runuser -u ${name} --`
}
