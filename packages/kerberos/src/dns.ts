import { Resolver } from 'node:dns/promises'
import { connect as netConnect } from 'node:net'
import type { Dns } from './discovery.ts'
import { type Connect, callTcp } from './kdc-connection.ts'

export interface SrvRecord {
  name: string
  port: number
  priority: number
  weight: number
}

/**
 * DNS of the machine, or of the servers that are named (`192.0.2.1`, `192.0.2.1:53`, `[2001:db8::1]:53`).
 *
 * Samba's own DNS server compresses the target of SRV records. Node refuses such an answer (RFC 2782 forbids to write
 * it, and says nothing of reading it), so it is then asked for again and read here.
 */
export function createDns(servers?: readonly string[], connect: Connect = netConnect): Dns {
  const resolver = new Resolver({ timeout: 2000, tries: 2 })
  if (servers) resolver.setServers(servers)
  return {
    resolve4: (name) => resolver.resolve4(name),
    resolve6: (name) => resolver.resolve6(name),
    async resolveSrv(name) {
      try {
        return await resolver.resolveSrv(name)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EBADRESP') throw error
        return askAny(resolver.getServers(), name, connect, error)
      }
    },
  }
}

async function askAny(
  servers: readonly string[],
  name: string,
  connect: Connect,
  last: unknown,
): Promise<SrvRecord[]> {
  let error = last
  for (const server of servers) {
    try {
      const id = Math.floor(Math.random() * 0x10000)
      const address = parseServer(server)
      const message = writeSrvQuery(id, name)
      const reply = await callTcp({ address, message, timeoutMs: 2000, connect, lengthBytes: 2 })
      return parseSrvReply(reply, id)
    } catch (caught) {
      error = caught
    }
  }
  throw error
}

function parseServer(server: string): { host: string; port: number } {
  const match = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d+))?$/.exec(server)
  // A bare IPv6 address has colons and no port.
  if (!match) return { host: server, port: 53 }
  return { host: match[1] ?? match[2]!, port: Number(match[3] ?? 53) }
}

const typeSrv = 33
const classIn = 1

/** RFC 1035 section 4.1. */
function writeSrvQuery(id: number, name: string): Buffer {
  const header = Buffer.alloc(12)
  header.writeUInt16BE(id, 0)
  header.writeUInt16BE(0x0100, 2)
  header.writeUInt16BE(1, 4)
  const labels = name.split('.').map((label) => {
    const bytes = Buffer.from(label)
    return Buffer.concat([Buffer.of(bytes.length), bytes])
  })
  return Buffer.concat([header, ...labels, Buffer.of(0, 0, typeSrv, 0, classIn)])
}

/** @throws Error with the `code` of node:dns for a refusal, or `EBADRESP` */
export function parseSrvReply(reply: Buffer, id: number): SrvRecord[] {
  const fail = (code: string): never => {
    throw Object.assign(new Error(`the DNS answer is of no use: ${code}`), { code })
  }
  const uint16 = (at: number): number =>
    at + 2 > reply.length ? fail('EBADRESP') : reply.readUInt16BE(at)
  if (uint16(0) !== id || (uint16(2) & 0x8000) === 0) fail('EBADRESP')
  const refusal = uint16(2) & 0xf
  if (refusal !== 0) fail(refusal === 3 ? 'ENOTFOUND' : 'ESERVFAIL')

  /** @returns the name, and where it ends in the record; a pointer may only point backwards (RFC 1035 section 4.1.4) */
  const nameAt = (start: number): [name: string, end: number] => {
    const labels: string[] = []
    let end: number | undefined
    for (let at = start, before = start; ; ) {
      const size = reply[at] ?? fail('EBADRESP')
      if (size === 0) return [labels.join('.'), end ?? at + 1]
      if (size >= 0xc0) {
        const target = uint16(at) & 0x3fff
        if (target >= before) fail('EBADRESP')
        end ??= at + 2
        before = target
        at = target
        continue
      }
      if (size > 63 || at + 1 + size > reply.length || labels.length > 127) fail('EBADRESP')
      labels.push(reply.toString('latin1', at + 1, at + 1 + size))
      at += 1 + size
    }
  }

  let at = 12
  for (let left = uint16(4); left > 0; left -= 1) at = nameAt(at)[1] + 4
  const records: SrvRecord[] = []
  for (let left = uint16(6); left > 0; left -= 1) {
    const start = nameAt(at)[1]
    const size = uint16(start + 8)
    const data = start + 10
    if (uint16(start) === typeSrv && uint16(start + 2) === classIn) {
      const [name] = nameAt(data + 6)
      records.push({
        priority: uint16(data),
        weight: uint16(data + 2),
        port: uint16(data + 4),
        name,
      })
    }
    at = data + size
  }
  return records
}
