import type { Duplex } from 'node:stream'
import {
  type Http1Error,
  type ServerConnection,
  type ServerExchange,
  type ServerHandler,
  type ServerOptions,
  serveConnection,
} from '@sallyport/http1'
import { plainAddress } from './addresses.ts'
import { Exchange } from './exchange.ts'
import { copyText } from './field-names.ts'
import type { Gateway } from './gateway.ts'
import { parseHost, toExternalHost } from './host.ts'
import { type ForwardedLines, toForwardedLines } from './to-origin.ts'

/** One connection of a client, and what is known of it before any request. */
export class Client implements ServerHandler {
  /** Server name of the TLS handshake, lower case; undefined on the plain listener. */
  readonly serverName: string | undefined
  readonly peerAddress: string
  /** It is a proxy whose `X-Forwarded-For` counts. */
  readonly isTrusted: boolean
  readonly #gateway: Gateway
  readonly #connection: ServerConnection
  // Of the latest request: the next one of a connection is much like it.
  #hostField: string | undefined
  #host = ''
  #forwarded: ForwardedLines | undefined
  #forwardedHost = ''
  #forwardedAddress = ''

  constructor(
    gateway: Gateway,
    socket: Duplex & { remoteAddress?: string | undefined },
    serverName: string | undefined,
    options: ServerOptions,
  ) {
    this.#gateway = gateway
    this.serverName = serverName
    this.peerAddress = plainAddress(socket.remoteAddress ?? '')
    this.isTrusted = gateway.trustedProxies.has(this.peerAddress)
    this.#connection = serveConnection(socket, options, this)
  }

  onExchange(exchange: ServerExchange): void {
    new Exchange(this.#gateway, exchange, this).handle()
  }

  onError(error: Http1Error): void {
    this.#gateway.recordBadHead(error, this.peerAddress)
  }

  onClose(): void {
    this.#gateway.clientGone(this)
  }

  /** @throws RequestError as `parseHost` */
  host(field: string | undefined): string {
    if (field === undefined || field !== this.#hostField) {
      this.#host = copyText(parseHost(field, this.#gateway.options.port))
      this.#hostField = this.#host === field ? this.#host : copyText(field!)
    }
    return this.#host
  }

  /** @param host as `host` gave it */
  forwardedLines(host: string, clientAddress: string): ForwardedLines {
    if (
      !this.#forwarded ||
      host !== this.#forwardedHost ||
      clientAddress !== this.#forwardedAddress
    ) {
      const { port } = this.#gateway.options
      this.#forwarded = toForwardedLines(toExternalHost(host, port), port, clientAddress)
      this.#forwardedHost = host
      this.#forwardedAddress = copyText(clientAddress)
    }
    return this.#forwarded
  }

  /** Its connection carries no more requests. */
  forget(): void {
    this.#hostField = undefined
    this.#forwarded = undefined
  }

  closeWhenIdle(): void {
    this.#connection.closeWhenIdle()
  }

  destroy(): void {
    this.#connection.destroy()
  }
}
