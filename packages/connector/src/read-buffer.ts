import type { OnReadOpts, Socket } from 'node:net'

/**
 * All that is read lands here first, whichever socket it comes from, and leaves as a copy of its size before anything else is
 * read. Otherwise each read would get 64 KiB of its own, of which an answer of a few hundred bytes needs a few hundred.
 */
const buffer = Buffer.allocUnsafeSlow(65_536)

/**
 * Options of a socket that is read through the common buffer; for its owner it is a stream of buffers as any other.
 * `setEncoding` has no effect on it.
 *
 * @param socketOf not called before something was read
 */
export function readInto(socketOf: () => Socket): OnReadOpts {
  return {
    buffer,
    callback(length) {
      const socket = socketOf()
      const chunk = Buffer.from(buffer.subarray(0, length))
      // What `push` would do, without the turn in which it looks whether there is more to read.
      if (!socket.readableFlowing || socket.readableLength > 0) return socket.push(chunk)
      socket.emit('data', chunk)
      return true
    },
  }
}
