import { Http1Error } from './errors.ts'
import { type FieldList, formatFieldLine, isNamed } from './fields.ts'
import { parseContentLength } from './framing.ts'
import { joinLines } from './latin1.ts'

/** The field lines of a final response, checked: they may be sent many times. Made by `formatResponseLines`. */
export interface ResponseLines {
  /** Each line with its CRLF in front. */
  readonly text: string
  /** As Content-Length says. */
  readonly length: number | undefined
  /** They hold `Upgrade`. */
  readonly upgrade: boolean
  /** They are for a 204, and so without a Content-Length (RFC 9110 section 8.6). */
  readonly isNoContent: boolean
}

/**
 * Checks and formats the fields of a final response.
 *
 * @param statusCode 200 to 599
 * @throws Http1Error `HTTP1_HEAD_INVALID`, `HTTP1_FRAMING_INVALID`
 * @throws TypeError when the fields hold Transfer-Encoding or Connection
 */
export function formatResponseLines(fields: FieldList, statusCode: number): ResponseLines {
  const isNoContent = statusCode === 204
  const lines: string[] = []
  let length: number | undefined
  let upgrade = false
  for (let index = 0; index < fields.length; index += 2) {
    const name = fields[index]
    switch (name?.length) {
      case 14:
        if (!isNamed(name, 'content-length')) break
        if (length !== undefined) {
          throw new Http1Error('HTTP1_FRAMING_INVALID', 'repeated Content-Length')
        }
        length = parseContentLength(fields[index + 1]!)
        if (isNoContent) continue
        break
      case 10:
      case 17:
        refuseConnectionField(name!)
        break
      case 7:
        upgrade ||= isNamed(name, 'upgrade')
    }
    lines.push(formatFieldLine(name, fields[index + 1]))
  }
  return { text: joinLines(lines), length, upgrade, isNoContent }
}

export function refuseConnectionField(name: string): void {
  if (isNamed(name, 'connection') || isNamed(name, 'transfer-encoding')) {
    throw new TypeError(`${name} belongs to the codec`)
  }
}
