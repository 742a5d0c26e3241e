/** For how long the client of an open WebSocket has sent nothing. */
export class Activity {
  /** What was there when somebody last looked, and when that was more than before; epoch milliseconds. */
  #seenBytes = 0
  #at: number

  constructor(nowAt: number) {
    this.#at = nowAt
  }

  /**
   * As far as somebody looks: what was sent since the last time counts as sent now.
   *
   * @param receivedBytes all that the client has sent
   */
  idleMs(receivedBytes: number, nowAt: number): number {
    if (this.#seenBytes !== receivedBytes) {
      this.#seenBytes = receivedBytes
      this.#at = nowAt
    }
    return nowAt - this.#at
  }
}
