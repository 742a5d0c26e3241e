/**
 * Flags for the Node that runs `sallyport` and `sallyport-connector`; the scripts of `packaging/bin` and the first lines of the
 * programs have the same.
 *
 * V8 watches which objects outlive a collection, and makes the next ones from the same place old from the start. Of requests it
 * learns that from the few that are open at a bad moment. Each one that is over then keeps what it refers to alive, until the whole
 * heap is collected.
 *
 * And while nobody asks for anything V8 takes memory away from its young generation; it gives it back only slowly, because so little
 * of what requests leave behind outlives a collection.
 */
export const nodeFlags: readonly string[] = [
  '--no-allocation-site-pretenuring',
  '--min-semi-space-size=16',
  '--max-semi-space-size=16',
]
