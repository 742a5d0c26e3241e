import { connectTls, sendRaw } from './client.ts'
import type { System } from './system.ts'

export interface RawAnswer {
  status: number
  /** Head as it came, latin1. */
  head: string
  body: string
  text: string
}

/** Splits the first response of what came back. */
export function parseRaw(text: string): RawAnswer {
  const end = text.indexOf('\r\n\r\n')
  const head = end < 0 ? text : text.slice(0, end)
  return {
    status: Number(/^HTTP\/1\.[01] (\d{3})/.exec(head)?.[1] ?? 0),
    head,
    body: end < 0 ? '' : text.slice(end + 4),
    text,
  }
}

/**
 * Sends one request as it is written, over TLS, to an application host; whatever no client library would send.
 *
 * @param lines start line and fields without Host, which is added second, and without `Connection`, which is `close`
 */
export async function rawRequest(
  system: System,
  name: string,
  lines: readonly string[],
  options: {
    cookie?: string
    body?: string
    host?: string
    keepHead?: boolean
    serverName?: string
  } = {},
): Promise<RawAnswer> {
  const socket = await connectTls({
    port: system.port,
    ca: system.ca,
    host: options.serverName ?? system.host(name),
  })
  const [start, ...fields] = lines
  const head = options.keepHead
    ? lines
    : [
        start,
        `Host: ${options.host ?? `${system.host(name)}:${system.port}`}`,
        ...(options.cookie ? [`Cookie: ${options.cookie}`] : []),
        ...fields,
        ...(fields.some((line) => /^connection:/i.test(line)) ? [] : ['Connection: close']),
      ]
  return parseRaw(await sendRaw(socket, `${head.join('\r\n')}\r\n\r\n${options.body ?? ''}`))
}
