import { createHash } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { sendJson } from './send.ts'

/** Answers what arrived, exactly as it arrived, once the body has ended. */
export async function echo(req: IncomingMessage, res: ServerResponse): Promise<void> {
  const { bytes, sha256 } = await readBody(req)
  sendJson(res, 200, {
    method: req.method,
    url: req.url,
    httpVersion: req.httpVersion,
    rawHeaders: req.rawHeaders,
    rawTrailers: req.rawTrailers,
    bodyBytes: bytes,
    bodySha256: sha256,
  })
}

/** Reads a body of any length without holding it. */
export async function readBody(req: IncomingMessage): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash('sha256')
  let bytes = 0
  for await (const chunk of req as AsyncIterable<Buffer>) {
    bytes += chunk.length
    hash.update(chunk)
  }
  return { bytes, sha256: hash.digest('hex') }
}
