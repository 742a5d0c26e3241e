/** Something that has to happen in time. The fields belong to `Deadlines`. */
export interface Timed {
  expiresAt: number
  /** Neighbours in the list of the same duration; `undefined` list: not waiting. */
  waitingIn: WaitingList | undefined
  waitingBefore: Timed | undefined
  waitingAfter: Timed | undefined
  onDeadline(): void
}

export interface WaitingList {
  readonly durationMs: number
  first: Timed | undefined
  last: Timed | undefined
}

const maxLists = 1024

/**
 * Many deadlines on one timer. All that have the same duration expire in the order in which they
 * began, so that starting and stopping one is an append to, or a cut from, a linked list: no timer,
 * closure or allocation per request.
 */
export class Deadlines {
  readonly #lists = new Map<number, WaitingList>()
  #timer: NodeJS.Timeout | undefined
  #timerAt = Number.POSITIVE_INFINITY

  /** Durations that are remembered. */
  get listCount(): number {
    return this.#lists.size
  }

  /** Starts, or starts anew. @param nowAt as `performance.now()` */
  start(timed: Timed, durationMs: number, nowAt: number): void {
    if (timed.waitingIn) this.stop(timed)
    let list = this.#lists.get(durationMs)
    if (!list) {
      if (this.#lists.size >= maxLists) this.#dropEmptyLists()
      list = { durationMs, first: undefined, last: undefined }
      this.#lists.set(durationMs, list)
    }
    timed.expiresAt = nowAt + durationMs
    timed.waitingIn = list
    timed.waitingBefore = list.last
    timed.waitingAfter = undefined
    if (list.last) list.last.waitingAfter = timed
    else list.first = timed
    list.last = timed
    if (timed.expiresAt < this.#timerAt) this.#arm(timed.expiresAt, nowAt)
  }

  stop(timed: Timed): void {
    const list = timed.waitingIn
    if (!list) return
    const { waitingBefore, waitingAfter } = timed
    if (waitingBefore) waitingBefore.waitingAfter = waitingAfter
    else list.first = waitingAfter
    if (waitingAfter) waitingAfter.waitingBefore = waitingBefore
    else list.last = waitingBefore
    timed.waitingIn = undefined
    timed.waitingBefore = undefined
    timed.waitingAfter = undefined
  }

  close(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#timerAt = Number.POSITIVE_INFINITY
    this.#lists.clear()
  }

  #arm(at: number, nowAt: number): void {
    clearTimeout(this.#timer)
    this.#timerAt = at
    this.#timer = setTimeout(() => this.#expire(), Math.min(Math.ceil(at - nowAt), 2 ** 31 - 1))
    this.#timer.unref()
  }

  #expire(): void {
    this.#timer = undefined
    this.#timerAt = Number.POSITIVE_INFINITY
    const nowAt = performance.now()
    let nextAt = Number.POSITIVE_INFINITY
    for (const list of this.#lists.values()) {
      while (list.first && list.first.expiresAt <= nowAt) {
        const timed = list.first
        this.stop(timed)
        timed.onDeadline()
      }
      if (list.first && list.first.expiresAt < nextAt) nextAt = list.first.expiresAt
    }
    if (nextAt < this.#timerAt) this.#arm(nextAt, nowAt)
  }

  #dropEmptyLists(): void {
    for (const [durationMs, list] of this.#lists) if (!list.first) this.#lists.delete(durationMs)
  }
}
