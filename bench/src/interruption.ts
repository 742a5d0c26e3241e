const controller = new AbortController()

/**
 * Aborted by SIGINT and SIGTERM. What the bench waits for then fails, and everything that it has
 * started is closed on the way out.
 */
export const interruption: AbortSignal = controller.signal

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => controller.abort(new Error(`interrupted by ${signal}`)))
}
