/** What went wrong. `statusCode` of the error says what a server should answer. */
export type Http1ErrorCode =
  | 'HTTP1_HEAD_INVALID'
  | 'HTTP1_HEAD_TOO_LARGE'
  | 'HTTP1_TARGET_TOO_LONG'
  | 'HTTP1_VERSION_UNSUPPORTED'
  | 'HTTP1_FRAMING_INVALID'
  | 'HTTP1_TRANSFER_CODING_UNSUPPORTED'
  | 'HTTP1_BODY_INVALID'
  | 'HTTP1_CHUNK_EXTENSIONS_TOO_LARGE'
  | 'HTTP1_TRAILERS_TOO_LARGE'
  | 'HTTP1_HEAD_TIMEOUT'
  | 'HTTP1_BODY_TIMEOUT'
  | 'HTTP1_WRITE_TIMEOUT'
  | 'HTTP1_RESPONSE_INVALID'
  | 'HTTP1_UNSOLICITED'
  | 'HTTP1_LENGTH_MISMATCH'
  | 'HTTP1_CONNECTION_CLOSED'
  | 'HTTP1_ABORTED'

const statusCodes: Record<Http1ErrorCode, number> = {
  HTTP1_HEAD_INVALID: 400,
  HTTP1_HEAD_TOO_LARGE: 431,
  HTTP1_TARGET_TOO_LONG: 414,
  HTTP1_VERSION_UNSUPPORTED: 505,
  HTTP1_FRAMING_INVALID: 400,
  HTTP1_TRANSFER_CODING_UNSUPPORTED: 501,
  HTTP1_BODY_INVALID: 400,
  HTTP1_CHUNK_EXTENSIONS_TOO_LARGE: 413,
  HTTP1_TRAILERS_TOO_LARGE: 431,
  HTTP1_HEAD_TIMEOUT: 408,
  HTTP1_BODY_TIMEOUT: 408,
  HTTP1_WRITE_TIMEOUT: 408,
  HTTP1_RESPONSE_INVALID: 502,
  HTTP1_UNSOLICITED: 502,
  HTTP1_LENGTH_MISMATCH: 502,
  HTTP1_CONNECTION_CLOSED: 400,
  HTTP1_ABORTED: 400,
}

/** A message or a connection that could not be used. `cause` is kept, for example the error of the socket. */
export class Http1Error extends Error {
  override readonly name = 'Http1Error'
  readonly code: Http1ErrorCode
  /** What a server should answer to the sender of the message: 400 408 413 414 431 501 505 (502 for a response). */
  readonly statusCode: number
  constructor(code: Http1ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.code = code
    this.statusCode = statusCodes[code]
  }
}
