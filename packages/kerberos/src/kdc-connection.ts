import type { LookupFunction, Socket, TcpNetConnectOpts } from 'node:net'

export type Connect = (options: TcpNetConnectOpts) => Socket

export interface KdcAddress {
  host: string
  port: number
}

export interface TcpCall {
  address: KdcAddress
  message: Buffer
  /** Before a message stand so many bytes with its length: 4 for Kerberos, 2 for DNS. */
  lengthBytes: 2 | 4
  /** For the whole: name, connection, answer. */
  timeoutMs: number
  connect: Connect
  lookup?: LookupFunction | undefined
  signal?: AbortSignal | undefined
}

/** Tickets of users in many groups have some 50 KB. */
const maxReplyBytes = 1 << 20

/**
 * One request and its answer over a TCP connection of its own (RFC 4120 section 7.2.2, RFC 1035 section 4.2.2).
 *
 * @throws Error with a short reason, or the reason of `signal`
 */
export function callTcp(call: TcpCall): Promise<Buffer> {
  const { address, message, lengthBytes, timeoutMs, connect, lookup, signal } = call
  return new Promise<Buffer>((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason)
    const socket = connect({ ...address, ...(lookup && { lookup }), noDelay: true })
    const parts: Buffer[] = []
    let size = 0
    let expected: number | undefined
    const end = (settle: () => void) => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', abort)
      socket.destroy()
      settle()
    }
    const fail = (error: unknown) => end(() => reject(error))
    const abort = () => fail(signal?.reason)
    const timer = setTimeout(() => fail(new Error(`no answer in ${timeoutMs} ms`)), timeoutMs)
    signal?.addEventListener('abort', abort, { once: true })
    socket.on('error', (error: NodeJS.ErrnoException) =>
      fail(new Error(error.code ?? error.message)),
    )
    socket.on('close', () => fail(new Error('closed without an answer')))
    socket.once('connect', () => socket.write(frame(message, lengthBytes)))
    socket.on('data', (chunk: Buffer) => {
      parts.push(chunk)
      size += chunk.length
      if (expected === undefined) {
        if (size < lengthBytes) return
        expected = Buffer.concat(parts).readUIntBE(0, lengthBytes)
        if (expected === 0 || expected > maxReplyBytes) {
          return fail(new Error(`answer of ${expected} bytes`))
        }
      }
      if (size < lengthBytes + expected) return
      if (size > lengthBytes + expected) return fail(new Error('bytes after the answer'))
      end(() => resolve(Buffer.concat(parts).subarray(lengthBytes)))
    })
  })
}

function frame(message: Buffer, lengthBytes: number): Buffer {
  const length = Buffer.alloc(lengthBytes)
  length.writeUIntBE(message.length, 0, lengthBytes)
  return Buffer.concat([length, message])
}
