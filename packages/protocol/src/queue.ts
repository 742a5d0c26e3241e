const tailBytes = 16_384
const smallBytes = 4096

/**
 * Bytes waiting, as the chunks they came in. Small chunks are gathered into one buffer, so that a
 * million one-byte frames cost a million bytes and not a million objects; a small view of a large
 * read buffer is copied, so that it does not keep the large one alive.
 */
export class ChunkQueue {
  #chunks: Buffer[] = []
  #tail: Buffer | undefined
  #tailFill = 0
  #bytes = 0

  get bytes(): number {
    return this.#bytes
  }

  /**
   * @param staysLong false when the chunk is about to be taken, so that a copy would be for nothing
   */
  push(chunk: Buffer, staysLong: boolean): void {
    this.#bytes += chunk.length
    if (this.#tail) {
      if (chunk.length <= this.#tail.length - this.#tailFill) {
        this.#tailFill += chunk.copy(this.#tail, this.#tailFill)
        return
      }
      this.#sealTail()
    }
    if (chunk.length < smallBytes && this.#chunks.length > 0) {
      const bytes = Math.min(tailBytes, this.#bytes)
      this.#tail = Buffer.allocUnsafeSlow(Math.max(bytes, smallBytes))
      this.#tailFill = chunk.copy(this.#tail)
    } else {
      const pinsMore = staysLong && chunk.length * 2 < chunk.buffer.byteLength
      this.#chunks.push(pinsMore ? Buffer.from(chunk) : chunk)
    }
  }

  /** @returns the next bytes, between 1 and `limitBytes`; undefined when there are none */
  take(limitBytes: number): Buffer | undefined {
    if (this.#chunks.length === 0) this.#sealTail()
    const first = this.#chunks[0]
    if (!first) return undefined
    if (first.length > limitBytes) {
      this.#chunks[0] = first.subarray(limitBytes)
      this.#bytes -= limitBytes
      return first.subarray(0, limitBytes)
    }
    this.#chunks.shift()
    this.#bytes -= first.length
    return first
  }

  #sealTail(): void {
    if (!this.#tail) return
    this.#chunks.push(this.#tail.subarray(0, this.#tailFill))
    this.#tail = undefined
    this.#tailFill = 0
  }
}
