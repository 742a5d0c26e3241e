import type { IncomingMessage, ServerResponse } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { Problem, parseNumber, sendText } from './send.ts'

const REDIRECTS = [301, 302, 303, 307, 308]

/**
 * Redirects to the home page (`?to=` names another path) by the absolute URL at which the
 * application believes to be, as most do; `?relative=1` by a path, `?status=` with another code.
 */
export function redirect(req: IncomingMessage, res: ServerResponse, url: URL): void {
  const statusCode = parseNumber(url, 'status', { min: 301, max: 308, fallback: 302 })
  if (!REDIRECTS.includes(statusCode)) {
    throw new Problem(400, `status: one of ${REDIRECTS.join(', ')}`)
  }
  const to = url.searchParams.get('to') ?? './'
  const isOwn = /^(?:\.?\/)?[\w./?=&-]*$/.test(to) && !to.startsWith('//')
  if (!isOwn) throw new Problem(400, 'to: a path in this application')
  const self = `http://${req.headers.host ?? 'localhost'}${req.url}`
  const location = url.searchParams.get('relative') === '1' ? to : new URL(to, self).href
  res.writeHead(statusCode, { location }).end()
}

/** Answers after `?ms=` milliseconds. A client that leaves earlier ends the wait. */
export async function slow(req: IncomingMessage, res: ServerResponse, url: URL): Promise<void> {
  const waitMs = parseNumber(url, 'ms', { min: 0, max: 3_600_000, fallback: 1000 })
  const left = new AbortController()
  res.once('close', () => left.abort())
  req.resume()
  await delay(waitMs, undefined, { signal: left.signal })
  sendText(res, 200, `This took ${waitMs} ms.`)
}

/** Answers with the status `?code=`. */
export function status(req: IncomingMessage, res: ServerResponse, url: URL): void {
  const statusCode = parseNumber(url, 'code', { min: 200, max: 599, fallback: 200 })
  req.resume()
  // RFC 9110 section 6.4.1: these have no content.
  if ([204, 205, 304].includes(statusCode)) res.writeHead(statusCode).end()
  else sendText(res, statusCode, `Status ${statusCode}, as asked.`)
}
