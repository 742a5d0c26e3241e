import { setTimeout as delay } from 'node:timers/promises'

const pauseMs = 500

/**
 * Reads anew what another process has changed. It does not give up: nobody says a second time that something
 * changed, and what was read before would stay in force.
 */
export class Rereading {
  readonly #read: () => Promise<void>
  readonly #onError: (error: unknown) => void
  readonly #closing = new AbortController()
  #isDue = false
  #running: Promise<void> | undefined

  /** @param onError hears of the first failure of each loss */
  constructor(read: () => Promise<void>, onError: (error: unknown) => void) {
    this.#read = read
    this.#onError = onError
  }

  /** It has changed. */
  request(): void {
    this.#isDue = true
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined
    })
  }

  /** Waits for a reading that is under way. */
  async close(): Promise<void> {
    this.#closing.abort()
    await this.#running
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing
    let hasFailed = false
    while (this.#isDue && !signal.aborted) {
      this.#isDue = false
      try {
        await this.#read()
        hasFailed = false
      } catch (error) {
        if (signal.aborted) return
        if (!hasFailed) this.#onError(error)
        hasFailed = true
        this.#isDue = true
        await delay(pauseMs, undefined, { signal, ref: false }).catch(() => {})
      }
    }
  }
}
