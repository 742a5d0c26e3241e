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
import type { Gateway } from './gateway.ts'

/** One connection of a client, and what is known of it before any request. */
export class Client implements ServerHandler {
  /** Server name of the TLS handshake, lower case; undefined on the plain listener. */
  readonly serverName: string | undefined
  readonly peerAddress: string
  readonly #gateway: Gateway
  readonly #connection: ServerConnection

  constructor(
    gateway: Gateway,
    socket: Duplex & { remoteAddress?: string | undefined },
    serverName: string | undefined,
    options: ServerOptions,
  ) {
    this.#gateway = gateway
    this.serverName = serverName
    this.peerAddress = plainAddress(socket.remoteAddress ?? '')
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

  closeWhenIdle(): void {
    this.#connection.closeWhenIdle()
  }

  destroy(): void {
    this.#connection.destroy()
  }
}
