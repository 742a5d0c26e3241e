import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import {
  createServer as createHttpServer,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { createServer, type TLSSocket } from 'node:tls'
import { type TunnelError, TunnelSession, type TunnelStream } from '@sallyport/protocol'
import { type ConnectorOptions, startConnector } from '../src/connector.ts'
import type { Connector, ConnectorStatus } from '../src/index.ts'
import { parseAllowRules } from '../src/index.ts'
import type { Log } from '../src/log.ts'
import { writeState } from '../src/state.ts'
import { type Authority, type Issued, makeAuthority } from './authority.ts'
import { Inbox } from './inbox.ts'

export const serviceHost = 'connect.sallyport.localhost'
export const connectorUri = 'spiffe://sallyport.localhost/connector/c1'

/** The service's end of tunnels and enrolment, with real TLS on loopback. */
export interface TestService {
  url: URL
  ca: Authority
  /** Tunnels as they come up. */
  sessions: Inbox<TunnelSession>
  /** TLS sockets of tunnels, in the same order. */
  sockets: TLSSocket[]
  /** Answers enrolment requests; replaced by tests. */
  onRequest: (req: IncomingMessage, res: ServerResponse) => void
  close(): Promise<void>
  /** Refuses connections until `listen` is called. */
  stopListening(): Promise<void>
  listen(): Promise<void>
}

export interface ServiceOptions {
  /** Other than the connector CA: an interceptor's. */
  serverAuthority?: Authority
  serverNames?: readonly string[]
  alpn?: readonly string[]
  maxVersion?: 'TLSv1.2'
  serverCertificate?: { notAfterAt: number; notBeforeAt?: number }
}

export async function startService(
  t: TestContext,
  options: ServiceOptions = {},
): Promise<TestService> {
  const ca = await makeAuthority('Sallyport connector CA')
  const issuer = options.serverAuthority ?? ca
  const leaf = await issuer.issue({
    dns: options.serverNames ?? [serviceHost],
    ...options.serverCertificate,
  })
  const sessions = new Inbox<TunnelSession>()
  const sockets: TLSSocket[] = []
  const open = new Set<Socket>()
  const http = createHttpServer((req, res) => service.onRequest(req, res))
  const server = createServer({
    key: leaf.keyPem,
    cert: leaf.certificatePem + issuer.pem,
    ca: ca.pem,
    requestCert: true,
    rejectUnauthorized: false,
    ALPNProtocols: [...(options.alpn ?? ['sallyport-tunnel/1', 'sallyport-enroll/1'])],
    ...(options.maxVersion ? { maxVersion: options.maxVersion } : {}),
  })
  server.on('connection', (socket: Socket) => {
    open.add(socket)
    socket.on('close', () => open.delete(socket))
    socket.on('error', () => {})
  })
  server.on('secureConnection', (socket) => {
    socket.on('error', () => {})
    if (socket.alpnProtocol === 'sallyport-enroll/1') return void http.emit('connection', socket)
    if (!socket.authorized) return void socket.destroy()
    sockets.push(socket)
    const session: TunnelSession = new TunnelSession(socket, {
      side: 'gateway',
      onReady: () => sessions.put(session),
      onClose: () => {},
    })
    return undefined
  })
  server.on('tlsClientError', () => {})
  let port = 0
  const listen = async () => {
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    port = (server.address() as AddressInfo).port
  }
  const stopListening = async () => {
    const closed = once(server, 'close')
    server.close()
    for (const socket of open) socket.destroy()
    await closed
  }
  await listen()
  const service: TestService = {
    url: new URL(`https://${serviceHost}:${port}`),
    ca,
    sessions,
    sockets,
    onRequest: (_req, res) => void res.writeHead(404).end('{}'),
    listen,
    stopListening,
    close: async () => {
      if (server.listening) await stopListening()
      http.close()
    },
  }
  t.after(() => service.close())
  return service
}

export function makeStateDir(t: TestContext): string {
  const stateDir = mkdtempSync(join(tmpdir(), 'sallyport-'))
  t.after(() => rmSync(stateDir, { recursive: true, force: true }))
  return stateDir
}

/** A state directory as enrolment would leave it. */
export async function enrolled(
  t: TestContext,
  service: TestService,
  times: { notBeforeAt?: number; notAfterAt?: number } = {},
): Promise<{ stateDir: string; issued: Issued }> {
  const stateDir = makeStateDir(t)
  const issued = await service.ca.issue({ uri: connectorUri, ...times })
  writeState(stateDir, {
    keyPem: issued.keyPem,
    certificatePem: issued.certificatePem,
    caPem: service.ca.pem,
    settings: {
      service: service.url.origin,
      connectorId: 'c1',
      connectorGroup: 'default',
      name: 'test',
      allow: [],
    },
  })
  return { stateDir, issued }
}

export interface LogLine {
  level: string
  facts: Record<string, unknown>
  message: string
}

/** Keeps what was logged, to be waited for. */
export function recordLog(): Log & { lines: Inbox<LogLine> } {
  const lines = new Inbox<LogLine>()
  const at = (level: string) => (facts: object, message: string) =>
    lines.put({ level, facts: facts as Record<string, unknown>, message })
  return { lines, debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}

export interface Running {
  service: TestService
  connector: Connector
  stateDir: string
  issued: Issued
  log: ReturnType<typeof recordLog>
  states: Inbox<ConnectorStatus>
}

export interface RunOptions extends Omit<Partial<ConnectorOptions>, 'allow' | 'stateDir' | 'log'> {
  allow?: readonly string[]
  state?: { stateDir: string; issued: Issued }
}

/** A connector of this process, with its state directory. */
export async function run(
  t: TestContext,
  service: TestService,
  { allow = [], state, ...options }: RunOptions = {},
): Promise<Running> {
  const { stateDir, issued } = state ?? (await enrolled(t, service))
  const log = recordLog()
  const states = new Inbox<ConnectorStatus>()
  const connector = await startConnector({
    stateDir,
    log,
    tunnels: 1,
    drainMs: 0,
    ownAddresses: () => [],
    onStateChange: (status) => states.put(status),
    allow: parseAllowRules(allow),
    ...options,
  })
  t.after(() => connector.close())
  return { service, connector, stateDir, issued, log, states }
}

/** Service, connector and one tunnel. */
export async function connected(
  t: TestContext,
  options: RunOptions = {},
): Promise<Running & { session: TunnelSession }> {
  const service = await startService(t)
  const running = await run(t, service, options)
  return { ...running, session: await service.sessions.take() }
}

export interface Opening {
  url: string
  app?: string
  validate?: boolean
  timeoutMs?: number
  upgrade?: boolean
  connection?: string
  correlationId?: string
}

/** The payload of OPEN as the gateway makes it: each byte one latin1 character. */
export function openText(opening: Opening): string {
  const { correlationId = 'x-1', ...rest } = opening
  const json = { v: 1, app: 'app-1', validate: true, timeoutMs: 10_000, ...rest }
  const instruction = Buffer.from(JSON.stringify(json), 'utf8').toString('latin1')
  return String.fromCharCode(correlationId.length) + correlationId + instruction
}

/** What the gateway hears of one stream. */
export class GatewayStream {
  readonly stream: TunnelStream
  readonly heads = new Inbox<string>()
  readonly chunks = new Inbox<Buffer>()
  readonly accepted = new Inbox<true>()
  /** `end`, or the reset. */
  readonly outcomes = new Inbox<{ trailers: string | undefined } | TunnelError>()
  #received: Buffer[] = []

  constructor(session: TunnelSession, openText: string) {
    this.stream = session.openStream(openText, {
      onHead: (head, end) => {
        this.heads.put(head)
        if (end) this.outcomes.put({ trailers: undefined })
      },
      onData: (chunk) => {
        this.#received.push(chunk)
        this.chunks.put(chunk)
      },
      onEnd: (trailers) => this.outcomes.put({ trailers }),
      onWritable: () => {},
      onAccepted: () => this.accepted.put(true),
      onReset: (error) => this.outcomes.put(error),
    })
  }

  get body(): string {
    return Buffer.concat(this.#received).toString('latin1')
  }

  async ended(): Promise<string | undefined> {
    const outcome = await this.outcomes.take()
    if (outcome instanceof Error) throw outcome
    return outcome.trailers
  }

  async failed(): Promise<TunnelError> {
    const outcome = await this.outcomes.take()
    if (outcome instanceof Error) return outcome
    throw new Error(`ended although it should have failed: ${this.heads.last}`)
  }
}

export interface Exchanged {
  /** Status line. */
  start: string
  statusCode: number
  head: string
  body: string
  trailers: string | undefined
  fields: Record<string, string>
}

/** One whole request. */
export async function exchange(
  session: TunnelSession,
  opening: Opening,
  head: string,
  body?: string,
): Promise<Exchanged> {
  const gateway = new GatewayStream(session, openText(opening))
  gateway.stream.sendHead(head, body === undefined)
  if (body !== undefined) {
    gateway.stream.write(Buffer.from(body, 'latin1'))
    gateway.stream.end()
  }
  const trailers = await gateway.ended()
  const final = gateway.heads.last!
  const [start = '', ...lines] = final.split('\r\n')
  const fields: Record<string, string> = {}
  for (const line of lines) {
    const colon = line.indexOf(':')
    fields[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim()
  }
  return {
    start,
    statusCode: Number(start.slice(9, 12)),
    head: final,
    body: gateway.body,
    trailers,
    fields,
  }
}

/** A request that must fail. */
export function failure(
  session: TunnelSession,
  opening: Opening,
  head = 'GET / HTTP/1.1\r\nHost: x',
): Promise<TunnelError> {
  const gateway = new GatewayStream(session, openText(opening))
  gateway.stream.sendHead(head, true)
  return gateway.failed()
}
