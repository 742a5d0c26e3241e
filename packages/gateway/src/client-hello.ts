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
/** Into how many records it may be cut: each costs work, and the largest known takes two. */
const limitRecords = 64
const recordHeaderBytes = 5
const messageHeaderBytes = 4

/**
 * Parses a ClientHello, which may span several TLS records.
 *
 * @param bytes all that has come so far; what follows the message is not looked at
 * @returns how many bytes there must be before more can be said, when it is incomplete
 * @throws ClientHelloError
 * @see RFC 8446 sections 4.1.2 and 5.1
 */
export function parseClientHello(bytes: Buffer): ClientHello | number {
  const fragments: Buffer[] = []
  let message = 0
  let wanted: number | undefined
  for (let at = 0; wanted === undefined || message < wanted; ) {
    if (fragments.length >= limitRecords) throw new ClientHelloError('too many records')
    if (at < bytes.length && bytes[at] !== 22)
      throw new ClientHelloError('record is no TLS handshake')
    if (at + 1 < bytes.length && bytes[at + 1] !== 3)
      throw new ClientHelloError('record is of no TLS version')
    const begin = at + recordHeaderBytes
    if (begin > bytes.length) return begin
    const length = bytes.readUInt16BE(at + 3)
    if (length === 0) throw new ClientHelloError('record is empty')
    if (begin + length > limitBytes) throw new ClientHelloError('ClientHello is too long')
    // Said as early as it can be seen: the other end may be waiting for an answer.
    if (message === 0 && begin < bytes.length && bytes[begin] !== 1)
      throw new ClientHelloError('handshake message is no ClientHello')
    if (begin + length > bytes.length) return begin + length
    fragments.push(bytes.subarray(begin, begin + length))
    message += length
    at = begin + length
    if (wanted === undefined && message >= messageHeaderBytes) {
      wanted = messageHeaderBytes + Buffer.concat(fragments).readUIntBE(1, 3)
      if (wanted > limitBytes) throw new ClientHelloError('ClientHello is too long')
    }
  }
  if (message > wanted) throw new ClientHelloError('something follows the ClientHello')
  return readHello(new Reader(Buffer.concat(fragments).subarray(messageHeaderBytes)))
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

  rest(): Buffer {
    return this.take(this.left)
  }

  end(): void {
    if (this.left > 0) throw new ClientHelloError('ClientHello holds more than it says')
  }
}

function readHello(hello: Reader): ClientHello {
  hello.take(2 + 32)
  hello.vector(1)
  hello.vector(2)
  hello.vector(1)
  let serverName: string | undefined
  let protocols: string[] = []
  if (hello.left > 0) {
    const extensions = hello.vector(2)
    hello.end()
    const seen = new Set<number>()
    while (extensions.left > 0) {
      const type = extensions.number(2)
      const body = extensions.vector(2)
      // RFC 8446 section 4.2: no extension twice. A second server name would be another host.
      if (seen.has(type)) throw new ClientHelloError('ClientHello repeats an extension')
      seen.add(type)
      if (type === 0) serverName = readServerName(body)
      else if (type === 16) protocols = readProtocols(body)
    }
  }
  return { serverName, protocols }
}

function readServerName(body: Reader): string | undefined {
  const names = body.vector(2)
  body.end()
  let found: string | undefined
  while (names.left > 0) {
    const type = names.number(1)
    const name = names.vector(2).rest().toString('latin1')
    if (type !== 0) continue
    if (found !== undefined) throw new ClientHelloError('two server names')
    if (!/^[A-Za-z0-9._-]{1,255}$/.test(name))
      throw new ClientHelloError('server name is no host name')
    found = name.toLowerCase()
  }
  return found
}

function readProtocols(body: Reader): string[] {
  const list = body.vector(2)
  body.end()
  const protocols: string[] = []
  while (list.left > 0) protocols.push(list.vector(1).rest().toString('latin1'))
  return protocols
}
