import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/**
 * Every chunk that a socket reads is memory outside of V8's heap, held by a tiny object inside. Bytes fly through so fast that V8
 * sees 64 MB of such memory long before its young generation is full, and then marks the whole heap, on all
 * cores, to find that nearly everything is garbage: 33 times for 1 GB, half of the processor time of a download. A collection of the
 * young generation finds the same in a millisecond.
 */
// Node reads into 64 KB each time and TLS fills a quarter of that: 4 MB that came are 16 MB that V8 counted.
const collectEveryBytes = 4 * 1024 * 1024

type Collect = (options: { type: 'minor' }) => void

let collect: Collect | undefined
let receivedBytes = 0

/** Counts what sockets read, and frees the memory of it in good time. */
export function freeWhatWasRead(bytes: number): void {
  receivedBytes += bytes
  if (receivedBytes < collectEveryBytes) return
  receivedBytes = 0
  collect ??= findCollect()
  collect({ type: 'minor' })
}

/** `gc` of `node --expose-gc`, without the flag on the command line and without the global. */
function findCollect(): Collect {
  setFlagsFromString('--expose-gc')
  const found = runInNewContext('gc') as Collect
  setFlagsFromString('--no-expose-gc')
  return found
}
