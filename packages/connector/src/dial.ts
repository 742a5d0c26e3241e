import { lookup } from 'node:dns/promises'
import { connect, isIP, type Socket } from 'node:net'
import { isLocalhostName } from './allow-list.ts'
import { readInto } from './read-buffer.ts'

/** Asks the operating system for the addresses of a name. Rejects as `dns.lookup` does. */
export type Resolve = (name: string) => Promise<readonly string[]>

export const resolveName: Resolve = async (name) => {
  const found = await lookup(name, { all: true, order: 'verbatim' })
  return found.map(({ address }) => address)
}

/**
 * Addresses of the service or of a proxy: names that an administrator wrote, so no allow-list
 * applies.
 *
 * Names below `localhost` are loopback (RFC 6761 section 6.3); glibc does not do that.
 */
export async function resolveServiceName(
  host: string,
  resolve: Resolve,
): Promise<readonly string[]> {
  if (isIP(host)) return [host]
  return isLocalhostName(host) ? ['127.0.0.1'] : resolve(host)
}

/** RFC 8305 section 5 recommends 250 ms. */
const nextAttemptMs = 250

/**
 * Connects to the first of the addresses that answers; each next one is tried when the one before
 * failed or was silent for 250 ms. What is dialled is exactly what was given: nothing is resolved
 * here.
 *
 * @param addresses IP addresses
 * @param options.isPlain what is said over it is no TLS: the socket is read through the common buffer
 * @returns a connected socket that may be half open, owned by the caller
 * @throws the first attempt's error, when all failed; the signal's reason
 */
export function dialTcp(
  addresses: readonly string[],
  port: number,
  signal: AbortSignal,
  { isPlain = false }: { isPlain?: boolean } = {},
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason)
    if (addresses.length === 0)
      return reject(Object.assign(new Error('the name has no address'), { code: 'ENOTFOUND' }))
    const attempts = new Set<Socket>()
    let timer: NodeJS.Timeout | undefined
    let next = 0
    let firstError: Error | undefined

    const finish = (winner?: Socket) => {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
      for (const socket of attempts) if (socket !== winner) socket.destroy()
      attempts.clear()
    }
    const onAbort = () => {
      finish()
      reject(signal.reason)
    }
    const attempt = () => {
      clearTimeout(timer)
      const host = addresses[next]
      next += 1
      if (host === undefined) return
      const socket: Socket = connect({
        ...(isPlain ? { onread: readInto(() => socket) } : {}),
        host,
        port,
        allowHalfOpen: true,
        noDelay: true,
        keepAlive: true,
        keepAliveInitialDelay: 30_000,
      })
      attempts.add(socket)
      const onError = (error: Error) => {
        attempts.delete(socket)
        firstError ??= error
        if (next < addresses.length) attempt()
        else if (attempts.size === 0) {
          finish()
          reject(firstError)
        }
      }
      socket.once('error', onError)
      socket.once('connect', () => {
        if (!attempts.has(socket)) return socket.destroy()
        socket.removeListener('error', onError)
        finish(socket)
        return resolve(socket)
      })
      if (next < addresses.length) timer = setTimeout(attempt, nextAttemptMs)
    }
    signal.addEventListener('abort', onAbort)
    attempt()
  })
}
