/**
 * An HTTP/1.1 codec over any Duplex. `serveConnection` reads requests and writes responses, `ClientConnection` does the
 * reverse; both stream bodies by callbacks, hold backpressure, and give the socket away as a raw pipe after 101. What can
 * be read in two ways is refused (RFC 9112, and stricter): a codec at an edge must never disagree with the next hop about
 * where a message ends. Field lists are flat, `name, value, name, value`, latin1, in their order and case. The pure
 * functions beneath are exported for whoever carries heads by other means.
 */
export { ClientConnection } from './client.ts'
export type { ClientExchange, ClientOptions, ResponseSink } from './client-types.ts'
export { Http1Error, type Http1ErrorCode } from './errors.ts'
export {
  type FieldList,
  fieldValues,
  findField,
  formatFields,
  isFieldValue,
  isToken,
  listsToken,
  parseFields,
} from './fields.ts'
export { type BodyFraming, requestFraming, responseFraming } from './framing.ts'
export {
  formatRequestHead,
  formatResponseHead,
  type HeadLimits,
  HeadReader,
  parseRequestHead,
  parseResponseHead,
  type RequestHead,
  type ResponseHead,
} from './head.ts'
export { joinLines } from './latin1.ts'
export { formatRequestLines, type RequestLines } from './request-lines.ts'
export { formatResponseLines, type ResponseLines } from './response-lines.ts'
export { serveConnection } from './server.ts'
export type {
  BodyLimits,
  BodySink,
  ResponseStart,
  ServerConnection,
  ServerExchange,
  ServerHandler,
  ServerOptions,
} from './server-types.ts'
