export type StoreErrorCode =
  | 'STORE_CLOSED'
  | 'STORE_IN_USE'
  | 'STORE_BUSY'
  | 'STORE_TOO_NEW'
  | 'STORE_UNREADABLE'
  | 'STORE_QUERY_FAILED'
  // PostgreSQL
  /** Two changes waited for each other, and this one was undone. `atomically` tries again by itself. */
  | 'STORE_CONFLICT'
  | 'STORE_UNREACHABLE'
  | 'STORE_ACCESS_DENIED'
  | 'STORE_MISSING'
  | 'STORE_UNTRUSTED'
  | 'STORE_TOO_OLD'
  // Copying
  | 'STORE_NOT_EMPTY'
  | 'STORE_COPY_DIFFERS'

const retryableCodes: ReadonlySet<StoreErrorCode> = new Set([
  'STORE_BUSY',
  'STORE_CONFLICT',
  'STORE_UNREACHABLE',
])

/** The database could not be opened or asked. `constraint` says that a key or reference was violated. */
export class StoreError extends Error {
  override readonly name = 'StoreError'
  readonly code: StoreErrorCode
  readonly constraint: boolean
  /** Whether the same may succeed in a moment. */
  readonly retryable: boolean
  constructor(
    code: StoreErrorCode,
    message: string,
    options: { cause?: unknown; constraint?: boolean } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.constraint = options.constraint ?? false
    this.retryable = retryableCodes.has(code)
  }
}

/** What becomes of a failure that nobody asked to hear of: an uncaught error. */
export function throwLater(error: StoreError): void {
  queueMicrotask(() => {
    throw error
  })
}
