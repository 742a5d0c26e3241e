/**
 * A small intranet: the kind of application that stands inside and knows nothing of Sallyport. Its
 * pages show what reached it, and its endpoints do what real applications do: stream, redirect, set
 * cookies, keep a WebSocket open. All links are relative, so that it works under any path.
 */

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { asset } from './assets.ts'
import { acceptClock } from './clock.ts'
import { download } from './download.ts'
import { echo } from './echo.ts'
import { streamEvents } from './events.ts'
import { showCookies, showForm, showHome, showProblem } from './pages.ts'
import { redirect, slow, status } from './responses.ts'
import { Problem, sendText } from './send.ts'
import { upload } from './upload.ts'

export interface Intranet {
  /** Without a slash at the end. */
  url: string
  /** Ends open WebSockets and streams too. */
  close(): Promise<void>
}

type Handler = (req: IncomingMessage, res: ServerResponse, url: URL) => void | Promise<void>

const PAGES: Record<string, Handler> = {
  '/': showHome,
  '/cookies': showCookies,
  '/download': download,
  '/echo': echo,
  '/events': streamEvents,
  '/form': showForm,
  '/intranet.css': asset('intranet.css', 'text/css; charset=utf-8'),
  '/intranet.js': asset('intranet.js', 'text/javascript; charset=utf-8'),
  '/intranet.svg': asset('intranet.svg', 'image/svg+xml'),
  '/redirect': redirect,
  '/slow': slow,
  '/status': status,
  '/upload': upload,
}

/**
 * @param options.port 0 takes a free one
 * @param options.host address to listen on; loopback unless said otherwise
 */
export async function startIntranet(
  options: { port?: number; host?: string } = {},
): Promise<Intranet> {
  // An upload may take longer than the five minutes that Node allows a request by default.
  const server = createServer({ requestTimeout: 0, keepAliveTimeout: 75_000 }, (req, res) => {
    answer(req, res).catch((error) => answerError(req, res, error))
  })
  const clock = acceptClock(server)
  const { port = 0, host = '127.0.0.1' } = options
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, resolve)
  })
  return {
    url: `http://${host}:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise((resolve) => {
        clock.close()
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

async function answer(req: IncomingMessage, res: ServerResponse): Promise<void> {
  const url = new URL(req.url ?? '/', 'http://intranet')
  const handler = Object.hasOwn(PAGES, url.pathname) ? PAGES[url.pathname] : undefined
  if (!handler) throw new Problem(404, 'No such page here.')
  await handler(req, res, url)
}

function answerError(req: IncomingMessage, res: ServerResponse, error: unknown): void {
  const isPerson = req.headers.accept?.includes('text/html') === true
  if (error instanceof Problem && isPerson) showProblem(req, res, error)
  else if (error instanceof Problem) sendText(res, error.statusCode, error.message, error.headers)
  // Most often the client left in the middle, and nobody is there to be told.
  else if (res.headersSent || res.destroyed) res.destroy()
  else sendText(res, 500, 'This failed.')
}
