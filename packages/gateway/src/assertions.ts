import type { Session } from '@sallyport/domain'
import { RequestError, toUnavailable } from './failures.ts'
import type { Sessions } from './sessions.ts'

/** A signed token by which one application knows a person. Instants are epoch milliseconds. */
export interface Assertion {
  token: string
  /** The key that it was signed with. */
  keyId: string
  issuedAt: number
  expiresAt: number
}

/** Where assertions come from; identity implements it, from what it knows and not from what the gateway says. */
export interface AssertionSource {
  /**
   * @returns undefined when the session has ended, for whatever reason
   * @throws when the session's person may not have one for the application
   */
  assertion(request: { sessionId: string; applicationId: string }): Promise<Assertion | undefined>
  /** The key that signs now: what another one has signed is not sent any more. */
  assertionKeyId(): string
}

/** An assertion as requests need it. */
export interface AssertionLine {
  readonly applicationId: string
  /** The field, with a CRLF in front. */
  readonly line: string
}

/** What is kept of one session, for as long as its claims are: by application ID. */
export type KeptAssertions = Map<string, Kept>

interface Kept {
  made: Made | undefined
  asking: Promise<Made | undefined> | undefined
}

interface Made extends AssertionLine {
  readonly keyId: string
  /** From then on a new one is asked for. */
  refreshAt: number
  readonly expiresAt: number
}

/** An origin has to read it after that, by a clock of its own. */
const leastRemainingMs = 30_000
/** Identity could not be asked: not again before that, while the old one is good. */
const retryMs = 5_000

/**
 * Assertions of the sessions in use, kept until half of their life; they are forgotten together with the claims that they say.
 */
export class Assertions {
  readonly #source: AssertionSource
  readonly #sessions: Sessions
  readonly #clock: () => number

  constructor(source: AssertionSource, sessions: Sessions, clock: () => number) {
    this.#source = source
    this.#sessions = sessions
    this.#clock = clock
  }

  /** @returns undefined when there is none at hand: then `read` */
  find({ sessionId }: Session, applicationId: string): AssertionLine | undefined {
    const made = this.#sessions.assertions(sessionId)?.get(applicationId)?.made
    return made && this.#clock() < made.refreshAt && made.keyId === this.#source.assertionKeyId()
      ? made
      : undefined
  }

  /**
   * Asks identity; many requests that miss at once make one question.
   *
   * @returns undefined when the session has ended
   * @throws RequestError `SIGN_IN_UNAVAILABLE`, `SIGN_ON_FAILED`
   */
  read({ sessionId }: Session, applicationId: string): Promise<AssertionLine | undefined> {
    const ofSession = this.#sessions.assertions(sessionId)
    if (!ofSession) return this.#ask(sessionId, applicationId)
    const kept = ofSession.get(applicationId) ?? { made: undefined, asking: undefined }
    ofSession.set(applicationId, kept)
    kept.asking ??= this.#ask(sessionId, applicationId)
      .then(
        (made) => {
          kept.made = made
          return made
        },
        (error: unknown) => this.#useOld(kept.made, error),
      )
      .finally(() => {
        kept.asking = undefined
      })
    return kept.asking
  }

  async #ask(sessionId: string, applicationId: string): Promise<Made | undefined> {
    const assertion = await this.#source
      .assertion({ sessionId, applicationId })
      .catch((cause: unknown) => {
        throw (
          toUnavailable(cause) ??
          new RequestError('SIGN_ON_FAILED', 'assertion could not be made', { cause })
        )
      })
    if (!assertion) return undefined
    const { token, keyId, issuedAt, expiresAt } = assertion
    return {
      applicationId,
      line: `\r\nSallyport-Jwt-Assertion: ${token}`,
      keyId,
      refreshAt: issuedAt + (expiresAt - issuedAt) / 2,
      expiresAt,
    }
  }

  /** Half of its life is left to find identity again. */
  #useOld(made: Made | undefined, error: unknown): Made {
    const nowAt = this.#clock()
    if (
      !made ||
      made.keyId !== this.#source.assertionKeyId() ||
      nowAt > made.expiresAt - leastRemainingMs
    )
      throw error
    made.refreshAt = Math.min(nowAt + retryMs, made.expiresAt - leastRemainingMs)
    return made
  }
}

/** Forgets those that no origin would take any more. */
export function pruneAssertions(kept: KeptAssertions, nowAt: number): void {
  for (const [applicationId, { made, asking }] of kept)
    if (!asking && (!made || made.expiresAt <= nowAt)) kept.delete(applicationId)
}
