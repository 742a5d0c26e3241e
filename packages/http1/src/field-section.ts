import { Http1Error } from './errors.ts'
import { addOptions, cutFields, type FieldList, isNamed } from './fields.ts'
import { type BodyFraming, declaredFraming } from './framing.ts'

/**
 * All field lines of one head, and what they mean to this codec, found out in one pass. Never changed by anyone: a head that
 * repeats the lines of the one before it on its connection shares the section, so that whoever works something out from
 * `fields` may keep it for as long as it is given the same list.
 */
export class FieldSection {
  /** The lines as they came, each with its CRLF in front. */
  readonly text: string
  readonly versionMinor: 0 | 1
  readonly fields: FieldList
  readonly hostCount: number
  /** Options of `Connection`. */
  readonly listsClose: boolean
  readonly listsKeepAlive: boolean
  readonly listsUpgrade: boolean
  readonly hasUpgrade: boolean
  /** The first `Expect` is 100-continue. */
  readonly expectsContinue: boolean
  #framing: BodyFraming | undefined
  #framingRead = false

  /**
   * @param text lines whose form was checked
   * @throws Http1Error `HTTP1_HEAD_INVALID`, `HTTP1_HEAD_TOO_LARGE`
   */
  constructor(text: string, versionMinor: 0 | 1, maxFields: number) {
    const fields = cutFields(text, 2, maxFields)
    const options = new Set<string>()
    let hostCount = 0
    let hasUpgrade = false
    let expect: string | undefined
    for (let index = 0; index < fields.length; index += 2) {
      const name = fields[index]!
      switch (name.length) {
        case 4:
          if (isNamed(name, 'host')) hostCount += 1
          break
        case 6:
          if (isNamed(name, 'expect')) expect ??= fields[index + 1]!
          break
        case 7:
          hasUpgrade ||= isNamed(name, 'upgrade')
          break
        case 10:
          if (isNamed(name, 'connection')) addOptions(options, fields[index + 1]!)
      }
    }
    this.text = text
    this.versionMinor = versionMinor
    this.fields = fields
    this.hostCount = hostCount
    this.listsClose = options.has('close')
    this.listsKeepAlive = options.has('keep-alive')
    this.listsUpgrade = options.has('upgrade')
    this.hasUpgrade = hasUpgrade
    this.expectsContinue = expect?.toLowerCase() === '100-continue'
  }

  /**
   * As Content-Length or Transfer-Encoding say; undefined when there is neither.
   *
   * @throws Http1Error `HTTP1_FRAMING_INVALID`, `HTTP1_TRANSFER_CODING_UNSUPPORTED`
   */
  get framing(): BodyFraming | undefined {
    if (!this.#framingRead) {
      this.#framing = declaredFraming(this.fields, this.versionMinor)
      this.#framingRead = true
    }
    return this.#framing
  }

  /** Whether the sender lets the connection live on (RFC 9112 section 9.3). */
  get keepsAlive(): boolean {
    return !this.listsClose && (this.versionMinor === 1 || this.listsKeepAlive)
  }
}

/** Where the field lines of a head begin: at the CRLF behind its start line. */
export function startOfSection(text: string): number {
  const lineEnd = text.indexOf('\r\n')
  return lineEnd === -1 ? text.length : lineEnd
}

/** RFC 9112 section 3.2: 400 for a 1.1 request without Host, and for any request with more than one. */
export function checkHost({ hostCount, versionMinor }: FieldSection): void {
  if (hostCount > 1 || (hostCount === 0 && versionMinor === 1)) {
    throw new Http1Error('HTTP1_HEAD_INVALID', `${hostCount} Host fields`)
  }
}
