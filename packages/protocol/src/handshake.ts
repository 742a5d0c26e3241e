import { TunnelError } from './errors.ts'

/** The versions of SPEC.md this implementation speaks. */
const minVersion = 1
const maxVersion = 1

const magic = Buffer.from('SPT1', 'latin1')

const roles = { gateway: 1, connector: 2 } as const

export interface Hello {
  side: 'gateway' | 'connector'
  /** Streams the sender is willing to have open. */
  maxStreams: number
  capabilities: readonly string[]
}

export function encodeHello(hello: Hello): Buffer {
  const words = hello.capabilities.map((word) => Buffer.from(word, 'latin1'))
  if (words.length > 255) throw new TypeError(`${words.length} capabilities, at most 255`)
  const parts = [
    magic,
    Buffer.from([minVersion, maxVersion, roles[hello.side], 0]),
    Buffer.alloc(4),
    Buffer.from([words.length]),
  ]
  parts[2]!.writeUInt32BE(hello.maxStreams)
  for (const [index, word] of words.entries()) {
    if (!/^[\x21-\x7e]{1,255}$/.test(hello.capabilities[index]!)) {
      throw new TypeError('a capability is 1 to 255 visible ASCII characters')
    }
    parts.push(Buffer.from([word.length]), word)
  }
  const payload = Buffer.concat(parts)
  if (payload.length > 4096) throw new TypeError('capabilities are longer than a HELLO takes')
  return payload
}

/**
 * Bytes behind the last capability are left for later versions.
 *
 * @returns what is wrong instead: `TUNNEL_FRAME_INVALID`, `TUNNEL_VERSION_UNSUPPORTED`, or
 *   `TUNNEL_PROTOCOL_VIOLATION` when the peer has our own role
 */
export function parseHello(payload: Buffer, ownSide: Hello['side']): Hello | TunnelError {
  if (payload.length < 13 || !payload.subarray(0, 4).equals(magic)) {
    return new TunnelError('TUNNEL_FRAME_INVALID', 'the peer speaks another protocol')
  }
  const [peerMin, peerMax, role] = [payload[4]!, payload[5]!, payload[6]!]
  if (Math.min(peerMax, maxVersion) < Math.max(peerMin, minVersion)) {
    return new TunnelError(
      'TUNNEL_VERSION_UNSUPPORTED',
      `the peer speaks versions ${peerMin} to ${peerMax}, we ${minVersion} to ${maxVersion}`,
    )
  }
  const side = ownSide === 'gateway' ? 'connector' : 'gateway'
  if (role !== roles[side]) {
    return new TunnelError('TUNNEL_PROTOCOL_VIOLATION', `a ${ownSide} met role ${role}`)
  }
  const capabilities: string[] = []
  let at = 13
  for (let rest = payload[12]!; rest > 0; rest--) {
    const end = at + 1 + (payload[at] ?? 0)
    if (end > payload.length) {
      return new TunnelError('TUNNEL_FRAME_INVALID', 'a capability of HELLO is cut off')
    }
    capabilities.push(payload.toString('latin1', at + 1, end))
    at = end
  }
  return { side, maxStreams: payload.readUInt32BE(8), capabilities }
}
