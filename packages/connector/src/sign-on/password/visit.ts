import type { FieldList, ResponseHead, ResponseSink } from '@sallyport/http1'
import { fieldValues, findField } from '@sallyport/http1'
import { ResetCode } from '@sallyport/protocol'
import { parseDestination } from '../../destination.ts'
import { OriginFailure } from '../../failure.ts'
import type { Origin, OriginConnection } from '../../origin.ts'
import { decodeBody, maxPageBytes } from './body.ts'
import { Cookies } from './cookies.ts'

/** A page that a visit has come to. */
export interface VisitedPage {
  url: URL
  statusCode: number
  contentType: string
  body: Buffer
}

export interface VisitOptions {
  /** Of the application. */
  origin: Origin
  /** What the application sees in `Host`. */
  host: string
  /** Fields that every request to the application carries: who asks, for whom, by which browser. */
  fields: FieldList
  /** A connection of the person's own to an origin, allow-list checked. */
  connect(origin: Origin, signal: AbortSignal): Promise<OriginConnection>
  /** Another origin that a redirect leads to. @throws OriginFailure `DESTINATION_FORBIDDEN` */
  findOrigin(url: string): Origin
  signal: AbortSignal
  clock(): number
}

const maxRedirects = 10
const redirects = new Set([301, 302, 303, 307, 308])

/**
 * A browser's visit to an application, as far as signing in needs one: cookies, redirects, pages. Every redirect is
 * dialled like any other destination, so the allow-list has its say on each.
 */
export class Visit {
  readonly #options: VisitOptions
  readonly #jars = new Map<string, Cookies>()
  /** A form was sent, whether it was answered or not. */
  hasSubmitted = false

  constructor(options: VisitOptions) {
    this.#options = options
  }

  /** Of the application's own host. */
  get cookies(): Cookies {
    return this.#jar(this.#options.host)
  }

  /** URL of a path of the application, as the application knows itself. */
  urlOf(path: string): URL {
    const { host, origin } = this.#options
    const { url, secure } = origin.destination
    // An application that sees another host than its own sees what people see, and they come over TLS.
    const isInternal = host === new URL(url).host
    return new URL(path, `${secure || !isInternal ? 'https' : 'http'}://${host}`)
  }

  /** Whether the URL leads to the application; it may write itself as it is called from inside or from outside. */
  isOwn(url: URL): boolean {
    const { host, origin } = this.#options
    return url.host === hostOf(host, url.protocol) || url.origin === origin.destination.url
  }

  /** Opens a page and follows where it leads. @throws OriginFailure, or the error of the network */
  async open(url: URL): Promise<VisitedPage> {
    return this.#follow(url, await this.#request(url, 'GET', [], undefined))
  }

  /**
   * Sends a form and follows where it leads.
   *
   * @throws OriginFailure `FORM_REDIRECT_RESENDS` when the answer wants it sent to another address
   */
  async submit(url: URL, page: URL, contentType: string, body: Buffer): Promise<VisitedPage> {
    const fields = ['Content-Type', contentType, 'Origin', page.origin, 'Referer', page.href]
    this.hasSubmitted = true
    const answer = await this.#request(url, 'POST', fields, body)
    // RFC 9110 section 15.4.8: the password would go where nobody has said that it may.
    if (answer.statusCode === 307 || answer.statusCode === 308)
      throw new OriginFailure(
        ResetCode.SIGN_ON_FAILED,
        `FORM_REDIRECT_RESENDS: the application answered the sign-in form with ${answer.statusCode}, which would send the password on; it was not sent on`,
      )
    return this.#follow(url, answer)
  }

  async #follow(start: URL, first: Answer): Promise<VisitedPage> {
    let url = start
    let answer = first
    for (let count = 0; redirects.has(answer.statusCode); count += 1) {
      const location = findField(answer.fields, 'location')
      if (location === undefined || !URL.canParse(location, url.href)) break
      if (count >= maxRedirects)
        throw new OriginFailure(
          ResetCode.SIGN_ON_FAILED,
          `SIGN_IN_REDIRECTS: the application redirects more than ${maxRedirects} times`,
        )
      url = new URL(location, url)
      answer = await this.#request(url, 'GET', [], undefined)
    }
    const { statusCode, fields } = answer
    return {
      url,
      statusCode,
      contentType: findField(fields, 'content-type') ?? '',
      body: answer.body,
    }
  }

  async #request(
    url: URL,
    method: 'GET' | 'POST',
    fields: FieldList,
    body: Buffer | undefined,
  ): Promise<Answer> {
    const { signal, clock } = this.#options
    const isOwn = this.isOwn(url)
    const host = isOwn ? this.#options.host : url.host
    const origin = isOwn ? this.#options.origin : this.#findOrigin(url)
    const jar = this.#jar(host)
    const cookie = jar.toHeader(url.pathname)
    const connection = await this.#options.connect(origin, signal)
    const answer = await exchange(
      connection,
      {
        method,
        target: url.pathname + url.search,
        versionMinor: 1 as const,
        fields: [
          'Host',
          host,
          ...(isOwn ? this.#options.fields : []),
          'Accept',
          'text/html,application/xhtml+xml',
          'Accept-Encoding',
          'gzip',
          ...(cookie === '' ? [] : ['Cookie', cookie]),
          ...fields,
        ],
      },
      body,
      signal,
    )
    for (const line of fieldValues(answer.fields, 'set-cookie'))
      jar.set(line, url.pathname, clock())
    return {
      ...answer,
      body: decodeBody(answer.body, findField(answer.fields, 'content-encoding')),
    }
  }

  #findOrigin(url: URL): Origin {
    return this.#options.findOrigin(parseDestination(url.origin).url)
  }

  #jar(host: string): Cookies {
    let jar = this.#jars.get(host)
    if (!jar) {
      jar = new Cookies()
      this.#jars.set(host, jar)
    }
    return jar
  }
}

/** The host of a `Host` field as a URL of that scheme writes it. */
function hostOf(host: string, protocol: string): string {
  return URL.canParse(`${protocol}//${host}`) ? new URL(`${protocol}//${host}`).host : host
}

interface Answer {
  statusCode: number
  fields: FieldList
  body: Buffer
}

/** One request whose answer is gathered. @throws OriginFailure when it is too long; the error of the network */
function exchange(
  connection: OriginConnection,
  head: { method: string; target: string; versionMinor: 1; fields: FieldList },
  body: Buffer | undefined,
  signal: AbortSignal,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let length = 0
    let answer: ResponseHead | undefined
    const finish = (outcome: Answer | Error) => {
      signal.removeEventListener('abort', onAbort)
      if (outcome instanceof Error) reject(outcome)
      else resolve(outcome)
    }
    const onAbort = () => {
      client.abort()
      finish(signal.reason as Error)
    }
    const sink: ResponseSink = {
      onInformational() {},
      onHead(received) {
        answer = received
      },
      onData(chunk) {
        length += chunk.length
        chunks.push(chunk)
        if (length <= maxPageBytes) return
        client.abort()
        finish(
          new OriginFailure(
            ResetCode.ORIGIN_RESPONSE_INVALID,
            `a page of the sign-in has more than ${maxPageBytes} bytes`,
          ),
        )
      },
      onEnd() {
        const { statusCode, fields } = answer!
        finish({ statusCode, fields, body: Buffer.concat(chunks) })
      },
      onError: finish,
    }
    const framing =
      body === undefined
        ? ({ kind: 'none' } as const)
        : ({ kind: 'length', length: body.length } as const)
    const client = connection.http.request(head, framing, sink)
    if (body && body.length > 0) client.end(body)
    signal.addEventListener('abort', onAbort)
  })
}
