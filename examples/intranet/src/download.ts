import { createHash } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { Problem, parseNumber } from './send.ts'

const MAX_BYTES = 2 ** 40

// Its length is a prime, so that a chunk which is lost, doubled or out of order shows in the hash.
const PATTERN = makePattern(65_521)

/**
 * `?bytes=N` of bytes that depend on their offset only, with ranges; `&chunked=1` leaves the length
 * out.
 *
 * @see RFC 9110 section 14
 */
export async function download(req: IncomingMessage, res: ServerResponse, url: URL): Promise<void> {
  const bytes = parseNumber(url, 'bytes', { min: 0, max: MAX_BYTES, fallback: 1_000_000 })
  const etag = `"${bytes}"`
  const isCurrent = req.headers['if-range'] === undefined || req.headers['if-range'] === etag
  const range = isCurrent ? parseRange(req.headers.range, bytes) : undefined
  if (range === 'unsatisfiable') {
    throw new Problem(416, `There are ${bytes} bytes.`, { 'content-range': `bytes */${bytes}` })
  }
  const { first, end } = range ?? { first: 0, end: bytes }
  res.setHeader('content-type', 'application/octet-stream')
  res.setHeader('content-disposition', `attachment; filename="download-${bytes}.bin"`)
  res.setHeader('accept-ranges', 'bytes')
  res.setHeader('etag', etag)
  if (range) res.setHeader('content-range', `bytes ${first}-${end - 1}/${bytes}`)
  if (url.searchParams.get('chunked') !== '1') res.setHeader('content-length', end - first)
  res.writeHead(range ? 206 : 200)
  if (req.method === 'HEAD') res.end()
  else await pipeline(Readable.from(patternBytes(first, end), { objectMode: false }), res)
}

/** The bytes that `/download` sends from `first` up to, and without, `end`. */
export function* patternBytes(first: number, end: number): Generator<Buffer> {
  for (let at = first; at < end; ) {
    const from = at % PATTERN.length
    const chunk = PATTERN.subarray(from, Math.min(PATTERN.length, from + end - at))
    yield chunk
    at += chunk.length
  }
}

// One range only. Several, or another unit, may be ignored: RFC 9110 section 14.2.
function parseRange(
  field: string | undefined,
  bytes: number,
): { first: number; end: number } | 'unsatisfiable' | undefined {
  const match = /^bytes=(\d{0,16})-(\d{0,16})$/.exec(field ?? '')
  if (!match || (match[1] === '' && match[2] === '')) return undefined
  const [first, last] = [match[1]!, match[2]!]
  const range =
    first === ''
      ? { first: Math.max(0, bytes - Number(last)), end: bytes }
      : { first: Number(first), end: Math.min(bytes, last === '' ? bytes : Number(last) + 1) }
  if (last !== '' && first !== '' && Number(last) < Number(first)) return undefined
  return range.first < range.end ? range : 'unsatisfiable'
}

function makePattern(length: number): Buffer {
  const blocks: Buffer[] = []
  for (let at = 0; at < length; at += 32) {
    blocks.push(createHash('sha256').update(`intranet ${at}`).digest())
  }
  return Buffer.concat(blocks, length)
}
