/** What a ClientHello says before any key is exchanged. */
export interface ClientHello {
  /** Server name (RFC 6066 section 3), lower case; undefined when absent. */
  serverName: string | undefined
  /** Application protocols (RFC 7301) in the client's order. */
  protocols: readonly string[]
}

/** The first bytes are no TLS ClientHello; nothing sensible can be answered. */
export class ClientHelloError extends Error {
  override readonly name = 'ClientHelloError'
  readonly code = 'CLIENT_HELLO_INVALID'
}

/** A ClientHello may take this many bytes, records included. */
export const limitBytes = 16_384

/**
 * Parses a ClientHello, which may span several TLS records.
 *
 * @param bytes all that has come so far
 * @returns undefined while it is incomplete
 * @throws ClientHelloError
 * @see RFC 8446 sections 4.1.2 and 5.1
 */
export function parseClientHello(bytes: Buffer): ClientHello | undefined {
  const message = joinRecords(bytes)
  if (message === undefined || message.length < 4) return tooLong(bytes)
  if (message[0] !== 1) throw new ClientHelloError('handshake message is no ClientHello')
  const length = message.readUIntBE(1, 3)
  if (length > limitBytes) throw new ClientHelloError('ClientHello is too long')
  if (message.length < 4 + length) return tooLong(bytes)
  return readHello(new Reader(message.subarray(4, 4 + length)))
}

function tooLong(bytes: Buffer): undefined {
  if (bytes.length >= limitBytes) throw new ClientHelloError('ClientHello is too long')
  return undefined
}

function joinRecords(bytes: Buffer): Buffer | undefined {
  const fragments: Buffer[] = []
  let at = 0
  while (at < bytes.length) {
    if (bytes[at] !== 22) throw new ClientHelloError('record is no TLS handshake')
    if (at + 5 > bytes.length) break
    if (bytes[at + 1] !== 3) throw new ClientHelloError('record is of no TLS version')
    const length = bytes.readUInt16BE(at + 3)
    if (length === 0 || length > 16_384) throw new ClientHelloError('record length is invalid')
    fragments.push(bytes.subarray(at + 5, at + 5 + length))
    at += 5 + length
  }
  return fragments.length === 0 ? undefined : Buffer.concat(fragments)
}

class Reader {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  get left(): number {
    return this.#bytes.length - this.#at
  }

  number(size: 1 | 2): number {
    const part = this.take(size)
    return size === 1 ? part.readUInt8(0) : part.readUInt16BE(0)
  }

  take(length: number): Buffer {
    if (length > this.left) throw new ClientHelloError('ClientHello ends early')
    this.#at += length
    return this.#bytes.subarray(this.#at - length, this.#at)
  }

  vector(size: 1 | 2): Reader {
    return new Reader(this.take(this.number(size)))
  }
}

function readHello(hello: Reader): ClientHello {
  hello.take(2 + 32)
  hello.vector(1)
  hello.vector(2)
  hello.vector(1)
  let serverName: string | undefined
  const protocols: string[] = []
  if (hello.left > 0) {
    const extensions = hello.vector(2)
    const seen = new Set<number>()
    while (extensions.left > 0) {
      const type = extensions.number(2)
      const body = extensions.vector(2)
      // RFC 8446 section 4.2: no extension twice. A second server name would be another host.
      if (seen.has(type)) throw new ClientHelloError('ClientHello repeats an extension')
      seen.add(type)
      if (type === 0) {
        const names = body.vector(2)
        while (names.left > 0) {
          const nameType = names.number(1)
          const name = names.vector(2)
          if (nameType !== 0) continue
          if (serverName !== undefined) throw new ClientHelloError('two server names')
          serverName = name.take(name.left).toString('latin1').toLowerCase()
        }
      } else if (type === 16) {
        const list = body.vector(2)
        while (list.left > 0) {
          const protocol = list.vector(1)
          protocols.push(protocol.take(protocol.left).toString('latin1'))
        }
      }
    }
  }
  return { serverName, protocols }
}
