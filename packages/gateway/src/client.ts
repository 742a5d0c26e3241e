import type { Duplex } from 'node:stream'
import {
  type FieldList,
  fieldValues,
  findField,
  HeadReader,
  type Http1Error,
  type ResponseLines,
  type ServerConnection,
  type ServerExchange,
  type ServerHandler,
  type ServerOptions,
  serveConnection,
} from '@sallyport/http1'
import { parseForwardedFor, plainAddress } from './addresses.ts'
import { ClientFields } from './client-fields.ts'
import { Exchange } from './exchange.ts'
import { copyText } from './field-names.ts'
import type { Gateway } from './gateway.ts'
import { parseHost, toExternalHost } from './host.ts'
import { ClientPins } from './pinned-connections.ts'
import { toForwardedLines } from './to-origin.ts'
import type { Destination } from './view.ts'

/** Of heads of origins. */
export const responseLimits = { maxHeadBytes: 262_144, maxFields: 1_000 }

/** What the field lines of an answer depend on. */
interface AnswerKey {
  /** Of the origin's answer; one list for all that repeat it. */
  fields: FieldList
  destination: Destination
  /** That the client asked for. */
  host: string
  statusCode: number
}

/** One connection of a client, and what is known of it before any request. */
export class Client implements ServerHandler {
  /** Server name of the TLS handshake, lower case; undefined on the plain listener. */
  readonly serverName: string | undefined
  readonly peerAddress: string
  /** It is a proxy whose `X-Forwarded-For` counts. */
  readonly isTrusted: boolean
  #pins: ClientPins | undefined
  readonly #gateway: Gateway
  readonly #connection: ServerConnection
  // Of the latest request and answer: the next ones of a connection are much like them.
  #fields: ClientFields | undefined
  #responses: HeadReader | undefined
  #answerKey: AnswerKey | undefined
  #answerLines: ResponseLines | undefined

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
    this.#pins?.close()
    this.#gateway.clientGone(this)
  }

  /**
   * @param list of the current request; the codec gives the same list again for fields that repeat
   * @throws RequestError as `parseHost`
   */
  fields(list: FieldList): ClientFields {
    if (this.#fields?.list !== list) this.#fields = this.#readFields(list)
    return this.#fields
  }

  #readFields(list: FieldList): ClientFields {
    const { options, trustedProxies, cookieNames } = this.#gateway
    const { port } = options
    const host = copyText(parseHost(findField(list, 'host'), port))
    let clientAddress = this.peerAddress
    if (this.isTrusted) {
      const listed = fieldValues(list, 'x-forwarded-for')
      clientAddress = copyText(
        trustedProxies.clientAddress(
          clientAddress,
          listed.length > 0 ? parseForwardedFor(listed) : undefined,
        ),
      )
    }
    const forwarded = toForwardedLines(toExternalHost(host, port), port, clientAddress)
    return new ClientFields(list, {
      host,
      clientAddress,
      forwarded,
      cookieName: cookieNames.session,
    })
  }

  /**
   * Connections to origins that belong to this one. Undefined where a proxy may send requests of several people over it: only
   * its TLS with us says that it is one client's, and only as far as nobody in front is known.
   */
  get pins(): ClientPins | undefined {
    if (this.serverName === undefined || this.isTrusted) return undefined
    this.#pins ??= new ClientPins(this.#gateway.pinned)
    return this.#pins
  }

  /** Reads the heads of answers. */
  get responses(): HeadReader {
    this.#responses ??= new HeadReader(responseLimits)
    return this.#responses
  }

  /** The field lines of an answer, made anew only when what they depend on has changed. */
  answerLines(key: AnswerKey, make: () => ResponseLines): ResponseLines {
    const last = this.#answerKey
    if (
      this.#answerLines === undefined ||
      last?.fields !== key.fields ||
      last.destination !== key.destination ||
      last.host !== key.host ||
      last.statusCode !== key.statusCode
    ) {
      this.#answerLines = make()
      this.#answerKey = key
    }
    return this.#answerLines
  }

  /** Its connection carries no more requests. */
  forget(): void {
    this.#fields = undefined
    this.#responses = undefined
    this.#answerKey = undefined
    this.#answerLines = undefined
  }

  closeWhenIdle(): void {
    this.#connection.closeWhenIdle()
  }

  destroy(): void {
    this.#connection.destroy()
  }
}
