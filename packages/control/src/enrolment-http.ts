import type { IncomingMessage, ServerResponse } from 'node:http'
import { toPeerAddress, toProblems } from '@sallyport/domain'
import type { z } from 'zod'
import { type Challenges, challengeInput } from './challenges.ts'
import { type Enrolment, enrolInput, renewInput } from './enrolment.ts'
import { ControlError, type ControlErrorCode } from './errors.ts'
import { readJson, sendJson } from './json-http.ts'
import type { Log } from './log.ts'
import { clientOf, RateLimit } from './rate-limit.ts'
import type { Refusals } from './refusals.ts'
import { announceInput, resealInput, type SealingRequests, sealedInput } from './sealing-keys.ts'
import { type SignOnCheckRequests, signOnCheckInput } from './sign-on-check.ts'

const limitBytes = 65_536
/** Certificates cost milliseconds each; more than this at once would starve everything else. */
const limitParallel = 32

interface Endpoint {
  input: z.ZodType
  run(input: never, clientAddress: string): Promise<unknown>
}

const statusCodes: Partial<Record<ControlErrorCode, number>> = {
  REQUEST_INVALID: 400,
  CSR_INVALID: 400,
  CERTIFICATE_INVALID: 400,
  TOKEN_INVALID: 401,
  TOKEN_USED: 401,
  TOKEN_EXPIRED: 401,
  CHALLENGE_INVALID: 401,
  CERTIFICATE_EXPIRED: 403,
  CERTIFICATE_SUPERSEDED: 403,
  CONNECTOR_UNKNOWN: 403,
  CONNECTOR_REVOKED: 403,
  SEALING_KEY_UNKNOWN: 409,
  SEALING_KEY_NOT_APPROVED: 409,
  APPLICATION_UNKNOWN: 404,
  APPLICATION_OF_ANOTHER_GROUP: 403,
  APPLICATION_NOT_KERBEROS: 409,
  HOST_LABEL_INVALID: 409,
  USER_NOT_ASSIGNED: 403,
  USER_NAME_MISSING: 409,
  RATE_LIMITED: 429,
  OVERLOADED: 503,
}

/** Answers the enrolment protocol: JSON over HTTP on a TLS connection with ALPN `sallyport-enroll/1`. */
export class EnrolmentHttp {
  readonly #endpoints: Map<string, Endpoint>
  readonly #limit = new RateLimit({ burst: 60, intervalMs: 1_000 })
  readonly #clock: () => number
  readonly #log: Log
  readonly #refusals: Refusals
  #running = 0

  constructor(parts: {
    enrolment: Enrolment
    challenges: Challenges
    sealing: SealingRequests
    signOnChecks: SignOnCheckRequests | undefined
    refusals: Refusals
    clock: () => number
    log: Log
  }) {
    const { enrolment, challenges, sealing, signOnChecks } = parts
    this.#refusals = parts.refusals
    this.#clock = parts.clock
    this.#log = parts.log
    this.#endpoints = new Map<string, Endpoint>([
      ['/v1/enroll', { input: enrolInput, run: (input, from) => enrolment.enrol(input, from) }],
      ['/v1/challenge', { input: challengeInput, run: (input) => challenges.make(input) }],
      ['/v1/renew', { input: renewInput, run: (input, from) => enrolment.renew(input, from) }],
      [
        '/v1/sealing-key',
        { input: announceInput, run: (input, from) => sealing.announce(input, from) },
      ],
      ['/v1/sealed', { input: sealedInput, run: (input) => sealing.list(input) }],
      ['/v1/reseal', { input: resealInput, run: (input) => sealing.add(input) }],
    ])
    if (signOnChecks)
      this.#endpoints.set('/v1/sign-on-check', {
        input: signOnCheckInput,
        run: (input, from) => signOnChecks.make(input, from),
      })
  }

  handle(request: IncomingMessage, response: ServerResponse): void {
    this.#answer(request, response).catch((error: unknown) => {
      this.#log.error({ err: error }, 'enrolment request failed')
      response.destroy()
    })
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const endpoint = this.#endpoints.get(request.url ?? '')
    if (!endpoint) return sendError(response, 404, 'NOT_FOUND', 'there is no such resource')
    if (request.method !== 'POST') {
      response.setHeader('allow', 'POST')
      return sendError(response, 405, 'METHOD_NOT_ALLOWED', 'use POST')
    }
    const clientAddress = toPeerAddress(request.socket.remoteAddress ?? 'unknown')
    try {
      const waitMs = this.#limit.take(clientOf(request.socket.remoteAddress), this.#clock())
      if (waitMs > 0) {
        response.setHeader('retry-after', Math.ceil(waitMs / 1000))
        throw new ControlError('RATE_LIMITED', 'too many requests from this address; wait')
      }
      const input = parse(endpoint.input, await readJson(request, limitBytes))
      sendJson(response, 200, await this.#oneOfFew(() => endpoint.run(input, clientAddress)))
    } catch (error) {
      await this.#refusals.record(error, { clientAddress, subject: 'enrolment' })
      // The client left: there is nobody to answer.
      if (response.destroyed) return
      const statusCode = error instanceof ControlError ? statusCodes[error.code] : undefined
      if (!(error instanceof ControlError) || statusCode === undefined) {
        this.#log.error({ err: error }, 'enrolment request failed')
        return sendError(response, 500, 'INTERNAL', 'the service failed; its log says why')
      }
      this.#log.info(
        { code: error.code, path: request.url, clientAddress, detail: error.message },
        'enrolment refused',
      )
      sendError(response, statusCode, error.code, error.message)
    }
  }

  async #oneOfFew(work: () => Promise<unknown>): Promise<unknown> {
    if (this.#running >= limitParallel)
      throw new ControlError('OVERLOADED', 'too many connectors enrol at once; try again')
    this.#running += 1
    try {
      return await work()
    } finally {
      this.#running -= 1
    }
  }
}

function parse(schema: z.ZodType, value: unknown): never {
  const result = schema.safeParse(value)
  if (result.success) return result.data as never
  const problems = toProblems(result.error, schema)
  throw new ControlError(
    'REQUEST_INVALID',
    problems.map(({ path, message }) => `${path}: ${message}`).join('; '),
    { problems },
  )
}

function sendError(
  response: ServerResponse,
  statusCode: number,
  code: string,
  message: string,
): void {
  // What is left of the request would be read as the next one.
  response.setHeader('connection', 'close')
  sendJson(response, statusCode, { error: { code, message } })
}
