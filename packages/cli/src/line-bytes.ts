/**
 * Text on its way to a file, as bytes. Short pieces are written one character after the other: to hand one to Node costs
 * as much as some twenty of them, and to join them first costs memory for every line.
 */
export class LineBytes {
  #bytes: Buffer
  #length = 0

  /** @param capacityBytes to begin with */
  constructor(capacityBytes: number) {
    this.#bytes = Buffer.allocUnsafeSlow(capacityBytes)
  }

  get length(): number {
    return this.#length
  }

  /** All that was written since `clear`; written over after the next one. */
  view(): Buffer {
    return this.#bytes.subarray(0, this.#length)
  }

  clear(): void {
    this.#length = 0
  }

  /** @param text of ASCII, short */
  ascii(text: string): void {
    const at = this.#reserve(text.length)
    const bytes = this.#bytes
    for (let index = 0; index < text.length; index += 1) bytes[at + index] = text.charCodeAt(index)
    this.#length = at + text.length
  }

  /** Text that was encoded before. */
  encoded(text: Uint8Array): void {
    const at = this.#reserve(text.length)
    this.#bytes.set(text, at)
    this.#length = at + text.length
  }

  /** @param value an integer, not negative */
  integer(value: number): void {
    if (value > 0x7fff_ffff) {
      this.ascii(String(value))
      return
    }
    this.#digits(value, countDigits(value))
  }

  /** A number with three digits behind the point, without the point when they are zero. */
  thousandths(value: number): void {
    const rounded = Math.round(value * 1000)
    const whole = Math.floor(rounded / 1000)
    const rest = rounded - whole * 1000
    this.integer(whole)
    if (rest === 0) return
    this.ascii('.')
    this.#digits(rest, 3)
  }

  /** A JSON string, whatever the text holds. */
  quoted(text: string): void {
    const { length } = text
    const at = this.#reserve(length + 2)
    const bytes = this.#bytes
    bytes[at] = quote
    let index = 0
    while (index < length) {
      const code = text.charCodeAt(index)
      if (code < 0x20 || code > 0x7e || code === quote || code === backslash) break
      index += 1
      bytes[at + index] = code
    }
    if (index < length) {
      this.#write(escapeControls(JSON.stringify(text)))
      return
    }
    bytes[at + length + 1] = quote
    this.#length = at + length + 2
  }

  /** Exactly so many digits. */
  #digits(value: number, count: number): void {
    const at = this.#reserve(count)
    const bytes = this.#bytes
    let rest = value
    for (let index = at + count - 1; index >= at; index -= 1) {
      const tenth = Math.floor(rest / 10)
      bytes[index] = zero + rest - tenth * 10
      rest = tenth
    }
    this.#length = at + count
  }

  #write(text: string): void {
    // A character takes three bytes at most.
    const at = this.#reserve(3 * text.length)
    this.#length = at + this.#bytes.write(text, at)
  }

  /** @returns where the next bytes go */
  #reserve(bytes: number): number {
    const at = this.#length
    if (this.#bytes.length - at < bytes) {
      const larger = Buffer.allocUnsafeSlow(2 * this.#bytes.length + bytes)
      this.#bytes.copy(larger, 0, 0, at)
      this.#bytes = larger
    }
    return at
  }
}

const zero = 0x30
const quote = 0x22
const backslash = 0x5c

function countDigits(value: number): number {
  let digits = 1
  for (let limit = 10; value >= limit; limit *= 10) digits += 1
  return digits
}

/** JSON leaves some control characters as they are, which terminals obey and other readers take for the end of a line. */
function escapeControls(json: string): string {
  return json.replace(
    /[\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
