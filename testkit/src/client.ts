import type { IncomingHttpHeaders } from 'node:http'
import { Agent, request } from 'node:https'
import { connect, type TLSSocket } from 'node:tls'

export interface Answer {
  status: number
  headers: IncomingHttpHeaders
  rawHeaders: string[]
  body: string
  url: string
}

export interface RequestOptions {
  method?: string
  headers?: Record<string, string | string[]>
  body?: string | Buffer
  /** Follow redirects as a browser would; default false. */
  follow?: boolean
}

/** What a browser sends when somebody opens a page. */
export const navigation = {
  accept: 'text/html,application/xhtml+xml',
  'sec-fetch-mode': 'navigate',
  'sec-fetch-dest': 'document',
  'sec-fetch-site': 'none',
}

/** An HTTP client with a cookie jar, one per person and browser. Every name resolves to 127.0.0.1. */
export class Client {
  readonly port: number
  readonly ca: string
  /** Cookies by host. */
  readonly cookies = new Map<string, Map<string, string>>()
  readonly #agent: Agent

  /** @param localAddress of 127.0.0.0/8 that it comes from */
  constructor(port: number, ca: string, localAddress = '127.0.0.1') {
    this.port = port
    this.ca = ca
    this.#agent = new Agent({ keepAlive: true, ca, maxCachedSessions: 0, localAddress })
  }

  close(): void {
    this.#agent.destroy()
  }

  get(url: string, options: RequestOptions = {}): Promise<Answer> {
    return this.fetch(url, options)
  }

  /** Opens a page as a browser does, following redirects. */
  open(url: string): Promise<Answer> {
    return this.fetch(url, { headers: navigation, follow: true })
  }

  async fetch(url: string, options: RequestOptions = {}): Promise<Answer> {
    let answer = await this.#once(url, options)
    for (
      let hops = 0;
      options.follow && [301, 302, 303, 307, 308].includes(answer.status);
      hops += 1
    ) {
      if (hops === 20) throw new Error(`too many redirects from ${url}`)
      const { method, body, ...rest } = options
      const next = new URL(answer.headers.location!, answer.url).href
      answer = await this.#once(next, answer.status < 307 ? rest : options)
    }
    return answer
  }

  cookieHeader(host: string): string {
    return [...(this.cookies.get(host) ?? [])].map(([name, value]) => `${name}=${value}`).join('; ')
  }

  #once(url: string, options: RequestOptions): Promise<Answer> {
    const target = new URL(url)
    const cookie = this.cookieHeader(target.hostname)
    return new Promise((resolve, reject) => {
      const outgoing = request(
        {
          agent: this.#agent,
          host: '127.0.0.1',
          port: this.port,
          servername: target.hostname,
          method: options.method ?? 'GET',
          path: target.pathname + target.search,
          headers: {
            host: target.host,
            ...(cookie === '' ? {} : { cookie }),
            ...options.headers,
          },
        },
        (incoming) => {
          const parts: Buffer[] = []
          incoming.on('data', (chunk: Buffer) => parts.push(chunk))
          incoming.on('error', reject)
          incoming.on('end', () => {
            this.#keepCookies(target.hostname, incoming.headers['set-cookie'] ?? [])
            resolve({
              status: incoming.statusCode!,
              headers: incoming.headers,
              rawHeaders: incoming.rawHeaders,
              body: Buffer.concat(parts).toString('utf8'),
              url,
            })
          })
        },
      )
      outgoing.on('error', reject)
      outgoing.end(options.body)
    })
  }

  #keepCookies(host: string, lines: readonly string[]): void {
    let jar = this.cookies.get(host)
    if (!jar) {
      jar = new Map()
      this.cookies.set(host, jar)
    }
    for (const line of lines) {
      const [, name, value] = /^([^=;]*)=([^;]*)/.exec(line) ?? []
      if (name === undefined) continue
      if (/;\s*max-age=0/i.test(line) || /expires=thu, 01 jan 1970/i.test(line)) jar.delete(name)
      else jar.set(name, value!)
    }
  }
}

/** A TLS connection to a host of the service, for whatever no HTTP client would send. */
export function connectTls(options: {
  port: number
  ca: string
  host: string
  alpn?: string[]
}): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: '127.0.0.1',
      port: options.port,
      servername: options.host,
      ca: options.ca,
      ...(options.alpn ? { ALPNProtocols: options.alpn } : {}),
    })
    socket.once('secureConnect', () => resolve(socket))
    socket.once('error', reject)
  })
}

/** Sends bytes as they are and collects what comes back until the other end closes. */
export function sendRaw(socket: TLSSocket, bytes: string | Buffer): Promise<string> {
  return new Promise((resolve) => {
    const parts: Buffer[] = []
    socket.on('data', (chunk: Buffer) => parts.push(chunk))
    // A reset after the answer is how some answers end.
    socket.on('error', () => socket.destroy())
    socket.on('close', () => resolve(Buffer.concat(parts).toString('latin1')))
    socket.write(bytes)
  })
}
