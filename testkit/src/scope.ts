/** Closes what it started when the test ends; `t` of `node:test` fits. */
export interface Scope {
  after(close: () => Promise<void> | void): void
}

/**
 * A scope that closes last what was started first, as whoever starts things in a row expects;
 * `node:test` itself closes them in the order of registration.
 */
export function lastFirst(scope: Scope): Scope {
  const closers: (() => Promise<void> | void)[] = []
  scope.after(async () => {
    for (const close of closers.reverse()) await close()
  })
  return { after: (close) => void closers.push(close) }
}
