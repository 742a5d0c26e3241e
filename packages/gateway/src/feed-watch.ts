import type { DenySet } from '@sallyport/domain'

/**
 * Where a gateway hears that access has ended. It may be in another process, behind a connection that is lost: that
 * is a feed which proves nothing, and says `feed-interrupted` when it is there again.
 */
export interface AccessFeed {
  /**
   * Resolves when the store has answered, and every event that was published before the call has been applied here.
   * Rejects, or never settles, when that cannot be had.
   */
  prove(): Promise<void>
  /** Everything that may have been missed, as the store has it now; the configuration too is read when it resolves. */
  catchUp(): Promise<DenySet>
}

export interface FeedWatchOptions {
  feed: AccessFeed
  /** How long nobody may have proved that nothing was missed, milliseconds. */
  limitMs: number
  /** Epoch milliseconds. */
  clock(): number
  /** Milliseconds of a clock that nobody sets. */
  monotonicMs(): number
  /** Takes in what was read. */
  apply(denySet: DenySet): void
  /** Every time it becomes silent, and every time it has caught up after that. */
  onChange(isSilent: boolean): void
  onError(error: unknown): void
}

/** So often the feed is asked for a proof, and for how long one that does not come is waited for. */
export const proofIntervalMs = 5_000

/**
 * Watches over the feed: until what has ended was read, and when nobody has proved for too long that nothing was missed,
 * it is silent, and nobody may rely on what is remembered.
 */
export class FeedWatch {
  readonly #options: FeedWatchOptions
  /** By both clocks, when the latest proof was begun: what was published until then is known. */
  #proven: { atMs: number; at: number } | undefined
  /** Raised when events may have been missed: a proof or a reading that began before is worth nothing. */
  #generation = 0
  #isBehind = true
  #wasSilent = true
  #askedMs = Number.NEGATIVE_INFINITY
  #hasComplained = false
  #isClosed = false

  constructor(options: FeedWatchOptions) {
    this.#options = options
  }

  /** Whether it is not known what has ended. */
  isSilent(): boolean {
    const proven = this.#proven
    if (!proven) return true
    const { limitMs, monotonicMs, clock } = this.#options
    // A machine that was suspended sees it by one clock only, and one whose clock was set back by the other.
    return monotonicMs() - proven.atMs > limitMs || clock() - proven.at > limitMs
  }

  /** Reads what has ended, before anybody is let in. @throws whatever the feed rejects with */
  async start(): Promise<void> {
    this.#isBehind = true
    while (this.#isBehind) await this.#catchUp()
    this.#tell()
  }

  /** Events may have been missed. What was proved before lasts for its time, so that a short loss disturbs nobody. */
  interrupted(): void {
    this.#generation += 1
    this.#isBehind = true
    this.#ask()
  }

  /** An event undid an earlier one: what is being read of the time before it would undo that. */
  overtaken(): void {
    if (this.#isBehind) this.interrupted()
  }

  /** To be called about every second. */
  tick(): void {
    this.#tell()
    if (this.#options.monotonicMs() - this.#askedMs >= proofIntervalMs) this.#ask()
  }

  /** What is still asked for when everything stops is no loss. */
  close(): void {
    this.#isClosed = true
  }

  #tell(): void {
    const isSilent = this.isSilent()
    if (isSilent === this.#wasSilent) return
    this.#wasSilent = isSilent
    // Whatever kept the proofs away may have kept events away too.
    if (isSilent) {
      this.#generation += 1
      this.#isBehind = true
    }
    this.#options.onChange(isSilent)
  }

  #ask(): void {
    const asked = this.#isBehind ? this.#catchUp() : this.#prove()
    asked.then(
      () => {
        this.#hasComplained = false
        this.#tell()
      },
      (error: unknown) => {
        // Once for each loss: it is asked again every few seconds.
        if (!this.#hasComplained && !this.#isClosed) this.#options.onError(error)
        this.#hasComplained = true
      },
    )
  }

  async #prove(): Promise<void> {
    const began = this.#begin()
    await this.#options.feed.prove()
    this.#note(began)
  }

  async #catchUp(): Promise<void> {
    const began = this.#begin()
    // First that events come at all, then what came before them: between the two nothing is lost.
    await this.#options.feed.prove()
    const denySet = await this.#options.feed.catchUp()
    // Asked twice because the first answer took long: it is older than what is known by now.
    if (began.generation !== this.#generation || !this.#isBehind) return
    this.#options.apply(denySet)
    this.#isBehind = false
    this.#note(began)
  }

  #begin() {
    const { monotonicMs, clock } = this.#options
    this.#askedMs = monotonicMs()
    return { generation: this.#generation, atMs: this.#askedMs, at: clock() }
  }

  #note({ generation, atMs, at }: { generation: number; atMs: number; at: number }): void {
    if (generation !== this.#generation || this.#isBehind) return
    if (this.#proven && this.#proven.atMs >= atMs) return
    this.#proven = { atMs, at }
  }
}
