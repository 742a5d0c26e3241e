import { type FieldList, fieldValues, findField } from '@sallyport/http1'
import { RequestError } from './failures.ts'

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
