/** No window is smaller, whatever the memory: below it a stream would crawl. */
export const minimumWindowBytes = 65_536
export const initialWindowBytes = 262_144

/**
 * Decides how large the windows of one tunnel's streams may be, so that what peers can make us hold
 * stays bounded: 64 KiB for every stream, and `memoryBytes` in all for whatever goes beyond.
 *
 * A stream is charged for its window above the minimum, or for what it holds unread, whichever is
 * more.
 */
export class MemoryBudget {
  readonly #memoryBytes: number
  readonly #maxWindowBytes: number
  #charged = 0

  constructor(memoryBytes: number, maxWindowBytes: number) {
    this.#memoryBytes = memoryBytes
    this.#maxWindowBytes = Math.max(maxWindowBytes, minimumWindowBytes)
  }

  get chargedBytes(): number {
    return this.#charged
  }

  /**
   * The window a new stream begins with: half of the memory is kept for windows that prove their
   * need.
   */
  initialWindow(): number {
    const excess = initialWindowBytes - minimumWindowBytes
    return this.#charged + excess > this.#memoryBytes / 2 ? minimumWindowBytes : initialWindowBytes
  }

  /** Replaces a stream's charge. @returns the new one, to be given back at the end as `previous` */
  charge(previous: number, windowBytes: number, heldBytes: number): number {
    const excess = windowBytes - minimumWindowBytes
    const next = Math.max(excess, heldBytes)
    this.#charged += next - previous
    return next
  }

  release(charge: number): void {
    this.#charged -= charge
  }

  /**
   * The window for the next grant. Each stream may have up to half of what is free, so that many
   * share evenly and one alone gets plenty; one that has more than all that is free gives half of
   * its own back.
   *
   * @param committedBytes credit the peer still holds, which cannot be taken back
   * @param fast the window was used up quicker than the credit could come back
   */
  nextWindow(windowBytes: number, committedBytes: number, fast: boolean): number {
    const free = this.#memoryBytes - this.#charged
    let next = windowBytes
    if (free <= 0) next = minimumWindowBytes
    else if (windowBytes > free) next = windowBytes / 2
    else if (fast && windowBytes * 2 <= Math.min(this.#maxWindowBytes, free / 2))
      next = windowBytes * 2
    return Math.max(Math.floor(next), committedBytes, minimumWindowBytes)
  }
}
