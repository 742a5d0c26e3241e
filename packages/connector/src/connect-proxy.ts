import { isIPv6, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { fieldValues, findField, parseResponseHead, type ResponseHead } from '@sallyport/http1'
import { dialTcp, type Resolve, resolveServiceName } from './dial.ts'
import { ConnectorError, toError } from './errors.ts'

const maxAnswerBytes = 64 * 1024

/**
 * @param text such as `http://user:password@proxy.example:3128`
 * @throws ConnectorError `PROXY_INVALID`
 */
export function parseProxyUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url?.protocol !== 'http:' && url?.protocol !== 'https:')
    throw new ConnectorError(
      'PROXY_INVALID',
      'the proxy must be a URL such as http://user:password@proxy.example:3128',
    )
  return url
}

/** For logs: without the credentials. */
export function describeProxy(proxy: URL): string {
  return `${proxy.protocol}//${proxy.host}`
}

/**
 * Opens a connection to `host:port` through an HTTP proxy (RFC 9110 section 9.3.6), with Basic
 * credentials if the proxy's URL has some.
 *
 * @param host a name or an address, as the proxy shall see it
 * @returns a connected socket, owned by the caller
 * @throws ConnectorError `PROXY_UNREACHABLE`, `PROXY_AUTHENTICATION_REQUIRED`, `PROXY_REFUSED`,
 *   `PROXY_RESPONSE_INVALID`; the signal's reason
 */
export async function connectThroughProxy(
  proxy: URL,
  host: string,
  port: number,
  signal: AbortSignal,
  resolve: Resolve,
): Promise<Socket> {
  const socket = await dialProxy(proxy, signal, resolve)
  const authority = `${isIPv6(host) ? `[${host}]` : host}:${port}`
  let request = `CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n`
  if (proxy.username !== '' || proxy.password !== '')
    request += `Proxy-Authorization: Basic ${basicCredentials(proxy)}\r\n`
  socket.write(`${request}\r\n`)
  const answer = await readAnswer(socket, proxy, signal)
  const { statusCode } = answer
  if (statusCode >= 200 && statusCode < 300) return socket
  socket.destroy()
  const where = `the proxy ${describeProxy(proxy)}`
  if (statusCode === 407) {
    const offered = fieldValues(answer.fields, 'proxy-authenticate').map((v) => v.split(' ', 1)[0])
    const sent = proxy.username === '' ? 'none were given' : 'those given were not accepted'
    throw new ConnectorError(
      'PROXY_AUTHENTICATION_REQUIRED',
      `${where} asks for credentials (${offered.join(', ') || 'scheme not named'}) and ${sent}; only Basic is spoken`,
      { statusCode },
    )
  }
  const via = findField(answer.fields, 'server')
  throw new ConnectorError(
    'PROXY_REFUSED',
    `${where} answered ${statusCode} to CONNECT ${authority}${via ? ` (${via})` : ''}`,
    { statusCode },
  )
}

/** RFC 7617: user-id and password as UTF-8. */
function basicCredentials(proxy: URL): string {
  const pair = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`
  return Buffer.from(pair, 'utf8').toString('base64')
}

async function dialProxy(proxy: URL, signal: AbortSignal, resolve: Resolve): Promise<Socket> {
  const host = proxy.hostname.replace(/^\[|\]$/g, '')
  const port = Number(proxy.port || (proxy.protocol === 'https:' ? 443 : 80))
  try {
    const socket = await dialTcp(await resolveServiceName(host, resolve), port, signal)
    if (proxy.protocol === 'http:') return socket
    return await new Promise<Socket>((done, fail) => {
      const secure = connectTls({ socket, host, servername: isAddress(host) ? '' : host })
      secure.once('error', fail)
      secure.once('secureConnect', () => {
        secure.removeListener('error', fail)
        done(secure)
      })
      signal.addEventListener('abort', () => secure.destroy(toError(signal.reason)), { once: true })
    })
  } catch (cause) {
    if (signal.aborted) throw signal.reason
    throw new ConnectorError(
      'PROXY_UNREACHABLE',
      `no connection to the proxy ${describeProxy(proxy)}: ${toError(cause).message}`,
      { cause },
    )
  }
}

function isAddress(host: string): boolean {
  return isIPv6(host) || /^[0-9.]+$/.test(host)
}

/** Reads the final head; what follows it is put back, for it belongs to the tunnel. */
function readAnswer(socket: Socket, proxy: URL, signal: AbortSignal): Promise<ResponseHead> {
  return new Promise((resolve, reject) => {
    let received: Buffer = Buffer.alloc(0)
    const invalid = (message: string, cause?: unknown) =>
      finish(
        new ConnectorError(
          'PROXY_RESPONSE_INVALID',
          `the proxy ${describeProxy(proxy)} ${message}`,
          cause === undefined ? {} : { cause },
        ),
      )
    const onReadable = () => {
      const chunk: Buffer | null = socket.read()
      if (chunk === null) return
      received = Buffer.concat([received, chunk])
      for (;;) {
        const end = received.indexOf('\r\n\r\n')
        if (end < 0) {
          if (received.length > maxAnswerBytes) invalid('answered CONNECT without end')
          return
        }
        let head: ResponseHead
        try {
          head = parseResponseHead(received.toString('latin1', 0, end))
        } catch (error) {
          return invalid('answered CONNECT with something that is not HTTP', error)
        }
        received = received.subarray(end + 4)
        if (head.statusCode < 200) continue
        if (received.length > 0) socket.unshift(received)
        return finish(head)
      }
    }
    const onEnd = () => invalid('closed the connection instead of answering CONNECT')
    const onError = (error: Error) =>
      invalid(`broke the connection instead of answering CONNECT: ${error.message}`, error)
    const onAbort = () => finish(toError(signal.reason))
    const finish = (outcome: ResponseHead | Error) => {
      socket.removeListener('readable', onReadable)
      socket.removeListener('end', onEnd)
      socket.removeListener('error', onError)
      signal.removeEventListener('abort', onAbort)
      if (outcome instanceof Error) {
        socket.destroy()
        reject(outcome)
      } else resolve(outcome)
    }
    socket.on('readable', onReadable)
    socket.on('end', onEnd)
    socket.on('error', onError)
    if (signal.aborted) onAbort()
    else signal.addEventListener('abort', onAbort)
  })
}
