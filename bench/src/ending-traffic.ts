// What somebody does at an application when access ends: requests, a WebSocket, server-sent events and a download.
import { once } from 'node:events'
import { Client, connectTls } from '@sallyport/testkit'

export const KINDS = ['requests', 'WebSocket', 'SSE', 'download'] as const
export type Kind = (typeof KINDS)[number]

/** The application, and the value of the Cookie field that lets somebody in. */
export interface Access {
  /** Without a slash at the end. */
  url: string
  ca: string
  cookie: string
}

/** One kind under way. */
interface Flow {
  kind: Kind
  /** When the last of it came, `performance.now()`. */
  ended: Promise<number>
  close(): void
}

export interface Traffic {
  /** @throws Error when one of them goes on for longer */
  endedWithin(limitMs: number): Promise<Record<Kind, number>>
  close(): void
}

/** Resolves when all four are under way. @param status that requests are refused with, once they are */
export async function beginTraffic(access: Access, status: number): Promise<Traffic> {
  const flows: Flow[] = []
  const close = () => {
    for (const flow of flows) flow.close()
  }
  try {
    flows.push(await beginStream(access, 'WebSocket', '/socket', 101, WEBSOCKET))
    flows.push(await beginStream(access, 'SSE', '/events', 200, 'Accept: text/event-stream\r\n'))
    flows.push(await beginStream(access, 'download', '/download', 200, ''))
    flows.push(await beginRequests(access, status))
  } catch (error) {
    close()
    throw error
  }
  return { endedWithin: (limitMs) => whenEnded(flows, limitMs), close }
}

async function whenEnded(flows: Flow[], limitMs: number): Promise<Record<Kind, number>> {
  const open = new Set(flows.map(({ kind }) => kind))
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    const refuse = () => reject(new Error(`${[...open].join(', ')} went on for ${limitMs} ms`))
    timer = setTimeout(refuse, limitMs)
  })
  const all = flows.map(async ({ kind, ended }) => {
    const endedMs = await ended
    open.delete(kind)
    return [kind, endedMs] as const
  })
  try {
    const entries = await Promise.race([Promise.all(all), late])
    return Object.fromEntries(entries) as Record<Kind, number>
  } finally {
    clearTimeout(timer)
  }
}

const WEBSOCKET =
  'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2l4dGVlbiBieXRlcyEhIQ==\r\n'

async function beginStream(
  { url, ca, cookie }: Access,
  kind: Kind,
  path: string,
  status: number,
  fields: string,
): Promise<Flow> {
  const { host, hostname, port } = new URL(url)
  const socket = await connectTls({ port: Number(port), ca, host: hostname })
  // It is torn down on purpose.
  socket.on('error', () => socket.destroy())
  const ended = once(socket, 'close').then(() => performance.now())
  socket.write(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\nCookie: ${cookie}\r\n${fields}\r\n`)
  const [head] = (await once(socket, 'data')) as [Buffer]
  const line = head.toString('latin1').split('\r\n')[0]!
  if (!line.startsWith(`HTTP/1.1 ${status} `)) {
    socket.destroy()
    throw new Error(`${kind}: ${path} was answered ${line}`)
  }
  // Read as by somebody who wants it.
  socket.resume()
  return { kind, ended, close: () => socket.destroy() }
}

/** One request after the other, as fast as they are answered, until one is refused. */
async function beginRequests(access: Access, status: number): Promise<Flow> {
  const first = await requestOnce(access, '/')
  if (first !== 200) throw new Error(`a request that is allowed was answered ${first}`)
  let isClosed = false
  const poll = async () => {
    const client = clientOf(access)
    try {
      while (!isClosed) {
        const answer = await client.get(`${access.url}/`)
        if (answer.status === 200) continue
        if (answer.status === status) break
        throw new Error(`refused with ${answer.status} in place of ${status}`)
      }
      return performance.now()
    } finally {
      client.close()
    }
  }
  return {
    kind: 'requests',
    ended: poll(),
    close: () => {
      isClosed = true
    },
  }
}

/** @returns the status of one request on a connection of its own */
export async function requestOnce(access: Access, path: string): Promise<number> {
  const client = clientOf(access)
  try {
    return (await client.get(access.url + path)).status
  } finally {
    client.close()
  }
}

function clientOf({ url, ca, cookie }: Access): Client {
  const { hostname, port } = new URL(url)
  const client = new Client(Number(port), ca)
  const pairs = cookie.split('; ').map((pair) => pair.split('=') as [string, string])
  client.cookies.set(hostname, new Map(pairs))
  return client
}
