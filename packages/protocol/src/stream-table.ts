import type { Stream } from './stream.ts'

const ringSize = 1024

/**
 * The open streams of a session by id. Ids only ever rise, so the streams of a busy tunnel have their places in a ring; one
 * that is still open when its place is needed again (a WebSocket) moves to a Map.
 *
 * Not a Map alone: V8 gives one that is added to and deleted from all the time a new table every so many changes, and each
 * old table holds the next one and what was open then; once one of them is old to the garbage collector, all streams that
 * come later survive, with everything that they hold.
 */
export class StreamTable {
  readonly #ring = new Array<Stream | undefined>(ringSize).fill(undefined)
  readonly #others = new Map<number, Stream>()
  #size = 0

  get size(): number {
    return this.#size
  }

  find(id: number): Stream | undefined {
    const stream = this.#ring[id % ringSize]
    return stream?.id === id ? stream : this.#others.get(id)
  }

  add(stream: Stream): void {
    const place = stream.id % ringSize
    const older = this.#ring[place]
    if (older) this.#others.set(older.id, older)
    this.#ring[place] = stream
    this.#size += 1
  }

  delete(stream: Stream): void {
    const place = stream.id % ringSize
    if (this.#ring[place] === stream) this.#ring[place] = undefined
    else if (!this.#others.delete(stream.id)) return
    this.#size -= 1
  }

  /** A list of its own: streams may end while it is walked. */
  all(): Stream[] {
    return [...this.#others.values(), ...this.#ring.filter((stream) => stream !== undefined)]
  }
}
