import {
  type BodyFraming,
  type ClientExchange,
  type FieldList,
  formatFields,
  parseFields,
  type ResponseHead,
} from '@sallyport/http1'
import {
  findResetName,
  ResetCode,
  type StreamHandler,
  type TunnelError,
  type TunnelStream,
} from '@sallyport/protocol'
import {
  checkUpgrade,
  formatHead,
  formatTiming,
  formatTrailers,
  type HeldAnswer,
  holdAnswer,
  holdChunk,
  noBody,
} from './answer.ts'
import type { Timed, WaitingList } from './deadlines.ts'
import { findErrorCode } from './errors.ts'
import type { ExchangeHost, Pipe } from './exchange-host.ts'
import { OriginFailure, protocolError, toOriginFailure } from './failure.ts'
import { filterTrailers, toResponseFacts } from './fields.ts'
import { type Instruction, readAssertionText, readCorrelationId } from './instruction.ts'
import { type ConnectionOwner, nobody, type OriginConnection, toClientOwner } from './origin.ts'
import type { OriginRequest } from './origin-request.ts'
import { readAssertion, readRequest } from './request-checks.ts'
import { type ResponseReceiver, ResponseRelay } from './response-relay.ts'
import { isClosedConnection, isIdempotent } from './retry.ts'
import type { Assertion } from './sign-on/assertion.ts'
import type { AnswerOutcome, Authorization } from './sign-on/sign-on.ts'

/** What came while it was found out whether the answer is to be believed. */
type Later = (exchange: Exchange) => void

/** Pages with a form to sign in come at once: what takes longer is perhaps a report that is shown as it grows. */
const maxHeldMs = 5_000
/** Of what failed, in the log; the tunnel takes no more either. */
const maxDetail = 1_024
const maxRebound = 3

/**
 * One stream of the tunnel, served by one request to an origin: parse, find a connection, send,
 * relay the answer. Bodies flow through without being held; each side's pause is the other's.
 */
export class Exchange implements StreamHandler, Timed, ResponseReceiver, Pipe {
  // Kept by Deadlines.
  expiresAt = 0
  waitingIn: WaitingList | undefined = undefined
  waitingBefore: Timed | undefined = undefined
  waitingAfter: Timed | undefined = undefined

  readonly #host: ExchangeHost
  readonly #stream: TunnelStream
  #instruction: Instruction | undefined
  /** Until the response head: a retry needs it. */
  #request: OriginRequest | undefined
  #framing: BodyFraming = noBody
  #upgrade: string | undefined
  #connection: OriginConnection | undefined
  /** Taken, while it is signed on to for it. */
  #reserved: OriginConnection | undefined
  #rebound = 0
  #client: ClientExchange | undefined
  #relay: ResponseRelay | undefined
  #dialling: AbortController | undefined
  /** Whom the request is signed on as; undefined: nobody. */
  #assertion: Assertion | undefined
  #authorization: Authorization | undefined
  #challenges = 0
  #held: HeldAnswer | undefined
  /** Defined while the head of the answer is being judged. */
  #later: Later[] | undefined
  #retried = false
  #isPipe = false
  #requestEnded = false
  #requestTrailers: FieldList | undefined
  #responsePaused = false
  /** Of a raw pipe: the origin has ended its half. */
  #responseEnded = false
  /** The response is complete, or the exchange was given up: later events mean nothing. */
  #over = false
  #startedAt = 0
  #sentAt = 0
  #connectMs = 0

  constructor(host: ExchangeHost, stream: TunnelStream) {
    this.#host = host
    this.#stream = stream
    host.counters.started += 1
    host.counters.active += 1
  }

  // ---- the gateway's side

  onHead(text: string, end: boolean): void {
    const nowAt = performance.now()
    this.#startedAt = nowAt
    try {
      const { openText } = this.#stream
      const instruction = this.#host.instructions.read(openText)
      if ('forget' in instruction) {
        this.#host.signOn.forget(instruction.forget)
        this.#host.origins.closePinned(instruction.forget.connections ?? [])
        this.#release()
        this.#stream.reset(ResetCode.NO_ERROR)
        return
      }
      this.#instruction = instruction
      this.#requestEnded = end
      const request = readRequest(this.#host.requests, text, instruction.upgrade, end)
      this.#request = request
      this.#framing = request.framing
      this.#upgrade = request.upgrade
      this.#host.deadlines.start(this, instruction.timeoutMs, nowAt)
      const assertionText = readAssertionText(openText)
      if (assertionText === undefined) {
        this.#begin(nowAt)
        return
      }
      this.#assertion = readAssertion(this.#host.assertions, assertionText, instruction)
      this.#signOn()
    } catch (error) {
      this.fail(error)
    }
  }

  onData(chunk: Buffer): void {
    if (this.#over) return
    if (!this.#client || (this.#framing.kind === 'none' && !this.#isPipe)) {
      this.fail(protocolError('data came where the request has no body'))
      return
    }
    if (this.waitingIn)
      this.#host.deadlines.start(this, this.waitingIn.durationMs, performance.now())
    if (!this.#client.write(chunk)) {
      this.#stream.pause()
      this.#client.onDrain ??= () => this.#stream.resume()
    }
  }

  onEnd(trailers: string | undefined): void {
    if (this.#over) return
    this.#requestEnded = true
    if (!this.#instruction) {
      this.fail(protocolError('the stream ended before its head'))
      return
    }
    try {
      if (trailers) this.#requestTrailers = filterTrailers(parseFields(trailers))
      if (this.#client && (this.#framing.kind !== 'none' || this.#isPipe)) this.#endRequest()
      if (this.#responseEnded) this.#release()
    } catch (error) {
      this.fail(protocolError('the trailers are invalid', error))
    }
  }

  onWritable(): void {
    if (!this.#responsePaused || this.#later) return
    this.#responsePaused = false
    this.#client?.resume()
  }

  onReset(error: TunnelError): void {
    if (this.#over) return
    this.#host.counters.cancelled += 1
    this.#host.log.debug(
      { ...this.#facts(), code: error.code, detail: error.detail },
      'request cancelled by the gateway',
    )
    this.#release()
    this.#client?.abort()
  }

  onDeadline(): void {
    if (this.#held) {
      try {
        this.#letGo(this.#held)
      } catch (error) {
        this.fail(error)
      }
      return
    }
    const ms = this.#instruction!.timeoutMs
    this.fail(new OriginFailure(ResetCode.ORIGIN_TIMEOUT, `no response head within ${ms} ms`))
  }

  /** Ends a raw pipe in both directions. */
  endPipe(): void {
    if (this.#over) return
    this.#release()
    if (!this.#responseEnded) this.#stream.end()
    this.#stream.reset(ResetCode.NO_ERROR, 'the connector is stopping')
    this.#client?.abort()
  }

  // ---- the way to the origin

  #signOn(): void {
    const working = new AbortController()
    const authorization = this.#host.signOn.authorize(this.#assertion!, {
      origin: this.#instruction!.origin,
      method: this.#request!.method,
      target: this.#request!.target,
      fields: this.#request!.list,
      startedMs: this.#startedAt,
      isRepeatable: this.#isRepeatable(),
      challenges: this.#challenges,
      signal: working.signal,
      channelBinding: (this.#reserved ?? this.#instruction!.origin).channelBinding,
    })
    if (!(authorization instanceof Promise)) {
      this.#authorization = authorization
      this.#begin(performance.now())
      return
    }
    this.#dialling = working
    authorization.then(
      (made) => {
        if (this.#over) {
          made.end?.()
          return
        }
        this.#dialling = undefined
        this.#authorization = made
        try {
          this.#begin(performance.now())
        } catch (error) {
          this.fail(error)
        }
      },
      (error) => this.fail(error),
    )
  }

  #begin(nowAt: number): void {
    const redirect = this.#authorization?.redirect
    if (redirect !== undefined) {
      this.#sentAt = nowAt
      const fields = ['Location', redirect, 'Cache-Control', 'no-store', 'Content-Length', '0']
      this.#answer(302, 'Found', `\r\n${formatFields(fields)}`, noBody, nowAt)
      return
    }
    const { origin } = this.#instruction!
    const reserved = this.#reserved
    this.#reserved = undefined
    if (reserved?.http.reusable) {
      this.#send(reserved, nowAt)
      return
    }
    reserved?.http.destroy()
    const pooled = this.#retried
      ? undefined
      : origin.take(this.#owner(), nowAt, this.#isRepeatable())
    if (pooled) this.#send(pooled, nowAt)
    else this.#dial()
  }

  /** To whom a connection for the request must belong. */
  #owner(): ConnectionOwner {
    if (this.#assertion) return { key: this.#assertion.person }
    const { connection, applicationId } = this.#instruction!
    return connection === '' ? nobody : toClientOwner(applicationId, connection)
  }

  #isRepeatable(): boolean {
    return this.#framing.kind === 'none' && isIdempotent(this.#request!.method)
  }

  #dial(): void {
    const dialling = new AbortController()
    this.#dialling = dialling
    const fromAt = performance.now()
    this.#instruction!.origin.open(this.#owner(), dialling.signal).then(
      (connection) => {
        if (this.#over) return connection.http.destroy()
        this.#dialling = undefined
        const nowAt = performance.now()
        this.#connectMs = nowAt - fromAt
        try {
          this.#send(connection, nowAt)
        } catch (error) {
          this.fail(error)
        }
        return undefined
      },
      (error) => this.fail(error),
    )
  }

  #send(connection: OriginConnection, nowAt: number): void {
    const only = this.#authorization?.only
    if (only && !isSameBinding(only.channelBinding, connection.channelBinding)) {
      this.#signOnFor(connection)
      return
    }
    this.#connection = connection
    this.#sentAt = nowAt
    const request = this.#authorization
      ? this.#host.requests.withFields(this.#request!, this.#authorization.fields)
      : this.#request!
    connection.exclusive = request.authenticatesConnection || request.upgrade !== undefined
    this.#relay = new ResponseRelay(this)
    const client = connection.http.request(request, request.framing, this.#relay)
    if (this.#over) return
    this.#client = client
    if (this.#framing.kind === 'none') return
    if (this.#requestEnded) this.#endRequest()
    // Body credit: from here on the request cannot be taken to another connector.
    else this.#stream.accept()
  }

  /**
   * Whom it is bound to was not known, or has another certificate than the last time: once more, for this connection. It may be
   * closed meanwhile, and the next one have yet another certificate.
   */
  #signOnFor(connection: OriginConnection): void {
    this.#rebound += 1
    if (this.#rebound > maxRebound) {
      connection.http.destroy()
      throw new OriginFailure(
        ResetCode.ORIGIN_TLS_INVALID,
        'the origin shows another certificate on each connection, and closes them',
      )
    }
    this.#reserved = connection
    this.#dropAuthorization()
    this.#signOn()
  }

  #dropAuthorization(): void {
    this.#authorization?.end?.()
    this.#authorization = undefined
  }

  #endRequest(): void {
    this.#client!.end(undefined, this.#requestTrailers)
  }

  // ---- the origin's side

  onInformational(head: ResponseHead): void {
    if (this.#over) return
    const { statusCode, reason, fields } = head
    // Whoever answers a sign-on proves itself with the final head: hints are of no use that could be somebody else's.
    if (this.#authorization) {
      if (statusCode === 100) this.#stream.sendHead(`HTTP/1.1 100 ${reason}`)
      return
    }
    const lines = this.#connection!.responseLines(fields, false)
    this.#stream.sendHead(`HTTP/1.1 ${statusCode} ${reason}${lines}`)
  }

  onResponseHead(head: ResponseHead, framing: BodyFraming): void {
    if (this.#over) return
    const { statusCode, fields } = head
    if (statusCode === 101) checkUpgrade(fields, this.#upgrade)
    const authorization = this.#authorization
    if (authorization) {
      const outcome = authorization.readAnswer(statusCode, fields)
      if (outcome instanceof Promise) {
        this.#awaitOutcome(outcome, head, framing)
        return
      }
      this.#follow(outcome, head, framing)
      return
    }
    this.#passOn(head, framing)
  }

  /** No data comes meanwhile: the connection is paused. The end of an answer without a body may, or an error. */
  #awaitOutcome(outcome: Promise<AnswerOutcome>, head: ResponseHead, framing: BodyFraming): void {
    const client = this.#client!
    const connection = this.#connection!
    const { exclusive } = connection
    // Over before it is known who answered: nobody takes it then.
    connection.exclusive = true
    this.#later = []
    client.pause()
    outcome.then(
      (known) => {
        if (this.#over) return
        const later = this.#later ?? []
        this.#later = undefined
        // An answer that is over is not aborted any more: what was not taken would be kept for others.
        if (known === 'taken' || known === 'inspect') connection.exclusive = exclusive
        try {
          this.#follow(known, head, framing)
          if (known === 'again') return
          for (const event of later) event(this)
          if (!this.#responsePaused && this.#client === client) client.resume()
        } catch (error) {
          this.fail(error)
        }
      },
      (error) => this.fail(error),
    )
  }

  #follow(outcome: AnswerOutcome, head: ResponseHead, framing: BodyFraming): void {
    if (outcome === 'again') {
      this.#signOnAgain()
      return
    }
    if (outcome === 'inspect' && framing.kind !== 'none') {
      this.#held = holdAnswer(head, framing)
      const heldMs = Math.min(maxHeldMs, this.#instruction!.timeoutMs)
      this.#host.deadlines.start(this, heldMs, performance.now())
      return
    }
    if (outcome === 'refused')
      throw new OriginFailure(
        ResetCode.SIGN_ON_FAILED,
        `SIGN_ON_REFUSED_BY_ORIGIN: the application answered ${head.statusCode} to the sign-on by ${this.#assertion!.method}`,
      )
    this.#passOn(head, framing)
  }

  #passOn({ statusCode, reason, fields }: ResponseHead, framing: BodyFraming): void {
    const authorization = this.#authorization
    const upgraded = statusCode === 101
    const lines = authorization
      ? toResponseFacts(fields, upgraded, (name, value) => authorization.isOwnField(name, value))
          .lines
      : this.#connection!.responseLines(fields, upgraded)
    this.#answer(statusCode, reason, lines, framing, performance.now())
  }

  /** @param lines each with its CRLF in front */
  #answer(
    statusCode: number,
    reason: string,
    lines: string,
    framing: BodyFraming,
    nowAt: number,
  ): void {
    this.#host.deadlines.stop(this)
    const timing = formatTiming(this.#connectMs, nowAt - this.#sentAt, nowAt - this.#startedAt)
    const text = formatHead(statusCode, reason, timing, this.#authorization?.answerFields, lines)
    this.#request = undefined
    if (statusCode === 101) this.#becomePipe(text)
    else if (framing.kind === 'none' || (framing.kind === 'length' && framing.length === 0))
      this.#finish(text)
    else this.#stream.sendHead(text)
  }

  /** The origin asked who it is, or takes what it was given no more. What it says beside that is for nobody. */
  #signOnAgain(): void {
    this.#challenges += 1
    const client = this.#client!
    this.#relay!.detach()
    this.#client = undefined
    this.#connection = undefined
    this.#dropAuthorization()
    client.abort()
    this.#host.deadlines.start(this, this.#instruction!.timeoutMs, performance.now())
    try {
      this.#signOn()
    } catch (error) {
      // The relay that would have told of it is detached.
      this.fail(error)
    }
  }

  onResponseData(chunk: Buffer): void {
    if (this.#over) return
    // Too much to be looked at, or too slow, is passed on as it is.
    if (!this.#held) this.#write(chunk)
    else if (!holdChunk(this.#held, chunk)) this.#letGo(this.#held)
  }

  #letGo({ head, framing, chunks }: HeldAnswer): void {
    this.#held = undefined
    this.#passOn(head, framing)
    for (const chunk of chunks) this.#write(chunk)
  }

  #write(chunk: Buffer): void {
    if (this.#stream.write(chunk)) return
    this.#responsePaused = true
    this.#client!.pause()
  }

  onResponseEnd(trailers: FieldList): void {
    if (this.#over) return
    if (this.#later) {
      this.#later.push((exchange) => exchange.onResponseEnd(trailers))
      return
    }
    if (this.#isPipe) {
      // A raw pipe may stay open in the other direction.
      this.#stream.end()
      this.#responseEnded = true
      if (this.#requestEnded) this.#release()
      return
    }
    if (this.#held) {
      const held = this.#held
      if (this.#authorization!.readBody!(Buffer.concat(held.chunks)) === 'again') {
        this.#held = undefined
        this.#signOnAgain()
        return
      }
      this.#letGo(held)
      // It had a length of 0: its head was all.
      if (this.#over) return
    }
    this.#stream.end(formatTrailers(trailers))
    this.#leave()
  }

  onOriginError(error: Error): void {
    if (this.#over) return
    if (this.#later) {
      this.#later.push((exchange) => exchange.onOriginError(error))
      return
    }
    if (this.#mayRetry(error)) {
      this.#retried = true
      this.#client = undefined
      this.#connection = undefined
      this.#host.counters.retried += 1
      if (this.#authorization?.only) {
        // It may have arrived.
        this.#dropAuthorization()
        try {
          this.#signOn()
        } catch (failure) {
          this.fail(failure)
        }
      } else this.#dial()
      return
    }
    this.fail(error)
  }

  #mayRetry(error: Error): boolean {
    return (
      !this.#retried &&
      this.#request !== undefined &&
      this.#connection?.reused === true &&
      this.#client?.responseBegun !== true &&
      isClosedConnection(error) &&
      this.#isRepeatable()
    )
  }

  #becomePipe(text: string): void {
    this.#isPipe = true
    // For as long as the pipe is open these would hold the whole head, a token, and what an engine keeps for it.
    this.#upgrade = undefined
    this.#dropAuthorization()
    this.#host.pipes.add(this)
    this.#connection!.onClosed = () => this.#pipeClosed()
    this.#stream.sendHead(text)
    if (this.#requestEnded) this.#endRequest()
  }

  #pipeClosed(): void {
    if (this.#over || !this.#responseEnded) return
    this.#release()
    this.#stream.reset(ResetCode.NO_ERROR)
  }

  /** A response without a body: its head is all. */
  #finish(text: string): void {
    this.#stream.sendHead(text, true)
    this.#leave()
  }

  /** The response is complete. What is left of the request is not needed. */
  #leave(): void {
    this.#release()
    if (this.#requestEnded) return
    this.#stream.reset(ResetCode.NO_ERROR)
    if (this.#framing.kind !== 'none') this.#client!.abort()
  }

  /**
   * Gives the exchange up: the gateway hears why, the origin hears nothing more. Once; later calls
   * do nothing.
   */
  fail(error: unknown): void {
    if (this.#over) return
    this.#release()
    const failure = toOriginFailure(error, this.#instruction?.origin.certificate?.current?.subject)
    this.#host.counters.failed += 1
    this.#host.log.warn(
      {
        ...this.#facts(),
        reset: findResetName(failure.resetCode),
        code: findErrorCode(error) ?? findErrorCode(failure.cause),
        // An origin may have written part of it.
        detail: failure.message.slice(0, maxDetail),
      },
      'request failed',
    )
    this.#stream.reset(failure.resetCode, failure.message)
    if (this.#client) this.#client.abort()
    else this.#connection?.http.destroy()
  }

  #release(): void {
    this.#over = true
    this.#host.counters.active -= 1
    this.#host.deadlines.stop(this)
    this.#authorization?.end?.()
    this.#dialling?.abort(new OriginFailure(ResetCode.CANCELLED, 'not needed any more'))
    this.#dialling = undefined
    this.#reserved?.http.destroy()
    this.#reserved = undefined
    this.#request = undefined
    if (this.#isPipe) this.#host.pipes.delete(this)
  }

  #facts(): { correlationId: string; applicationId?: string; origin?: string } {
    const correlationId = readCorrelationId(this.#stream.openText)
    return this.#instruction
      ? {
          correlationId,
          applicationId: this.#instruction.applicationId,
          origin: this.#instruction.origin.destination.url,
        }
      : { correlationId }
  }
}

function isSameBinding(one: Buffer | undefined, other: Buffer | undefined): boolean {
  return one === other || (one !== undefined && other !== undefined && one.equals(other))
}
