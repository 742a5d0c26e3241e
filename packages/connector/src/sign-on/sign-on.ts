import type { FieldList } from '@sallyport/http1'
import { ResetCode } from '@sallyport/protocol'
import { OriginFailure } from '../failure.ts'
import type { Origin } from '../origin.ts'
import type { Assertion } from './assertion.ts'

/** One request, as far as sign-on needs it. */
export interface SignOnRequest {
  readonly origin: Origin
  readonly method: string
  readonly target: string
  /** Name, value, name, value ..., as the gateway sent them. */
  readonly fields: FieldList
  /** When it came, as `performance.now()`. */
  readonly startedMs: number
  /** It can be sent again after the origin has answered: it has no body. */
  readonly isRepeatable: boolean
  /** Of earlier answers of the origin to this request; the latest is a challenge that was to be answered. */
  readonly challenges: number
  readonly signal: AbortSignal
  /** Of the connection that it goes out by, or that is expected of it; undefined without TLS, or when it is not known yet. */
  readonly channelBinding: Buffer | undefined
}

export type AnswerOutcome = 'taken' | 'again' | 'refused' | 'inspect'

/** What one request carries for the person. */
export interface Authorization {
  /** Name, value, name, value ...; takes the place of what the gateway sent by these names. */
  readonly fields: FieldList
  /** They are good for one request, and on a connection of this binding only; undefined: for any, and again. */
  readonly only?: { readonly channelBinding: Buffer | undefined }
  /**
   * Reads the head of the origin's answer, and throws when whoever answered is not to be believed.
   *
   * @returns `again` when the request shall be signed on anew and sent once more; `refused` when the origin does not
   *   take what it was given; `inspect` when the body has to be seen too; `taken` otherwise. A promise: nothing of the
   *   answer goes on before it is kept
   */
  readAnswer(statusCode: number, fields: FieldList): AnswerOutcome | Promise<AnswerOutcome>
  /** Reads the body that `readAnswer` wanted to see, unless it is too long for that. */
  readBody?(body: Buffer): 'taken' | 'again'
  /** Whether the origin's field concerns the sign-on only, and is nothing for the person's browser. */
  isOwnField(name: string, value: string): boolean
  /** What the person's browser gets beside the fields of the answer. */
  readonly answerFields?: FieldList
  /** Where the browser is sent instead of asking the origin: a path. */
  readonly redirect?: string | undefined
  /** The request has come to its end, answered or not, or has become a pipe. May be called more than once. */
  end?(): void
}

/** A way of telling origins who a person is. */
export interface SignOnMethod {
  /**
   * @returns at once when everything is at hand
   * @throws OriginFailure `SIGN_ON_FAILED`, its message begins with a stable code
   */
  authorize(assertion: Assertion, request: SignOnRequest): Authorization | Promise<Authorization>
  /** The person's access has ended, or changed: nothing of theirs is kept. @param subject user ID */
  forget(subject: string): void
  close(): void
}

/** The ways of sign-on that this connector knows, by their names in assertions. */
export class SignOn {
  readonly #methods: ReadonlyMap<string, SignOnMethod>
  /** Users by their sessions, of those that signed on; oldest first. */
  readonly #subjects = new Map<string, string>()

  constructor(methods: Readonly<Record<string, SignOnMethod>>) {
    this.#methods = new Map(Object.entries(methods))
  }

  /** @throws OriginFailure `SIGN_ON_FAILED` */
  authorize(assertion: Assertion, request: SignOnRequest): Authorization | Promise<Authorization> {
    const method = this.#methods.get(assertion.method)
    if (!method)
      throw new OriginFailure(
        ResetCode.SIGN_ON_FAILED,
        `SIGN_ON_METHOD_UNKNOWN: this connector does not sign on by ${JSON.stringify(assertion.method)}; a newer one may`,
      )
    this.#note(assertion)
    return method.authorize(assertion, request)
  }

  #note({ sessionId, subject }: Assertion): void {
    if (this.#subjects.has(sessionId)) return
    if (this.#subjects.size >= 10_000)
      this.#subjects.delete(this.#subjects.keys().next().value as string)
    this.#subjects.set(sessionId, subject)
  }

  /** @param ended user IDs and session IDs of which nothing is to be kept */
  forget(ended: { users: readonly string[]; sessions: readonly string[] }): void {
    const subjects = new Set(ended.users)
    for (const sessionId of ended.sessions) {
      const subject = this.#subjects.get(sessionId)
      if (subject === undefined) continue
      this.#subjects.delete(sessionId)
      subjects.add(subject)
    }
    for (const subject of subjects)
      for (const method of this.#methods.values()) method.forget(subject)
  }

  close(): void {
    for (const method of this.#methods.values()) method.close()
  }
}
