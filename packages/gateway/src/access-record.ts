/** One line of the access log: one request, whatever became of it. Never holds a query, a cookie or a token. */
export interface AccessRecord {
  /** Epoch milliseconds at the request's begin. */
  at: number
  /** Correlation ID; on every error page, in the connector's log and in the audit log. */
  id: string
  host: string
  method: string
  /** Path without query. */
  path: string
  /** Of the answer; 499 when the client left before there was one. */
  statusCode: number
  /** `own`: no client's, but one of Sallyport's own, such as a message that a session has ended. */
  decision: 'allow' | 'sign-in' | 'deny' | 'reserved' | 'own' | 'none'
  /** Why the decision was not `allow`, or the failure's code. */
  reason: string | undefined
  application: string | undefined
  applicationId: string | undefined
  userId: string | undefined
  userName: string | undefined
  sessionId: string | undefined
  connector: string | undefined
  clientAddress: string
  /** Body bytes from and to the client. */
  receivedBytes: number
  sentBytes: number
  totalMs: number
  /** What the gateway itself took: total less the connector's part; undefined without a tunnel. */
  gatewayMs: number | undefined
  connectorMs: number | undefined
  originMs: number | undefined
  /** For administrators: what failed, in detail. */
  detail: string | undefined
}

/** Of a target that was no path to us. */
const limitPath = 1_024

/** The path of a request whose target was refused; never its query, nor an authority with a password. */
export function recordedPath(target: string): string {
  return target.startsWith('/') ? target.slice(0, limitPath).split(/[?#]/, 1)[0]! : ''
}
