/** Things that happen, in order, to be waited for. */
export class Inbox<Thing> {
  readonly all: Thing[] = []
  #taken = 0
  readonly #waiting: ((thing: Thing) => void)[] = []

  get last(): Thing | undefined {
    return this.all.at(-1)
  }

  put(thing: Thing): void {
    this.all.push(thing)
    const waiting = this.#waiting.shift()
    if (!waiting) return
    this.#taken += 1
    waiting(thing)
  }

  /** The first thing that was not taken, now or when it happens. */
  take(): Promise<Thing> {
    if (this.#taken < this.all.length) {
      const thing = this.all[this.#taken]!
      this.#taken += 1
      return Promise.resolve(thing)
    }
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  /** Takes until one fits. */
  async find(fits: (thing: Thing) => boolean): Promise<Thing> {
    for (;;) {
      const thing = await this.take()
      if (fits(thing)) return thing
    }
  }
}
