/** A bounded map whose entries end: at their own time, or when room is needed for newer ones. */
export class ExpiringCache<Value> {
  readonly #entries = new Map<string, { value: Value; expiresAt: number }>()
  readonly #limit: number
  readonly #now: () => number

  constructor(limit: number, now: () => number) {
    this.#limit = limit
    this.#now = now
  }

  get size(): number {
    return this.#entries.size
  }

  get(key: string): Value | undefined {
    const entry = this.#entries.get(key)
    if (!entry) return undefined
    this.#entries.delete(key)
    if (entry.expiresAt <= this.#now()) return undefined
    // The order of the map is that of use.
    this.#entries.set(key, entry)
    return entry.value
  }

  set(key: string, value: Value, expiresAt: number): void {
    this.#entries.delete(key)
    if (expiresAt <= this.#now()) return
    this.#entries.set(key, { value, expiresAt })
    if (this.#entries.size <= this.#limit) return
    const [oldest] = this.#entries.keys()
    this.#entries.delete(oldest!)
  }

  delete(key: string): void {
    this.#entries.delete(key)
  }

  deleteWhere(condition: (value: Value) => boolean): void {
    for (const [key, { value }] of this.#entries) if (condition(value)) this.#entries.delete(key)
  }

  clear(): void {
    this.#entries.clear()
  }
}
