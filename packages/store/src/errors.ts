export type StoreErrorCode =
  | 'STORE_CLOSED'
  | 'STORE_IN_USE'
  | 'STORE_BUSY'
  | 'STORE_TOO_NEW'
  | 'STORE_UNREADABLE'
  | 'STORE_QUERY_FAILED'

/** The database could not be opened or asked. `constraint` says that a key or reference was violated. */
export class StoreError extends Error {
  override readonly name = 'StoreError'
  readonly code: StoreErrorCode
  readonly constraint: boolean
  constructor(
    code: StoreErrorCode,
    message: string,
    options: { cause?: unknown; constraint?: boolean } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.constraint = options.constraint ?? false
  }
}
