import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { isLoopbackHost } from './loopback.ts'
import type { Metrics } from './metrics.ts'

/**
 * Answers `GET /metrics`, and nothing else, to programs of this machine. A browser of this machine that was led here
 * by a name of somebody else's (DNS rebinding) still says that name in `Host`, and is refused.
 */
export function createMetricsServer(
  metrics: Pick<Metrics, 'contentType' | 'toText'>,
  onError: (error: unknown) => void,
): Server {
  return createServer(
    { headersTimeout: 5_000, requestTimeout: 5_000, maxHeaderSize: 8_192 },
    (request, response) => {
      answer(metrics, request, response).catch((error: unknown) => {
        onError(error)
        response.destroy()
      })
    },
  )
}

async function answer(
  metrics: Pick<Metrics, 'contentType' | 'toText'>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { method, url, headers } = request
  if (!isLoopbackHost(headers.host)) return refuse(response, 421, 'Host must be a loopback address')
  // Scrapers do not say where they come from; pages do.
  if (headers.origin !== undefined || (headers['sec-fetch-site'] ?? 'none') !== 'none')
    return refuse(response, 403, 'not for pages')
  if (url !== '/metrics') return refuse(response, 404, 'there is only /metrics')
  if (method !== 'GET' && method !== 'HEAD') {
    response.setHeader('Allow', 'GET, HEAD')
    return refuse(response, 405, 'use GET')
  }
  const text = await metrics.toText()
  response.writeHead(200, {
    'Content-Type': metrics.contentType,
    'Content-Length': Buffer.byteLength(text),
    ...everywhere,
  })
  response.end(text)
}

const everywhere = { 'Cache-Control': 'no-store', 'X-Content-Type-Options': 'nosniff' }

function refuse(response: ServerResponse, statusCode: number, text: string): void {
  response.writeHead(statusCode, {
    'Content-Type': 'text/plain; charset=utf-8',
    Connection: 'close',
    ...everywhere,
  })
  response.end(`${text}\n`)
}
