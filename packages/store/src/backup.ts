import {
  closeSync,
  constants,
  copyFileSync,
  fsyncSync,
  linkSync,
  openSync,
  renameSync,
  rmSync,
} from 'node:fs'
import { open } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type Kysely, sql } from 'kysely'
import { StoreError } from './errors.ts'
import { keepLogoutNotices } from './logout-notices.ts'
import type { OidcPayload } from './oidc-model.ts'
import type { Database } from './schema.ts'

/**
 * Backups of the SQLite database: each is a database itself, with one more table that says what it is. So any tool
 * that reads SQLite can look into one.
 */

const table = 'sallyport_backup'

/** SQLite's files of a database beside the database itself. */
const companions = ['-wal', '-shm', '-journal']

/**
 * Writes a copy of the database as it is at one instant, while it is in use. Queries wait for as long as it takes.
 *
 * @param file must not exist; gets the mode 0600
 */
export async function copyDatabase(db: Kysely<Database>, file: string): Promise<void> {
  // SQLite would make it with a mode that lets others read; an empty file that is there is taken.
  await (await open(file, 'wx', 0o600)).close()
  await sql`VACUUM INTO ${file}`.execute(db)
  syncFile(file)
}

/** Makes a backup of a copy by saying what it is. @param facts anything but secrets in the clear */
export function writeBackupFacts(file: string, facts: Readonly<Record<string, string>>): void {
  const database = new DatabaseSync(file)
  try {
    database.exec('BEGIN')
    database.exec(`CREATE TABLE ${table} (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT`)
    const insert = database.prepare(`INSERT INTO ${table} VALUES (?, ?)`)
    for (const [key, value] of Object.entries(facts)) insert.run(key, value)
    database.exec('COMMIT')
  } finally {
    database.close()
  }
  syncFile(file)
}

/**
 * Reads what a backup says of itself, once every page and every reference in it was checked.
 *
 * @throws StoreError `STORE_UNREADABLE` when it is no backup, or is damaged
 */
export function readBackupFacts(file: string): Record<string, string> {
  try {
    const database = new DatabaseSync(file, { readOnly: true })
    try {
      const rows = database.prepare(`SELECT key, value FROM ${table}`).all()
      for (const check of ['integrity_check', 'foreign_key_check']) {
        const found = database.prepare(`PRAGMA ${check}`).all()
        const isWhole = found.length === 0 || found[0]!.integrity_check === 'ok'
        if (!isWhole) throw new Error(`${check}: ${Object.values(found[0]!).join(' ')}`)
      }
      return Object.fromEntries(rows.map(({ key, value }) => [String(key), String(value)]))
    } finally {
      database.close()
    }
  } catch (cause) {
    const { message, errcode } = cause as { message: string; errcode?: number }
    const reason =
      errcode === 1 && /no such table/.test(message)
        ? 'is no backup of Sallyport'
        : `is no backup, or is damaged (${message})`
    throw new StoreError('STORE_UNREADABLE', `${file}: ${reason}`, { cause })
  }
}

/**
 * Makes of a backup what a service may go on with. What ended after the backup was taken must not be alive again:
 * every session ends, and tokens that nobody has used are good no longer.
 */
export async function settleRestored(db: Kysely<Database>, nowAt: number): Promise<void> {
  await db.transaction().execute(async (db) => {
    await sql`DROP TABLE IF EXISTS ${sql.table(table)}`.execute(db)
    await db
      .updateTable('session')
      .set({ endedAt: nowAt, endReason: 'restored' })
      .where('endedAt', 'is', null)
      .execute()
    await tellOfAll(db, nowAt)
    await db.deleteFrom('oidcModel').execute()
    // Cookies may hold an epoch that was given after the backup: no such number may come again.
    await db
      .updateTable('user')
      .set((eb) => ({ signInEpoch: eb('signInEpoch', '+', epochGap) }))
      .execute()
    await db.deleteFrom('enrolmentToken').where('usedAt', 'is', null).execute()
  })
}

/** Applications with sessions of their own do not hear of it otherwise. */
async function tellOfAll(db: Kysely<Database>, nowAt: number): Promise<void> {
  const rows = await db
    .selectFrom('oidcModel')
    .select('payload')
    .where('model', '=', 'Session')
    .execute()
  const payloads = rows.map(({ payload }) => JSON.parse(payload) as OidcPayload)
  await keepLogoutNotices(db, payloads, nowAt)
}

/** More changes than a user sees between a backup and its restoration. */
const epochGap = 1_000_000

/**
 * Puts another database in the place of one that nobody uses. At every instant there is the old one or the new one.
 *
 * @param file what is replaced; need not exist
 * @param by is moved: on the same file system, closed, without companions
 * @param aside folder that gets the old one
 * @param meanwhile is called while nobody can open the old one, before it is replaced
 * @throws StoreError `STORE_IN_USE` when a process has it open; nothing has changed then
 */
export function replaceDatabase(
  file: string,
  by: string,
  aside: string,
  meanwhile: () => void,
): void {
  const kept = companions.map((suffix) => join(aside, `sallyport.db${suffix}`))
  const drop = () => {
    for (const name of kept) rmSync(name, { force: true })
  }
  // First: SQLite throws the journal of a damaged database away.
  for (const [index, suffix] of companions.entries()) keepAside(`${file}${suffix}`, kept[index]!)
  let lock: DatabaseSync | undefined
  try {
    lock = lockDatabase(file)
  } catch (error) {
    drop()
    throw error
  }
  try {
    // Of one that is whole, everything is in the database by now.
    if (lock) drop()
    keepAside(file, join(aside, 'sallyport.db'))
    syncFolder(aside)
    meanwhile()
    syncFile(by)
    // Of a damaged database only: SQLite would play its journal into the new one.
    for (const suffix of companions) rmSync(`${file}${suffix}`, { force: true })
    renameSync(by, file)
    syncFolder(dirname(file))
  } finally {
    lock?.close()
  }
}

/** @returns undefined when there is none, or it is too damaged to be used by anybody */
function lockDatabase(file: string): DatabaseSync | undefined {
  let database: DatabaseSync | undefined
  try {
    closeSync(openSync(file, constants.O_RDWR))
    database = new DatabaseSync(file)
    // Everything goes into the database, and no journal is left, nor made, whose name the new one has too.
    database.exec('PRAGMA journal_mode = DELETE')
    database.exec('PRAGMA journal_mode = MEMORY')
    // Ends when it is closed.
    database.exec('BEGIN EXCLUSIVE')
    return database
  } catch (error) {
    database?.close()
    const { code, errcode, message } = error as { code?: string; errcode?: number; message: string }
    if (code === 'ENOENT') return undefined
    const primary = (errcode ?? 0) & 0xff
    if (primary === sqliteBusy)
      throw new StoreError('STORE_IN_USE', `open ${file}: another process has it open`, {
        cause: error,
      })
    if (primary === sqliteCorrupt || primary === sqliteNotADatabase) return undefined
    throw new StoreError('STORE_UNREADABLE', `open ${file}: ${message}`, { cause: error })
  }
}

const sqliteBusy = 5
const sqliteCorrupt = 11
const sqliteNotADatabase = 26

function keepAside(file: string, copy: string): void {
  try {
    // A link, since to open and close the file in this process would give up the lock (SQLite, "How To Corrupt",
    // section 2.2).
    linkSync(file, copy)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return
    if (code !== 'EPERM' && code !== 'ENOTSUP' && code !== 'EMLINK') throw error
    // A file system without links.
    copyFileSync(file, copy, constants.COPYFILE_EXCL)
    syncFile(copy)
  }
}

function syncFile(file: string): void {
  const descriptor = openSync(file, constants.O_RDONLY)
  try {
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}

const syncFolder = syncFile
