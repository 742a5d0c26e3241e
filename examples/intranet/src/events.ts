import type { IncomingMessage, ServerResponse } from 'node:http'
import { parseNumber } from './send.ts'

/**
 * Server-sent events: the time at once, then every second (`?interval=` milliseconds), numbered on
 * from `Last-Event-ID`; `?count=` ends the stream after that many.
 */
export function streamEvents(req: IncomingMessage, res: ServerResponse, url: URL): void {
  const intervalMs = parseNumber(url, 'interval', { min: 10, max: 3_600_000, fallback: 1000 })
  const count = parseNumber(url, 'count', { min: 1, max: 1e9, fallback: 1e9 })
  const last = Number(req.headers['last-event-id'] ?? 0)
  let id = Number.isSafeInteger(last) ? last : 0
  const endId = id + count
  res.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
  const tick = () => {
    id += 1
    res.write(`id: ${id}\nevent: tick\ndata: ${JSON.stringify({ now: new Date() })}\n\n`)
    if (id < endId) return
    clearInterval(timer)
    res.end()
  }
  const timer = setInterval(tick, intervalMs)
  res.once('close', () => clearInterval(timer))
  tick()
}
