import type { IncomingMessage, ServerResponse } from 'node:http'
import { ControlError } from './errors.ts'

/**
 * Reads a JSON object.
 *
 * @throws ControlError `REQUEST_INVALID` when it is too long, or no JSON object, or says that it is none
 */
export async function readJson(
  request: IncomingMessage,
  limitBytes: number,
): Promise<Record<string, unknown>> {
  const type = request.headers['content-type']?.split(';')[0]?.trim().toLowerCase()
  if (type !== 'application/json')
    throw new ControlError('REQUEST_INVALID', 'the body must be application/json')
  const tooLong = () =>
    new ControlError('REQUEST_INVALID', `the body must be at most ${limitBytes} bytes long`)
  if (Number(request.headers['content-length'] ?? 0) > limitBytes) throw tooLong()
  const chunks: Buffer[] = []
  let length = 0
  // Not for await: leaving that loop would destroy the request, and with it the answer.
  await new Promise<void>((resolve, reject) => {
    request.on('data', (chunk: Buffer) => {
      length += chunk.length
      if (length <= limitBytes) chunks.push(chunk)
      else reject(tooLong())
    })
    request.on('end', resolve)
    request.on('error', reject)
    request.on('close', () => reject(new Error('the client left in the middle of its request')))
  })
  let value: unknown
  try {
    value = JSON.parse(Buffer.concat(chunks).toString('utf8'))
  } catch (cause) {
    throw new ControlError('REQUEST_INVALID', 'the body is no JSON', { cause })
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new ControlError('REQUEST_INVALID', 'the body must be a JSON object')
  return value as Record<string, unknown>
}

export function sendJson(response: ServerResponse, statusCode: number, value: unknown): void {
  const text = JSON.stringify(value)
  response.writeHead(statusCode, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  })
  response.end(text)
}
