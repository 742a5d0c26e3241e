import { request } from 'node:http'
import type { TLSSocket } from 'node:tls'
import { ConnectorError, toError } from './errors.ts'

const maxAnswerBytes = 256 * 1024
const answerTimeoutMs = 30_000

/**
 * Sends one JSON request over a connection that was authenticated before.
 *
 * @param socket is closed afterwards
 * @returns the body of a 2xx answer: an object
 * @throws ConnectorError `SERVICE_REFUSED` with `serviceCode`, `SERVICE_RESPONSE_INVALID`,
 *   `SERVICE_TIMEOUT`
 */
export function postJson(
  socket: TLSSocket,
  host: string,
  path: string,
  body: object,
): Promise<Record<string, unknown>> {
  return new Promise((resolve, reject) => {
    const invalid = (message: string, cause?: unknown) =>
      new ConnectorError(
        'SERVICE_RESPONSE_INVALID',
        `${path}: ${message}`,
        cause === undefined ? {} : { cause },
      )
    const text = JSON.stringify(body)
    const timer = setTimeout(
      () => finish(new ConnectorError('SERVICE_TIMEOUT', `${path} was not answered in time`)),
      answerTimeoutMs,
    )
    const finish = (outcome: Record<string, unknown> | Error) => {
      clearTimeout(timer)
      outgoing.destroy()
      socket.destroy()
      if (outcome instanceof Error) reject(outcome)
      else resolve(outcome)
    }
    const outgoing = request(
      {
        method: 'POST',
        path,
        createConnection: () => socket,
        headers: {
          host,
          connection: 'close',
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(text),
        },
      },
      (response) => {
        const chunks: Buffer[] = []
        let length = 0
        response.on('error', (cause) => finish(invalid(cause.message, cause)))
        response.on('data', (chunk: Buffer) => {
          chunks.push(chunk)
          length += chunk.length
          if (length > maxAnswerBytes) finish(invalid('the answer is too long'))
        })
        response.on('end', () => {
          try {
            const value: unknown = JSON.parse(Buffer.concat(chunks).toString('utf8'))
            finish(readAnswer(path, response.statusCode ?? 0, value))
          } catch (cause) {
            finish(
              invalid(`status ${response.statusCode}, and the body is no JSON`, toError(cause)),
            )
          }
        })
      },
    )
    outgoing.on('error', (cause) => finish(invalid(cause.message, cause)))
    outgoing.end(text)
  })
}

function readAnswer(
  path: string,
  statusCode: number,
  value: unknown,
): Record<string, unknown> | ConnectorError {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return new ConnectorError('SERVICE_RESPONSE_INVALID', `${path}: the answer is no object`)
  if (statusCode >= 200 && statusCode < 300) return value as Record<string, unknown>
  const { code, message } = ((value as { error?: unknown }).error ?? {}) as Record<string, unknown>
  return new ConnectorError(
    'SERVICE_REFUSED',
    `the service refused ${path} (${statusCode}): ${typeof message === 'string' ? message : 'no reason given'}`,
    { statusCode, ...(typeof code === 'string' ? { serviceCode: code } : {}) },
  )
}

/** @throws ConnectorError `SERVICE_RESPONSE_INVALID` when the answer has no such text */
export function readText(answer: Record<string, unknown>, key: string): string {
  const value = answer[key]
  if (typeof value !== 'string' || value === '')
    throw new ConnectorError('SERVICE_RESPONSE_INVALID', `the answer has no ${key}`)
  return value
}
