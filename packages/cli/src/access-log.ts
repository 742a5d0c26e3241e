import type { AccessRecord } from '@sallyport/gateway'
import { writeAccessLine } from './access-line.ts'
import { LineBytes } from './line-bytes.ts'
import { LogFile, noRotation, type Rotation } from './log-file.ts'

const flushMs = 100
const flushBytes = 65_536
/** What waits for a disk that is full, or for a reader that is slow; what does not fit is lost. */
const limitWaitingBytes = 1_048_576
const nothing: Buffer = Buffer.alloc(0)

/**
 * Writes one JSON line per request, many lines at a time. Whoever crashes loses a tenth of a second of lines.
 */
export class AccessLog {
  readonly #file: LogFile
  readonly #onError: (error: unknown) => void
  /** Lines that wait for others; written through once and then kept for the next ones. */
  readonly #lines = new LineBytes(2 * flushBytes)
  #timer: NodeJS.Timeout | undefined
  /** Could not be written yet; may begin in the middle of a line. */
  #waiting = nothing
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
    writeAccessLine(this.#lines, record)
    if (this.#lines.length >= flushBytes) this.flush()
    else this.#timer ??= setTimeout(() => this.flush(), flushMs)
  }

  flush(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#lines.length === 0 && this.#waiting.length === 0) return
    let bytes = this.#lines.view()
    this.#lines.clear()
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
    this.#waiting = this.#keep(bytes.subarray(written))
  }

  #hear(error: unknown): void {
    // A pipe whose reader is slow: it takes the rest later.
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN' || this.#failing) return
    this.#failing = true
    this.#onError(error)
  }

  /** Keeps whole lines, and the end of the one of which the beginning is written. @param bytes are written over later */
  #keep(bytes: Buffer): Buffer {
    if (bytes.length === 0) return nothing
    if (bytes.length <= limitWaitingBytes) return Buffer.from(bytes)
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
