import type { Claims, Match, Session } from '@sallyport/domain'
import { RequestError } from './failures.ts'
import type { Destination } from './view.ts'

/** What is kept under: a destination, or the ID of an application. */
type Key = Destination | string

export interface AssertionCacheOptions<Made> {
  keyOf(match: Match, destination: Destination): Key
  /** @returns undefined when the session has ended. @throws RequestError when nothing can be said of the person */
  ask(session: Session, match: Match): Promise<Made | undefined>
  /** Whether one that has not expired may be sent. */
  isCurrent?: (made: Made) => boolean
  clock: () => number
}

interface Kept<Made> {
  made: Made | undefined
  /** From then on a new one is asked for; epoch milliseconds. */
  refreshAt: number
  asking: Promise<Made | undefined> | undefined
}

/** Whoever is told has to read it after that, by a clock of its own. */
const leastRemainingMs = 30_000
/** Identity could not be asked: not again before that, while the old one is good. */
const retryMs = 5_000
/** A person uses so many applications, and hosts below a wildcard, at a time. */
const limitKept = 200

/**
 * What identity says of people, signed, used for half of its life before it is asked for anew. It is kept with the claims of its
 * session, which are let go by every event that changes what may be said of the person.
 */
export class AssertionCache<Made extends { readonly expiresAt: number }> {
  readonly #options: AssertionCacheOptions<Made>
  #ofPerson = new WeakMap<Claims, Map<Key, Kept<Made>>>()

  constructor(options: AssertionCacheOptions<Made>) {
    this.#options = options
  }

  /** @returns undefined when there is none at hand: then `read` */
  find({ claims }: Session, match: Match, destination: Destination): Made | undefined {
    const kept = this.#ofPerson.get(claims)?.get(this.#options.keyOf(match, destination))
    if (!kept || this.#options.clock() >= kept.refreshAt) return undefined
    return this.#isCurrent(kept.made) ? kept.made : undefined
  }

  /**
   * Asks identity; many requests that miss at once make one question.
   *
   * @returns undefined when the session has ended
   * @throws RequestError of the source
   */
  read(session: Session, match: Match, destination: Destination): Promise<Made | undefined> {
    const key = this.#options.keyOf(match, destination)
    const ofPerson = this.#of(session.claims)
    const kept = ofPerson.get(key) ?? { made: undefined, refreshAt: 0, asking: undefined }
    if (ofPerson.size >= limitKept && !ofPerson.has(key)) ofPerson.clear()
    ofPerson.set(key, kept)
    kept.asking ??= this.#ask(session, match, kept).finally(() => {
      kept.asking = undefined
    })
    return kept.asking
  }

  async #ask(session: Session, match: Match, kept: Kept<Made>): Promise<Made | undefined> {
    const { ask, clock } = this.#options
    try {
      const made = await ask(session, match)
      const nowAt = clock()
      kept.made = made
      kept.refreshAt = made ? nowAt + (made.expiresAt - nowAt) / 2 : 0
    } catch (error) {
      // What identity has said no to is not sent once it cannot be asked any more.
      if (!isUnavailable(error)) kept.made = undefined
      // Half of its life is left to find identity again.
      const { made } = kept
      const lastAt = made ? made.expiresAt - leastRemainingMs : 0
      if (!this.#isCurrent(made) || clock() > lastAt) throw error
      kept.refreshAt = Math.min(clock() + retryMs, lastAt)
    }
    return kept.made
  }

  #isCurrent(made: Made | undefined): made is Made {
    return made !== undefined && (this.#options.isCurrent?.(made) ?? true)
  }

  #of(claims: Claims): Map<Key, Kept<Made>> {
    let ofPerson = this.#ofPerson.get(claims)
    if (!ofPerson) {
      ofPerson = new Map()
      this.#ofPerson.set(claims, ofPerson)
    }
    return ofPerson
  }

  /** Lets those go that nobody would take any more. @param nowAt epoch milliseconds */
  prune(claims: Claims, nowAt: number): void {
    const ofPerson = this.#ofPerson.get(claims)
    if (!ofPerson) return
    for (const [key, { made, asking }] of ofPerson)
      if (!asking && (!made || made.expiresAt <= nowAt)) ofPerson.delete(key)
  }

  /** How many are kept with the claims. */
  size(claims: Claims): number {
    return this.#ofPerson.get(claims)?.size ?? 0
  }

  /** Lets all of them go; what is being asked for now is not kept either. */
  forget(): void {
    this.#ofPerson = new WeakMap()
  }
}

function isUnavailable(error: unknown): boolean {
  return error instanceof RequestError && error.code === 'SIGN_IN_UNAVAILABLE'
}
