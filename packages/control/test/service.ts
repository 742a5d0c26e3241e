import { mkdtemp, rm } from 'node:fs/promises'
import { createServer as createHttpServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { connect, createServer, type TLSSocket } from 'node:tls'
import { type Control, type ControlOptions, openKeyFile, startControl } from '@sallyport/control'
import type { AccessEvent } from '@sallyport/domain'
import { audit, openStore, type Store } from '@sallyport/store'

export const baseDomain = 'sallyport.localhost'

export interface LogLine {
  level: string
  facts: Record<string, unknown>
  message: string
}

/** Control on a real database, with a clock that tests can put forward. */
export interface TestControl {
  control: Control
  store: Store
  dataDir: string
  lines: LogLine[]
  /** What was published, in order. */
  events: AccessEvent[]
  now(): number
  advance(ms: number): void
  execute<T = unknown>(name: string, input?: unknown): Promise<T>
  auditKinds(): Promise<string[]>
  /** Closes it, and starts it again on the same files. */
  restart(options?: Partial<ControlOptions>): Promise<TestControl>
  close(): Promise<void>
}

export async function makeDirectory(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'sallyport-'))
  t.after(() => rm(directory, { recursive: true, force: true }))
  return directory
}

export async function startTestControl(
  t: TestContext,
  options: Partial<ControlOptions> & { offsetMs?: number } = {},
): Promise<TestControl> {
  const dataDir = options.dataDir ?? (await makeDirectory(t))
  const store = await openStore({ kind: 'sqlite', file: join(dataDir, 'sallyport.db') })
  // Closing twice does nothing.
  t.after(() => store.close())
  let { offsetMs = 0, ...rest } = options
  const lines: LogLine[] = []
  const at = (level: string) => (facts: object, message: string) =>
    void lines.push({ level, facts: facts as Record<string, unknown>, message })
  const now = () => Date.now() + offsetMs
  const events: AccessEvent[] = []
  store.feed.subscribe((event) => events.push(event))
  const control = await startControl({
    store,
    keyFile: openKeyFile(join(dataDir, 'key')),
    baseDomain,
    port: 8443,
    hashPassword: async (password) => `hash of ${password.length}`,
    clock: now,
    log: { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') },
    ...rest,
    dataDir,
  }).catch(async (error: unknown) => {
    await store.close()
    throw error
  })
  t.after(() => control.close())
  const close = async () => {
    await control.close()
    await store.close()
  }
  return {
    control,
    store,
    dataDir,
    lines,
    events,
    now,
    advance: (ms) => {
      offsetMs += ms
    },
    execute: async <T>(name: string, input: unknown = {}) =>
      (await control.execute(name, input, 'test')) as T,
    auditKinds: async () =>
      (await audit.listAudit(store.db, { limit: 1000 })).map(({ kind }) => kind).reverse(),
    restart: async (changed = {}) => {
      await close()
      return startTestControl(t, { ...rest, ...changed, dataDir, offsetMs })
    },
    close,
  }
}

/** The enrolment server, as the composition root builds it; returns its port. */
export async function serveEnrolment(t: TestContext, control: Control): Promise<number> {
  const http = createHttpServer((req, res) => control.handleEnrolment(req, res))
  const server = createServer(
    {
      ...control.connectServerContext(),
      minVersion: 'TLSv1.3',
      ALPNProtocols: ['sallyport-enroll/1'],
    },
    (socket) => http.emit('connection', socket),
  )
  server.on('tlsClientError', () => {})
  const sockets = new Set<TLSSocket>()
  server.on('secureConnection', (socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.close()
    http.close()
    for (const socket of sockets) socket.destroy()
  })
  return (server.address() as AddressInfo).port
}

export interface Answer {
  statusCode: number
  body: Record<string, unknown>
  errorCode: string | undefined
}

/** One request over a TLS connection of its own, trusting the connector CA alone. */
export async function post(
  control: Control,
  port: number,
  path: string,
  body: unknown,
  options: { method?: string; raw?: string; headers?: Record<string, string> } = {},
): Promise<Answer> {
  const socket = connect({
    port,
    host: '127.0.0.1',
    servername: `connect.${baseDomain}`,
    ca: control.connectorCa.certificatePem,
    minVersion: 'TLSv1.3',
    ALPNProtocols: ['sallyport-enroll/1'],
  })
  await new Promise<void>((resolve, reject) => {
    socket.once('secureConnect', resolve)
    socket.once('error', reject)
  })
  if (socket.alpnProtocol !== 'sallyport-enroll/1') throw new Error('no ALPN')
  const text = options.raw ?? JSON.stringify(body)
  return await new Promise((resolve, reject) => {
    const outgoing = request(
      {
        method: options.method ?? 'POST',
        path,
        createConnection: () => socket,
        headers: {
          host: `connect.${baseDomain}`,
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(text),
          ...options.headers,
        },
      },
      (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('end', () => {
          socket.destroy()
          const parsed = JSON.parse(Buffer.concat(chunks).toString('utf8')) as Record<
            string,
            unknown
          >
          resolve({
            statusCode: response.statusCode ?? 0,
            body: parsed,
            errorCode: (parsed.error as { code?: string } | undefined)?.code,
          })
        })
      },
    )
    outgoing.on('error', reject)
    outgoing.end(text)
  })
}
