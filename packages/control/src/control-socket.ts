import { chmod, lstat, unlink } from 'node:fs/promises'
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import { connect } from 'node:net'
import type { Problem } from '@sallyport/domain'
import type { Control } from './control.ts'
import { ControlError, type ControlErrorCode } from './errors.ts'
import { readJson, sendJson } from './json-http.ts'

/** A whole directory of objects fits in. */
const limitBytes = 32 * 1_048_576
const limitAnswerBytes = 64 * 1_048_576
const answerTimeoutMs = 60_000
const graceMs = 2_000
/** `sun_path` of unix(7), less its final zero. */
const limitPathBytes = 107
const prefix = '/v1/commands/'

/**
 * Lets programs of this machine's same user carry out commands: HTTP on a Unix socket with mode 0600.
 *
 * @throws ControlError `SOCKET_UNUSABLE`
 */
export async function serveControlSocket(
  control: Pick<Control, 'execute'>,
  path: string,
): Promise<{ close(): Promise<void> }> {
  if (Buffer.byteLength(path) > limitPathBytes)
    throw new ControlError(
      'SOCKET_UNUSABLE',
      `control socket ${path}: a path of a socket has at most ${limitPathBytes} bytes; use a shorter dataDir`,
    )
  await removeStale(path)
  const server = createServer((request, response) => {
    answer(control, request, response).catch((error: unknown) => response.destroy(error as Error))
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) =>
      reject(new ControlError('SOCKET_UNUSABLE', `control socket: ${cause.message}`, { cause })),
    )
    // Nobody else may connect, not even between its creation and a chmod: it is bound in this call.
    const mask = process.umask(0o177)
    try {
      server.listen(path, resolve)
    } finally {
      process.umask(mask)
    }
  })
  await chmod(path, 0o600)
  return {
    async close() {
      const closed = new Promise((resolve) => server.close(resolve))
      server.closeIdleConnections()
      // A command under way may finish; a connection that never sent one must not hold up the end.
      const timer = setTimeout(() => server.closeAllConnections(), graceMs)
      await closed
      clearTimeout(timer)
    },
  }
}

/** What a command answered; `running` is false when no service listens. */
export type ControlAnswer = { running: true; result: unknown } | { running: false }

/**
 * Asks the running service to carry out a command.
 *
 * @throws ControlError as `Control.execute`; `SOCKET_UNUSABLE`, `CONTROL_FAILED`
 */
export function callControlSocket(
  path: string,
  name: string,
  input: unknown,
  actor: string,
): Promise<ControlAnswer> {
  return new Promise((resolve, reject) => {
    const text = JSON.stringify({ input, actor })
    const outgoing = request(
      {
        socketPath: path,
        method: 'POST',
        // A name that needs encoding is none, and is refused as it stands.
        path: prefix + encodeURIComponent(name),
        headers: {
          host: 'control',
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(text),
          connection: 'close',
        },
        timeout: answerTimeoutMs,
      },
      (response) => {
        readAnswer(response).then((result) => resolve({ running: true, result }), reject)
      },
    )
    outgoing.on('timeout', () =>
      outgoing.destroy(
        new ControlError(
          'CONTROL_FAILED',
          `${name}: the service did not answer in ${answerTimeoutMs / 1000} s, and may still carry it out; look before you ask again`,
        ),
      ),
    )
    outgoing.on('error', (cause: NodeJS.ErrnoException) => {
      if (cause.code === 'ENOENT' || cause.code === 'ECONNREFUSED') resolve({ running: false })
      else if (cause instanceof ControlError) reject(cause)
      else
        reject(
          new ControlError(
            'SOCKET_UNUSABLE',
            cause.code === 'EACCES'
              ? `control socket ${path}: belongs to another user; run this as the user of the service`
              : `control socket ${path}: ${cause.message}`,
            { cause },
          ),
        )
    })
    outgoing.end(text)
  })
}

async function answer(
  control: Pick<Control, 'execute'>,
  incoming: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const path = incoming.url ?? ''
  try {
    if (incoming.method !== 'POST' || !path.startsWith(prefix))
      throw new ControlError('REQUEST_INVALID', `use POST ${prefix}<name>`)
    const { input, actor } = await readJson(incoming, limitBytes)
    const result = await control.execute(path.slice(prefix.length), input, toActor(actor))
    sendJson(response, 200, { result: result ?? null })
  } catch (error) {
    if (response.destroyed) return
    response.setHeader('connection', 'close')
    const { code, message, problems } = error as Partial<ControlError>
    if (error instanceof Error && typeof code === 'string')
      sendJson(response, error instanceof ControlError ? 400 : 500, {
        error: { code, message, problems: problems ?? [] },
      })
    else
      sendJson(response, 500, {
        error: { code: 'CONTROL_FAILED', message: `the service failed: ${String(error)}` },
      })
  }
}

/** Whoever can connect is this user or root; the name only says which program and person. */
function toActor(value: unknown): string {
  if (typeof value !== 'string' || !/^[\x21-\x7e]{1,128}$/.test(value))
    throw new ControlError('REQUEST_INVALID', 'actor must be 1-128 printable characters')
  return value
}

async function readAnswer(response: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    chunks.push(chunk)
    length += chunk.length
    if (length > limitAnswerBytes)
      throw new ControlError('CONTROL_FAILED', 'the answer of the service is too long')
  }
  let body: { result?: unknown; error?: ErrorBody }
  try {
    body = JSON.parse(Buffer.concat(chunks).toString('utf8'))
  } catch (cause) {
    throw new ControlError('CONTROL_FAILED', 'the answer of the service is no JSON', { cause })
  }
  if (!body.error) return body.result
  const { code, message, problems } = body.error
  throw new ControlError(code, message, { problems: problems ?? [] })
}

interface ErrorBody {
  code: ControlErrorCode
  message: string
  problems?: Problem[]
}

/** A service that was killed leaves its socket behind; one that runs answers on it. */
async function removeStale(path: string): Promise<void> {
  const facts = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  if (!facts) return
  if (!facts.isSocket())
    throw new ControlError('SOCKET_UNUSABLE', `control socket ${path}: there is something else`)
  if (await isAnswering(path))
    throw new ControlError(
      'SOCKET_UNUSABLE',
      `control socket ${path}: another service uses it; stop that one first`,
    )
  await unlink(path)
}

function isAnswering(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path)
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}
