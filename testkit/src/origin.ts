import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface SeenRequest {
  method: string
  url: string
  rawHeaders: string[]
  headers: IncomingMessage['headers']
  rawTrailers: string[]
  body: string
}

/** A real HTTP server inside that remembers what reached it. */
export class Origin {
  readonly requests: SeenRequest[] = []
  readonly server: Server
  /** Takes requests in place of the default answer, `200 ok`. */
  handler:
    | ((request: IncomingMessage, response: ServerResponse, seen: SeenRequest) => void)
    | undefined

  private constructor() {
    this.server = createServer(
      { keepAliveTimeout: 60_000, maxHeaderSize: 262_144 },
      (request, response) => {
        const parts: Buffer[] = []
        const seen: SeenRequest = {
          method: request.method!,
          url: request.url!,
          rawHeaders: request.rawHeaders,
          headers: request.headers,
          rawTrailers: [],
          body: '',
        }
        this.requests.push(seen)
        if (this.handler) {
          this.handler(request, response, seen)
          return
        }
        request.on('data', (chunk: Buffer) => parts.push(chunk))
        request.on('error', () => response.destroy())
        request.on('end', () => {
          seen.body = Buffer.concat(parts).toString('utf8')
          seen.rawTrailers = request.rawTrailers
          response.end('ok')
        })
      },
    )
  }

  static async start(): Promise<Origin> {
    const origin = new Origin()
    await new Promise<void>((resolve) => origin.server.listen(0, '127.0.0.1', resolve))
    return origin
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}/`
  }

  close(): Promise<void> {
    this.server.closeAllConnections()
    return new Promise((resolve) => this.server.close(() => resolve()))
  }
}
