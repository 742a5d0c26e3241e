import type { RequestTarget } from '@sallyport/domain'
import { type FieldList, fieldValues, findField, type ServerExchange } from '@sallyport/http1'
import type { Exchange } from './exchange.ts'
import { RequestError } from './failures.ts'
import { copyText } from './field-names.ts'

/**
 * Whether a request that asks for an upgrade asks for a WebSocket; other protocols are not offered to the origin.
 *
 * @throws RequestError for one that an origin would have to refuse: it must not become a pipe (attack 27)
 * @see RFC 6455 section 4.2.1
 */
export function isWebSocket(method: string, fields: FieldList): boolean {
  if (findField(fields, 'upgrade')?.toLowerCase() !== 'websocket') return false
  if (method !== 'GET')
    throw new RequestError('REQUEST_INVALID', 'WebSocket upgrade by another method than GET')
  const versions = fieldValues(fields, 'sec-websocket-version')
  if (versions.length !== 1 || versions[0] !== '13')
    throw new RequestError('WEBSOCKET_VERSION', 'Sec-WebSocket-Version is not 13')
  const keys = fieldValues(fields, 'sec-websocket-key')
  if (keys.length !== 1 || !/^[A-Za-z0-9+/]{22}==$/.test(keys[0]!))
    throw new RequestError('REQUEST_INVALID', 'Sec-WebSocket-Key is missing or malformed')
  return true
}

/**
 * Lets go what was needed for the request of a WebSocket only, which may idle for days.
 *
 * @returns what is left of the target
 */
export function forgetRequest({ server, client, target }: Exchange): RequestTarget {
  const { request } = server
  const { path, readings } = target!
  const left = { path: copyText(path), query: '', readings: readings.map(copyText) }
  client.forget()
  request.fields = []
  request.target = left.path
  return left
}

/** Closes the connection of a client that has everything that was written to it. */
export function abortWhenSent(server: ServerExchange): void {
  const { socket } = server.connection
  if (socket.writableFinished) server.abort()
  else socket.once('finish', () => server.abort())
}
