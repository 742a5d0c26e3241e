import { type BodyFraming, type FieldList, formatFields, type ResponseHead } from '@sallyport/http1'
import { ResetCode } from '@sallyport/protocol'
import { OriginFailure } from './failure.ts'
import { filterTrailers, isAskedUpgrade } from './fields.ts'

/** What the tunnel takes. */
const maxTrailerBytes = 65_536
/** Pages with a form to sign in are small. */
const maxHeldBytes = 262_144

export const noBody: BodyFraming = { kind: 'none' }

/**
 * Head of an answer for the gateway.
 *
 * @param timing as `formatTiming` makes it
 * @param added fields of ours
 * @param lines the origin's, each with its CRLF in front
 */
export function formatHead(
  statusCode: number,
  reason: string,
  timing: string,
  added: FieldList | undefined,
  lines: string,
): string {
  // Of two with one name the browser keeps the last: what the application says now goes before what it said at the sign-in.
  const ownLines = added && added.length > 0 ? `\r\n${formatFields(added)}` : ''
  return `HTTP/1.1 ${statusCode} ${reason}\r\nsallyport-origin-ms: ${timing}${ownLines}${lines}`
}

/** @param waitedMs since the request was sent. @param totalMs since it came */
export function formatTiming(connectMs: number, waitedMs: number, totalMs: number): string {
  return `${tenths(connectMs)};${tenths(waitedMs)};${tenths(totalMs)}`
}

/** Milliseconds to one decimal. Printing two integers costs a fraction of printing what is none. */
function tenths(ms: number): string {
  const all = Math.round(ms * 10)
  const whole = Math.floor(all / 10)
  return all === whole * 10 ? `${whole}` : `${whole}.${all - whole * 10}`
}

/**
 * Text of an answer's trailers for the gateway; undefined: none.
 *
 * @throws OriginFailure `ORIGIN_RESPONSE_INVALID` when the tunnel does not take so much
 */
export function formatTrailers(trailers: FieldList): string | undefined {
  if (trailers.length === 0) return undefined
  const text = formatFields(filterTrailers(trailers))
  if (text.length > maxTrailerBytes)
    throw new OriginFailure(ResetCode.ORIGIN_RESPONSE_INVALID, 'the trailers are too long')
  return text === '' ? undefined : text
}

/**
 * @param fields of a 101
 * @param asked the value of `Upgrade` as it was sent
 * @throws OriginFailure `ORIGIN_RESPONSE_INVALID` when it is for something else
 */
export function checkUpgrade(fields: FieldList, asked: string | undefined): void {
  if (asked !== undefined && isAskedUpgrade(fields, asked)) return
  throw new OriginFailure(
    ResetCode.ORIGIN_RESPONSE_INVALID,
    'the origin switched to a protocol that was not asked for',
  )
}

/** An answer whose body is to be seen before anything of it goes on. */
export interface HeldAnswer {
  readonly head: ResponseHead
  readonly framing: BodyFraming
  readonly chunks: Buffer[]
  length: number
}

export function holdAnswer(head: ResponseHead, framing: BodyFraming): HeldAnswer {
  return { head, framing, chunks: [], length: 0 }
}

/** @returns whether it may be held on; false: it is too much to be looked at */
export function holdChunk(held: HeldAnswer, chunk: Buffer): boolean {
  held.chunks.push(chunk)
  held.length += chunk.length
  return held.length <= maxHeldBytes
}
