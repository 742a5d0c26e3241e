import type { ServerResponse } from 'node:http'

/** A request that asks for the impossible: its message is the whole answer. */
export class Problem extends Error {
  override readonly name = 'Problem'
  readonly statusCode: number
  readonly headers: Record<string, string>
  constructor(statusCode: number, message: string, headers: Record<string, string> = {}) {
    super(message)
    this.statusCode = statusCode
    this.headers = headers
  }
}

export function sendJson(res: ServerResponse, statusCode: number, value: unknown): void {
  res.writeHead(statusCode, { 'content-type': 'application/json', 'cache-control': 'no-store' })
  res.end(`${JSON.stringify(value, undefined, 2)}\n`)
}

export function sendPage(
  res: ServerResponse,
  html: string,
  statusCode = 200,
  headers: Record<string, string> = {},
): void {
  res.writeHead(statusCode, {
    'content-type': 'text/html; charset=utf-8',
    'cache-control': 'no-store',
    ...headers,
  })
  res.end(html)
}

export function sendText(
  res: ServerResponse,
  statusCode: number,
  text: string,
  headers: Record<string, string> = {},
): void {
  res.writeHead(statusCode, { 'content-type': 'text/plain; charset=utf-8', ...headers })
  res.end(`${text}\n`)
}

/**
 * A whole number from a query parameter.
 *
 * @throws Problem 400 when it is none or out of range
 */
export function parseNumber(
  url: URL,
  name: string,
  { min, max, fallback }: { min: number; max: number; fallback: number },
): number {
  const text = url.searchParams.get(name)
  if (text === null) return fallback
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN
  if (value >= min && value <= max) return value
  throw new Problem(400, `${name}: a number from ${min} to ${max}`)
}
