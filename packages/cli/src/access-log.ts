import { closeSync, openSync, writeSync } from 'node:fs'
import type { AccessRecord } from '@sallyport/gateway'

const flushMs = 100
const flushBytes = 65_536

/**
 * Writes one JSON line per request, many lines at a time. Whoever crashes loses a tenth of a second of lines.
 */
export class AccessLog {
  readonly #descriptor: number
  readonly #onError: (error: unknown) => void
  #text = ''
  #timer: NodeJS.Timeout | undefined

  /** @param file `-` for standard output */
  constructor(file: string, onError: (error: unknown) => void) {
    this.#descriptor = file === '-' ? 1 : openSync(file, 'a', 0o600)
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
    if (text === '') return
    try {
      writeSync(this.#descriptor, text)
    } catch (error) {
      // A full disk must not stop requests; it must be heard of.
      this.#onError(error)
    }
  }

  close(): void {
    this.flush()
    if (this.#descriptor !== 1) closeSync(this.#descriptor)
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
