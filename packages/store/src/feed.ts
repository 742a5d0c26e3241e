import type { AccessEvent } from '@sallyport/domain'

export type AccessListener = (event: AccessEvent) => void

/**
 * Tells everyone what changed for sessions, claims, configuration and connectors.
 * Publish after the change is committed: a listener that reads the store then sees it.
 */
export class EventFeed {
  readonly #listeners = new Set<AccessListener>()

  /**
   * Every listener of this process has run when this returns. What has to reach others even if this process dies
   * now is announced in `Store.change` instead.
   */
  publish(event: AccessEvent): void {
    this.tell(event)
  }

  protected tell(event: AccessEvent): void {
    for (const listener of [...this.#listeners]) {
      try {
        listener(event)
      } catch (error) {
        // One broken listener must not keep a revocation from the others; nor may it go unnoticed.
        queueMicrotask(() => {
          throw error
        })
      }
    }
  }

  publishAll(events: Iterable<AccessEvent>): void {
    for (const event of events) this.publish(event)
  }

  /** @returns ends the subscription */
  subscribe(listener: AccessListener): () => void {
    // A wrapper of its own per subscription, so that ending one leaves another of the same function.
    const own: AccessListener = (event) => listener(event)
    this.#listeners.add(own)
    return () => {
      this.#listeners.delete(own)
    }
  }
}
