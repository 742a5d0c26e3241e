import type { AccessRecord } from '@sallyport/gateway'
import { LogFile, noRotation, type Rotation } from './log-file.ts'

const flushMs = 100
const flushBytes = 65_536
/** What waits for a disk that is full, or for a reader that is slow; what does not fit is lost. */
const limitWaitingBytes = 1_048_576

/**
 * Writes one JSON line per request, many lines at a time. Whoever crashes loses a tenth of a second of lines.
 */
export class AccessLog {
  readonly #file: LogFile
  readonly #onError: (error: unknown) => void
  #text = ''
  #timer: NodeJS.Timeout | undefined
  /** Could not be written yet; may begin in the middle of a line. */
  #waiting: Buffer = Buffer.alloc(0)
  #failing = false

  /**
   * @param file `-` for standard output
   * @param onError called once for each failure, however long that lasts
   */
  constructor(file: string, onError: (error: unknown) => void, rotation: Rotation = noRotation) {
    this.#file = new LogFile(file, rotation, onError)
    this.#onError = onError
  }

  write(record: AccessRecord): void {
    // A replacer would be called for every field of every request; this costs a quarter of it.
    const line: AccessRecord = {
      ...record,
      totalMs: round(record.totalMs)!,
      gatewayMs: round(record.gatewayMs),
      connectorMs: round(record.connectorMs),
      originMs: round(record.originMs),
    }
    const text = JSON.stringify(line)
    // Nothing but what a connector says of a failure can hold such characters.
    this.#text += `${record.detail === undefined ? text : escapeControls(text)}\n`
    if (this.#text.length >= flushBytes) this.flush()
    else this.#timer ??= setTimeout(() => this.flush(), flushMs)
  }

  flush(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const text = this.#text
    this.#text = ''
    if (text === '' && this.#waiting.length === 0) return
    let bytes: Buffer = Buffer.from(text)
    if (this.#waiting.length > 0) bytes = Buffer.concat([this.#waiting, bytes])
    let written = 0
    try {
      while (written < bytes.length) written += this.#file.write(bytes, written)
      this.#failing = false
    } catch (error) {
      // A full disk must not stop requests; it must be heard of.
      this.#hear(error)
      this.#timer = setTimeout(() => this.flush(), flushMs)
    }
    this.#waiting = this.#cut(bytes.subarray(written))
  }

  #hear(error: unknown): void {
    // A pipe whose reader is slow: it takes the rest later.
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN' || this.#failing) return
    this.#failing = true
    this.#onError(error)
  }

  /** Keeps whole lines, and the end of the one of which the beginning is written. */
  #cut(bytes: Buffer): Buffer {
    if (bytes.length <= limitWaitingBytes) return bytes
    this.#hear(new Error(`more than ${limitWaitingBytes} bytes wait to be written; lines are lost`))
    return Buffer.from(bytes.subarray(0, bytes.lastIndexOf(10, limitWaitingBytes - 1) + 1))
  }

  close(): void {
    this.flush()
    clearTimeout(this.#timer)
    if (this.#waiting.length > 0)
      this.#hear(new Error(`${this.#waiting.length} bytes could not be written; lines are lost`))
    this.#file.close()
  }

  /** Somebody has renamed the file. */
  reopen(): void {
    this.flush()
    this.#file.reopen()
  }
}

/** To microseconds: more digits say nothing. */
function round(ms: number | undefined): number | undefined {
  return ms === undefined ? undefined : Math.round(ms * 1000) / 1000
}

/** JSON leaves some control characters as they are, which terminals obey and other readers take for the end of a line. */
function escapeControls(json: string): string {
  return json.replace(
    /[\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
