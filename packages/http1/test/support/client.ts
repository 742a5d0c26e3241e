import type { TestContext } from 'node:test'
import {
  type BodyFraming,
  ClientConnection,
  type ClientExchange,
  type ClientOptions,
  type FieldList,
  type RequestHead,
  type ResponseHead,
  type ResponseSink,
} from '../../src/index.ts'
import { RecordedBody } from './server.ts'
import { connect, type Transport, Wire } from './wire.ts'

/** What the sink of a response was told. */
export class RecordedResponse extends RecordedBody implements ResponseSink {
  head: ResponseHead | undefined
  framing: BodyFraming | undefined
  informational: number[] = []

  onInformational(head: ResponseHead): void {
    this.informational.push(head.statusCode)
  }

  onHead(head: ResponseHead, framing: BodyFraming): void {
    this.head = head
    this.framing = framing
  }
}

export interface TestClient {
  connection: ClientConnection
  /** The end of the server, driven by hand. */
  wire: Wire
  idles: number
  /** Resolves with what `onClose` was given. */
  closed: Promise<(Error & { code?: string }) | undefined>
}

/** A client connection whose server is driven by hand. */
export async function open(
  t: TestContext,
  options: ClientOptions = {},
  transport: Transport = 'memory',
): Promise<TestClient> {
  const [socket, server] = await connect(t, transport)
  const connection = new ClientConnection(socket, options)
  const { promise: closed, resolve } = Promise.withResolvers<Error | undefined>()
  const client = { connection, wire: new Wire(server), idles: 0, closed }
  connection.onIdle = () => client.idles++
  connection.onClose = resolve
  return client
}

export function head(method = 'GET', ...fields: FieldList): RequestHead {
  return { method, target: '/', versionMinor: 1, fields: ['Host', 'a', ...fields] }
}

/** Sends a request without body. */
export function get(
  connection: ClientConnection,
  request: RequestHead = head(),
): { exchange: ClientExchange; response: RecordedResponse } {
  const response = new RecordedResponse()
  return { exchange: connection.request(request, { kind: 'none' }, response), response }
}
