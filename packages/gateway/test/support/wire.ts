import type { Duplex } from 'node:stream'

export interface Response {
  statusCode: number
  /** Names in lower case. */
  fields: [name: string, value: string][]
  body: string
  /** Values of one field. */
  all(name: string): string[]
  /** The value of a field that stands there once; undefined when it is absent. */
  one(name: string): string | undefined
}

/** A client's end of a connection, driven by hand. */
export class Wire {
  readonly socket: Duplex
  /** What has come and was not taken yet, latin1. */
  text = ''
  ended = false
  closed = false
  #waiting: (() => void)[] = []

  constructor(socket: Duplex) {
    this.socket = socket
    socket.on('data', (chunk: Buffer) => {
      this.text += chunk.toString('latin1')
      this.#wake()
    })
    socket.on('end', () => {
      this.ended = true
      this.#wake()
    })
    socket.on('close', () => {
      this.closed = true
      this.ended = true
      this.#wake()
    })
    socket.on('error', () => undefined)
  }

  send(text: string): void {
    this.socket.write(text, 'latin1')
  }

  /** Waits until something is true of this wire. */
  async until(isTrue: () => boolean): Promise<void> {
    while (!isTrue()) await new Promise<void>((resolve) => this.#waiting.push(resolve))
  }

  /** Waits for text, and takes all up to its end. */
  async take(text: string): Promise<string> {
    await this.until(() => this.text.includes(text) || this.ended)
    const end = this.text.indexOf(text) + text.length
    if (end < text.length) throw new Error(`the connection ended after: ${this.text}`)
    const taken = this.text.slice(0, end)
    this.text = this.text.slice(end)
    return taken
  }

  /** Takes one response. @param method of its request; that of HEAD has no body */
  async response(method = 'GET'): Promise<Response> {
    const head = await this.take('\r\n\r\n')
    const [statusLine = '', ...lines] = head.slice(0, -4).split('\r\n')
    const fields = lines.map((line): [string, string] => {
      const colon = line.indexOf(':')
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]
    })
    const all = (name: string) => fields.filter(([key]) => key === name).map(([, value]) => value)
    const statusCode = Number(statusLine.split(' ')[1])
    const bodiless =
      method === 'HEAD' || statusCode < 200 || statusCode === 204 || statusCode === 304
    return {
      statusCode,
      fields,
      body: bodiless ? '' : await this.#body(all('content-length')[0], all('transfer-encoding')[0]),
      all,
      one(name) {
        const values = all(name)
        if (values.length > 1) throw new Error(`${name} stands ${values.length} times`)
        return values[0]
      },
    }
  }

  async #body(length: string | undefined, coding: string | undefined): Promise<string> {
    if (coding !== undefined) {
      let body = ''
      for (;;) {
        const size = Number.parseInt(await this.take('\r\n'), 16)
        const chunk = await this.#bytes(size)
        body += chunk
        // The last chunk is followed by trailers, whose end is an empty line.
        if (size > 0) await this.take('\r\n')
        else {
          while ((await this.take('\r\n')) !== '\r\n');
          return body
        }
      }
    }
    if (length !== undefined) return this.#bytes(Number(length))
    await this.until(() => this.ended)
    const body = this.text
    this.text = ''
    return body
  }

  async #bytes(count: number): Promise<string> {
    await this.until(() => this.text.length >= count || this.ended)
    if (this.text.length < count) throw new Error(`the connection ended after: ${this.text}`)
    const bytes = this.text.slice(0, count)
    this.text = this.text.slice(count)
    return bytes
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve()
  }
}
