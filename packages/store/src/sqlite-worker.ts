import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import { parentPort, workerData } from 'node:worker_threads'
import type { SqliteAnswer, SqliteQuestion, SqliteSettings } from './sqlite-messages.ts'

/**
 * The one thread that touches the database file. It answers questions in the order they come; what
 * order transactions need is the driver's business.
 */

const STATEMENT_LIMIT = 500

const settings = workerData as SqliteSettings
const port = parentPort!
/** `reads`: it returns columns and must be read, even an INSERT ... RETURNING. */
const statements = new Map<string, { statement: StatementSync; reads: boolean }>()
let database: DatabaseSync | undefined

port.on('message', (question: SqliteQuestion) => {
  port.postMessage(answerQuestion(question))
  if (question.kind === 'close') port.close()
})

function answerQuestion(question: SqliteQuestion): SqliteAnswer {
  try {
    if (question.kind === 'open') {
      database = open()
      return { id: question.id, rows: [], changes: undefined }
    }
    if (question.kind === 'close') {
      statements.clear()
      database?.close()
      database = undefined
      return { id: question.id, rows: [], changes: undefined }
    }
    if (question.kind === 'rollback') {
      // A full disk or an I/O error has ended it already (SQLite, "Response To Errors Within A
      // Transaction"); an error about that would hide the first one.
      if (database?.isTransaction) database.exec('ROLLBACK')
      return { id: question.id, rows: [], changes: undefined }
    }
    const { statement, reads } = prepare(question.sql)
    const parameters = question.parameters as SQLInputValue[]
    if (reads) return { id: question.id, rows: statement.all(...parameters), changes: undefined }
    return { id: question.id, rows: [], changes: Number(statement.run(...parameters).changes) }
  } catch (error) {
    const { message, errcode } = error as { message?: string; errcode?: number }
    return { id: question.id, failure: { message: String(message), errcode } }
  }
}

function open(): DatabaseSync {
  const opened = new DatabaseSync(settings.file, { timeout: settings.busyTimeoutMs })
  try {
    // No other process may open the file: a second service on it would hand out and end sessions
    // that this one never hears of. Set before WAL mode, so that no shared-memory file is needed.
    opened.exec('PRAGMA locking_mode = EXCLUSIVE')
    opened.exec('PRAGMA journal_mode = WAL')
    // What was acknowledged survives a power cut.
    opened.exec('PRAGMA synchronous = FULL')
    opened.exec('PRAGMA foreign_keys = ON')
    // The exclusive lock is taken by the first transaction, not by the pragma.
    opened.exec('BEGIN EXCLUSIVE; COMMIT')
  } catch (error) {
    opened.close()
    throw error
  }
  return opened
}

function prepare(sql: string): { statement: StatementSync; reads: boolean } {
  if (!database) throw new Error('the database is closed')
  const known = statements.get(sql)
  if (known) return known
  const statement = database.prepare(sql)
  const prepared = { statement, reads: statement.columns().length > 0 }
  // Lists of different lengths make statements without number; the oldest goes.
  if (statements.size >= STATEMENT_LIMIT) statements.delete(statements.keys().next().value!)
  statements.set(sql, prepared)
  return prepared
}
