import { isIP } from 'node:net'

/** Whether a `Host` field names this machine and nothing that a name server could say. */
export function isLoopbackHost(host: string | undefined): boolean {
  const [, inBrackets, plain] = /^(?:\[([^\]]*)\]|([^:]*))(?::[0-9]{1,5})?$/.exec(host ?? '') ?? []
  const name = (inBrackets ?? plain ?? '').toLowerCase()
  return name === 'localhost' || isLoopbackAddress(name)
}

/** IPv4 and IPv6. */
export function isLoopbackAddress(text: string): boolean {
  return isIP(text) === 4 ? text.startsWith('127.') : text === '::1'
}
