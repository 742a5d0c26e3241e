import type { IncomingMessage } from 'node:http'
import { Problem } from './send.ts'

const LIMIT_BYTES = 64 * 1024

/** The fields of a posted form, in order. At most 64 KiB, else Problem 413. */
export async function readForm(req: IncomingMessage): Promise<URLSearchParams> {
  const chunks: Buffer[] = []
  let bytes = 0
  // Leaving the loop must not close the connection: the answer still goes out on it.
  for await (const chunk of req.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > LIMIT_BYTES) throw new Problem(413, 'A form may hold 64 KiB.')
    chunks.push(chunk)
  }
  return new URLSearchParams(Buffer.concat(chunks).toString())
}

/** Name and value of each cookie, in order, as they were sent. */
export function findCookies(req: IncomingMessage): [string, string][] {
  return (req.headers.cookie ?? '')
    .split(';')
    .map((pair) => pair.trim())
    .filter((pair) => pair !== '')
    .map((pair) => {
      const at = pair.indexOf('=')
      return at < 0 ? ['', pair] : [pair.slice(0, at), pair.slice(at + 1)]
    })
}
