import type { Client } from './client.ts'
import { RequestError } from './failures.ts'

/** @throws RequestError for a host that is not the one that the connection was made for */
export function checkServerName({ serverName }: Client, host: string): void {
  if (serverName !== undefined && serverName !== host)
    throw new RequestError('HOST_MISMATCH', 'Host differs from the server name of the handshake', {
      reason: 'host-mismatch',
    })
}

/** @throws RequestError for what is not relayed to anybody */
export function checkMethod(method: string): void {
  // RFC 9110 section 9.3.6: its target is an authority, and never a path.
  if (method === 'CONNECT')
    throw new RequestError('REQUEST_INVALID', 'CONNECT is not for a path', {
      reason: 'target-invalid',
    })
  // They give back what reached the origin, sign-on included.
  if (method === 'TRACE' || method === 'TRACK')
    throw new RequestError('METHOD_NOT_IMPLEMENTED', `${method} is not relayed`)
}
