import { addOptions, type FieldList, formatFieldLine, isNamed } from './fields.ts'
import type { BodyFraming } from './framing.ts'
import { joinLines } from './latin1.ts'

/** The field lines of a request, checked: they may be sent many times. Made by `formatRequestLines`. */
export interface RequestLines {
  /** Each line with its CRLF in front. */
  readonly text: string
  /** How the body is sent that they announce. */
  readonly framing: BodyFraming
  /** `Connection` lists upgrade, and there is an `Upgrade`. */
  readonly upgrade: boolean
  /** Options of `Connection`. */
  readonly listsClose: boolean
  readonly listsKeepAlive: boolean
}

/**
 * Checks and formats the fields of a request. Content-Length and Transfer-Encoding among them are replaced by what
 * `framing` says.
 *
 * @param framing not `close`; the line for `chunked` is added when the message is written
 * @throws Http1Error `HTTP1_HEAD_INVALID`
 * @throws TypeError for a framing that a request cannot have
 */
export function formatRequestLines(fields: FieldList, framing: BodyFraming): RequestLines {
  if (framing.kind === 'close') throw new TypeError('a request cannot end with the connection')
  const options = new Set<string>()
  const lines: string[] = []
  let hasUpgrade = false
  for (let index = 0; index < fields.length; index += 2) {
    const name = fields[index]
    const value = fields[index + 1]
    switch (name?.length) {
      case 7:
        hasUpgrade ||= isNamed(name, 'upgrade')
        break
      case 10:
        if (isNamed(name, 'connection')) addOptions(options, value ?? '')
        break
      case 14:
      case 17:
        if (isNamed(name, 'content-length') || isNamed(name, 'transfer-encoding')) continue
    }
    lines.push(formatFieldLine(name, value))
  }
  if (framing.kind === 'length') {
    if (!Number.isSafeInteger(framing.length) || framing.length < 0) {
      throw new TypeError(`a length of ${framing.length}`)
    }
    lines.push(`\r\nContent-Length: ${framing.length}`)
  }
  return {
    text: joinLines(lines),
    framing,
    upgrade: hasUpgrade && options.has('upgrade'),
    listsClose: options.has('close'),
    listsKeepAlive: options.has('keep-alive'),
  }
}
