import { RequestError } from './failures.ts'

/**
 * Reads the Host field. A port other than ours, a user name, a trailing dot or any unusual character is refused, so
 * that nobody further in reads another host than we did.
 *
 * @param value of the one Host field
 * @param port that our URLs hold
 * @returns the host in lower case, without port
 * @throws RequestError `HOST_INVALID`
 */
export function parseHost(value: string | undefined, port: number): string {
  const parts = /^([A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?)(?::([0-9]{1,5}))?$/.exec(
    value ?? '',
  )
  if (!parts || parts[1]!.includes('..'))
    throw new RequestError('HOST_INVALID', 'Host field is no host name', {
      reason: 'host-mismatch',
    })
  if (Number(parts[2] ?? 443) !== port)
    throw new RequestError('HOST_INVALID', `Host field names another port than ${port}`, {
      reason: 'host-mismatch',
    })
  return parts[1]!.toLowerCase()
}

/** The host as external URLs hold it: with its port, unless that is 443. */
export function toExternalHost(host: string, port: number): string {
  return port === 443 ? host : `${host}:${port}`
}
