/** What has a place among the open ones. */
export interface Placed {
  /** Its index; -1 outside. */
  openAt: number
}

/**
 * The exchanges that are open. Not a Set: V8 gives one that is added to and deleted from all the time a new table every so
 * many changes, and each old table holds the next one and what was open then; once one of them is old to the garbage
 * collector, all that came later survive, with everything that they hold (a seventh of all that requests allocate).
 */
export class OpenExchanges<T extends Placed> {
  readonly #list: T[] = []

  get size(): number {
    return this.#list.length
  }

  has(exchange: T): boolean {
    return exchange.openAt >= 0
  }

  add(exchange: T): void {
    if (exchange.openAt >= 0) return
    exchange.openAt = this.#list.length
    this.#list.push(exchange)
  }

  delete(exchange: T): void {
    const { openAt } = exchange
    if (openAt < 0) return
    exchange.openAt = -1
    const last = this.#list.pop()!
    if (last === exchange) return
    this.#list[openAt] = last
    last.openAt = openAt
  }

  /** Those that are open now: what ends or begins meanwhile changes nothing in the walk. */
  [Symbol.iterator](): Iterator<T> {
    return this.#list.slice()[Symbol.iterator]()
  }
}
