/** What the SQLite worker is started with. */
export interface SqliteSettings {
  file: string
  busyTimeoutMs: number
}

export type SqliteQuestion =
  | { id: number; kind: 'open' }
  | { id: number; kind: 'close' }
  /** Ends the transaction if there still is one. */
  | { id: number; kind: 'rollback' }
  | { id: number; kind: 'query'; sql: string; parameters: readonly unknown[] }

export type SqliteAnswer =
  | { id: number; rows: unknown[]; changes: number | undefined }
  | { id: number; failure: SqliteFailure }

export interface SqliteFailure {
  message: string
  /** SQLite's extended result code; undefined when the failure is not SQLite's. */
  errcode: number | undefined
}
